-- The public keys by which clients authenticate. The id is the `kid` at the client; `jwk` is the public JWK.
CREATE TABLE client_keys (
    client_id    TEXT NOT NULL REFERENCES clients (id),
    id           TEXT NOT NULL,
    jwk          TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    PRIMARY KEY (client_id, id)
);

-- The assertions that were used, until none of them would be accepted any more. Of each, only the SHA-256 of its client and its `jti`. The key begins
-- with the time, so that rows that come and go together are side by side.
CREATE TABLE used_assertions (
    expires_at BIGINT NOT NULL,
    digest     TEXT NOT NULL,
    PRIMARY KEY (expires_at, digest)
);
