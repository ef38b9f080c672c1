-- Hooks, what has happened that they ask for, and what waits for a digest.

-- name: hooks
SELECT * FROM hooks ORDER BY name;

-- name: hook_by_name
SELECT * FROM hooks WHERE name = :name::text;

-- Verbs that change hooks come one after another: each writes hook_watches anew.
-- name: hooks_turn
SELECT pg_advisory_xact_lock(:gate::int, hashtext(current_schema()));

-- name: hook_put
INSERT INTO hooks
VALUES (:name::text, :events::text, :queue::text, :digest::float8, :url::text, :secret_file::text,
        :job::text, :paused_at::float8, :paused_by::text, :paused_reason::text,
        :created_at::float8, :updated_at::float8)
ON CONFLICT (name) DO UPDATE SET
    events = excluded.events, queue = excluded.queue, digest = excluded.digest,
    url = excluded.url, secret_file = excluded.secret_file, job = excluded.job,
    paused_at = excluded.paused_at, paused_by = excluded.paused_by,
    paused_reason = excluded.paused_reason, created_at = excluded.created_at,
    updated_at = excluded.updated_at;

-- name: hook_remove
DELETE FROM hooks WHERE name = :name::text;

-- name: hook_watches_gone
DELETE FROM hook_watches;

-- name: hook_watch
INSERT INTO hook_watches SELECT * FROM unnest(:kinds::text[]);

-- name: hooks_marked
SELECT (SELECT seq FROM hook_marks ORDER BY seq LIMIT 1) IS NOT NULL;

-- name: hook_marks_taken
DELETE FROM hook_marks WHERE seq = ANY(ARRAY(
    SELECT seq FROM hook_marks ORDER BY seq LIMIT :limit::bigint FOR UPDATE SKIP LOCKED))
RETURNING seq, kind, job, event;

-- Whether anything is left to be delivered, and when the first digest is due.
-- name: hook_work
SELECT (SELECT seq FROM hook_marks ORDER BY seq LIMIT 1) IS NOT NULL AS marked,
       (SELECT min(h.digest + (SELECT min(at) FROM hook_entries WHERE hook = h.name))
        FROM hooks h WHERE h.paused_at IS NULL) AS due;

-- name: hook_facts
SELECT j.seq, j.id, j.command, j.is_argv, j.queue, j.attempts, j.max_retries, j.crashes,
       j.exit_code, j.last_error, j.reason, j.cause, j.schedule, j.scheduled_at, j.worker,
       j.created_at, j.started_at, j.finished_at, a.host, 
       substring(t.tail FROM greatest(1, length(t.tail) - :bytes::int + 1)) AS tail
FROM unnest(:seqs::bigint[]) s (seq)
JOIN jobs j ON j.seq = s.seq
LEFT JOIN attempts a ON a.job = j.seq AND a.number = j.runs
LEFT JOIN tails t ON t.job = j.seq AND t.number = j.runs;

-- name: hook_events
SELECT seq, at, kind, actor, via, job_id, name, detail FROM events
WHERE seq = ANY(:seqs::bigint[]);

-- name: hook_entry
INSERT INTO hook_entries (hook, at, kind, queue, reason, n, first_at, last_at, jobs)
VALUES (:hook::text, :at::float8, :kind::text, :queue::text, :reason::text, :n::bigint,
        :first_at::float8, :last_at::float8, :jobs::text);

-- The hooks whose digest is due, except those that somebody else delivers.
-- name: hooks_due
SELECT h.* FROM hooks h
WHERE h.paused_at IS NULL
  AND h.digest + (SELECT min(at) FROM hook_entries WHERE hook = h.name) <= :now::float8
ORDER BY h.name FOR NO KEY UPDATE SKIP LOCKED;

-- name: hook_entries_taken
DELETE FROM hook_entries WHERE hook = :hook::text
RETURNING seq, kind, queue, reason, n, first_at, last_at, jobs;

-- name: hook_entries_gone
DELETE FROM hook_entries WHERE hook = :hook::text;

-- Of hooks that were removed meanwhile.
-- name: hook_entries_orphaned
DELETE FROM hook_entries WHERE hook NOT IN (SELECT name FROM hooks);

-- How many events wait for the digest of each hook.
-- name: hook_waiting
SELECT hook, sum(n)::bigint AS n, min(at) AS since FROM hook_entries GROUP BY hook;

-- Whether a job of this queue may be claimed.
-- name: queue_ready
SELECT (SELECT seq FROM jobs WHERE ready = 1 AND queue = :queue::text
        ORDER BY priority DESC, run_at, seq LIMIT 1) IS NOT NULL;

-- The last jobs of a queue may end in several transactions at the same time, and none of them sees
-- the others. So they take turns here, until they are committed.
-- name: hook_empty_turn
SELECT pg_advisory_xact_lock(:gate::int, hashtext(current_schema() || ' ' || :queue::text));

-- Deliveries that were not accepted, whose hook must be paused.
-- name: hooks_gone
SELECT command, is_argv FROM jobs
WHERE seq = ANY(:seqs::bigint[]) AND queue = 'hooks';
