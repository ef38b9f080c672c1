-- Queues with limits, keys, dependencies, and what decides why a job does not run. What a claim
-- needs of them is in claims.sql.

-- name: queues
SELECT * FROM queues WHERE given ORDER BY name;

-- Waits until no claim is under way that has not seen this queue, and keeps new ones waiting.
-- name: claims_gate
SELECT pg_advisory_xact_lock(:gate::int, hashtext(current_schema()));

-- name: queue_held
SELECT * FROM queues WHERE name = :name::text FOR NO KEY UPDATE;

-- Waits also for transactions that have enqueued jobs with keys.
-- name: queue_leaving
SELECT * FROM queues WHERE name = :name::text FOR UPDATE;

-- name: queue_put
INSERT INTO queues (name, max_running, per_host, per_key, rate_count, rate_seconds, paused_at,
                    paused_by, paused_reason, paused_until)
VALUES (:name::text, :max_running::bigint, :per_host::bigint, :per_key::bigint, :rate_count::bigint,
        :rate_seconds::float8, :paused_at::float8, :paused_by::text, :paused_reason::text,
        :paused_until::float8)
ON CONFLICT (name) DO UPDATE SET
    max_running = excluded.max_running, per_host = excluded.per_host, per_key = excluded.per_key,
    rate_count = excluded.rate_count, rate_seconds = excluded.rate_seconds,
    paused_at = excluded.paused_at, paused_by = excluded.paused_by,
    paused_reason = excluded.paused_reason, paused_until = excluded.paused_until, given = true;

-- name: queue_remove
DELETE FROM queues WHERE name = :name::text;

-- name: queue_unended
SELECT coalesce(sum(n), 0)::bigint
FROM (SELECT state, queue, n FROM counts
      UNION ALL SELECT state, queue, n FROM ledger WHERE state IS NOT NULL) both_parts
WHERE queue = :name::text AND state NOT IN ('completed', 'dead', 'cancelled');

-- All keys of a queue with due jobs. The next claim looks at them again.
-- name: mark_keys
INSERT INTO key_marks (queue, key)
SELECT DISTINCT queue, key FROM jobs
WHERE queue = :name::text AND key IS NOT NULL AND ready > 0;

-- Fewer jobs of each key may run now.
-- name: queue_strict
UPDATE queues SET strict_mark = coalesce(
    (SELECT m.id FROM key_marks m WHERE m.queue = name ORDER BY m.id DESC LIMIT 1), 0)
WHERE name = :name::text;

-- name: queue_running
SELECT count(*) FROM jobs WHERE owner IS NOT NULL AND queue = :name::text;

-- name: queue_running_by_host
SELECT s.host, count(*) AS number FROM jobs j JOIN supervisors s ON s.id = j.owner
WHERE j.owner IS NOT NULL AND j.queue = :name::text GROUP BY s.host;

-- Attempts that were claimed before, and of which it is not known whether they have started.
-- name: unstarted
SELECT count(*) FROM starting s JOIN jobs j ON j.seq = s.seq AND j.runs = s.run
WHERE s.queue = :queue::text AND s.at <= :before::float8 AND j.state = 'processing';

-- name: queue_running_ids
SELECT id FROM jobs WHERE owner IS NOT NULL AND queue = :name::text ORDER BY seq LIMIT 5;

-- Starts since then, and attempts of which it is not known when they started.
-- name: starts
SELECT at, n, true FROM starts WHERE queue = :name::text AND at > :since::float8
UNION ALL
SELECT s.at, 1, false FROM starting s JOIN jobs j ON j.seq = s.seq AND j.runs = s.run
WHERE s.queue = :name AND j.state = 'processing'
ORDER BY at;

-- A queue is paused or gets a rate. Of its attempts, it is not known yet whether they have started.
-- name: attempts_are_starting
INSERT INTO starting
SELECT seq, runs, queue, started_at FROM jobs WHERE owner IS NOT NULL AND queue = :name::text
ON CONFLICT (seq) DO UPDATE SET run = excluded.run, queue = excluded.queue, at = excluded.at;

-- name: starts_of_queue_gone
WITH unknown AS (DELETE FROM starting WHERE queue = :name::text)
DELETE FROM starts WHERE queue = :name;

-- name: key_running_ids
SELECT j.queue, j.key, j.id FROM jsonb_array_elements(:pairs::jsonb) p
CROSS JOIN LATERAL (
    SELECT seq, queue, key, id FROM jobs
    WHERE queue = p ->> 0 AND key = p ->> 1 AND owner IS NOT NULL AND key IS NOT NULL OFFSET 0) j
ORDER BY j.seq;

-- Whether a condition is not met yet, or cannot be met any more, for a row d of dependencies and its
-- parent p. A parent that was removed counts as met: nobody waited for it then.
-- fragment: unmet
(NOT d.waived AND CASE d.kind
    WHEN 'after' THEN p.state <> 'completed'
    WHEN 'after_any' THEN p.state NOT IN ('completed', 'dead', 'cancelled')
    ELSE p.state NOT IN ('dead', 'cancelled') END)

-- fragment: impossible
(NOT d.waived AND (d.kind = 'after' AND p.state IN ('dead', 'cancelled')
                   OR d.kind = 'after_failed' AND p.state = 'completed'))

-- The parents of new jobs, as they were given: jobs with keys from ``low`` to ``high``, and only
-- those of ``seqs`` if it is not NULL. Others enqueue at the same time.
-- fragment: named_parents
FROM jobs c CROSS JOIN LATERAL jsonb_each(c.parents::jsonb) k
CROSS JOIN LATERAL jsonb_array_elements_text(k.value) v (id)
WHERE c.seq BETWEEN :low::bigint AND :high::bigint AND c.parents IS NOT NULL
  AND (:seqs::bigint[] IS NULL OR c.seq = ANY(:seqs))

-- Locks the parents of new jobs, except those that are new themselves. So a parent cannot end
-- before the rows of dependencies are committed: what it marks when it ends depends on them.
-- name: parents_locked
SELECT seq FROM jobs
WHERE id = ANY(ARRAY(
    SELECT DISTINCT v.id
-- include: named_parents
    ))
  AND NOT (seq BETWEEN :low AND :high AND (:seqs IS NULL OR seq = ANY(:seqs)))
ORDER BY seq FOR SHARE;

-- The first parent that does not exist, with its child. A parent that was not ``locked`` was committed
-- after that statement had begun. It may have ended before this one, so it does not count either.
-- name: orphans
SELECT n.seq, n.id, n.parent
FROM (SELECT c.seq, c.id, v.id AS parent
-- include: named_parents
    OFFSET 0) n
LEFT JOIN LATERAL (SELECT seq FROM jobs WHERE jobs.id = n.parent OFFSET 0) p ON true
WHERE p.seq IS NULL
   OR NOT (p.seq BETWEEN :low AND :high AND (:seqs IS NULL OR p.seq = ANY(:seqs)))
      AND p.seq NOT IN (SELECT unnest(:locked::bigint[]))
ORDER BY n.seq LIMIT 1;

-- name: depend
INSERT INTO dependencies (child, parent, kind, parent_id)
SELECT n.seq, p.seq, n.kind, n.parent
FROM (SELECT c.seq, k.key AS kind, v.id AS parent
-- include: named_parents
    OFFSET 0) n
CROSS JOIN LATERAL (SELECT seq FROM jobs WHERE jobs.id = n.parent OFFSET 0) p
ON CONFLICT DO NOTHING;

-- Whether a job of these waits for one that came later, or for itself. Only then there may be a
-- circle.
-- name: depends_forward
SELECT child FROM dependencies
WHERE child BETWEEN :low::bigint AND :high::bigint AND parent >= child LIMIT 1;

-- name: edges
SELECT child, parent FROM dependencies
WHERE child BETWEEN :low::bigint AND :high::bigint AND parent BETWEEN :low AND :high;

-- name: ancestors
WITH RECURSIVE above (seq) AS (
    SELECT parent FROM dependencies WHERE child = :seq::bigint
    UNION SELECT d.parent FROM above a JOIN dependencies d ON d.child = a.seq
)
SELECT seq FROM above WHERE seq = :seq;

-- name: dependencies_gone
DELETE FROM dependencies WHERE child = :seq::bigint;

-- name: waiting_range
SELECT seq FROM jobs
WHERE seq BETWEEN :low::bigint AND :high::bigint AND state = 'waiting' AND parents IS NOT NULL
  AND (:seqs::bigint[] IS NULL OR seq = ANY(:seqs))
ORDER BY seq;

-- Judging has three steps, in this order, for the same jobs, which the caller has locked. Each is a
-- statement of its own, so it sees the parents as they are then. ``LATERAL … OFFSET 0`` makes the
-- server look up each parent by its key. It might read all jobs for each child otherwise.
--
-- First: the parent that cancelled or holds a job may meet the condition again.
-- name: judge_revive
UPDATE jobs SET state = 'waiting', cause = NULL, finished_at = NULL, last_error = NULL,
                updated_at = :now::float8
WHERE seq = ANY(:seqs::bigint[]) AND cause IS NOT NULL AND state IN ('waiting', 'cancelled')
  AND NOT EXISTS (
      SELECT FROM dependencies d CROSS JOIN LATERAL (
              SELECT state FROM jobs WHERE seq = d.parent OFFSET 0) p
      WHERE d.child = jobs.seq AND d.parent_id = jobs.cause AND
-- include: impossible
      )
  AND EXISTS (SELECT FROM dependencies d CROSS JOIN LATERAL (
              SELECT state FROM jobs WHERE seq = d.parent OFFSET 0) p
              WHERE d.child = jobs.seq AND d.parent_id = jobs.cause)
RETURNING seq;

-- Second: a condition cannot be met any more. Only these parents are looked at (NULL: all): if one
-- parent has ended, there is no need to look at the others.
-- name: judge_fail
WITH failing AS MATERIALIZED (
    SELECT c.seq, (
        SELECT d.parent_id
        FROM dependencies d CROSS JOIN LATERAL (
            SELECT state FROM jobs WHERE seq = d.parent OFFSET 0) p
        WHERE d.child = c.seq AND (:parents::bigint[] IS NULL OR d.parent = ANY(:parents)) AND
-- include: impossible
        ORDER BY d.parent LIMIT 1) AS cause
    FROM unnest(:seqs::bigint[]) AS c (seq)
)
UPDATE jobs SET
    state = CASE on_parent_failure WHEN 'hold' THEN 'waiting' ELSE 'cancelled' END,
    finished_at = CASE on_parent_failure WHEN 'hold' THEN NULL ELSE :now::float8 END,
    unique_holds = unique_holds AND (on_parent_failure = 'hold' OR unique_for > 0),
    updated_at = :now, cause = failing.cause
FROM failing
WHERE jobs.seq = failing.seq AND failing.cause IS NOT NULL
  AND jobs.seq = ANY(ARRAY(SELECT seq FROM failing WHERE cause IS NOT NULL))
  AND state = 'waiting' AND jobs.cause IS NULL
RETURNING jobs.seq, state = 'cancelled' AS ended;

-- Third: nothing is left to wait for. Parents are looked at from the last one, because parents mostly
-- end in the order of arrival: so one that has not ended is found soon.
-- name: judge_free
UPDATE jobs SET state = 'pending', updated_at = :now::float8, run_at = greatest(run_at, :now),
                ready = CASE WHEN run_at > :now THEN 0 WHEN key IS NULL THEN 1 ELSE 2 END
WHERE seq = ANY(:seqs::bigint[]) AND state = 'waiting' AND held_at IS NULL AND cause IS NULL
  AND (SELECT d.parent FROM dependencies d CROSS JOIN LATERAL (
              SELECT state FROM jobs WHERE seq = d.parent OFFSET 0) p
       WHERE d.child = jobs.seq AND
-- include: unmet
       ORDER BY d.parent DESC LIMIT 1) IS NULL
RETURNING seq;

-- Takes marks that nobody else works on, up to ``limit`` of their children, and the locks of these. A
-- child that another transaction has locked is not waited for (``locked`` is false).
-- name: marked_children
WITH marks AS MATERIALIZED (
    SELECT id, parent, after FROM parent_marks ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED
), children AS MATERIALIZED (
    SELECT m.id, m.parent, d.child
    FROM (SELECT * FROM marks ORDER BY id) m CROSS JOIN LATERAL (
        SELECT DISTINCT child FROM dependencies WHERE parent = m.parent AND child > m.after
        ORDER BY child LIMIT :limit::bigint) d
    ORDER BY m.id, d.child LIMIT :limit
), locked AS MATERIALIZED (
    SELECT l.seq, l.cause FROM (SELECT DISTINCT child FROM children ORDER BY child) c
    CROSS JOIN LATERAL (
        SELECT seq, cause FROM jobs WHERE jobs.seq = c.child FOR UPDATE SKIP LOCKED) l
)
SELECT m.id, m.parent, c.child, l.seq IS NOT NULL AS locked, l.cause IS NOT NULL AS caused
FROM marks m LEFT JOIN children c ON c.id = m.id LEFT JOIN locked l ON l.seq = c.child
ORDER BY m.id, c.child;

-- ``gone``: marks whose children are all judged. ``ids`` and ``afters``: the others, and how far they
-- are. Returns whether there are more marks.
-- name: marks_done
WITH gone AS (
    DELETE FROM parent_marks WHERE id = ANY(:gone::bigint[])
), moved AS (
    UPDATE parent_marks m SET after = a.after
    FROM unnest(:ids::bigint[], :afters::bigint[]) AS a (id, after) WHERE m.id = a.id
)
SELECT (SELECT id FROM parent_marks WHERE id <> ALL(:gone) ORDER BY id LIMIT 1) IS NOT NULL;

-- A mark that nobody else works on.
-- name: marks_free
SELECT id FROM parent_marks ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;

-- Waits until nobody else works on the first mark.
-- name: mark_awaited
SELECT id FROM parent_marks ORDER BY id LIMIT 1 FOR UPDATE;

-- name: any_marks
SELECT (SELECT id FROM parent_marks ORDER BY id LIMIT 1) IS NOT NULL;

-- name: dependencies_of_child
SELECT d.*, c.id AS child_id, c.state AS child_state, p.state AS parent_state
FROM dependencies d JOIN jobs c ON c.seq = d.child LEFT JOIN jobs p ON p.seq = d.parent
WHERE d.child = ANY(:seqs::bigint[]) ORDER BY d.child, d.parent LIMIT 2000;

-- name: dependencies_of_parent
SELECT d.*, c.id AS child_id, c.state AS child_state, p.state AS parent_state
FROM dependencies d JOIN jobs c ON c.seq = d.child LEFT JOIN jobs p ON p.seq = d.parent
WHERE d.parent = ANY(:seqs::bigint[]) ORDER BY d.parent, d.child LIMIT 2000;

-- name: waiting_children
WITH RECURSIVE below (seq) AS (
    SELECT c.seq FROM dependencies d JOIN jobs c ON c.seq = d.child
    WHERE d.parent = ANY(:seqs::bigint[]) AND c.state = 'waiting'
    UNION
    SELECT c.seq FROM below b JOIN dependencies d ON d.parent = b.seq JOIN jobs c ON c.seq = d.child
    WHERE c.state = 'waiting'
)
SELECT * FROM jobs WHERE seq = ANY(ARRAY(SELECT seq FROM below)) AND seq <> ALL(:seqs);

-- Jobs of these that other jobs wait for, except jobs of these.
-- name: waited_for
SELECT p.id, c.id AS child FROM dependencies d
JOIN jobs c ON c.seq = d.child AND c.state = 'waiting'
JOIN jobs p ON p.seq = d.parent
WHERE d.parent = ANY(:seqs::bigint[]) AND d.child <> ALL(:seqs) LIMIT 1;

-- Transactions that enqueue the same unique values come one after another, and take the locks in the
-- same order. So they never wait for each other in a circle.
-- name: unique_turns
SELECT pg_advisory_xact_lock(turn.key)
FROM (SELECT DISTINCT hashtextextended(v.value, hashtext(current_schema())) AS key
      FROM unnest(:values::text[]) AS v (value) ORDER BY key) turn;

-- name: unique_holder
SELECT * FROM jobs WHERE unique_value = :value::text AND unique_holds;

-- name: unique_holder_locked
SELECT * FROM jobs WHERE unique_value = :value::text AND unique_holds FOR UPDATE;

-- name: unique_expired
UPDATE jobs SET unique_holds = false
WHERE unique_value = :value::text AND unique_holds AND unique_for > 0
  AND created_at + unique_for <= :now::float8;

-- A new job takes the place of one that has not started and holds the same unique value. Only the
-- id and the earlier attempts stay. connect_replaced lets it start.
-- name: replace_job
UPDATE jobs SET command = :command::text, is_argv = :is_argv::bool,
                max_retries = :max_retries::bigint, backoff_base = :backoff_base::float8,
                priority = :priority::bigint, run_at = :run_at::float8,
                timeout_seconds = :timeout_seconds::float8, cwd = :cwd::text, env = :env::text,
                queue = :queue::text, nice = :nice::bigint, memory_limit = :memory_limit::bigint,
                cpu_seconds = :cpu_seconds::bigint, output_limit = :output_limit::bigint,
                key = :key::text, unique_until = :unique_until::text,
                unique_for = :unique_for::float8, parents = :parents::text,
                on_parent_failure = :on_parent_failure::text, held_at = :held_at::float8,
                held_by = :held_by::text, state = 'waiting', ready = NULL,
                created_at = :now::float8, updated_at = :now, attempts = 0, crashes = 0,
                started_at = NULL, finished_at = NULL, exit_code = NULL, last_error = NULL,
                worker = NULL, cause = NULL, secrets = :secrets::text,
                schedule = :schedule::text, scheduled_at = :scheduled_at::float8,
                has_stdin = :stdin::bytea IS NOT NULL, progress = NULL, progress_text = NULL,
                has_result = false
WHERE seq = :seq::bigint AND state IN ('pending', 'waiting', 'failed');

-- A visible job that keeps its key stays visible, so that no more jobs of the key become visible.
-- If its place has changed, the key is marked, and the next claim chooses its first jobs anew.
-- name: edit_job
UPDATE jobs SET command = :command::text, is_argv = :is_argv::bool, priority = :priority::bigint,
                run_at = :run_at::float8, queue = :queue::text,
                timeout_seconds = :timeout_seconds::float8, max_retries = :max_retries::bigint,
                key = :key::text, updated_at = :now::float8,
                ready = CASE WHEN ready IS NULL THEN NULL WHEN :run_at > :now THEN 0
                             WHEN :key IS NULL THEN 1
                             WHEN ready = 1 AND key = :key AND queue = :queue THEN 1 ELSE 2 END
WHERE seq = :seq::bigint AND state = :state::text AND runs = :runs::bigint
  AND updated_at = :seen_at::float8 AND state <> 'processing'
RETURNING *;

-- In two parts, each of which the index answers without a look at jobs that come later.
-- name: ahead
SELECT least(count(*), :limit::bigint) FROM (
    (SELECT FROM jobs WHERE ready = 1 AND queue = :queue::text AND priority > :priority::bigint
     LIMIT :limit)
    UNION ALL
    (SELECT FROM jobs WHERE ready = 1 AND queue = :queue AND priority = :priority
         AND (run_at, seq) < (:run_at::float8, :seq::bigint)
     LIMIT :limit)) AS before;

-- name: wait_groups
SELECT queue, state, run_at > :now::float8 AS later,
       state = 'waiting' AND (held_at IS NOT NULL OR cause IS NOT NULL) AS held,
       coalesce(k.running >= coalesce(q.per_key, 1), false) AS key_full, count(*) AS n
FROM jobs
LEFT JOIN (SELECT queue AS of_queue, key AS of_key, count(*) AS running
           FROM jobs WHERE key IS NOT NULL AND owner IS NOT NULL GROUP BY 1, 2) k
    ON k.of_queue = jobs.queue AND k.of_key = jobs.key
LEFT JOIN queues q ON q.name = k.of_queue
WHERE state IN ('pending', 'waiting', 'failed') GROUP BY 1, 2, 3, 4, 5;

-- The first job of each priority; at most 20 priorities.
-- name: oldest_due_of
WITH RECURSIVE first (priority, n) AS (
    (SELECT priority, 1 FROM jobs WHERE ready = 1 AND queue = :queue::text
     ORDER BY priority DESC LIMIT 1)
    UNION ALL
    SELECT (SELECT j.priority FROM jobs j
            WHERE j.ready = 1 AND j.queue = :queue AND j.priority < first.priority
            ORDER BY j.priority DESC LIMIT 1), n + 1
    FROM first WHERE priority IS NOT NULL AND n < 20
)
SELECT min(since) FROM (
    SELECT (SELECT greatest(j.created_at, j.run_at) FROM jobs j
            WHERE j.ready = 1 AND j.queue = :queue AND j.priority = first.priority
            ORDER BY j.run_at, j.seq LIMIT 1) AS since
    FROM first WHERE priority IS NOT NULL
    UNION ALL
    SELECT greatest(created_at, run_at) FROM
        (SELECT queue, created_at, run_at FROM jobs WHERE ready = 2 ORDER BY run_at LIMIT 1000)
        AS behind WHERE queue = :queue
    UNION ALL -- due, and no claim has seen it yet: there are many only while no worker runs
    SELECT run_at FROM
        (SELECT queue, run_at FROM jobs WHERE ready = 0 AND run_at <= :now::float8
         ORDER BY run_at LIMIT 1000) AS due WHERE queue = :queue) AS all_kinds;

-- Jobs that wait although nothing is left to wait for, or although a condition cannot be met any
-- more; unless a parent is marked, because then they will be judged. Added to them: keys with due
-- jobs of which none is visible or runs, and which no claim will look at, because they have no mark.
-- name: misadmitted
SELECT (SELECT count(*) FROM jobs WHERE state = 'waiting' AND held_at IS NULL AND cause IS NULL
        AND NOT EXISTS (SELECT FROM dependencies d JOIN parent_marks m ON m.parent = d.parent
                        WHERE d.child = jobs.seq)
        AND (NOT EXISTS (
            SELECT FROM dependencies d JOIN jobs p ON p.seq = d.parent
            WHERE d.child = jobs.seq AND
-- include: unmet
            ) OR EXISTS (
            SELECT FROM dependencies d JOIN jobs p ON p.seq = d.parent
            WHERE d.child = jobs.seq AND
-- include: impossible
            )))
     + (SELECT count(*) FROM (
        SELECT queue, key FROM jobs WHERE key IS NOT NULL AND ready > 0
        GROUP BY queue, key HAVING count(*) FILTER (WHERE ready = 1) = 0) k
        WHERE NOT EXISTS (SELECT FROM jobs r
                          WHERE r.queue = k.queue AND r.key = k.key AND r.owner IS NOT NULL
                            AND r.key IS NOT NULL)
          AND NOT EXISTS (SELECT FROM key_marks m WHERE m.queue = k.queue AND m.key = k.key));

-- name: readmit_keys
INSERT INTO key_marks (queue, key)
SELECT DISTINCT queue, key FROM jobs WHERE key IS NOT NULL AND ready > 0;

-- name: readmit_parents
INSERT INTO parent_marks (parent, after) SELECT DISTINCT parent, 0 FROM dependencies;

-- The rows of queues that claims in queues with keys need.
-- name: readmit_queues
INSERT INTO queues (name, given)
SELECT DISTINCT queue, false FROM jobs WHERE key IS NOT NULL AND ready IS NOT NULL
ON CONFLICT (name) DO NOTHING;

-- name: waiting_after
SELECT seq FROM jobs WHERE state = 'waiting' AND seq > :after::bigint
ORDER BY seq LIMIT :limit::bigint FOR UPDATE;

-- Jobs that were cancelled or are held again because of a parent.
-- name: failed_again
SELECT seq FROM jobs WHERE seq = ANY(:seqs::bigint[]) AND cause IS NOT NULL;
