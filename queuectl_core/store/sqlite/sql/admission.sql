-- Queues with limits, keys, dependencies, and what decides why a job does not run.

-- name: queues
SELECT * FROM queues ORDER BY name;

-- name: queue_by_name
SELECT * FROM queues WHERE name = :name;

-- name: queue_put
INSERT OR REPLACE INTO queues
VALUES (:name, :max_running, :per_host, :per_key, :rate_count, :rate_seconds, :paused_at,
        :paused_by, :paused_reason, :paused_until);

-- name: queue_remove
DELETE FROM queues WHERE name = :name;

-- name: queue_unended
SELECT coalesce(sum(n), 0) FROM counts
WHERE queue = :name AND state NOT IN ('completed', 'dead', 'cancelled');

-- All keys of a queue with due jobs. The next claim looks at them again.
-- name: mark_keys
INSERT OR IGNORE INTO key_marks
SELECT DISTINCT queue, key FROM jobs INDEXED BY jobs_key
WHERE queue = :name AND key IS NOT NULL AND ready > 0;

-- Fewer jobs of each key may run now, so no job stays visible until a claim has chosen them anew.
-- name: hide_keys
UPDATE jobs SET ready = 2 WHERE seq IN (
    SELECT seq FROM jobs INDEXED BY jobs_claim
    WHERE queue = :name AND ready = 1 AND key IS NOT NULL);

-- Running attempts, prefetched ones and those of silent supervisors included.
-- name: queue_running
SELECT count(*) FROM jobs WHERE state = 'processing' AND queue = :name;

-- name: queue_running_here
SELECT count(*) FROM jobs j JOIN supervisors s ON s.id = j.owner
WHERE j.state = 'processing' AND j.queue = :name
  AND s.host = (SELECT host FROM supervisors WHERE id = :owner);

-- name: queue_running_by_host
SELECT s.host, count(*) FROM jobs j JOIN supervisors s ON s.id = j.owner
WHERE j.state = 'processing' AND j.queue = :name GROUP BY s.host;

-- Attempts that were claimed before, and of which it is not known whether they have started.
-- name: unstarted
SELECT count(*) FROM starting s JOIN jobs j ON j.seq = s.seq AND j.runs = s.run
WHERE s.queue = :queue AND s.at <= :before AND j.state = 'processing';

-- name: queue_running_ids
SELECT id FROM jobs WHERE state = 'processing' AND queue = :name ORDER BY seq LIMIT 5;

-- Starts since then, and attempts of which it is not known when they started.
-- name: starts
SELECT at, n, 1 FROM starts WHERE queue = :name AND at > :since
UNION ALL
SELECT s.at, 1, 0 FROM starting s JOIN jobs j ON j.seq = s.seq AND j.runs = s.run
WHERE s.queue = :name AND j.state = 'processing';

-- name: started
INSERT INTO starts VALUES (:name, :at, :count)
ON CONFLICT (queue, at) DO UPDATE SET n = n + excluded.n;

-- name: starting
INSERT OR REPLACE INTO starting VALUES (:seq, :run, :name, :at);

-- name: any_starting
SELECT EXISTS (SELECT 1 FROM starting);

-- name: starting_gone
DELETE FROM starting WHERE seq = :seq AND run = :run RETURNING queue;

-- A queue is paused or gets a rate. Of its attempts, it is not known yet whether they have started.
-- name: attempts_are_starting
INSERT OR REPLACE INTO starting
SELECT seq, runs, queue, started_at FROM jobs WHERE state = 'processing' AND queue = :name;

-- name: starting_of_queue_gone
DELETE FROM starting WHERE queue = :name;

-- name: starts_forgotten
DELETE FROM starts WHERE queue = :name AND at <= :before;

-- name: key_marks
SELECT key FROM key_marks WHERE queue = :queue LIMIT :limit;

-- name: key_mark_gone
DELETE FROM key_marks WHERE queue = :queue AND key = :key;

-- name: key_running
SELECT count(*) FROM jobs INDEXED BY jobs_key_running
WHERE queue = :queue AND key = :key AND owner IS NOT NULL;

-- name: key_heads
SELECT seq, priority, run_at FROM jobs INDEXED BY jobs_key
WHERE queue = :queue AND key = :key AND ready = 1;

-- name: key_next
SELECT seq, priority, run_at FROM jobs INDEXED BY jobs_key
WHERE queue = :queue AND key = :key AND ready = 2
ORDER BY priority DESC, run_at, seq LIMIT :limit;

-- name: key_ready
UPDATE jobs SET ready = :ready
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND +ready IN (1, 2);

-- name: key_running_ids
SELECT j.queue, j.key, j.id FROM json_each(:pairs) p
JOIN jobs j INDEXED BY jobs_key_running
  ON j.queue = json_extract(p.value, '$[0]') AND j.key = json_extract(p.value, '$[1]')
     AND j.owner IS NOT NULL AND j.key IS NOT NULL
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

-- name: depend
INSERT OR IGNORE INTO dependencies (child, parent, kind, parent_id)
SELECT c.seq, p.seq, k.key, p.id
FROM jobs c, json_each(c.parents) k, json_each(k.value) v
JOIN jobs p ON p.id = v.value
WHERE c.seq BETWEEN :low AND :high AND c.parents IS NOT NULL;

-- The first parent that does not exist, with its child.
-- name: orphans
SELECT c.seq, c.id, v.value AS parent
FROM jobs c, json_each(c.parents) k, json_each(k.value) v
WHERE c.seq BETWEEN :low AND :high AND c.parents IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM jobs p WHERE p.id = v.value)
ORDER BY c.seq LIMIT 1;

-- Whether a job of these waits for one that came later, or for itself. Only then there may be a
-- circle.
-- name: depends_forward
SELECT 1 FROM dependencies WHERE child BETWEEN :low AND :high AND parent >= child LIMIT 1;

-- name: edges
SELECT child, parent FROM dependencies
WHERE child BETWEEN :low AND :high AND parent BETWEEN :low AND :high;

-- name: ancestors
WITH RECURSIVE above (seq) AS (
    SELECT parent FROM dependencies WHERE child = :seq
    UNION SELECT d.parent FROM above a JOIN dependencies d ON d.child = a.seq
)
SELECT 1 FROM above WHERE seq = :seq;

-- name: dependencies_gone
DELETE FROM dependencies WHERE child = :seq;

-- name: waiting_range
SELECT seq FROM jobs WHERE seq BETWEEN :low AND :high AND state = 'waiting';

-- Judging has three steps, in this order, for the same jobs. First: the parent that cancelled or
-- holds a job may meet the condition again.
-- name: judge_revive
UPDATE jobs SET state = 'waiting', cause = NULL, finished_at = NULL, last_error = NULL,
                updated_at = :now
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND +cause IS NOT NULL
  AND +state IN ('waiting', 'cancelled')
  AND NOT EXISTS (
      SELECT 1 FROM dependencies d JOIN jobs p ON p.seq = d.parent
      WHERE d.child = jobs.seq AND d.parent_id = jobs.cause AND
-- include: impossible
      )
  AND EXISTS (SELECT 1 FROM dependencies d JOIN jobs p ON p.seq = d.parent
              WHERE d.child = jobs.seq AND d.parent_id = jobs.cause)
RETURNING seq;

-- Second: a condition cannot be met any more. Only parents from ``low`` to ``high`` are looked at:
-- if one parent has ended, there is no need to look at the others.
-- name: judge_fail
UPDATE jobs SET
    state = CASE on_parent_failure WHEN 'hold' THEN 'waiting' ELSE 'cancelled' END,
    finished_at = CASE on_parent_failure WHEN 'hold' THEN NULL ELSE :now END,
    unique_holds = CASE WHEN on_parent_failure = 'hold' OR unique_for > 0 THEN unique_holds ELSE 0 END,
    updated_at = :now,
    cause = (
        SELECT d.parent_id FROM dependencies d JOIN jobs p ON p.seq = d.parent
        WHERE d.child = jobs.seq AND d.parent BETWEEN :low AND :high AND
-- include: impossible
        ORDER BY d.parent LIMIT 1)
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND +state = 'waiting' AND +cause IS NULL
  AND EXISTS (
      SELECT 1 FROM dependencies d JOIN jobs p ON p.seq = d.parent
      WHERE d.child = jobs.seq AND d.parent BETWEEN :low AND :high AND
-- include: impossible
      );

-- Third: nothing is left to wait for. Parents are looked at from the last one, because parents mostly
-- end in the order of arrival: so one that has not ended is found soon.
-- name: judge_free
UPDATE jobs SET state = 'pending', updated_at = :now, run_at = max(run_at, :now),
                ready = CASE WHEN run_at > :now THEN 0 WHEN key IS NULL THEN 1 ELSE 2 END
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND +state = 'waiting' AND held_at IS NULL
  AND +cause IS NULL
  AND NOT EXISTS (
      SELECT 1 FROM dependencies d JOIN jobs p ON p.seq = d.parent
      WHERE d.child = jobs.seq AND
-- include: unmet
      ORDER BY d.parent DESC LIMIT 1)
RETURNING seq;

-- name: parent_mark
SELECT parent, after FROM parent_marks WHERE parent BETWEEN :low AND :high ORDER BY parent LIMIT 1;

-- name: parent_mark_moved
UPDATE parent_marks SET after = :after WHERE parent = :parent;

-- name: parent_mark_gone
DELETE FROM parent_marks WHERE parent = :parent;

-- name: children_after
SELECT DISTINCT child FROM dependencies WHERE parent = :parent AND child > :after
ORDER BY child LIMIT :limit;

-- name: dependencies_of_child
SELECT d.*, c.id AS child_id, c.state AS child_state, p.state AS parent_state
FROM dependencies d JOIN jobs c ON c.seq = d.child LEFT JOIN jobs p ON p.seq = d.parent
WHERE d.child IN (SELECT value FROM json_each(:seqs)) ORDER BY d.child, d.parent LIMIT 2000;

-- name: dependencies_of_parent
SELECT d.*, c.id AS child_id, c.state AS child_state, p.state AS parent_state
FROM dependencies d JOIN jobs c ON c.seq = d.child LEFT JOIN jobs p ON p.seq = d.parent
WHERE d.parent IN (SELECT value FROM json_each(:seqs)) ORDER BY d.parent, d.child LIMIT 2000;

-- name: waiting_children
WITH RECURSIVE below (seq) AS (
    SELECT c.seq FROM dependencies d JOIN jobs c ON c.seq = d.child
    WHERE d.parent IN (SELECT value FROM json_each(:seqs)) AND c.state = 'waiting'
    UNION
    SELECT c.seq FROM below b JOIN dependencies d ON d.parent = b.seq JOIN jobs c ON c.seq = d.child
    WHERE c.state = 'waiting'
)
SELECT * FROM jobs WHERE seq IN (SELECT seq FROM below)
  AND seq NOT IN (SELECT value FROM json_each(:seqs));

-- Jobs of these that other jobs wait for, except jobs of these.
-- name: waited_for
SELECT p.id, c.id AS child FROM dependencies d
JOIN jobs c ON c.seq = d.child AND c.state = 'waiting'
JOIN jobs p ON p.seq = d.parent
WHERE d.parent IN (SELECT value FROM json_each(:seqs))
  AND d.child NOT IN (SELECT value FROM json_each(:seqs)) LIMIT 1;

-- name: unique_holder
SELECT * FROM jobs WHERE unique_value = :value AND unique_holds = 1;

-- name: unique_expired
UPDATE jobs SET unique_holds = 0
WHERE unique_value = :value AND unique_holds = 1 AND unique_for > 0
  AND created_at + unique_for <= :now;

-- A new job takes the place of one that has not started and holds the same unique value. Only the
-- id and the earlier attempts stay. connect_replaced lets it start.
-- name: replace_job
UPDATE jobs SET command = :command, is_argv = :is_argv, max_retries = :max_retries,
                backoff_base = :backoff_base, priority = :priority, run_at = :run_at,
                timeout_seconds = :timeout_seconds, cwd = :cwd, env = :env, queue = :queue,
                nice = :nice, memory_limit = :memory_limit, cpu_seconds = :cpu_seconds,
                output_limit = :output_limit, key = :key, unique_until = :unique_until,
                unique_for = :unique_for, parents = :parents,
                on_parent_failure = :on_parent_failure, held_at = :held_at, held_by = :held_by,
                state = 'waiting', ready = NULL, created_at = :now, updated_at = :now,
                attempts = 0, crashes = 0, started_at = NULL, finished_at = NULL,
                exit_code = NULL, last_error = NULL, worker = NULL, cause = NULL,
                secrets = :secrets, schedule = :schedule, scheduled_at = :scheduled_at,
                has_stdin = :stdin IS NOT NULL, progress = NULL, progress_text = NULL,
                has_result = 0
WHERE seq = :seq AND state IN ('pending', 'waiting', 'failed');

-- name: edit_job
UPDATE jobs SET command = :command, is_argv = :is_argv, priority = :priority, run_at = :run_at,
                queue = :queue, timeout_seconds = :timeout_seconds, max_retries = :max_retries,
                key = :key, updated_at = :now,
                -- A visible job whose place does not change stays visible. Any other job of a key
                -- is hidden until the next claim has chosen the first jobs of the key anew.
                ready = CASE WHEN ready IS NULL THEN NULL WHEN :run_at > :now THEN 0
                             WHEN :key IS NULL THEN 1
                             WHEN ready = 1 AND queue = :queue AND key = :key
                                  AND priority = :priority AND run_at = :run_at THEN 1
                             ELSE 2 END
WHERE seq = :seq AND state = :state AND runs = :runs AND updated_at = :seen_at
  AND state <> 'processing'
RETURNING *;

-- In three parts, each of which the index answers without a look at jobs that come later. Jobs of one
-- batch have the same run_at.
-- name: ahead
SELECT min(count(*), :limit) FROM (
    SELECT * FROM (SELECT 1 FROM jobs INDEXED BY jobs_claim
                   WHERE ready = 1 AND queue = :queue AND priority > :priority
                   LIMIT :limit) AS higher
    UNION ALL
    SELECT * FROM (SELECT 1 FROM jobs INDEXED BY jobs_claim
                   WHERE ready = 1 AND queue = :queue AND priority = :priority AND run_at < :run_at
                   LIMIT :limit) AS earlier
    UNION ALL
    SELECT * FROM (SELECT 1 FROM jobs INDEXED BY jobs_claim
                   WHERE ready = 1 AND queue = :queue AND priority = :priority AND run_at = :run_at
                       AND seq < :seq
                   LIMIT :limit) AS before) AS every;

-- name: wait_groups
SELECT queue, state, run_at > :now AS later, state = 'waiting'
       AND (held_at IS NOT NULL OR cause IS NOT NULL) AS held,
       coalesce(k.running >= coalesce(q.per_key, 1), 0) AS key_full, count(*) AS n
FROM jobs
LEFT JOIN (SELECT queue AS of_queue, key AS of_key, count(*) AS running
           FROM jobs INDEXED BY jobs_key_running
           WHERE key IS NOT NULL AND owner IS NOT NULL GROUP BY 1, 2) k
    ON k.of_queue = jobs.queue AND k.of_key = jobs.key
LEFT JOIN queues q ON q.name = k.of_queue
WHERE state IN ('pending', 'waiting', 'failed') GROUP BY 1, 2, 3, 4, 5;

-- The first job of each priority, at most 20 priorities, and the first jobs that wait behind others
-- of their key.
-- name: oldest_due_of
WITH RECURSIVE first (priority, n) AS (
    SELECT max(priority), 1 FROM jobs WHERE ready = 1 AND queue = :queue
    UNION ALL
    SELECT (SELECT max(priority) FROM jobs
            WHERE ready = 1 AND queue = :queue AND priority < first.priority), n + 1
    FROM first WHERE priority IS NOT NULL AND n < 20
)
SELECT min(since) FROM (
    SELECT (SELECT max(j.created_at, j.run_at) FROM jobs j
            WHERE j.ready = 1 AND j.queue = :queue AND j.priority = first.priority
            ORDER BY j.run_at, j.seq LIMIT 1) AS since
    FROM first WHERE priority IS NOT NULL
    UNION ALL
    SELECT max(created_at, run_at) FROM
        (SELECT queue, created_at, run_at FROM jobs WHERE ready = 2 ORDER BY run_at LIMIT 1000)
        AS behind WHERE queue = :queue
    UNION ALL -- due, and no claim has seen it yet: there are many only while no worker runs
    SELECT run_at FROM
        (SELECT queue, run_at FROM jobs WHERE ready = 0 AND run_at <= :now
         ORDER BY run_at LIMIT 1000) AS due WHERE queue = :queue) AS all_kinds;

-- Jobs that wait although nothing is left to wait for, or although a condition cannot be met any
-- more; unless a parent is marked, because then they will be judged. Added to them: keys with due
-- jobs of which none is visible or runs, and which no claim will look at, because they have no mark.
-- name: misadmitted
SELECT (SELECT count(*) FROM jobs WHERE state = 'waiting' AND held_at IS NULL AND cause IS NULL
        AND NOT EXISTS (SELECT 1 FROM dependencies d JOIN parent_marks m ON m.parent = d.parent
                        WHERE d.child = jobs.seq)
        AND (NOT EXISTS (
            SELECT 1 FROM dependencies d JOIN jobs p ON p.seq = d.parent
            WHERE d.child = jobs.seq AND
-- include: unmet
            ) OR EXISTS (
            SELECT 1 FROM dependencies d JOIN jobs p ON p.seq = d.parent
            WHERE d.child = jobs.seq AND
-- include: impossible
            )))
     + (SELECT count(*) FROM (
        SELECT queue, key FROM jobs INDEXED BY jobs_key WHERE key IS NOT NULL AND ready > 0
        GROUP BY queue, key
        HAVING sum(ready = 1) = 0
           AND NOT EXISTS (SELECT 1 FROM jobs r INDEXED BY jobs_key_running
                           WHERE r.queue = jobs.queue AND r.key = jobs.key
                             AND r.owner IS NOT NULL AND r.key IS NOT NULL)
           AND NOT EXISTS (SELECT 1 FROM key_marks m
                           WHERE m.queue = jobs.queue AND m.key = jobs.key)));

-- name: readmit_keys
INSERT OR IGNORE INTO key_marks
SELECT DISTINCT queue, key FROM jobs INDEXED BY jobs_key WHERE key IS NOT NULL AND ready > 0;

-- name: readmit_parents
INSERT OR IGNORE INTO parent_marks SELECT DISTINCT parent, 0 FROM dependencies;

-- name: waiting_after
SELECT seq FROM jobs WHERE state = 'waiting' AND seq > :after ORDER BY seq LIMIT :limit;

-- name: waiting_of
SELECT seq FROM jobs WHERE seq IN (SELECT value FROM json_each(:seqs)) AND +state = 'waiting';

-- Jobs that were cancelled or are held again because of a parent.
-- name: failed_again
SELECT seq FROM jobs WHERE seq IN (SELECT value FROM json_each(:seqs)) AND +cause IS NOT NULL;
