-- Tokens that can be taken back. A token names a position in a status list; positions belong to a client or a login, so no token is stored.

-- A list holds spans of one width: 1 for logins, more for clients. Its id is random.
CREATE TABLE status_lists (
    id         TEXT PRIMARY KEY,
    width      BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX status_lists_by_width ON status_lists (width, created_at);

-- The positions of a client's tokens. A span that has ended stays until the last token that names it has expired.
CREATE TABLE status_spans (
    list_id    TEXT NOT NULL,
    start      BIGINT NOT NULL,
    width      BIGINT NOT NULL,
    client_id  TEXT NOT NULL,
    -- At least as many as its positions that are set by revocations of single tokens: a hint of when to count those.
    set_bits   BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    -- When all of them were revoked.
    revoked_at BIGINT,
    ends_at    BIGINT,
    PRIMARY KEY (list_id, start)
);
-- A client has one span at a time.
CREATE UNIQUE INDEX status_spans_current ON status_spans (client_id) WHERE ends_at IS NULL;
CREATE INDEX status_spans_by_client ON status_spans (client_id, created_at);
CREATE INDEX status_spans_by_end ON status_spans (ends_at);
-- Those whose single revocations are deleted early.
CREATE INDEX status_spans_widest_revoked ON status_spans (revoked_at) WHERE width = 65536 AND revoked_at IS NOT NULL;

-- Users before clients before logins, as every write locks them: a sign-in that is in progress must not wait for a table that waits for it.
--
-- Raised by each revocation of all tokens of a client, and by each withdrawal of a right from a user. A token gets a position only from a
-- request that has read this number: a node that has not noticed the withdrawal yet issues nothing that is valid.
ALTER TABLE users ADD COLUMN tokens_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE clients ADD COLUMN tokens_since BIGINT NOT NULL DEFAULT 0;

-- The position of a login's tokens. NULL: it gets one at its next refresh.
ALTER TABLE logins ADD COLUMN status_list TEXT;
ALTER TABLE logins ADD COLUMN status_index BIGINT;
-- When the last token that names the position expires.
ALTER TABLE logins ADD COLUMN tokens_end_at BIGINT;
-- The number of the newest withdrawal when it began or got its position. Later ones concern it.
ALTER TABLE logins ADD COLUMN rights_since BIGINT NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX logins_by_status ON logins (status_list, status_index) WHERE status_list IS NOT NULL;
CREATE INDEX logins_open_by_client ON logins (client_id, id) WHERE ended_at IS NULL;

-- What was withdrawn from a client or a user, until it has reached all of their logins. Almost always, there is nothing here.
CREATE TABLE withdrawals (
    n             BIGINT PRIMARY KEY,
    -- Whose logins they are: one of the two.
    client_id     TEXT,
    sub           TEXT,
    -- Why the logins end. NULL: they go on with another position.
    ended_because TEXT,
    decided_at    BIGINT NOT NULL,
    -- It has reached the logins up to this id.
    done_to       TEXT NOT NULL
);
INSERT INTO epochs (kind, n) VALUES ('withdrawals', 0);

-- The positions that are set, until the last token that could name them has expired. `epoch` is the epoch of revocations of the write.
CREATE TABLE revocations (
    epoch      BIGINT NOT NULL,
    list_id    TEXT NOT NULL,
    start      BIGINT NOT NULL,
    width      BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (epoch, list_id, start)
);
CREATE INDEX revocations_by_place ON revocations (list_id, start);
CREATE INDEX revocations_by_end ON revocations (expires_at);
