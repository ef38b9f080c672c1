-- Claims, results and leases. A transaction locks the supervisor's row first, then jobs in the
-- order of their keys. So transactions can wait for each other, but never in a circle.

-- One statement writes all results. A result is taken only from the attempt that holds the lease.
-- A job that somebody wants cancelled does not run again.
--
-- ``prefetch_*``: prefetched jobs that a worker has started. ``released_*``: prefetched jobs that
-- were not started. They become pending again, or cancelled if somebody asked for that.
--
-- ``minutes``: the minutes in which the attempts ended. The statement returns the supervisor's
-- rollups of these minutes.
-- name: settle
WITH supervisor AS MATERIALIZED (
    SELECT id FROM supervisors WHERE id = :owner::text FOR KEY SHARE
), results AS MATERIALIZED (
    SELECT * FROM unnest(
        :seq::bigint[], :run::bigint[], :state::text[], :ready::int[], :attempts::bigint[],
        :crashes::bigint[], :run_at::float8[], :shell_code::bigint[], :last_error::text[],
        :dead_reason::text[], :number::bigint[], :started_at::float8[], :finished_at::float8[],
        :outcome::text[], :made_dead::bool[], :exit_code::bigint[], :signal::bigint[],
        :reason::text[], :worker::text[], :host::text[], :peak_memory::bigint[],
        :cpu_seconds::float8[], :output_bytes::bigint[], :waited::float8[], :tail::bytea[]
    ) AS t(
        seq, run, state, ready, attempts, crashes, run_at, shell_code, last_error, dead_reason,
        number, started_at, finished_at, outcome, made_dead, exit_code, signal, reason, worker,
        host, peak_memory, cpu_seconds, output_bytes, waited, tail
    )
), prefetched AS MATERIALIZED (
    SELECT * FROM unnest(
        :prefetch_seq::bigint[], :prefetch_run::bigint[], :prefetch_worker::text[],
        :prefetch_at::float8[]
    ) AS b(seq, run, worker, started_at)
), given_back AS MATERIALIZED (
    SELECT * FROM unnest(:released_seq::bigint[], :released_run::bigint[]) AS f(seq, run)
), held AS MATERIALIZED (
    SELECT j.seq, j.runs AS run FROM jobs j JOIN supervisor s ON j.owner = s.id
    WHERE j.seq = ANY(:seq || :prefetch_seq || :released_seq) AND j.state = 'processing'
    ORDER BY j.seq FOR UPDATE OF j
), finished AS (
    UPDATE jobs j SET
        state = CASE WHEN j.cancel AND t.ready IS NOT NULL THEN 'cancelled' ELSE t.state END,
        ready = CASE WHEN j.cancel THEN NULL ELSE t.ready END,
        attempts = t.attempts, crashes = t.crashes, run_at = coalesce(t.run_at, j.run_at),
        updated_at = t.finished_at, finished_at = t.finished_at, exit_code = t.shell_code,
        last_error = t.last_error, reason = t.dead_reason, owner = NULL, shim = NULL,
        cancel = false, worker = coalesce(t.worker, j.worker), started_at = t.started_at
    FROM results t JOIN held USING (seq, run)
    WHERE j.seq = t.seq AND j.seq = ANY(:seq)
    RETURNING j.seq, t.run, j.ready, j.run_at
), attempted AS (
    INSERT INTO attempts
    SELECT t.seq, t.number, t.started_at, t.finished_at, t.outcome, t.made_dead, t.exit_code,
           t.signal, t.reason, t.worker, t.host, t.peak_memory, t.cpu_seconds, t.output_bytes,
           t.waited
    FROM results t JOIN finished USING (seq, run)
), tailed AS (
    INSERT INTO tails
    SELECT t.seq, t.number, t.tail FROM results t JOIN finished USING (seq, run) WHERE t.tail <> ''
), counted AS (
    -- The measured values were those of the job that ended.
    UPDATE workers w SET done = w.done + s.done, failed = w.failed + s.failed,
                         job_pid = NULL, cpu_percent = NULL, memory = NULL
    FROM (SELECT t.worker, count(*) FILTER (WHERE t.outcome = 'completed') AS done,
                 count(*) FILTER (WHERE t.outcome IN ('failed', 'timeout', 'crashed')) AS failed
          FROM results t JOIN finished USING (seq, run) GROUP BY t.worker) s
    WHERE w.id = s.worker
), started AS (
    UPDATE jobs j SET worker = b.worker, started_at = b.started_at
    FROM prefetched b JOIN held USING (seq, run) WHERE j.seq = b.seq AND j.seq = ANY(:prefetch_seq)
), released AS (
    UPDATE jobs j SET
        state = CASE WHEN j.cancel THEN 'cancelled' ELSE 'pending' END,
        ready = CASE WHEN j.cancel THEN NULL ELSE 1 END,
        finished_at = CASE WHEN j.cancel THEN :now::float8 END,
        runs = j.runs - 1, started_at = NULL, owner = NULL, shim = NULL, cancel = false,
        updated_at = :now
    FROM given_back f JOIN held USING (seq, run) WHERE j.seq = f.seq AND j.seq = ANY(:released_seq)
), marked AS (
    INSERT INTO commit_marks (mark) VALUES (:mark::uuid)
), sums AS (
    SELECT at, data FROM rollups
    WHERE span = 60 AND at = ANY(:minutes::bigint[]) AND source = :owner
)
SELECT coalesce(array_agg(f.seq), '{}') AS seqs, coalesce(array_agg(f.run), '{}') AS runs,
       least((SELECT min(run_at) FROM jobs WHERE ready = 0),
             min(f.run_at) FILTER (WHERE f.ready = 0)) AS next_due,
       (SELECT coalesce(array_agg(at ORDER BY at), '{}') FROM sums) AS minutes,
       (SELECT coalesce(array_agg(data ORDER BY at), '{}') FROM sums) AS sums
FROM finished f;

-- Claims jobs for workers that serve the same queues (``queues`` NULL: all queues). Jobs that have
-- just become due take part, and are marked as ready. Rows that other transactions have locked are
-- skipped. ``crowded`` says that there were such rows, so it is worth looking again soon.
-- ``suspects``: whether jobs that have crashed may be claimed. ``ANY(ARRAY(…))`` makes the server
-- look up the rows by key. Otherwise it would expect thousands of them and read all jobs.
-- name: claim
WITH RECURSIVE supervisor AS MATERIALIZED (
    SELECT id FROM supervisors WHERE id = :owner::text FOR KEY SHARE
), waiting_queue (queue) AS (
    (SELECT queue FROM jobs WHERE ready = 1 AND :queues::text[] IS NULL ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT j.queue FROM jobs j WHERE j.ready = 1 AND j.queue > waiting_queue.queue
            ORDER BY j.queue LIMIT 1)
    FROM waiting_queue WHERE waiting_queue.queue IS NOT NULL
), served AS (
    SELECT queue FROM waiting_queue WHERE queue IS NOT NULL UNION SELECT unnest(:queues)
), due AS MATERIALIZED (
    SELECT seq, queue, priority, run_at, crashes FROM jobs
    WHERE ready = 0 AND run_at <= :now::float8 AND EXISTS (SELECT FROM supervisor)
    ORDER BY run_at LIMIT 10000 FOR UPDATE SKIP LOCKED
), found AS (
    SELECT c.* FROM supervisor CROSS JOIN served CROSS JOIN LATERAL (
        SELECT seq, priority, run_at FROM jobs
        WHERE ready = 1 AND jobs.queue = served.queue AND (:suspects::bool OR crashes = 0)
        ORDER BY priority DESC, run_at, seq LIMIT cardinality(:workers::text[])
        FOR UPDATE SKIP LOCKED
    ) c
    UNION ALL
    SELECT seq, priority, run_at FROM due
    WHERE (:queues IS NULL OR queue = ANY(:queues)) AND (:suspects OR crashes = 0)
), ranked AS (
    SELECT seq, row_number() OVER (ORDER BY priority DESC, run_at, seq) AS place,
           least(count(*) OVER (), cardinality(:workers)) AS total
    FROM found
), chosen AS MATERIALIZED (
    -- One for each idle worker, and as many prefetched jobs as lifecycle.claimed_ahead says.
    SELECT seq, place FROM ranked
    WHERE place <= CASE WHEN total IN (cardinality(:workers), least(total, :idle::bigint)) THEN total
                        ELSE :idle + (total - :idle) / 2 END
), claimed AS (
    UPDATE jobs j SET
        state = 'processing', ready = NULL, owner = :owner, shim = :owner,
        worker = nullif((:workers)[c.place], ''), runs = j.runs + 1, started_at = :now,
        finished_at = NULL, updated_at = :now, cancel = false
    FROM chosen c WHERE j.seq = c.seq AND j.seq = ANY(ARRAY(SELECT seq FROM chosen))
    RETURNING c.place, j.*
), promoted AS (
    UPDATE jobs j SET ready = 1
    WHERE j.seq = ANY(ARRAY(SELECT seq FROM due WHERE seq NOT IN (SELECT seq FROM chosen)))
), marked AS (
    INSERT INTO commit_marks (mark)
    SELECT :mark::uuid WHERE :mark IS NOT NULL AND EXISTS (SELECT FROM chosen)
)
SELECT n.next_due, n.crowded, c.*
FROM (
    SELECT (SELECT min(run_at) FROM jobs
            WHERE ready = 0 AND seq NOT IN (SELECT seq FROM due)) AS next_due,
           CASE WHEN (SELECT count(*) FROM chosen) < :idle THEN
               EXISTS (SELECT FROM supervisor CROSS JOIN served CROSS JOIN LATERAL (
                   SELECT FROM jobs WHERE ready = 1 AND jobs.queue = served.queue
                   AND seq NOT IN (SELECT seq FROM chosen) AND (:suspects OR crashes = 0)
                   ORDER BY priority DESC, run_at, seq LIMIT 1
               ) left_over)
           ELSE false END AS crowded
) n LEFT JOIN claimed c ON true
ORDER BY c.place;

-- Whether a claim would find a job (``queues`` NULL: in any queue), and when the next job is due.
-- A notification wakes every idle supervisor, and most of them find nothing. This query is one
-- round trip. A claim takes locks, and its commit waits for the disk.
-- name: waiting
SELECT CASE WHEN :queues::text[] IS NULL
            THEN (SELECT queue FROM jobs WHERE ready = 1 ORDER BY queue LIMIT 1) IS NOT NULL
            ELSE EXISTS (SELECT FROM unnest(:queues) AS q (queue) CROSS JOIN LATERAL (
                SELECT FROM jobs WHERE ready = 1 AND jobs.queue = q.queue
                ORDER BY priority DESC, run_at, seq LIMIT 1) one)
       END AS ready, due.next AS next_due
FROM (SELECT min(run_at) AS next FROM jobs WHERE ready = 0) due;

-- name: next_due
SELECT min(run_at) FROM jobs WHERE ready = 0;

-- The server's clock decides whether the lease of another host has run out.
-- name: supervisors
SELECT *, lease_until < extract(epoch FROM clock_timestamp())::float8 AS lapsed
FROM supervisors ORDER BY id;

-- name: supervisors_held
SELECT *, lease_until < extract(epoch FROM clock_timestamp())::float8 AS lapsed
FROM supervisors WHERE id = ANY(:ids::text[]) ORDER BY id FOR UPDATE;

-- name: supervisor_kept
SELECT id FROM supervisors WHERE id = :id::text FOR KEY SHARE;

-- name: register
INSERT INTO supervisors (id, host, host_key, pid, pid_start, detached, started_at, heartbeat_at,
                         lease_until, lease_mono)
SELECT :id::text, :host::text, :host_key::text, :pid::bigint, :pid_start::float8, :detached::bool,
       :now::float8, c.now, c.now + :lease::float8, :lease_mono::float8
FROM (SELECT extract(epoch FROM clock_timestamp())::float8 AS now) c
-- The same process registers again if the answer to its first registration was lost.
ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at,
                               lease_until = excluded.lease_until, lease_mono = excluded.lease_mono
WHERE (supervisors.host_key, supervisors.pid, supervisors.pid_start)
    = (excluded.host_key, excluded.pid, excluded.pid_start);

-- When a registration is repeated, its workers are there already.
-- name: registered_workers
INSERT INTO workers (id, supervisor, queues, up, started_at)
SELECT w.id, :supervisor::text, w.queues, true, :now::float8
FROM unnest(:ids::text[], :queues::text[]) AS w(id, queues) ORDER BY w.id
ON CONFLICT (id) DO UPDATE SET up = true WHERE workers.supervisor = excluded.supervisor;

-- name: heartbeat
UPDATE supervisors SET heartbeat_at = c.now, lease_until = c.now + :lease::float8,
                       lease_mono = :lease_mono::float8
FROM (SELECT extract(epoch FROM clock_timestamp())::float8 AS now) c
WHERE id = :id::text
RETURNING heartbeat_at;

-- A supervisor that holds a job stays in the table, because recovery finds the job by this row.
-- name: deregister
DELETE FROM supervisors WHERE id = :id::text AND NOT EXISTS
    (SELECT FROM jobs WHERE owner = :id);

-- name: add_workers
INSERT INTO workers (id, supervisor, queues, up, started_at)
SELECT w.id, :supervisor::text, w.queues, :up::bool, :now::float8
FROM unnest(:ids::text[], :queues::text[]) AS w(id, queues) ORDER BY w.id;

-- name: workers_up
UPDATE workers SET up = true
WHERE id IN (SELECT id FROM workers WHERE id = ANY(:ids::text[]) ORDER BY id FOR UPDATE);

-- name: workers_gone
DELETE FROM workers
WHERE id IN (SELECT id FROM workers WHERE id = ANY(:ids::text[]) ORDER BY id FOR UPDATE);

-- name: sample
UPDATE workers w SET job_pid = (s ->> 1)::bigint, cpu_percent = (s ->> 2)::float8,
                     memory = (s ->> 3)::bigint
FROM jsonb_array_elements(:samples::jsonb) s WHERE w.id = s ->> 0;

-- name: stop_workers
UPDATE workers SET stop = CASE WHEN stop = 'now' THEN 'now' ELSE :mode::text END
WHERE id IN (SELECT id FROM workers WHERE id = ANY(:ids::text[]) ORDER BY id FOR UPDATE);

-- name: commands
SELECT w.id, w.queues, w.stop, w.up,
       (SELECT coalesce(json_agg(j.seq), '[]')::text FROM jobs j
        WHERE j.owner = s.id AND j.cancel) AS cancels
FROM supervisors s LEFT JOIN workers w ON w.supervisor = s.id
WHERE s.id = :id::text;

-- name: workers
SELECT w.*, s.host, s.host_key, s.pid, s.pid_start, s.detached, s.heartbeat_at,
       s.lease_until, s.lease_mono,
       s.lease_until < extract(epoch FROM clock_timestamp())::float8 AS lapsed,
       j.id AS job, j.started_at AS job_started_at
FROM workers w
JOIN supervisors s ON s.id = w.supervisor
LEFT JOIN jobs j ON j.owner = s.id AND j.worker = w.id
ORDER BY s.started_at, w.supervisor, length(w.id), w.id;

-- Jobs of a supervisor that is gone get a new owner. From now on results of the old owner are
-- refused, because they name the old owner.
-- name: take_over
UPDATE jobs SET owner = :successor::text, updated_at = :now::float8
WHERE seq IN (SELECT seq FROM jobs WHERE owner = :id::text ORDER BY seq FOR UPDATE)
RETURNING *;

-- Only a processing job has an owner, so the index holds only these jobs.
-- name: held
SELECT * FROM jobs WHERE owner = :id::text;

-- name: shims
SELECT DISTINCT shim FROM jobs WHERE owner IS NOT NULL;

-- name: assign
UPDATE jobs j SET worker = a.worker
FROM jsonb_each_text(:workers::jsonb) AS a(seq, worker)
WHERE j.seq = a.seq::bigint AND j.owner = :owner::text;
