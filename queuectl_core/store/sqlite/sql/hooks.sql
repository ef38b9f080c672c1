-- Hooks, what has happened that they ask for, and what waits for a digest.

-- name: hooks
SELECT * FROM hooks ORDER BY name;

-- name: hook_by_name
SELECT * FROM hooks WHERE name = :name;

-- name: hook_put
INSERT OR REPLACE INTO hooks
VALUES (:name, :events, :queue, :digest, :url, :secret_file, :job, :paused_at, :paused_by,
        :paused_reason, :created_at, :updated_at);

-- name: hook_remove
DELETE FROM hooks WHERE name = :name;

-- name: hook_watches_gone
DELETE FROM hook_watches;

-- name: hook_watch
INSERT INTO hook_watches SELECT value FROM json_each(:kinds);

-- name: hooks_marked
SELECT EXISTS (SELECT 1 FROM hook_marks);

-- name: hook_marks_taken
DELETE FROM hook_marks WHERE seq IN (SELECT seq FROM hook_marks ORDER BY seq LIMIT :limit)
RETURNING seq, kind, job, event;

-- Whether anything is left to be delivered, and when the first digest is due.
-- name: hook_work
SELECT EXISTS (SELECT 1 FROM hook_marks) AS marked,
       (SELECT min(h.digest + (SELECT min(at) FROM hook_entries WHERE hook = h.name))
        FROM hooks h WHERE h.paused_at IS NULL) AS due;

-- name: hook_facts
SELECT j.seq, j.id, j.command, j.is_argv, j.queue, j.attempts, j.max_retries, j.crashes,
       j.exit_code, j.last_error, j.reason, j.cause, j.schedule, j.scheduled_at, j.worker,
       j.created_at, j.started_at, j.finished_at, a.host, substr(t.tail, -:bytes) AS tail
FROM json_each(:seqs) s
JOIN jobs j ON j.seq = s.value
LEFT JOIN attempts a ON a.job = j.seq AND a.number = j.runs
LEFT JOIN tails t ON t.job = j.seq AND t.number = j.runs;

-- name: hook_events
SELECT seq, at, kind, actor, via, job, job_id, last_job, name, n, detail FROM events
WHERE seq IN (SELECT value FROM json_each(:seqs));

-- name: hook_entry
INSERT INTO hook_entries (hook, at, kind, queue, reason, n, first_at, last_at, jobs)
VALUES (:hook, :at, :kind, :queue, :reason, :n, :first_at, :last_at, :jobs)
ON CONFLICT (hook, kind, coalesce(queue, ''), reason) DO UPDATE SET
    n = n + excluded.n,
    at = min(at, excluded.at),
    first_at = min(first_at, excluded.first_at),
    last_at = max(last_at, excluded.last_at),
    jobs = CASE WHEN json_array_length(jobs) >= 5 THEN jobs ELSE (
        SELECT json_group_array(value) FROM (
            SELECT value FROM json_each(hook_entries.jobs)
            UNION ALL SELECT value FROM json_each(excluded.jobs) LIMIT 5)) END;

-- The hooks whose digest is due.
-- name: hooks_due
SELECT h.* FROM hooks h
WHERE h.paused_at IS NULL
  AND h.digest + (SELECT min(at) FROM hook_entries WHERE hook = h.name) <= :now
ORDER BY h.name;

-- name: hook_entries_taken
DELETE FROM hook_entries
WHERE seq IN (SELECT seq FROM hook_entries WHERE hook = :hook ORDER BY at LIMIT :limit)
RETURNING seq, kind, queue, reason, n, first_at, last_at, jobs;

-- name: hook_entries_gone
DELETE FROM hook_entries WHERE hook = :hook;

-- Of hooks that were removed meanwhile.
-- name: hook_entries_orphaned
DELETE FROM hook_entries WHERE hook NOT IN (SELECT name FROM hooks);

-- How many events wait for the digest of each hook.
-- name: hook_waiting
SELECT hook, sum(n) AS n, min(at) AS since FROM hook_entries GROUP BY hook;

-- Whether a job of this queue may be claimed.
-- name: queue_ready
SELECT EXISTS (SELECT 1 FROM jobs WHERE ready = 1 AND queue = :queue);

-- Deliveries of one hook, with these ids, in order. A statement for each of them would take twice as
-- long.
-- name: insert_deliveries
INSERT INTO jobs (id, command, is_argv, max_retries, backoff_base, priority, run_at,
                  timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
                  output_limit, state, created_at, updated_at, ready, has_stdin)
SELECT value, :command, :is_argv, :max_retries, :backoff_base, :priority, :run_at,
       :timeout_seconds, :cwd, :env, :queue, :nice, :memory_limit, :cpu_seconds,
       :output_limit, 'pending', :now, :now, 1, 1
FROM json_each(:ids) ORDER BY key;

-- name: insert_delivery_inputs
INSERT INTO inputs (job, stdin)
SELECT j.seq, CAST(i.value AS BLOB) FROM json_each(:inputs) i JOIN jobs j ON j.id = i.key;

-- Deliveries that were not accepted. Their hook must be paused, if it is still the same.
-- name: hooks_gone
SELECT command, is_argv, env, created_at FROM jobs
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND queue = 'hooks';
