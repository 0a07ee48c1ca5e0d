-- A scope token is owned by a resource, and other resources may own one of the same name.

CREATE TABLE resource_scopes (
    audience TEXT NOT NULL REFERENCES resources (audience),
    scope    TEXT NOT NULL,
    PRIMARY KEY (audience, scope)
);
CREATE INDEX resource_scopes_by_scope ON resource_scopes (scope, audience);

CREATE TABLE client_permissions (
    client_id TEXT NOT NULL REFERENCES clients (id),
    audience  TEXT NOT NULL,
    scope     TEXT NOT NULL,
    PRIMARY KEY (client_id, audience, scope),
    FOREIGN KEY (audience, scope) REFERENCES resource_scopes (audience, scope)
);
CREATE INDEX client_permissions_by_scope ON client_permissions (audience, scope);

CREATE TABLE user_permissions (
    sub      TEXT NOT NULL REFERENCES users (sub),
    audience TEXT NOT NULL,
    scope    TEXT NOT NULL,
    PRIMARY KEY (sub, audience, scope),
    FOREIGN KEY (audience, scope) REFERENCES resource_scopes (audience, scope)
);
CREATE INDEX user_permissions_by_scope ON user_permissions (audience, scope);

-- SQLite checks foreign keys only if the writer asks for it. A row whose resource, client or user was deleted by hand means nothing, and
-- must not prevent the migration.
INSERT INTO resource_scopes (audience, scope)
    SELECT audience, scope FROM scopes WHERE audience IN (SELECT audience FROM resources);
INSERT INTO client_permissions (client_id, audience, scope)
    SELECT c.client_id, c.audience, c.scope FROM client_scopes c
    JOIN resource_scopes r ON r.audience = c.audience AND r.scope = c.scope
    WHERE c.client_id IN (SELECT id FROM clients);
INSERT INTO user_permissions (sub, audience, scope)
    SELECT u.sub, u.audience, u.scope FROM user_scopes u
    JOIN resource_scopes r ON r.audience = u.audience AND r.scope = u.scope
    WHERE u.sub IN (SELECT sub FROM users);

-- The former tables become views of the new ones. Nodes of the version before, which may run during an upgrade, read the permissions
-- there (they never write them: only commands do, and those of that version refuse the new schema). As tables, they would grant what
-- is withdrawn from now on, and their foreign keys would prevent deleting clients, users and resources; emptied, they would grant nothing.
DROP TABLE client_scopes;
DROP TABLE user_scopes;
DROP TABLE scopes;
CREATE VIEW scopes AS SELECT scope, audience FROM resource_scopes;
CREATE VIEW client_scopes AS SELECT client_id, scope, audience FROM client_permissions;
CREATE VIEW user_scopes AS SELECT sub, scope, audience FROM user_permissions;
