-- The first schema. Times are epoch seconds (REAL), durations seconds, sizes bytes.

CREATE TABLE jobs (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT    NOT NULL UNIQUE,
    command         TEXT    NOT NULL,
    is_argv         INTEGER NOT NULL CHECK (is_argv IN (0, 1)),
    max_retries     INTEGER NOT NULL CHECK (max_retries >= 0),
    backoff_base    REAL    NOT NULL CHECK (backoff_base >= 0),
    priority        INTEGER NOT NULL,
    run_at          REAL    NOT NULL,
    timeout_seconds REAL    NOT NULL CHECK (timeout_seconds >= 0),
    cwd             TEXT    NOT NULL,
    env             TEXT    NOT NULL,
    queue           TEXT    NOT NULL,
    -- Limits; 0 is none (nothing is set, for output_limit the configuration's holds).
    nice            INTEGER NOT NULL CHECK (nice BETWEEN 0 AND 19),
    memory_limit    INTEGER NOT NULL CHECK (memory_limit >= 0),
    cpu_seconds     INTEGER NOT NULL CHECK (cpu_seconds >= 0),
    output_limit    INTEGER NOT NULL CHECK (output_limit >= 0),
    state           TEXT    NOT NULL CHECK (state IN
                    ('pending', 'processing', 'completed', 'failed', 'dead', 'cancelled')),
    attempts        INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    crashes         INTEGER NOT NULL DEFAULT 0 CHECK (crashes >= 0),
    runs            INTEGER NOT NULL DEFAULT 0 CHECK (runs >= 0),
    created_at      REAL    NOT NULL,
    updated_at      REAL    NOT NULL,
    started_at      REAL,
    finished_at     REAL,
    exit_code       INTEGER,
    last_error      TEXT,
    -- Why it died, without what differs from job to job: what the dead are grouped by.
    reason          TEXT,
    worker          TEXT,
    -- The supervisor that holds the lease; its row in supervisors says until when.
    owner           TEXT,
    -- Whose shim started the running attempt: where its exit is journalled.
    shim            TEXT,
    cancel          INTEGER NOT NULL DEFAULT 0 CHECK (cancel IN (0, 1)),
    -- 1: may be claimed now; 0: not due yet; NULL: not waiting. Keeps jobs scheduled far
    -- ahead out of the index the claim reads.
    ready           INTEGER CHECK (ready IN (0, 1)),
    CHECK ((state IN ('pending', 'failed')) = (ready IS NOT NULL)),
    CHECK ((state = 'processing') = (owner IS NOT NULL))
);

CREATE INDEX jobs_claim ON jobs (queue, priority DESC, run_at, seq) WHERE ready = 1;
CREATE INDEX jobs_due ON jobs (ready, run_at) WHERE ready IS NOT NULL;
CREATE INDEX jobs_state ON jobs (state, seq);
-- Grouping the dead reads this index alone; no job pays for it until it dies.
CREATE INDEX jobs_dead ON jobs (reason, seq, finished_at, exit_code) WHERE state = 'dead';

CREATE TABLE attempts (
    job          INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    number       INTEGER NOT NULL,
    started_at   REAL    NOT NULL,
    finished_at  REAL    NOT NULL,
    outcome      TEXT    NOT NULL CHECK (outcome IN
                 ('completed', 'failed', 'timeout', 'cancelled', 'interrupted', 'crashed')),
    made_dead    INTEGER NOT NULL CHECK (made_dead IN (0, 1)),
    exit_code    INTEGER,
    signal       INTEGER,
    reason       TEXT,
    worker       TEXT,
    host         TEXT,
    peak_memory  INTEGER,
    cpu_seconds  REAL,
    output_bytes INTEGER NOT NULL,
    waited       REAL    NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;

CREATE INDEX attempts_ended ON attempts (finished_at, outcome, made_dead, started_at, waited);

-- The last 64 KiB of each attempt that wrote anything, so that any host can show it.
CREATE TABLE tails (
    job    INTEGER NOT NULL,
    number INTEGER NOT NULL,
    tail   BLOB    NOT NULL,
    PRIMARY KEY (job, number),
    FOREIGN KEY (job, number) REFERENCES attempts (job, number) ON DELETE CASCADE
);

CREATE TABLE supervisors (
    id           TEXT    PRIMARY KEY,
    host         TEXT    NOT NULL,
    host_key     TEXT    NOT NULL,
    pid          INTEGER NOT NULL,
    pid_start    REAL    NOT NULL,
    detached     INTEGER NOT NULL CHECK (detached IN (0, 1)),
    started_at   REAL    NOT NULL,
    heartbeat_at REAL    NOT NULL,
    lease_until  REAL    NOT NULL,
    lease_mono   REAL    NOT NULL
) WITHOUT ROWID;

CREATE TABLE workers (
    id          TEXT    PRIMARY KEY,
    supervisor  TEXT    NOT NULL REFERENCES supervisors (id) ON DELETE CASCADE,
    queues      TEXT    NOT NULL,
    stop        TEXT    CHECK (stop IN ('drain', 'now')),
    up          INTEGER NOT NULL DEFAULT 0 CHECK (up IN (0, 1)),
    done        INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0,
    started_at  REAL    NOT NULL,
    job_pid     INTEGER,
    cpu_percent REAL,
    memory      INTEGER
) WITHOUT ROWID;

CREATE INDEX workers_supervisor ON workers (supervisor);

CREATE TABLE config (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Counting jobs by reading them grows with the table; these rows are kept by triggers.
CREATE TABLE counts (
    state TEXT    NOT NULL,
    queue TEXT    NOT NULL,
    n     INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (state, queue)
) WITHOUT ROWID;

CREATE TRIGGER jobs_counted AFTER INSERT ON jobs BEGIN
    INSERT INTO counts VALUES (new.state, new.queue, 1)
    ON CONFLICT (state, queue) DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN old.state <> new.state BEGIN
    UPDATE counts SET n = n - 1 WHERE state = old.state AND queue = old.queue;
    INSERT INTO counts VALUES (new.state, new.queue, 1)
    ON CONFLICT (state, queue) DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER jobs_gone AFTER DELETE ON jobs BEGIN
    UPDATE counts SET n = n - 1 WHERE state = old.state AND queue = old.queue;
END;
