-- Queues with limits, keys, dependencies, holds and unique values.
-- migrate.py changes the CHECK constraints of jobs: state may be 'waiting', ready may be 2, and the new
-- columns have some. If they were given here, SQLite would check all rows for each of them.

ALTER TABLE jobs ADD COLUMN key TEXT;
ALTER TABLE jobs ADD COLUMN unique_value TEXT;
-- 'start' or 'end'.
ALTER TABLE jobs ADD COLUMN unique_until TEXT NOT NULL DEFAULT 'end';
-- Seconds since enqueue; 0: unique_until applies.
ALTER TABLE jobs ADD COLUMN unique_for REAL NOT NULL DEFAULT 0;
-- 1 while it holds its unique value. It is set at enqueue only, so it never blocks a retry.
ALTER TABLE jobs ADD COLUMN unique_holds INTEGER NOT NULL DEFAULT 0;
-- The ids of its parents as they were given, as JSON; NULL: none.
ALTER TABLE jobs ADD COLUMN parents TEXT;
-- 'cancel' or 'hold'.
ALTER TABLE jobs ADD COLUMN on_parent_failure TEXT NOT NULL DEFAULT 'cancel';
-- The parent whose end cancelled this job, or holds it.
ALTER TABLE jobs ADD COLUMN cause TEXT;
-- Since when a person holds it, and who.
ALTER TABLE jobs ADD COLUMN held_at REAL;
ALTER TABLE jobs ADD COLUMN held_by TEXT;

CREATE UNIQUE INDEX jobs_unique ON jobs (unique_value) WHERE unique_holds = 1;
-- For one key: the jobs that a claim sees (ready = 1), and those behind them (ready = 2).
CREATE INDEX jobs_key ON jobs (queue, key, ready, priority DESC, run_at, seq)
    WHERE key IS NOT NULL AND ready IS NOT NULL;
CREATE INDEX jobs_key_running ON jobs (queue, key) WHERE key IS NOT NULL AND owner IS NOT NULL;

-- A row for each queue with settings. Times are epoch seconds, NULL is no limit.
CREATE TABLE queues (
    name          TEXT PRIMARY KEY,
    max_running   INTEGER CHECK (max_running >= 0),
    per_host      INTEGER CHECK (per_host >= 0),
    per_key       INTEGER CHECK (per_key >= 1),
    rate_count    INTEGER CHECK (rate_count >= 1),
    rate_seconds  REAL    CHECK (rate_seconds > 0),
    paused_at     REAL,
    paused_by     TEXT,
    paused_reason TEXT,
    paused_until  REAL
) WITHOUT ROWID;

-- How many attempts of a queue with a rate have started at a time. Only those that still count are
-- kept.
CREATE TABLE starts (
    queue TEXT    NOT NULL,
    at    REAL    NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (queue, at)
) WITHOUT ROWID;

-- Attempts of queues with a rate that were claimed (at that time), while it is not known when they
-- started. A row counts only if this attempt of the job runs.
CREATE TABLE starting (
    seq   INTEGER PRIMARY KEY,
    run   INTEGER NOT NULL,
    queue TEXT    NOT NULL,
    at    REAL    NOT NULL
);

CREATE INDEX starting_queue ON starting (queue);

-- Which job waits for which. A row stays when the parent is removed.
CREATE TABLE dependencies (
    child     INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    parent    INTEGER NOT NULL,
    kind      TEXT    NOT NULL CHECK (kind IN ('after', 'after_any', 'after_failed')),
    parent_id TEXT    NOT NULL,
    -- 1: somebody let the job run although this condition cannot be met.
    waived    INTEGER NOT NULL DEFAULT 0 CHECK (waived IN (0, 1)),
    PRIMARY KEY (child, parent, kind)
) WITHOUT ROWID;

CREATE INDEX dependencies_parent ON dependencies (parent, child);

-- Keys whose visible jobs must be chosen anew. The next claim in this queue does it.
CREATE TABLE key_marks (
    queue TEXT NOT NULL,
    key   TEXT NOT NULL,
    PRIMARY KEY (queue, key)
) WITHOUT ROWID;

-- Parents that have ended, or run again, and whose children above ``after`` have not been judged.
CREATE TABLE parent_marks (
    parent INTEGER PRIMARY KEY,
    after  INTEGER NOT NULL
);

CREATE TRIGGER jobs_key_added AFTER INSERT ON jobs WHEN new.key IS NOT NULL AND new.ready > 0 BEGIN
    INSERT OR IGNORE INTO key_marks VALUES (new.queue, new.key);
END;

-- A claim takes visible jobs only, so it needs no mark. Choosing the visible jobs makes a mark too,
-- which is removed with the others.
CREATE TRIGGER jobs_key_changed AFTER UPDATE OF state, ready, priority, run_at, queue, key ON jobs
WHEN (new.key IS NOT NULL OR old.key IS NOT NULL)
    AND NOT (new.state = 'processing' AND old.state <> 'processing' AND old.ready = 1)
BEGIN
    INSERT OR IGNORE INTO key_marks SELECT old.queue, old.key WHERE old.key IS NOT NULL;
    INSERT OR IGNORE INTO key_marks SELECT new.queue, new.key WHERE new.key IS NOT NULL;
END;

-- Only a visible job keeps others waiting. (One that runs cannot be removed.)
CREATE TRIGGER jobs_key_gone AFTER DELETE ON jobs WHEN old.key IS NOT NULL AND old.ready = 1 BEGIN
    INSERT OR IGNORE INTO key_marks VALUES (old.queue, old.key);
END;

CREATE TRIGGER jobs_parent_changed AFTER UPDATE OF state ON jobs
WHEN (old.state IN ('completed', 'dead', 'cancelled'))
        <> (new.state IN ('completed', 'dead', 'cancelled'))
    AND EXISTS (SELECT 1 FROM dependencies WHERE parent = new.seq)
BEGIN
    INSERT OR REPLACE INTO parent_marks VALUES (new.seq, 0);
END;

-- A job may move to another queue.
DROP TRIGGER jobs_moved;
CREATE TRIGGER jobs_moved AFTER UPDATE OF state, queue ON jobs
WHEN old.state <> new.state OR old.queue <> new.queue BEGIN
    UPDATE counts SET n = n - 1 WHERE state = old.state AND queue = old.queue;
    INSERT INTO counts VALUES (new.state, new.queue, 1)
    ON CONFLICT (state, queue) DO UPDATE SET n = n + 1;
END;
