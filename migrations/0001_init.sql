-- One text for SQLite and PostgreSQL. Times are whole seconds since 1970-01-01T00:00:00Z. Migrations only add.

-- A counter per kind of data; every change of that data raises it in the same transaction, and every node reads them all.
CREATE TABLE epochs (
    kind TEXT PRIMARY KEY,
    n    BIGINT NOT NULL
);
INSERT INTO epochs (kind, n) VALUES ('registry', 1), ('keys', 1), ('revocations', 1);

-- A known text under the sealing key: a node whose sealing key does not open it must not start.
CREATE TABLE sealing_canary (
    id     BIGINT PRIMARY KEY CHECK (id = 1),
    sealed TEXT NOT NULL,
    origin TEXT NOT NULL
);

CREATE TABLE signing_keys (
    kid          TEXT PRIMARY KEY,
    algorithm    TEXT NOT NULL,
    generation   BIGINT NOT NULL,
    public_jwk   TEXT NOT NULL,
    sealed       TEXT NOT NULL,
    published_at BIGINT NOT NULL,
    activates_at BIGINT NOT NULL,
    retires_at   BIGINT,
    expires_at   BIGINT,
    revoked_at   BIGINT,
    UNIQUE (algorithm, generation)
);

CREATE TABLE resources (
    audience       TEXT PRIMARY KEY,
    token_lifetime BIGINT,
    created_at     BIGINT NOT NULL
);

-- A scope token belongs to one resource.
CREATE TABLE scopes (
    scope    TEXT PRIMARY KEY,
    audience TEXT NOT NULL REFERENCES resources (audience),
    UNIQUE (scope, audience)
);
CREATE INDEX scopes_by_audience ON scopes (audience);

CREATE TABLE clients (
    id             TEXT PRIMARY KEY,
    auth_methods   TEXT NOT NULL,
    grants         TEXT NOT NULL,
    token_lifetime BIGINT,
    created_at     BIGINT NOT NULL,
    disabled_at    BIGINT
);

CREATE TABLE client_scopes (
    client_id TEXT NOT NULL REFERENCES clients (id),
    scope     TEXT NOT NULL,
    audience  TEXT NOT NULL,
    PRIMARY KEY (client_id, scope),
    FOREIGN KEY (scope, audience) REFERENCES scopes (scope, audience)
);
CREATE INDEX client_scopes_by_scope ON client_scopes (scope);

CREATE TABLE client_introspects (
    client_id TEXT NOT NULL REFERENCES clients (id),
    audience  TEXT NOT NULL REFERENCES resources (audience),
    PRIMARY KEY (client_id, audience)
);
CREATE INDEX client_introspects_by_audience ON client_introspects (audience);

-- Of a secret only its SHA-256 is kept.
CREATE TABLE client_secrets (
    id           TEXT PRIMARY KEY,
    client_id    TEXT NOT NULL REFERENCES clients (id),
    digest       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT
);
CREATE INDEX client_secrets_by_client ON client_secrets (client_id);
