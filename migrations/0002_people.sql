-- Users, what they may have, and their logins.

CREATE TABLE users (
    sub           TEXT PRIMARY KEY,
    username      TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    disabled_at   BIGINT,
    signed_in_at  BIGINT
);

CREATE TABLE user_scopes (
    sub      TEXT NOT NULL REFERENCES users (sub),
    scope    TEXT NOT NULL,
    audience TEXT NOT NULL,
    PRIMARY KEY (sub, scope),
    FOREIGN KEY (scope, audience) REFERENCES scopes (scope, audience)
);
CREATE INDEX user_scopes_by_scope ON user_scopes (scope);

-- What one password grant began. It outlives its user and its client, so that what it issued can still be judged; no
-- refresh token is kept, only how many there have been.
CREATE TABLE logins (
    id               TEXT PRIMARY KEY,
    sub              TEXT NOT NULL,
    client_id        TEXT NOT NULL,
    audience         TEXT NOT NULL,
    scope            TEXT NOT NULL,
    generation       BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    stepped_at       BIGINT NOT NULL,
    idle_ends_at     BIGINT NOT NULL,
    absolute_ends_at BIGINT NOT NULL,
    ended_at         BIGINT,
    ended_because    TEXT
);
CREATE INDEX logins_by_sub ON logins (sub);
CREATE INDEX logins_by_client ON logins (client_id);
CREATE INDEX logins_by_absolute_end ON logins (absolute_ends_at);
CREATE INDEX logins_by_idle_end ON logins (idle_ends_at);
CREATE INDEX logins_by_ended ON logins (ended_at);

-- Symmetric keys under the sealing key, by what they are for.
CREATE TABLE mac_keys (
    name   TEXT PRIMARY KEY,
    sealed TEXT NOT NULL
);
