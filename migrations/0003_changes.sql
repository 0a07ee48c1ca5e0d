-- What operators changed: each row is written in the transaction of its change, or the change is not made.

CREATE TABLE changes (
    n      BIGINT PRIMARY KEY,
    at     BIGINT NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL
);
CREATE INDEX changes_by_time ON changes (at);

INSERT INTO epochs (kind, n) VALUES ('changes', 0);
