-- Queues with limits, keys, dependencies, holds and unique values.

ALTER TABLE jobs
    ADD COLUMN key               text             COLLATE "C",
    ADD COLUMN unique_value      text             COLLATE "C",
    ADD COLUMN unique_until      text             COLLATE "C" NOT NULL DEFAULT 'end',
    -- Seconds since enqueue; 0: unique_until applies.
    ADD COLUMN unique_for        double precision NOT NULL DEFAULT 0,
    -- True while it holds its unique value. It is set at enqueue only, so it never blocks a retry.
    ADD COLUMN unique_holds      boolean          NOT NULL DEFAULT false,
    -- The ids of its parents as they were given, as JSON; NULL: none.
    ADD COLUMN parents           text             COLLATE "C",
    ADD COLUMN on_parent_failure text             COLLATE "C" NOT NULL DEFAULT 'cancel',
    -- The parent whose end cancelled this job, or holds it.
    ADD COLUMN cause             text             COLLATE "C",
    -- Since when a person holds it, and who.
    ADD COLUMN held_at           double precision,
    ADD COLUMN held_by           text             COLLATE "C";

-- NOT VALID: the rows that are there satisfy these, so the server need not read them.
ALTER TABLE jobs
    DROP CONSTRAINT jobs_state_check,
    DROP CONSTRAINT jobs_ready_check,
    ADD CONSTRAINT jobs_state_check CHECK (state IN
        ('pending', 'processing', 'completed', 'failed', 'dead', 'cancelled', 'waiting')) NOT VALID,
    -- 2: due, but other jobs with the same key come first.
    ADD CONSTRAINT jobs_ready_check CHECK (ready IN (0, 1, 2)) NOT VALID,
    ADD CONSTRAINT jobs_unique_until_check CHECK (unique_until IN ('start', 'end')) NOT VALID,
    ADD CONSTRAINT jobs_unique_for_check CHECK (unique_for >= 0) NOT VALID,
    ADD CONSTRAINT jobs_on_parent_failure_check CHECK (on_parent_failure IN ('cancel', 'hold'))
        NOT VALID;

CREATE UNIQUE INDEX jobs_unique ON jobs (unique_value) WHERE unique_holds;
-- For one key: the jobs that a claim sees (ready = 1), and those behind them (ready = 2).
CREATE INDEX jobs_key ON jobs (queue, key, ready, priority DESC, run_at, seq)
    WHERE key IS NOT NULL AND ready > 0;
CREATE INDEX jobs_key_running ON jobs (queue, key) WHERE key IS NOT NULL AND owner IS NOT NULL;
-- It had no queue. Now it also counts the running jobs of a queue, by supervisor.
DROP INDEX jobs_held;
CREATE INDEX jobs_held ON jobs (owner, queue, seq) WHERE owner IS NOT NULL;

-- A row for each queue with settings or with jobs that have keys. Times are epoch seconds, NULL is
-- no limit. A claim in such a queue locks the row, so claims in one queue come one after another.
CREATE TABLE queues (
    name          text             COLLATE "C" PRIMARY KEY,
    max_running   bigint           CHECK (max_running >= 0),
    per_host      bigint           CHECK (per_host >= 0),
    per_key       bigint           CHECK (per_key >= 1),
    rate_count    bigint           CHECK (rate_count >= 1),
    rate_seconds  double precision CHECK (rate_seconds > 0),
    paused_at     double precision,
    paused_by     text             COLLATE "C",
    paused_reason text             COLLATE "C",
    paused_until  double precision,
    -- False: nobody gave settings; the row is only there to be locked.
    given         boolean          NOT NULL DEFAULT true,
    -- Since per_key was lowered, more jobs of a key may be visible than may run. No job is claimed
    -- before the marks up to this one are gone.
    strict_mark   bigint           NOT NULL DEFAULT 0
);

-- How many attempts of a queue with a rate have started at a time. Only those that still count are
-- kept.
CREATE TABLE starts (
    queue text             COLLATE "C" NOT NULL,
    at    double precision NOT NULL,
    n     bigint           NOT NULL,
    PRIMARY KEY (queue, at)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- Attempts of queues with a rate that were claimed (at that time), while it is not known when they
-- started. A row counts only if this attempt of the job runs.
CREATE TABLE starting (
    seq   bigint           PRIMARY KEY,
    run   bigint           NOT NULL,
    queue text             COLLATE "C" NOT NULL,
    at    double precision NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

CREATE INDEX starting_queue ON starting (queue);

-- Which job waits for which. A row stays when the parent is removed.
CREATE TABLE dependencies (
    child     bigint  NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    parent    bigint  NOT NULL,
    kind      text    COLLATE "C" NOT NULL CHECK (kind IN ('after', 'after_any', 'after_failed')),
    parent_id text    COLLATE "C" NOT NULL,
    -- Somebody let the job run although this condition cannot be met.
    waived    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (child, parent, kind)
);

CREATE INDEX dependencies_parent ON dependencies (parent, child);

-- Keys whose visible jobs must be chosen anew. The next claim in this queue does it. A key may be
-- here many times: with a unique constraint, transactions would wait for each other.
CREATE TABLE key_marks (
    id    bigint GENERATED ALWAYS AS IDENTITY,
    queue text   COLLATE "C" NOT NULL,
    key   text   COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

CREATE UNIQUE INDEX key_marks_queue ON key_marks (queue, id);

-- Parents that have ended, or run again, and whose children above ``after`` have not been judged.
CREATE TABLE parent_marks (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent bigint NOT NULL,
    after  bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- Makes sure that a queue has a row, and that nobody removes it before this transaction ends.
CREATE FUNCTION keep_queue(wanted text) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    LOOP
        PERFORM FROM queues q WHERE q.name = wanted FOR KEY SHARE;
        EXIT WHEN FOUND;
        INSERT INTO queues (name, given) VALUES (wanted, false) ON CONFLICT (name) DO NOTHING;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION jobs_added() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO ledger (state, queue, n)
    SELECT f.state, f.queue, count(*) FROM fresh f GROUP BY f.state, f.queue;
    IF EXISTS (SELECT FROM fresh f WHERE f.key IS NOT NULL) THEN
        INSERT INTO key_marks (queue, key)
        SELECT DISTINCT f.queue, f.key FROM fresh f WHERE f.key IS NOT NULL AND f.ready > 0;
        PERFORM keep_queue(n.queue) FROM
            (SELECT DISTINCT f.queue FROM fresh f WHERE f.key IS NOT NULL AND f.ready IS NOT NULL
             ORDER BY f.queue) n;
    END IF;
    RETURN NULL;
END $$;

-- Rows before and after a change are put together by grouping. The server does not know how many
-- they are, and would join them in a way that is slow for many.
CREATE OR REPLACE FUNCTION jobs_moved() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO ledger (state, queue, n)
    SELECT m.state, m.queue, sum(m.n)
    FROM (SELECT f.state, f.queue, 1 AS n FROM fresh f
          UNION ALL SELECT s.state, s.queue, -1 FROM stale s) m
    GROUP BY m.state, m.queue HAVING sum(m.n) <> 0;
    IF NOT FOUND AND EXISTS (SELECT FROM fresh) THEN
        INSERT INTO ledger (n) VALUES (0);
    END IF;
    -- Parents that have ended or run again. A job that is enqueued locks its parents before, so its
    -- rows of dependencies are either visible here, or it sees how the parent ended.
    IF EXISTS (SELECT FROM dependencies) THEN
        INSERT INTO parent_marks (parent, after)
        SELECT g.seq, 0 FROM (
            SELECT b.seq FROM (
                SELECT f.seq, f.state IN ('completed', 'dead', 'cancelled') AS ended FROM fresh f
                UNION ALL
                SELECT s.seq, s.state IN ('completed', 'dead', 'cancelled') FROM stale s) b
            GROUP BY b.seq HAVING bool_or(b.ended) AND NOT bool_and(b.ended) OFFSET 0) g
        -- In the order of the index: if most rows have the same parent, the server would read all.
        WHERE (SELECT d.parent FROM dependencies d WHERE d.parent = g.seq
               ORDER BY d.parent, d.child LIMIT 1) IS NOT NULL
        ORDER BY g.seq;
    END IF;
    IF EXISTS (SELECT FROM fresh f WHERE f.key IS NOT NULL)
        OR EXISTS (SELECT FROM stale s WHERE s.key IS NOT NULL) THEN
        -- A key is marked when one of its jobs gives up a place (it was visible, or ran), when a due
        -- job comes, and when the order may change. A claim only takes visible jobs, which keep their
        -- place. Choosing the visible jobs changes ready from 1 to 2 or back. Neither needs a mark.
        WITH sides AS (
            SELECT f.seq, true AS new, f.state, f.ready, f.priority, f.run_at, f.queue, f.key
            FROM fresh f WHERE f.key IS NOT NULL
            UNION ALL
            SELECT s.seq, false, s.state, s.ready, s.priority, s.run_at, s.queue, s.key
            FROM stale s WHERE s.key IS NOT NULL
        ), pairs AS (
            SELECT max(b.queue) FILTER (WHERE b.new) AS queue,
                   max(b.key) FILTER (WHERE b.new) AS key,
                   max(b.queue) FILTER (WHERE NOT b.new) AS old_queue,
                   max(b.key) FILTER (WHERE NOT b.new) AS old_key,
                   count(*) = 1 OR max(b.queue) <> min(b.queue) OR max(b.key) <> min(b.key)
                       OR max(b.priority) <> min(b.priority) OR max(b.run_at) <> min(b.run_at)
                       AS moved,
                   bool_or(b.placed AND NOT b.new) AS was_placed,
                   bool_or(b.placed AND b.new) AS is_placed,
                   bool_or(b.due AND NOT b.new) AS was_due,
                   bool_or(b.due AND b.new) AS is_due
            FROM (SELECT *, coalesce(ready > 0, false) AS due,
                         coalesce(ready = 1, false) OR state = 'processing' AS placed
                  FROM sides) b
            GROUP BY b.seq
        ), marked AS (
            SELECT * FROM pairs
            WHERE CASE WHEN moved THEN was_placed OR is_due
                       ELSE was_placed AND NOT is_placed AND NOT (was_due AND is_due)
                            OR is_due AND NOT was_due END
        )
        INSERT INTO key_marks (queue, key)
        SELECT m.queue, m.key FROM marked m WHERE m.key IS NOT NULL
        UNION SELECT m.old_queue, m.old_key FROM marked m WHERE m.old_key IS NOT NULL;
        PERFORM keep_queue(n.queue) FROM (
            SELECT DISTINCT c.queue FROM (
                SELECT f.seq, f.queue FROM fresh f WHERE f.key IS NOT NULL AND f.ready IS NOT NULL
                EXCEPT
                SELECT s.seq, s.queue FROM stale s WHERE s.key IS NOT NULL AND s.ready IS NOT NULL
                ) c ORDER BY c.queue) n;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION jobs_gone() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO ledger (state, queue, n)
    SELECT s.state, s.queue, -count(*) FROM stale s GROUP BY s.state, s.queue;
    INSERT INTO key_marks (queue, key)
    SELECT DISTINCT s.queue, s.key FROM stale s
    WHERE s.key IS NOT NULL AND (s.ready = 1 OR s.state = 'processing');
    RETURN NULL;
END $$;

CREATE TRIGGER queues_touched AFTER INSERT OR UPDATE OR DELETE ON queues
    FOR EACH STATEMENT EXECUTE FUNCTION touched();
