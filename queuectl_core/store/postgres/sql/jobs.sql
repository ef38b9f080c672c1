-- Enqueueing, reading and changing jobs.

-- The conditions of a filter, except its states and keys. Each query that takes a filter includes
-- them.
-- fragment: filter
AND (:queues::text[] IS NULL OR queue = ANY(:queues))
AND (:exit_codes::bigint[] IS NULL OR exit_code = ANY(:exit_codes))
AND (:keys::text[] IS NULL OR key = ANY(:keys))
AND (:reasons::text[] IS NULL OR reason = ANY(:reasons))
AND (:search::text IS NULL OR id ILIKE :search ESCAPE '\' OR command ILIKE :search ESCAPE '\'
     OR last_error ILIKE :search ESCAPE '\')
AND (:regex::text IS NULL OR id ~ :regex OR command ~ :regex OR last_error ~ :regex)

-- A bulk enqueue takes consecutive keys. Meanwhile nobody else may take a key (see key_block).
-- name: insert_jobs
WITH gate AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(:gate::bigint))
INSERT INTO jobs (id, command, is_argv, max_retries, backoff_base, priority, run_at,
                  timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
                  output_limit, state, created_at, updated_at, ready, key, unique_value,
                  unique_until, unique_for, unique_holds, parents, on_parent_failure, held_at,
                  held_by, secrets, schedule, scheduled_at, has_stdin)
SELECT s.id, s.command, s.is_argv, s.max_retries, s.backoff_base, s.priority, s.run_at,
       s.timeout_seconds, s.cwd, s.env, s.queue, s.nice, s.memory_limit, s.cpu_seconds,
       s.output_limit, CASE WHEN s.hold OR s.parents IS NOT NULL THEN 'waiting' ELSE 'pending' END,
       :now::float8, :now,
       CASE WHEN s.hold OR s.parents IS NOT NULL THEN NULL WHEN s.run_at > :now THEN 0
            WHEN s.key IS NULL THEN 1 ELSE 2 END,
       s.key, s.unique_value, s.unique_until, s.unique_for, s.unique_value IS NOT NULL, s.parents,
       s.on_parent_failure, CASE WHEN s.hold THEN :now END, s.held_by, s.secrets, s.schedule,
       s.scheduled_at, s.has_stdin
FROM gate CROSS JOIN unnest(
    :id::text[], :command::text[], :is_argv::bool[], :max_retries::bigint[],
    :backoff_base::float8[], :priority::bigint[], :run_at::float8[], :timeout_seconds::float8[],
    :cwd::text[], :env::text[], :queue::text[], :nice::bigint[], :memory_limit::bigint[],
    :cpu_seconds::bigint[], :output_limit::bigint[], :key::text[], :unique::text[],
    :unique_until::text[], :unique_for::float8[], :parents::text[], :on_parent_failure::text[],
    :hold::bool[], :held_by::text[], :secrets::text[], :schedule::text[],
    :scheduled_at::float8[], :has_stdin::bool[]
) WITH ORDINALITY AS s(
    id, command, is_argv, max_retries, backoff_base, priority, run_at, timeout_seconds, cwd, env,
    queue, nice, memory_limit, cpu_seconds, output_limit, key, unique_value, unique_until,
    unique_for, parents, on_parent_failure, hold, held_by, secrets, schedule, scheduled_at,
    has_stdin, place
)
ORDER BY s.place
-- An id is taken, or a unique value is held.
ON CONFLICT DO NOTHING
RETURNING *;

-- name: insert_inputs
INSERT INTO inputs (job, stdin) SELECT * FROM unnest(:jobs::bigint[], :inputs::bytea[]);

-- name: ids_taken
SELECT id FROM jobs WHERE id = ANY(:ids::text[]);

-- Two rows are enough to know that a prefix is ambiguous. The upper bound is the prefix and a
-- character that sorts after every character of an id.
-- name: jobs_by_prefix
SELECT * FROM jobs WHERE id >= :prefix::text AND id < :prefix || '~' ORDER BY id LIMIT 2;

-- name: job_by_seq
SELECT * FROM jobs WHERE seq = :seq::bigint;

-- name: jobs_by_seqs
SELECT * FROM jobs WHERE seq = ANY(:seqs::bigint[]);

-- name: ids_from
SELECT id FROM jobs WHERE seq >= :first::bigint AND seq < :end::bigint ORDER BY seq;

-- name: bounds
SELECT (SELECT min(seq) FROM jobs) AS low, (SELECT max(seq) FROM jobs) AS high;

-- A scan reads jobs by key, in either direction. The range of keys limits how much one query reads
-- when few jobs match. States and reasons are compared together with the key. So the server uses
-- only the index that has both.
-- name: scan_all_down
SELECT * FROM jobs
WHERE seq BETWEEN :low::bigint AND :high::bigint
-- include: filter
ORDER BY seq DESC LIMIT :limit::bigint;

-- name: scan_states_down
SELECT j.* FROM unnest(:states::text[]) AS s(state) CROSS JOIN LATERAL (
    SELECT * FROM jobs
    WHERE (state, seq) >= (s.state, :low::bigint) AND (state, seq) <= (s.state, :high::bigint)
-- include: filter
    ORDER BY state DESC, seq DESC LIMIT :limit::bigint
) j
ORDER BY j.seq DESC LIMIT :limit;

-- By the index jobs_dead: the time does not grow with the number of dead jobs.
-- name: scan_reason_down
SELECT * FROM jobs
WHERE state = 'dead' AND (reason, seq) >= (:reason::text, :low::bigint)
  AND (reason, seq) <= (:reason, :high::bigint)
-- include: filter
ORDER BY reason DESC, seq DESC LIMIT :limit::bigint;

-- name: scan_all_up
SELECT * FROM jobs
WHERE seq BETWEEN :low::bigint AND :high::bigint
-- include: filter
ORDER BY seq LIMIT :limit::bigint;

-- name: scan_states_up
SELECT j.* FROM unnest(:states::text[]) AS s(state) CROSS JOIN LATERAL (
    SELECT * FROM jobs
    WHERE (state, seq) >= (s.state, :low::bigint) AND (state, seq) <= (s.state, :high::bigint)
-- include: filter
    ORDER BY state, seq LIMIT :limit::bigint
) j
ORDER BY j.seq LIMIT :limit;

-- By the index jobs_dead: the time does not grow with the number of dead jobs.
-- name: scan_reason_up
SELECT * FROM jobs
WHERE state = 'dead' AND (reason, seq) >= (:reason::text, :low::bigint)
  AND (reason, seq) <= (:reason, :high::bigint)
-- include: filter
ORDER BY reason, seq LIMIT :limit::bigint;

-- name: count_all
SELECT count(*) FROM jobs
WHERE seq BETWEEN :low::bigint AND :high::bigint
-- include: filter

-- name: count_states
SELECT count(*) FROM jobs
WHERE state = ANY(:states::text[]) AND seq BETWEEN :low::bigint AND :high::bigint
-- include: filter

-- name: scan_seqs
SELECT * FROM jobs
WHERE seq = ANY(:seqs::bigint[]) AND seq BETWEEN :low::bigint AND :high::bigint
  AND (:states::text[] IS NULL OR state = ANY(:states))
-- include: filter
ORDER BY CASE WHEN :up::bool THEN seq ELSE -seq END LIMIT :limit::bigint;

-- name: counts
SELECT state, queue, sum(n)::bigint AS n
FROM (SELECT state, queue, n FROM counts
      UNION ALL SELECT state, queue, n FROM ledger WHERE state IS NOT NULL) both_parts
GROUP BY state, queue HAVING sum(n) > 0;

-- A job waits since it was enqueued, or since its run_at if that is later. Take the first job of the
-- index: only jobs with a run_at before the moment since which this one waits can have waited longer.
-- The limit keeps the query fast when very many jobs were enqueued with a run_at in the past. The
-- answer is not exact then. A job that has become due is marked as ready only by the next claim, so
-- due jobs that are not marked are counted too.
-- name: oldest_due
SELECT min(since) FROM (
    SELECT min(greatest(created_at, run_at)) AS since FROM
        (SELECT created_at, run_at FROM jobs WHERE ready = 1 AND run_at <=
             (SELECT greatest(created_at, run_at) FROM jobs WHERE ready = 1 ORDER BY run_at LIMIT 1)
         ORDER BY run_at LIMIT 1000) AS first
    UNION ALL SELECT min(run_at) FROM jobs WHERE ready = 0 AND run_at <= :now::float8
    UNION ALL SELECT greatest(created_at, run_at) FROM
        (SELECT created_at, run_at FROM jobs WHERE ready = 2 ORDER BY run_at LIMIT 1) AS behind)
    AS all_kinds;

-- name: attempts_of
SELECT * FROM attempts WHERE job = :seq::bigint ORDER BY number;

-- name: inputs_of
SELECT job, stdin FROM inputs WHERE job = ANY(:seqs::bigint[]);

-- name: results_of
SELECT job, result FROM results WHERE job = ANY(:seqs::bigint[]);

-- name: input_gone
DELETE FROM inputs WHERE job = :seq::bigint;

-- name: tail_of
SELECT tail FROM tails WHERE job = :seq::bigint AND number = :number::bigint;

-- The index attempts_ended holds all these columns.
-- name: ended_since
SELECT outcome, made_dead, finished_at - started_at AS run, waited FROM attempts
WHERE finished_at >= :since::float8 ORDER BY finished_at LIMIT :limit::bigint;

-- name: dead_groups
SELECT reason, min(exit_code) AS exit_code, count(*) AS n, max(finished_at) AS last_at,
       max(seq) AS newest
FROM jobs WHERE state = 'dead'
GROUP BY reason ORDER BY n DESC, reason LIMIT :limit::bigint;

-- name: throughput
SELECT floor(finished_at)::bigint AS second,
       count(*) FILTER (WHERE outcome = 'completed') AS completed,
       count(*) FILTER (WHERE outcome IN ('failed', 'timeout', 'crashed')) AS failed
FROM attempts WHERE finished_at >= :since::float8 GROUP BY second ORDER BY second;

-- The candidates of a bulk verb, by the index of states or by the index of dead jobs by reason.
-- name: bulk_states
SELECT j.seq FROM unnest(:states::text[]) AS s(state) CROSS JOIN LATERAL (
    SELECT seq FROM jobs
    WHERE (state, seq) > (s.state, :after::bigint) AND (state, seq) <= (s.state, :until::bigint)
    -- include: filter
    ORDER BY state, seq LIMIT :limit::bigint
) j
ORDER BY j.seq LIMIT :limit;

-- name: bulk_reason
SELECT seq FROM jobs
WHERE state = 'dead' AND (reason, seq) > (:reason::text, :after::bigint)
  AND (reason, seq) <= (:reason, :until::bigint)
-- include: filter
ORDER BY reason, seq LIMIT :limit::bigint;

-- The statement that changes a job also decides whether it may: by the state, by the filter, and
-- (unless :seen is NULL) by whether the job is still as the caller read it. These conditions are
-- outside the subquery. If another transaction changed the row while we waited for its lock, the
-- server checks them again on the new version. The subquery locks rows in the order of their keys,
-- so that two such statements never wait for each other in a circle.
-- fragment: still
seq IN (SELECT seq FROM jobs WHERE seq = ANY(:seqs::bigint[]) ORDER BY seq FOR UPDATE)
AND state = ANY(:states::text[])
AND (:seen::jsonb IS NULL OR :seen -> seq::text = jsonb_build_array(state, runs))
-- include: filter

-- Jobs above ``later`` are on other pages of the same verb: a job does not run again before such a
-- parent. The next job of a key stays visible: if nothing else changes, nobody would choose it again.
-- name: retry
UPDATE jobs SET state = CASE WHEN parents IS NULL THEN 'pending' ELSE 'waiting' END,
                ready = CASE WHEN parents IS NOT NULL THEN NULL
                             WHEN key IS NULL OR ready = 1 THEN 1 ELSE 2 END,
                attempts = 0, crashes = 0, run_at = :now::float8, updated_at = :now,
                cancel = false, cause = NULL, held_at = NULL, held_by = NULL
WHERE
-- include: still
AND NOT EXISTS (SELECT FROM dependencies d CROSS JOIN LATERAL (
                    SELECT FROM jobs WHERE seq = d.parent AND state = ANY(:states)
-- include: filter
                    OFFSET 0) p
                WHERE d.child = jobs.seq AND d.parent > :later::bigint)
RETURNING seq, runs, state = 'waiting' AS waits;

-- A waiting job is cancelled. A running job is asked to end.
-- name: cancel
UPDATE jobs SET state = CASE WHEN state = 'processing' THEN state ELSE 'cancelled' END,
                ready = NULL, cancel = (state = 'processing'), updated_at = :now::float8,
                cause = NULL,
                unique_holds = unique_holds AND (unique_for > 0 OR state = 'processing'),
                finished_at = CASE WHEN state = 'processing' THEN finished_at ELSE :now END
WHERE
-- include: still
RETURNING seq, runs, false AS waits;

-- A job stays if one waits for it that stays, because it does not match or for the same reason.
-- ``seqs_locked`` comes before: so a job that is enqueued meanwhile, and waits for one of these, is
-- seen here, and none of these changes any more.
-- name: remove
WITH RECURSIVE matching AS MATERIALIZED (
    SELECT seq, state FROM jobs
    WHERE
-- include: still
), kept (seq) AS (
    SELECT m.seq FROM matching m
    WHERE EXISTS (SELECT FROM dependencies d CROSS JOIN LATERAL (
                      SELECT state FROM jobs WHERE seq = d.child OFFSET 0) c
                  WHERE d.parent = m.seq AND c.state = 'waiting'
                    AND d.child NOT IN (SELECT seq FROM matching))
    UNION
    SELECT m.seq FROM kept k JOIN matching c ON c.seq = k.seq AND c.state = 'waiting'
    JOIN dependencies d ON d.child = c.seq JOIN matching m ON m.seq = d.parent
)
DELETE FROM jobs WHERE seq = ANY(ARRAY(SELECT seq FROM matching EXCEPT SELECT seq FROM kept))
RETURNING seq, runs, false AS waits;

-- After the change: jobs of these that still match, so they were left because of other jobs.
-- name: left_over
SELECT seq FROM jobs
WHERE
-- include: still
ORDER BY seq;

-- name: before_retry
SAVEPOINT retrying;

-- name: as_before_retry
ROLLBACK TO SAVEPOINT retrying;

-- name: seqs_locked
SELECT seq FROM jobs WHERE seq = ANY(:seqs::bigint[]) ORDER BY seq FOR UPDATE;

-- A person holds jobs. Who and since when stays with the first who did it.
-- name: hold
UPDATE jobs SET state = 'waiting', ready = NULL, updated_at = :now::float8,
                held_by = CASE WHEN held_at IS NULL THEN :actor::text ELSE held_by END,
                held_at = coalesce(held_at, :now)
WHERE
-- include: still
RETURNING seq, runs, false AS waits;

-- A job that is held because of a parent will not wait for what cannot happen any more.
-- name: waive
UPDATE dependencies d SET waived = true
FROM jobs p
WHERE d.child = ANY(:seqs::bigint[]) AND p.seq = d.parent AND
-- include: impossible
;

-- name: release
UPDATE jobs SET held_at = NULL, held_by = NULL, cause = NULL, updated_at = :now::float8
WHERE
-- include: still
AND (held_at IS NOT NULL OR cause IS NOT NULL)
RETURNING seq, runs, true AS waits;

-- name: amend
UPDATE jobs SET command = :command::text, is_argv = :is_argv::bool,
                state = CASE WHEN parents IS NULL THEN 'pending' ELSE 'waiting' END,
                ready = CASE WHEN parents IS NOT NULL THEN NULL
                             WHEN key IS NULL OR ready = 1 THEN 1 ELSE 2 END,
                cause = NULL, held_at = NULL, held_by = NULL, attempts = 0, crashes = 0,
                run_at = :now::float8, updated_at = :now, cancel = false
WHERE seq = :seq::bigint AND state = :state::text AND runs = :runs::bigint
  AND state IN ('failed', 'dead', 'cancelled', 'completed')
RETURNING *;

-- name: config_all
SELECT key, value FROM config;

-- name: config_value
SELECT value FROM config WHERE key = :key::text FOR UPDATE;

-- name: config_set
INSERT INTO config (key, value) VALUES (:key::text, :value::text)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: config_unset
DELETE FROM config WHERE key = :key::text;
