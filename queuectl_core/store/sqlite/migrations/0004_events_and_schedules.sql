-- Standard input, results and progress of jobs; events; schedules.
-- The new columns of jobs have no CHECK constraints: SQLite would check all rows for each of them.

-- Environment variables whose values are read from files when an attempt starts, as JSON; NULL: none.
ALTER TABLE jobs ADD COLUMN secrets TEXT;
-- The schedule that made the job, and the nominal time of this run.
ALTER TABLE jobs ADD COLUMN schedule TEXT;
ALTER TABLE jobs ADD COLUMN scheduled_at REAL;
-- Percent and a line of text, as the running attempt reported them last.
ALTER TABLE jobs ADD COLUMN progress REAL;
ALTER TABLE jobs ADD COLUMN progress_text TEXT;
-- 1: it has a row in inputs or results. Most jobs have none, and nobody looks there for them.
ALTER TABLE jobs ADD COLUMN has_stdin INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN has_result INTEGER NOT NULL DEFAULT 0;

-- What each attempt of a job reads on its standard input. It is not in jobs, because SQLite writes
-- the whole row anew at each change of the job.
CREATE TABLE inputs (
    job   INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    stdin BLOB    NOT NULL
);

-- What the last attempt wrote to QUEUECTL_RESULT.
CREATE TABLE results (
    job    INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    result BLOB    NOT NULL
);

-- A job without a result has no row. A new attempt begins without one.
CREATE TRIGGER jobs_result_gone AFTER UPDATE OF has_result ON jobs
WHEN old.has_result AND NOT new.has_result BEGIN
    DELETE FROM results WHERE job = new.seq;
END;

-- Who did what. AUTOINCREMENT: a number is never used again, so that readers can go on after it.
CREATE TABLE events (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    at       REAL NOT NULL,
    kind     TEXT NOT NULL,
    -- user@host
    actor    TEXT NOT NULL,
    -- The front end: cli, tui, dashboard, python, worker, schedule, hook
    via      TEXT NOT NULL,
    -- The key of the job, and its id, which stays when the job is removed. For a bulk enqueue: the
    -- first key, and no id.
    job      INTEGER,
    job_id   TEXT,
    -- For a bulk enqueue: the last key.
    last_job INTEGER,
    -- The queue, schedule, hook, setting or supervisor that it is about.
    name     TEXT,
    -- How many jobs a verb has changed that is about many.
    n        INTEGER,
    -- More, as a JSON object.
    detail   TEXT NOT NULL DEFAULT '{}'
);

CREATE INDEX events_at ON events (at);
CREATE INDEX events_job ON events (job_id, seq) WHERE job_id IS NOT NULL;
CREATE INDEX events_range ON events (job) WHERE last_job IS NOT NULL;
CREATE INDEX events_name ON events (name, seq) WHERE name IS NOT NULL;

-- For reading what was started in a span of time. Shorter attempts are found by their ends, and do
-- not pay for this.
CREATE INDEX attempts_long ON attempts (started_at) WHERE finished_at - started_at > 10;

CREATE TABLE schedules (
    name           TEXT PRIMARY KEY,
    -- One of them is given: an expression, or seconds.
    cron           TEXT,
    every          REAL CHECK (every > 0),
    -- The time zone of the expression, as in the IANA database.
    tz             TEXT NOT NULL,
    missed         TEXT NOT NULL CHECK (missed IN ('once', 'skip', 'all')),
    missed_within  REAL NOT NULL CHECK (missed_within >= 0),
    overlap        TEXT NOT NULL CHECK (overlap IN ('skip', 'queue', 'allow', 'replace')),
    jitter         REAL NOT NULL CHECK (jitter >= 0),
    -- The job that it enqueues, with the names of enqueue, as JSON.
    job            TEXT NOT NULL,
    -- Times are counted from here: when it was added, edited or resumed.
    since          REAL NOT NULL,
    -- The next nominal time; NULL: there is none.
    next_at        REAL,
    -- When the run of that time is enqueued: next_at and the jitter.
    due_at         REAL,
    -- The last nominal time that was enqueued, and the key of its job.
    last_at        REAL,
    last_job       INTEGER,
    -- The last time that was skipped or missed, and why.
    skipped_at     REAL,
    skipped_reason TEXT,
    -- When a run completed, as far as this was known when it last fired.
    success_at     REAL,
    paused_at      REAL,
    paused_by      TEXT,
    paused_reason  TEXT,
    created_at     REAL NOT NULL,
    updated_at     REAL NOT NULL,
    -- Increased by each change of a person.
    version        INTEGER NOT NULL,
    CHECK ((cron IS NULL) <> (every IS NULL))
) WITHOUT ROWID;

-- The runs of a schedule. Other jobs are not in this index.
CREATE INDEX jobs_schedule ON jobs (schedule, seq) WHERE schedule IS NOT NULL;

CREATE INDEX schedules_due ON schedules (due_at) WHERE due_at IS NOT NULL AND paused_at IS NULL;

-- Hooks: what to do when something happens. Each delivery is a job.
CREATE TABLE hooks (
    name          TEXT PRIMARY KEY,
    -- What it subscribes to, as a JSON list.
    events        TEXT NOT NULL,
    -- Only events of this queue; NULL: of all.
    queue         TEXT,
    -- Seconds for which events are gathered into one delivery; 0: each is delivered by itself.
    digest        REAL NOT NULL CHECK (digest >= 0),
    url           TEXT,
    secret_file   TEXT,
    -- The delivery job, with the names of enqueue, as JSON.
    job           TEXT NOT NULL,
    paused_at     REAL,
    paused_by     TEXT,
    paused_reason TEXT,
    created_at    REAL NOT NULL,
    updated_at    REAL NOT NULL
) WITHOUT ROWID;

-- What some hook that is not paused asks for: states of jobs, and kinds of events. Without hooks it is
-- empty, and a change of a job costs one look into it.
CREATE TABLE hook_watches (
    kind TEXT PRIMARY KEY
) WITHOUT ROWID;

-- What has happened and is watched. The verb that made it happen makes deliveries of it, in the same
-- transaction. What it leaves is done by the next one.
CREATE TABLE hook_marks (
    seq   INTEGER PRIMARY KEY,
    -- The new state of the job, or the kind of the event.
    kind  TEXT NOT NULL,
    job   INTEGER,
    event INTEGER
);

-- Events that wait for a digest. A row stands for n events that are alike.
CREATE TABLE hook_entries (
    seq      INTEGER PRIMARY KEY,
    hook     TEXT    NOT NULL,
    -- When it was added. The first row decides when the digest is due.
    at       REAL    NOT NULL,
    kind     TEXT    NOT NULL,
    queue    TEXT,
    reason   TEXT    NOT NULL,
    n        INTEGER NOT NULL,
    first_at REAL    NOT NULL,
    last_at  REAL    NOT NULL,
    -- Ids of the first jobs, as a JSON list.
    jobs     TEXT    NOT NULL
);

CREATE INDEX hook_entries_due ON hook_entries (hook, at);
-- Events that are alike are added to the same row.
CREATE UNIQUE INDEX hook_entries_alike ON hook_entries (hook, kind, coalesce(queue, ''), reason);

CREATE TRIGGER jobs_watched AFTER UPDATE OF state ON jobs
WHEN EXISTS (SELECT 1 FROM hook_watches WHERE kind = new.state)
    AND old.state <> new.state AND new.queue <> 'hooks'
BEGIN
    INSERT INTO hook_marks (kind, job) VALUES (new.state, new.seq);
END;

CREATE TRIGGER events_watched AFTER INSERT ON events
WHEN EXISTS (SELECT 1 FROM hook_watches WHERE kind = new.kind)
BEGIN
    INSERT INTO hook_marks (kind, event) VALUES (new.kind, new.seq);
END;
