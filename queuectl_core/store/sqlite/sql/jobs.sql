-- name: insert_job
INSERT INTO jobs (id, command, is_argv, max_retries, backoff_base, priority, run_at,
                  timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
                  output_limit, state, created_at, updated_at, ready)
VALUES (:id, :command, :is_argv, :max_retries, :backoff_base, :priority, :run_at,
        :timeout_seconds, :cwd, :env, :queue, :nice, :memory_limit, :cpu_seconds,
        :output_limit, 'pending', :now, :now, :run_at <= :now)
RETURNING seq;

-- name: ids_taken
SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(:ids));

-- name: job_by_id
SELECT * FROM jobs WHERE id = :id;

-- Two rows are enough to know that a prefix is ambiguous. The upper bound is the prefix
-- followed by a character above every one an id may hold.
-- name: jobs_by_prefix
SELECT * FROM jobs WHERE id >= :prefix AND id < :prefix || '~' ORDER BY id LIMIT 2;

-- name: job_by_seq
SELECT * FROM jobs WHERE seq = :seq;

-- name: ids_from
SELECT id FROM jobs WHERE seq >= :first AND seq < :end ORDER BY seq;

-- name: page_all
SELECT * FROM jobs
WHERE seq < :before
  AND (:queue IS NULL OR queue = :queue)
  AND (:exit_code IS NULL OR exit_code = :exit_code)
  AND (:reason IS NULL OR reason = :reason)
  AND (:search IS NULL OR id LIKE :search ESCAPE '\' OR command LIKE :search ESCAPE '\'
       OR last_error LIKE :search ESCAPE '\')
ORDER BY seq DESC LIMIT :limit;

-- name: page_state
SELECT * FROM jobs
WHERE state = :state AND seq < :before
  AND (:queue IS NULL OR queue = :queue)
  AND (:exit_code IS NULL OR exit_code = :exit_code)
  AND (:reason IS NULL OR reason = :reason)
  AND (:search IS NULL OR id LIKE :search ESCAPE '\' OR command LIKE :search ESCAPE '\'
       OR last_error LIKE :search ESCAPE '\')
ORDER BY seq DESC LIMIT :limit;

-- name: page_seqs
SELECT * FROM jobs
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND seq < :before
  AND (:queue IS NULL OR queue = :queue)
  AND (:exit_code IS NULL OR exit_code = :exit_code)
  AND (:reason IS NULL OR reason = :reason)
  AND (:search IS NULL OR id LIKE :search ESCAPE '\' OR command LIKE :search ESCAPE '\'
       OR last_error LIKE :search ESCAPE '\')
ORDER BY seq DESC;

-- name: count_all
SELECT count(*) FROM jobs
WHERE (:queue IS NULL OR queue = :queue)
  AND (:exit_code IS NULL OR exit_code = :exit_code)
  AND (:reason IS NULL OR reason = :reason)
  AND (:search IS NULL OR id LIKE :search ESCAPE '\' OR command LIKE :search ESCAPE '\'
       OR last_error LIKE :search ESCAPE '\');

-- name: count_state
SELECT count(*) FROM jobs
WHERE state = :state
  AND (:queue IS NULL OR queue = :queue)
  AND (:exit_code IS NULL OR exit_code = :exit_code)
  AND (:reason IS NULL OR reason = :reason)
  AND (:search IS NULL OR id LIKE :search ESCAPE '\' OR command LIKE :search ESCAPE '\'
       OR last_error LIKE :search ESCAPE '\');

-- name: counts
SELECT state, queue, n FROM counts WHERE n > 0;

-- name: oldest_due
SELECT min(run_at) FROM jobs WHERE ready = 1;

-- name: attempts_of
SELECT * FROM attempts WHERE job = :seq ORDER BY number;

-- name: tail_of
SELECT tail FROM tails WHERE job = :seq AND number = :number;

-- The index attempts_ended holds all these columns: the table itself is not read.
-- name: ended_since
SELECT outcome, made_dead, finished_at - started_at, waited FROM attempts
WHERE finished_at >= :since LIMIT :limit;

-- name: retry
UPDATE jobs SET state = 'pending', ready = 1, attempts = 0, crashes = 0, run_at = :now,
                updated_at = :now, cancel = 0
WHERE seq = :seq AND state IN ('failed', 'dead', 'cancelled', 'completed');

-- name: cancel_waiting
UPDATE jobs SET state = 'cancelled', ready = NULL, updated_at = :now, finished_at = :now
WHERE seq = :seq AND state IN ('pending', 'failed');

-- name: cancel_running
UPDATE jobs SET cancel = 1, updated_at = :now WHERE seq = :seq AND state = 'processing';

-- name: remove
DELETE FROM jobs WHERE seq = :seq AND state <> 'processing';

-- name: config_all
SELECT key, value FROM config;

-- name: config_set
INSERT INTO config VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = :value;

-- name: config_unset
DELETE FROM config WHERE key = :key;
