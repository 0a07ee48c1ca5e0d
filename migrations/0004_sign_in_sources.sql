-- The sources from which users have signed in, per client, so that failed attempts from elsewhere do not lock them out there. Only a
-- MAC of each address is stored.
CREATE TABLE sign_in_sources (
    sub       TEXT NOT NULL REFERENCES users (sub) ON DELETE CASCADE,
    client_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    mac       TEXT NOT NULL,
    used_at   BIGINT NOT NULL,
    PRIMARY KEY (sub, client_id, mac)
);
CREATE INDEX sign_in_sources_by_client ON sign_in_sources (client_id);
CREATE INDEX sign_in_sources_by_time ON sign_in_sources (used_at);

-- Finds the least recently used logins of a user and client without reading those that have ended.
CREATE INDEX logins_open ON logins (sub, client_id, stepped_at, id) WHERE ended_at IS NULL;
