-- Claims, results and leases. A transaction locks the supervisor's row first, then jobs in the
-- order of their keys, then queues by name. So transactions can wait for each other, but never in a
-- circle. What follows after that skips rows that are locked.

-- One statement writes all results. A result is taken only from the attempt that holds the lease.
-- A job that somebody wants cancelled does not run again.
--
-- ``began_*``: attempts that have started, see ClaimRequest.started. ``released_*``: prefetched jobs that
-- were not started. They become pending again, or cancelled if somebody asked for that.
--
-- ``minutes``: the minutes in which the attempts ended. The statement returns the supervisor's
-- rollups of these minutes.
--
-- ``judge``: whether children of these jobs, or of others, must be judged. ``limited``: whether there
-- are queues that a claim must lock. ``starting``: whether the store waits for starts of attempts in
-- queues with a rate. ``watched``: what hooks ask for. ``held_up``: queues of these jobs in which others wait, and the
-- end of an attempt may let one start on another supervisor.
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
), began AS MATERIALIZED (
    SELECT * FROM unnest(
        :began_seq::bigint[], :began_run::bigint[], :began_worker::text[],
        :began_at::float8[]
    ) AS b(seq, run, worker, started_at)
), given_back AS MATERIALIZED (
    SELECT * FROM unnest(:released_seq::bigint[], :released_run::bigint[]) AS f(seq, run)
), held AS MATERIALIZED (
    SELECT j.seq, j.runs AS run FROM jobs j JOIN supervisor s ON j.owner = s.id
    WHERE j.seq = ANY(:seq || :began_seq || :released_seq) AND j.state = 'processing'
    ORDER BY j.seq FOR UPDATE OF j
), finished AS (
    UPDATE jobs j SET
        state = CASE WHEN j.cancel AND t.ready IS NOT NULL THEN 'cancelled' ELSE t.state END,
        ready = CASE WHEN j.cancel THEN NULL WHEN t.ready = 1 AND j.key IS NOT NULL THEN 2
                     ELSE t.ready END,
        unique_holds = j.unique_holds
                       AND (j.unique_for > 0 OR t.ready IS NOT NULL AND NOT j.cancel),
        attempts = t.attempts, crashes = t.crashes, run_at = coalesce(t.run_at, j.run_at),
        updated_at = t.finished_at, finished_at = t.finished_at, exit_code = t.shell_code,
        last_error = t.last_error, reason = t.dead_reason, owner = NULL, shim = NULL,
        cancel = false, worker = coalesce(t.worker, j.worker), started_at = t.started_at
    FROM results t JOIN held USING (seq, run)
    WHERE j.seq = t.seq AND j.seq = ANY(:seq)
    RETURNING j.seq, t.run, j.ready, j.run_at, j.queue, j.key
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
    UPDATE jobs j SET worker = b.worker, started_at = b.started_at,
                      unique_holds = j.unique_holds
                                     AND (j.unique_until = 'end' OR j.unique_for > 0)
    FROM began b JOIN held USING (seq, run) WHERE j.seq = b.seq AND j.seq = ANY(:began_seq)
    RETURNING j.seq
), released AS (
    UPDATE jobs j SET
        state = CASE WHEN j.cancel THEN 'cancelled' ELSE 'pending' END,
        ready = CASE WHEN j.cancel THEN NULL WHEN j.key IS NULL THEN 1 ELSE 2 END,
        unique_holds = j.unique_holds AND (j.unique_for > 0 OR NOT j.cancel),
        finished_at = CASE WHEN j.cancel THEN :now::float8 END,
        runs = j.runs - 1, started_at = NULL, owner = NULL, shim = NULL, cancel = false,
        updated_at = :now
    FROM given_back f JOIN held USING (seq, run) WHERE j.seq = f.seq AND j.seq = ANY(:released_seq)
    RETURNING j.seq, j.queue, j.key, j.ready
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
       (SELECT coalesce(array_agg(data ORDER BY at), '{}') FROM sums) AS sums,
       (SELECT id FROM parent_marks ORDER BY id LIMIT 1) IS NOT NULL
           -- One by one and in the order of the index: if most rows have the same parent, the server
           -- expects to find one at once, and reads the whole table.
           OR EXISTS (SELECT FROM unnest(:seq || :released_seq) AS e (seq)
                      WHERE (SELECT d.parent FROM dependencies d WHERE d.parent = e.seq
                             ORDER BY d.parent, d.child LIMIT 1) IS NOT NULL) AS judge,
       EXISTS (SELECT FROM queues) AS limited, EXISTS (SELECT FROM starting) AS starting,
       ARRAY(SELECT kind FROM hook_watches) AS watched,
       ARRAY(SELECT seq FROM started) AS began, ARRAY(SELECT seq FROM released) AS given_back,
       CASE WHEN EXISTS (SELECT FROM queues) AND EXISTS (SELECT FROM supervisors OFFSET 1) THEN
           ARRAY(SELECT DISTINCT e.queue
                 FROM (SELECT queue, key, ready FROM finished
                       UNION SELECT queue, key, ready FROM released) e
                 WHERE EXISTS (SELECT FROM queues q WHERE q.name = e.queue)
                   AND (e.ready = 2 OR
                        (SELECT j.seq FROM jobs j WHERE j.ready = 1 AND j.queue = e.queue
                         ORDER BY j.priority DESC, j.run_at, j.seq LIMIT 1) IS NOT NULL
                        OR (SELECT j.seq FROM jobs j
                            WHERE j.queue = e.queue AND j.key = e.key AND j.ready > 0
                              AND j.key IS NOT NULL
                            ORDER BY j.queue, j.key, j.ready LIMIT 1) IS NOT NULL))
       ELSE '{}' END AS held_up
FROM finished f;

-- What attempts have reported, of those that have: a progress that was not stored yet, or a result.
-- name: reported
WITH reports AS MATERIALIZED (
    SELECT * FROM unnest(:seq::bigint[], :run::bigint[], :progress::float8[],
                         :progress_text::text[], :result::bytea[])
        AS r(seq, run, progress, progress_text, result)
), written AS (
    INSERT INTO results (job, result)
    SELECT seq, result FROM reports WHERE result IS NOT NULL
    ON CONFLICT (job) DO UPDATE SET result = excluded.result
)
UPDATE jobs j SET
    progress = coalesce(r.progress, j.progress),
    progress_text = CASE WHEN r.progress IS NULL THEN j.progress_text ELSE r.progress_text END,
    has_result = r.result IS NOT NULL
FROM reports r WHERE j.seq = r.seq AND j.runs = r.run AND j.seq = ANY(:seq);

-- The queues with jobs that a claim may take.
-- fragment: waiting_queues
waiting_queue (queue) AS (
    (SELECT queue FROM jobs WHERE ready = 1 AND :queues::text[] IS NULL ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT j.queue FROM jobs j WHERE j.ready = 1 AND j.queue > waiting_queue.queue
            ORDER BY j.queue LIMIT 1)
    FROM waiting_queue WHERE waiting_queue.queue IS NOT NULL
)

-- Whether there is something to do in a row q of ``queues``: jobs may be claimed, or the first jobs
-- of some keys must be chosen.
-- fragment: has_work
((SELECT j.seq FROM jobs j WHERE j.ready = 1 AND j.queue = q.name
  ORDER BY j.priority DESC, j.run_at, j.seq LIMIT 1) IS NOT NULL
 OR (SELECT m.id FROM key_marks m WHERE m.queue = q.name ORDER BY m.id LIMIT 1) IS NOT NULL)

-- Whether only time is in the way of jobs in a row q of ``queues``, or may be when others end.
-- fragment: has_time
((q.paused_until IS NOT NULL OR q.rate_count IS NOT NULL)
 AND (SELECT j.seq FROM jobs j WHERE j.queue = q.name AND j.key IS NOT NULL AND j.ready > 0
      ORDER BY j.queue, j.key, j.ready LIMIT 1) IS NOT NULL)

-- Claims jobs for workers that serve the same queues (``queues`` NULL: all queues). Jobs that have
-- just become due are marked as ready. Those without a key, in a queue without a row in ``queues``,
-- take part at once. Rows that other transactions have locked are skipped. ``crowded`` says that
-- there were such rows, so it is worth looking again soon.
-- ``suspects``: whether jobs that have crashed may be claimed. ``ANY(ARRAY(…))`` makes the server
-- look up the rows by key. Otherwise it would expect thousands of them and read all jobs.
--
-- From a queue that has a row in ``queues`` jobs are claimed only if it is among ``admitted``, and
-- not more than ``rooms`` says (NULL: any number). The caller has locked the rows of these queues.
-- ``rated``: it has a rate, so its jobs are not prefetched: they would use it up while they wait. Nor
-- is what comes after them, or no worker would ever become idle for them. ``look`` asks whether the
-- caller must do something else before. Then nothing is claimed:
-- ``judge``: children of parents that have ended must be judged (if ``look_judge``). ``limited``:
-- there are other queues with a row and with work (if ``look_limited``).
-- ``left_over``: admitted queues that have more jobs for a claim.
-- name: claim
WITH RECURSIVE look AS MATERIALIZED (
    SELECT :look_judge::bool AND (SELECT id FROM parent_marks ORDER BY id LIMIT 1) IS NOT NULL
               AS judge,
           :look_limited::bool AND EXISTS (SELECT FROM queues)
               AND ((SELECT min(run_at) FROM jobs WHERE ready = 0) <= :now::float8
                    OR EXISTS (SELECT FROM queues q
                               WHERE (:queues::text[] IS NULL OR q.name = ANY(:queues))
                                 AND (
-- include: has_work
                                 OR
-- include: has_time
                    ))) AS limited
), supervisor AS MATERIALIZED (
    SELECT id FROM supervisors
    WHERE id = :owner::text AND NOT EXISTS (SELECT FROM look WHERE judge OR limited)
    FOR KEY SHARE
),
-- include: waiting_queues
, served AS MATERIALIZED (
    SELECT w.queue, a.room, coalesce(a.rated, false) AS rated, a.queue IS NOT NULL AS admitted
    FROM (SELECT queue FROM waiting_queue WHERE queue IS NOT NULL UNION SELECT unnest(:queues)) w
    LEFT JOIN unnest(:admitted::text[], :rooms::bigint[], :rated::bool[]) AS a (queue, room, rated)
        ON a.queue = w.queue
    WHERE a.queue IS NOT NULL OR NOT EXISTS (SELECT FROM queues q WHERE q.name = w.queue)
), due AS MATERIALIZED (
    SELECT seq, queue, priority, run_at, crashes, key IS NULL
               AND NOT EXISTS (SELECT FROM queues q WHERE q.name = jobs.queue) AS free
    FROM jobs
    WHERE ready = 0 AND run_at <= :now AND EXISTS (SELECT FROM supervisor)
    ORDER BY run_at LIMIT 10000 FOR UPDATE SKIP LOCKED
), found AS (
    SELECT c.*, served.queue, served.rated FROM supervisor CROSS JOIN served CROSS JOIN LATERAL (
        SELECT seq, priority, run_at FROM jobs
        WHERE ready = 1 AND jobs.queue = served.queue AND (:suspects::bool OR crashes = 0)
        ORDER BY priority DESC, run_at, seq
        LIMIT least(cardinality(:workers::text[]), served.room)
        FOR UPDATE SKIP LOCKED
    ) c
    UNION ALL
    SELECT seq, priority, run_at, queue, false FROM due
    WHERE free AND (:queues IS NULL OR queue = ANY(:queues)) AND (:suspects OR crashes = 0)
), placed AS (
    SELECT *, row_number() OVER (ORDER BY priority DESC, run_at, seq) AS place FROM found
), ranked AS (
    SELECT seq, queue, place, least(count(*) OVER (), cardinality(:workers)) AS total
    FROM placed
    WHERE place <= :idle::bigint
       OR place < coalesce((SELECT min(place) FROM placed WHERE place > :idle AND rated), place + 1)
), chosen AS MATERIALIZED (
    -- One for each idle worker, and as many prefetched jobs as lifecycle.claimed_ahead says.
    SELECT seq, queue, place FROM ranked
    WHERE place <= CASE WHEN total IN (cardinality(:workers), least(total, :idle)) THEN total
                        ELSE :idle + (total - :idle) / 2 END
), claimed AS (
    UPDATE jobs j SET
        state = 'processing', ready = NULL, owner = :owner, shim = :owner,
        worker = nullif((:workers)[c.place], ''), runs = j.runs + 1, started_at = :now,
        finished_at = NULL, updated_at = :now, cancel = false, progress = NULL,
        progress_text = NULL, has_result = false,
        unique_holds = j.unique_holds
            AND (j.unique_until = 'end' OR j.unique_for > 0 OR (:workers)[c.place] = '')
    FROM chosen c WHERE j.seq = c.seq AND j.seq = ANY(ARRAY(SELECT seq FROM chosen))
    RETURNING c.place, j.*
), promoted AS (
    UPDATE jobs j SET ready = CASE WHEN j.key IS NULL THEN 1 ELSE 2 END
    WHERE j.seq = ANY(ARRAY(SELECT seq FROM due WHERE seq NOT IN (SELECT seq FROM chosen)))
), marked AS (
    INSERT INTO commit_marks (mark)
    SELECT :mark::uuid WHERE :mark IS NOT NULL AND EXISTS (SELECT FROM chosen)
), left_over AS MATERIALIZED (
    SELECT served.queue, served.admitted,
           served.room IS NULL
           OR served.room > (SELECT count(*) FROM chosen c WHERE c.queue = served.queue) AS more
    FROM supervisor CROSS JOIN served CROSS JOIN LATERAL (
        SELECT FROM jobs WHERE ready = 1 AND jobs.queue = served.queue
        AND seq NOT IN (SELECT seq FROM chosen) AND (:suspects OR crashes = 0)
        ORDER BY priority DESC, run_at, seq LIMIT 1
    ) one
    WHERE served.admitted OR (SELECT count(*) FROM chosen) < :idle
)
SELECT n.*, c.*
FROM (
    SELECT CASE WHEN EXISTS (SELECT FROM due WHERE NOT free) THEN :now
                ELSE (SELECT min(run_at) FROM jobs
                      WHERE ready = 0 AND seq NOT IN (SELECT seq FROM due)) END AS next_due,
           (SELECT count(*) FROM chosen) < :idle AND EXISTS (SELECT FROM left_over WHERE more)
               AS crowded,
           ARRAY(SELECT queue FROM left_over WHERE admitted) AS left_over,
           look.judge, look.limited
    FROM look
) n LEFT JOIN claimed c ON true
ORDER BY c.place;

-- Jobs that have become due.
-- name: promote
UPDATE jobs j SET ready = CASE WHEN j.key IS NULL THEN 1 ELSE 2 END
WHERE j.seq = ANY(ARRAY(
    SELECT seq FROM jobs WHERE ready = 0 AND run_at <= :now::float8
    ORDER BY run_at LIMIT 10000 FOR UPDATE SKIP LOCKED));

-- Whether a claim would find a job (``queues`` NULL: in any queue) in a queue without limits, and
-- when the next job is due. A notification wakes every idle supervisor, and most of them find
-- nothing. This query is one round trip. A claim takes locks, and its commit waits for the disk.
-- name: waiting
WITH RECURSIVE
-- include: waiting_queues
SELECT EXISTS (
           SELECT FROM (SELECT queue FROM waiting_queue WHERE queue IS NOT NULL
                        UNION SELECT unnest(:queues)) w
           CROSS JOIN LATERAL (
               SELECT FROM jobs WHERE ready = 1 AND jobs.queue = w.queue
               ORDER BY priority DESC, run_at, seq LIMIT 1) one
           WHERE NOT EXISTS (SELECT FROM queues q WHERE q.name = w.queue)) AS ready,
       EXISTS (SELECT FROM queues) AS limited,
       (SELECT id FROM parent_marks ORDER BY id LIMIT 1) IS NOT NULL AS judge,
       (SELECT min(run_at) FROM jobs WHERE ready = 0) AS next_due;

-- name: next_due
SELECT (SELECT min(run_at) FROM jobs WHERE ready = 0) AS next_due,
       (SELECT id FROM parent_marks ORDER BY id LIMIT 1) IS NOT NULL AS judge;

-- Locks the rows of these queues. Only now it is certain how many of their attempts run, so they are
-- counted in a later statement. A job with a key that is enqueued is not in the way of this lock.
-- name: queues_locked
SELECT name FROM queues WHERE name = ANY(:names::text[]) ORDER BY name FOR NO KEY UPDATE;

-- The queues with a row and with jobs that wait, and what limits them (``queues`` NULL: all of them).
-- ``marks``: the first jobs of some keys must be chosen. ``work``: that, or a claim may find a job.
-- name: rooms
SELECT q.*,
       CASE WHEN q.max_running IS NULL THEN 0 ELSE (
           SELECT count(*) FROM supervisors s CROSS JOIN LATERAL (
               SELECT FROM jobs j WHERE j.owner = s.id AND j.queue = q.name OFFSET 0) r)
       END AS running,
       CASE WHEN q.per_host IS NULL THEN 0 ELSE (
           SELECT count(*) FROM supervisors s CROSS JOIN LATERAL (
               SELECT FROM jobs j WHERE j.owner = s.id AND j.queue = q.name OFFSET 0) r
           WHERE s.host = (SELECT host FROM supervisors WHERE id = :owner::text))
       END AS running_here,
       ARRAY(SELECT ARRAY[s.at, s.n::float8] FROM starts s
             WHERE s.queue = q.name AND s.at > :now::float8 - q.rate_seconds - :margin::float8)
           AS starts,
       ARRAY(SELECT s.at FROM starting s JOIN jobs j ON j.seq = s.seq AND j.runs = s.run
             WHERE s.queue = q.name AND j.state = 'processing' AND q.rate_count IS NOT NULL)
           AS starting,
       (SELECT m.id FROM key_marks m WHERE m.queue = q.name ORDER BY m.id LIMIT 1) IS NOT NULL
           AS marks,
-- include: has_work
       AS work
FROM queues q
WHERE (:queues::text[] IS NULL OR q.name = ANY(:queues)) AND (
-- include: has_work
    OR
-- include: has_time
    )
ORDER BY q.name;

-- Chooses anew the first jobs of some marked keys, as many as may run: they become visible to a
-- claim (ready 1), all others of the key do not stay visible. A key of which a job is locked by
-- another transaction keeps its mark and its visible jobs (it is ``busy``). Returns how many marks
-- were read, the first and last of them, and how many jobs of the queue are visible now, at most
-- ``wanted``.
--
-- ``(SELECT 1)`` hides a constant from the server, which might read all jobs of the queue otherwise,
-- by the index of jobs with ready = 1.
-- name: choose_heads
WITH marked AS MATERIALIZED (
    SELECT id, key FROM key_marks WHERE queue = :queue::text ORDER BY id LIMIT :limit::bigint
), keys AS MATERIALIZED (
    SELECT k.key, greatest(0, :per_key::bigint - (
        SELECT count(*) FROM jobs j
        WHERE j.queue = :queue AND j.key = k.key AND j.key IS NOT NULL AND j.owner IS NOT NULL)
    ) AS room
    FROM (SELECT DISTINCT key FROM marked) k
), visible AS MATERIALIZED (
    SELECT k.key, k.room, h.* FROM keys k CROSS JOIN LATERAL (
        SELECT seq, priority, run_at, ready FROM jobs j
        WHERE j.queue = :queue AND j.key = k.key AND j.ready = (SELECT 1) AND j.key IS NOT NULL
          AND j.ready > 0 OFFSET 0) h
), behind AS MATERIALIZED (
    SELECT k.key, k.room, h.* FROM keys k CROSS JOIN LATERAL (
        SELECT seq, priority, run_at, ready FROM jobs j
        WHERE j.queue = :queue AND j.key = k.key AND j.ready = (SELECT 2) AND j.key IS NOT NULL
          AND j.ready > 0
        ORDER BY j.priority DESC, j.run_at, j.seq LIMIT k.room) h
), changed AS MATERIALIZED (
    SELECT key, seq, 3 - ready AS ready
    FROM (SELECT *, row_number() OVER
              (PARTITION BY key ORDER BY priority DESC, run_at, seq) AS place
          FROM (SELECT * FROM visible UNION ALL SELECT * FROM behind) both_kinds) p
    WHERE (place <= room) <> (ready = 1)
), locked AS MATERIALIZED (
    SELECT l.seq FROM changed c CROSS JOIN LATERAL (
        SELECT j.seq FROM jobs j
        WHERE j.seq = c.seq AND j.queue = :queue AND j.key = c.key AND j.ready IN (1, 2)
        FOR UPDATE SKIP LOCKED) l
), busy AS MATERIALIZED (
    SELECT DISTINCT key FROM changed WHERE seq NOT IN (SELECT seq FROM locked)
), moved AS (
    UPDATE jobs j SET ready = c.ready
    FROM changed c
    WHERE j.seq = c.seq AND c.key NOT IN (SELECT key FROM busy)
      AND j.seq = ANY(ARRAY(SELECT seq FROM locked))
    RETURNING j.ready
), gone AS (
    DELETE FROM key_marks m
    WHERE m.queue = :queue
      AND m.id = ANY(ARRAY(SELECT id FROM marked WHERE key NOT IN (SELECT key FROM busy)))
)
SELECT (SELECT count(*) FROM marked) AS marks,
       (SELECT min(id) FROM marked) AS first, (SELECT max(id) FROM marked) AS last,
       (SELECT count(*) FROM busy) AS busy,
       (SELECT count(*) FROM (SELECT FROM jobs WHERE ready = 1 AND queue = :queue
                              LIMIT :wanted::bigint) there)
       + (SELECT coalesce(sum(CASE ready WHEN 1 THEN 1 ELSE -1 END), 0) FROM moved) AS visible;

-- Attempts of a queue with a rate were claimed. Starts that no longer count are forgotten.
-- name: starting
WITH forgotten AS (DELETE FROM starts WHERE queue = :queue::text AND at <= :before::float8)
INSERT INTO starting (seq, run, queue, at)
SELECT seq, run, :queue, :at::float8 FROM unnest(:seqs::bigint[], :runs::bigint[]) AS c (seq, run)
ON CONFLICT (seq) DO UPDATE SET run = excluded.run, queue = excluded.queue, at = excluded.at;

-- It is known now when these attempts started, or that they did not.
-- name: starting_gone
DELETE FROM starting s USING unnest(:seqs::bigint[], :runs::bigint[]) AS e (seq, run)
WHERE s.seq = e.seq AND s.run = e.run
RETURNING s.seq, s.run, s.queue;

-- The rows are in the order of the key, so that two of these statements wait for each other in one
-- direction only.
-- name: started
INSERT INTO starts (queue, at, n)
SELECT * FROM unnest(:queues::text[], :ats::float8[], :numbers::bigint[])
ON CONFLICT (queue, at) DO UPDATE SET n = starts.n + excluded.n;

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

-- name: workers_of
SELECT id FROM workers WHERE supervisor = :id::text ORDER BY length(id), id;

-- name: workers_gone
DELETE FROM workers
WHERE id IN (SELECT id FROM workers WHERE id = ANY(:ids::text[]) ORDER BY id FOR UPDATE)
RETURNING id, supervisor;

-- name: sample
UPDATE workers w SET job_pid = (s ->> 1)::bigint, cpu_percent = (s ->> 2)::float8,
                     memory = (s ->> 3)::bigint
FROM jsonb_array_elements(:samples::jsonb) s WHERE w.id = s ->> 0;

-- The rows are locked in the order of their keys, as everywhere.
-- name: report_progress
WITH reports AS MATERIALIZED (
    SELECT (r ->> 0)::bigint AS seq, (r ->> 1)::bigint AS run, (r ->> 2)::float8 AS progress,
           r ->> 3 AS progress_text
    FROM jsonb_array_elements(:reports::jsonb) r
), held AS MATERIALIZED (
    SELECT j.seq FROM jobs j
    WHERE j.seq = ANY(ARRAY(SELECT seq FROM reports)) AND j.owner = :owner::text
    ORDER BY j.seq FOR UPDATE
)
UPDATE jobs j SET progress = r.progress, progress_text = r.progress_text
FROM reports r JOIN held USING (seq)
WHERE j.seq = r.seq AND j.runs = r.run AND j.owner = :owner
  AND j.seq = ANY(ARRAY(SELECT seq FROM held));

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
       j.id AS job, j.started_at AS job_started_at, j.progress, j.progress_text
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
