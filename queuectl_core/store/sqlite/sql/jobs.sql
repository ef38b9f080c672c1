-- The conditions of a filter, except its states and keys. Each query that takes a filter includes
-- them.
-- fragment: filter
AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
AND (:exit_codes IS NULL OR exit_code IN (SELECT value FROM json_each(:exit_codes)))
AND (:keys IS NULL OR key IN (SELECT value FROM json_each(:keys)))
AND (:reasons IS NULL OR reason IN (SELECT value FROM json_each(:reasons)))
AND (:search IS NULL OR id LIKE :search ESCAPE '\' OR command LIKE :search ESCAPE '\'
     OR last_error LIKE :search ESCAPE '\')
AND (:glob IS NULL OR id GLOB :glob OR command GLOB :glob OR last_error GLOB :glob)

-- name: insert_job
INSERT INTO jobs (id, command, is_argv, max_retries, backoff_base, priority, run_at,
                  timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
                  output_limit, state, created_at, updated_at, ready, key, unique_value,
                  unique_until, unique_for, unique_holds, parents, on_parent_failure, held_at,
                  held_by, secrets, schedule, scheduled_at, has_stdin)
VALUES (:id, :command, :is_argv, :max_retries, :backoff_base, :priority, :run_at,
        :timeout_seconds, :cwd, :env, :queue, :nice, :memory_limit, :cpu_seconds,
        :output_limit, CASE WHEN :waits THEN 'waiting' ELSE 'pending' END, :now, :now,
        CASE WHEN :waits THEN NULL WHEN :run_at > :now THEN 0 WHEN :key IS NULL THEN 1 ELSE 2 END,
        :key, :unique, :unique_until, :unique_for, :unique IS NOT NULL, :parents,
        :on_parent_failure, :held_at, :held_by, :secrets, :schedule, :scheduled_at,
        :stdin IS NOT NULL)
RETURNING *;

-- name: insert_input
INSERT INTO inputs (job, stdin) VALUES (:seq, :stdin);

-- name: ids_taken
SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(:ids));

-- Two rows are enough to know that a prefix is ambiguous. The upper bound is the prefix and a
-- character that sorts after every character of an id.
-- name: jobs_by_prefix
SELECT * FROM jobs WHERE id >= :prefix AND id < :prefix || '~' ORDER BY id LIMIT 2;

-- name: job_by_seq
SELECT * FROM jobs WHERE seq = :seq;

-- name: ids_from
SELECT id FROM jobs WHERE seq >= :first AND seq < :end ORDER BY seq;

-- name: bounds
SELECT (SELECT min(seq) FROM jobs), (SELECT max(seq) FROM jobs);

-- A scan reads jobs by key, in either direction. The range of keys bounds how much one query reads
-- when few jobs match.
-- name: scan_all_down
SELECT * FROM jobs
WHERE seq BETWEEN :low AND :high
-- include: filter
ORDER BY seq DESC LIMIT :limit;

-- name: scan_all_up
SELECT * FROM jobs
WHERE seq BETWEEN :low AND :high
-- include: filter
ORDER BY seq LIMIT :limit;

-- name: scan_state_down
SELECT * FROM jobs
WHERE state = :state AND seq BETWEEN :low AND :high
-- include: filter
ORDER BY seq DESC LIMIT :limit;

-- name: scan_state_up
SELECT * FROM jobs
WHERE state = :state AND seq BETWEEN :low AND :high
-- include: filter
ORDER BY seq LIMIT :limit;

-- By the index jobs_dead: the time does not grow with the number of dead jobs.
-- name: scan_reason_down
SELECT * FROM jobs INDEXED BY jobs_dead
WHERE state = 'dead' AND reason = :reason AND seq BETWEEN :low AND :high
-- include: filter
ORDER BY seq DESC LIMIT :limit;

-- name: scan_reason_up
SELECT * FROM jobs INDEXED BY jobs_dead
WHERE state = 'dead' AND reason = :reason AND seq BETWEEN :low AND :high
-- include: filter
ORDER BY seq LIMIT :limit;

-- name: count_all
SELECT count(*) FROM jobs
WHERE seq BETWEEN :low AND :high
-- include: filter

-- name: count_states
SELECT count(*) FROM jobs
WHERE state IN (SELECT value FROM json_each(:states)) AND seq BETWEEN :low AND :high
-- include: filter

-- name: scan_seqs
SELECT * FROM jobs
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND seq BETWEEN :low AND :high
-- include: filter

-- name: counts
SELECT state, queue, n FROM counts WHERE n > 0;

-- A job waits since it was enqueued, or since its run_at if that is later. Take the first job of the
-- index: only jobs with a run_at before the moment since which this one waits can have waited longer.
-- The limit keeps the query fast when very many jobs were enqueued with a run_at in the past. The
-- answer is not exact then. A job that has become due is marked as ready only by the next claim, so
-- due jobs that are not marked are counted too.
-- name: oldest_due
SELECT min(since) FROM (
    SELECT min(max(created_at, run_at)) AS since FROM
        (SELECT created_at, run_at FROM jobs WHERE ready = 1 AND run_at <=
             (SELECT max(created_at, run_at) FROM jobs WHERE ready = 1 ORDER BY run_at LIMIT 1)
         ORDER BY run_at LIMIT 1000) AS first
    UNION ALL SELECT min(run_at) FROM jobs WHERE ready = 0 AND run_at <= :now
    UNION ALL SELECT max(created_at, run_at) FROM
        (SELECT created_at, run_at FROM jobs WHERE ready = 2 ORDER BY run_at LIMIT 1) AS behind)
    AS all_kinds;

-- name: attempts_of
SELECT * FROM attempts WHERE job = :seq ORDER BY number;

-- name: inputs_of
SELECT job, stdin FROM inputs WHERE job IN (SELECT value FROM json_each(:seqs));

-- name: results_of
SELECT job, result FROM results WHERE job IN (SELECT value FROM json_each(:seqs));

-- name: input_gone
DELETE FROM inputs WHERE job = :seq;

-- name: tail_of
SELECT tail FROM tails WHERE job = :seq AND number = :number;

-- The index attempts_ended holds all these columns, so the table is not read.
-- name: ended_since
SELECT outcome, made_dead, finished_at - started_at, waited FROM attempts
WHERE finished_at >= :since LIMIT :limit;

-- name: dead_groups
SELECT reason, min(exit_code) AS exit_code, count(*) AS n, max(finished_at) AS last_at,
       max(seq) AS newest
FROM jobs INDEXED BY jobs_dead WHERE state = 'dead'
GROUP BY reason ORDER BY n DESC, reason LIMIT :limit;

-- name: throughput
SELECT CAST(finished_at AS INTEGER) AS second, sum(outcome = 'completed') AS completed,
       sum(outcome IN ('failed', 'timeout', 'crashed')) AS failed
FROM attempts WHERE finished_at >= :since GROUP BY second ORDER BY second;

-- The candidates of a bulk verb, by the index of states or by the index of dead jobs by reason.
-- name: bulk_state
SELECT seq FROM jobs
WHERE state = :state AND seq > :after AND seq <= :until
-- include: filter
ORDER BY seq LIMIT :limit;

-- name: bulk_reason
SELECT seq FROM jobs INDEXED BY jobs_dead
WHERE state = 'dead' AND reason = :reason AND seq > :after AND seq <= :until
-- include: filter
ORDER BY seq LIMIT :limit;

-- The statement that changes a job also decides whether it may: by the state, by the filter, and
-- (unless :seen is NULL) by whether the job is still as the caller read it.
-- fragment: still
seq IN (SELECT value FROM json_each(:seqs)) AND +state IN (SELECT value FROM json_each(:states))
AND (:seen IS NULL OR (seq, state, runs) IN
     (SELECT CAST(key AS INTEGER), json_extract(value, '$[0]'), json_extract(value, '$[1]')
      FROM json_each(:seen)))
-- include: filter

-- Jobs above ``later`` are on other pages of the same verb: a job does not run again before such a
-- parent.
-- name: retry
UPDATE jobs SET state = CASE WHEN parents IS NULL THEN 'pending' ELSE 'waiting' END,
                ready = CASE WHEN parents IS NOT NULL THEN NULL WHEN key IS NULL THEN 1 ELSE 2 END,
                attempts = 0, crashes = 0, run_at = :now, updated_at = :now, cancel = 0,
                cause = NULL, held_at = NULL, held_by = NULL
WHERE
-- include: still
AND NOT EXISTS (SELECT 1 FROM dependencies d JOIN jobs p ON p.seq = d.parent
                WHERE d.child = jobs.seq AND d.parent > :later
                  AND p.state IN (SELECT value FROM json_each(:states))
-- include: filter
)
RETURNING seq, runs;

-- A waiting job is cancelled. A running job is asked to end.
-- name: cancel
UPDATE jobs SET state = CASE state WHEN 'processing' THEN state ELSE 'cancelled' END,
                ready = NULL, cancel = (state = 'processing'), updated_at = :now, cause = NULL,
                unique_holds = unique_holds AND (unique_for > 0 OR state = 'processing'),
                finished_at = CASE state WHEN 'processing' THEN finished_at ELSE :now END
WHERE
-- include: still
RETURNING seq, runs;

-- A job stays if one waits for it that stays, because it does not match or for the same reason.
-- name: remove
WITH RECURSIVE matching (seq, state) AS MATERIALIZED (
    SELECT seq, state FROM jobs
    WHERE
-- include: still
), kept (seq) AS (
    SELECT m.seq FROM matching m
    WHERE EXISTS (SELECT 1 FROM dependencies d JOIN jobs c ON c.seq = d.child
                  WHERE d.parent = m.seq AND c.state = 'waiting'
                    AND c.seq NOT IN (SELECT seq FROM matching))
    UNION
    SELECT m.seq FROM kept k JOIN matching c ON c.seq = k.seq AND c.state = 'waiting'
    JOIN dependencies d ON d.child = c.seq JOIN matching m ON m.seq = d.parent
)
DELETE FROM jobs WHERE seq IN (SELECT seq FROM matching) AND seq NOT IN (SELECT seq FROM kept)
RETURNING seq, runs;

-- After the change: jobs of these that still match, so they were left because of other jobs.
-- name: left_over
SELECT seq FROM jobs
WHERE
-- include: still
ORDER BY seq;

-- A person holds jobs. Who and since when stays with the first who did it.
-- name: hold
UPDATE jobs SET state = 'waiting', ready = NULL, updated_at = :now,
                held_by = CASE WHEN held_at IS NULL THEN :actor ELSE held_by END,
                held_at = coalesce(held_at, :now)
WHERE
-- include: still
RETURNING seq, runs;

-- A job that is held because of a parent will not wait for what cannot happen any more.
-- name: waive
UPDATE dependencies SET waived = 1
WHERE (child, parent, kind) IN (
    SELECT d.child, d.parent, d.kind FROM dependencies d JOIN jobs p ON p.seq = d.parent
    WHERE d.child IN (SELECT value FROM json_each(:seqs)) AND
-- include: impossible
    );

-- name: release
UPDATE jobs SET held_at = NULL, held_by = NULL, cause = NULL, updated_at = :now
WHERE
-- include: still
AND (held_at IS NOT NULL OR cause IS NOT NULL)
RETURNING seq, runs;

-- name: amend
UPDATE jobs SET command = :command, is_argv = :is_argv,
                state = CASE WHEN parents IS NULL THEN 'pending' ELSE 'waiting' END,
                ready = CASE WHEN parents IS NOT NULL THEN NULL WHEN key IS NULL THEN 1 ELSE 2 END,
                cause = NULL, held_at = NULL, held_by = NULL, attempts = 0, crashes = 0,
                run_at = :now, updated_at = :now, cancel = 0
WHERE seq = :seq AND state = :state AND runs = :runs
  AND state IN ('failed', 'dead', 'cancelled', 'completed')
RETURNING *;

-- name: config_all
SELECT key, value FROM config WHERE key NOT LIKE '.%';

-- name: config_value
SELECT value FROM config WHERE key = :key;

-- name: config_set
INSERT INTO config VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = :value;

-- name: config_unset
DELETE FROM config WHERE key = :key;
