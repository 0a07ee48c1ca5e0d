-- The replacement of the sealing key while servers run.

-- The first canary: it identifies the issuer, and the sealing key may be replaced. NULL: the present one is the first.
ALTER TABLE sealing_canary ADD COLUMN first_sealed TEXT;
-- The key that replaces the sealing key, while that is in progress, and whether signing keys and MAC keys are replaced, too.
ALTER TABLE sealing_canary ADD COLUMN successor_kid TEXT;
ALTER TABLE sealing_canary ADD COLUMN successor_replaces BIGINT;

-- The servers that run, and the sealing keys that each of them has, as a JSON list of kids.
CREATE TABLE servers (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    sealing_kids TEXT NOT NULL,
    seen_at      BIGINT NOT NULL
);
