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

-- The first marks, which are removed, with what is delivered about their jobs. Each job is looked up
-- by its key: the server does not know how many marks there are.
-- name: hook_marks_taken
WITH taken AS (
    DELETE FROM hook_marks WHERE seq = ANY(ARRAY(
        SELECT seq FROM hook_marks ORDER BY seq LIMIT :limit::bigint FOR UPDATE SKIP LOCKED))
    RETURNING seq, kind, job, event
)
SELECT t.seq AS mark, t.kind, t.job, t.event, j.*, a.host, o.tail
FROM taken t
LEFT JOIN LATERAL (
    SELECT seq, id, command, is_argv, queue, attempts, max_retries, crashes, exit_code, last_error,
           reason, cause, schedule, scheduled_at, worker, created_at, started_at, finished_at, runs
    FROM jobs WHERE seq = t.job OFFSET 0) j ON true
LEFT JOIN LATERAL (
    SELECT host FROM attempts WHERE job = t.job AND number = j.runs OFFSET 0) a ON true
LEFT JOIN LATERAL (
    SELECT substring(tail FROM greatest(1, length(tail) - :bytes::int + 1)) AS tail
    FROM tails WHERE job = t.job AND number = j.runs OFFSET 0) o ON true
ORDER BY t.seq;

-- The hooks that are not paused. ``ready``: whether deliveries wait already.
-- name: hooks_active
SELECT *, (SELECT seq FROM jobs WHERE ready = 1 AND queue = 'hooks'
           ORDER BY priority DESC, run_at, seq LIMIT 1) IS NOT NULL AS ready
FROM hooks WHERE paused_at IS NULL ORDER BY name;

-- Deliveries of one hook, in order.
-- name: insert_deliveries
WITH gate AS MATERIALIZED (
    SELECT pg_advisory_xact_lock_shared(:gate::bigint)
), made AS (
    INSERT INTO jobs (id, command, is_argv, max_retries, backoff_base, priority, run_at,
                      timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
                      output_limit, state, created_at, updated_at, ready, has_stdin)
    SELECT s.id, :command::text, :is_argv::bool, :max_retries::bigint, :backoff_base::float8,
           :priority::bigint, :run_at::float8, :timeout_seconds::float8, :cwd::text, :env::text,
           :queue::text, :nice::bigint, :memory_limit::bigint, :cpu_seconds::bigint,
           :output_limit::bigint, 'pending', :now::float8, :now, 1, true
    FROM gate CROSS JOIN unnest(:ids::text[]) WITH ORDINALITY AS s (id, place)
    ORDER BY s.place
    ON CONFLICT DO NOTHING
    RETURNING seq, id
)
INSERT INTO inputs (job, stdin)
SELECT m.seq, i.stdin FROM made m JOIN unnest(:ids, :inputs::bytea[]) AS i (id, stdin) USING (id);

-- Whether anything is left to be delivered or merged, and when the first digest is due.
-- name: hook_work
SELECT (SELECT seq FROM hook_marks ORDER BY seq LIMIT 1) IS NOT NULL
       OR (SELECT seq FROM hook_entries WHERE NOT merged ORDER BY seq OFFSET 999 LIMIT 1) IS NOT NULL
       AS marked,
       (SELECT min(h.digest + (SELECT min(at) FROM hook_entries WHERE hook = h.name))
        FROM hooks h WHERE h.paused_at IS NULL) AS due;

-- name: hook_events
SELECT seq, at, kind, actor, via, job, job_id, last_job, name, n, detail FROM events
WHERE seq = ANY(:seqs::bigint[]);

-- name: hook_entries_added
INSERT INTO hook_entries (hook, at, kind, queue, reason, n, first_at, last_at, jobs)
SELECT e.hook, :at::float8, e.kind, e.queue, e.reason, e.n, e.first_at, e.last_at, e.jobs
FROM unnest(:hook::text[], :kind::text[], :queue::text[], :reason::text[], :n::bigint[],
            :first_at::float8[], :last_at::float8[], :jobs::text[])
     AS e (hook, kind, queue, reason, n, first_at, last_at, jobs);

-- Those that merge what waits for digests, or deliver digests, take turns. False: somebody else does.
-- name: hook_digests_turn
SELECT pg_try_advisory_xact_lock(:gate::int, hashtext(current_schema()));

-- The first rows that are not merged, if there are many.
-- name: hook_entries_fresh
DELETE FROM hook_entries WHERE seq = ANY(ARRAY(
    SELECT seq FROM hook_entries
    WHERE NOT merged AND (SELECT seq FROM hook_entries WHERE NOT merged
                          ORDER BY seq OFFSET :limit::bigint - 1 LIMIT 1) IS NOT NULL
    ORDER BY seq LIMIT :limit))
RETURNING seq, at, hook, kind, queue, reason, n, first_at, last_at, jobs;

-- name: hook_entries_merged
INSERT INTO hook_entries AS h (hook, at, kind, queue, reason, n, first_at, last_at, jobs, merged)
SELECT e.hook, e.at, e.kind, e.queue, e.reason, e.n, e.first_at, e.last_at, e.jobs, true
FROM unnest(:hook::text[], :at::float8[], :kind::text[], :queue::text[], :reason::text[],
            :n::bigint[], :first_at::float8[], :last_at::float8[], :jobs::text[])
     AS e (hook, at, kind, queue, reason, n, first_at, last_at, jobs)
ON CONFLICT (hook, kind, coalesce(queue, ''), reason) WHERE merged DO UPDATE SET
    n = h.n + excluded.n,
    at = least(h.at, excluded.at),
    first_at = least(h.first_at, excluded.first_at),
    last_at = greatest(h.last_at, excluded.last_at),
    jobs = (SELECT coalesce(json_agg(j.id ORDER BY j.place), '[]') FROM (
        SELECT id, place FROM json_array_elements_text(h.jobs::json)
            WITH ORDINALITY AS a (id, place)
        UNION ALL SELECT id, 5 + place FROM json_array_elements_text(excluded.jobs::json)
            WITH ORDINALITY AS b (id, place)
        ORDER BY place LIMIT 5) j)::text;

-- The hooks whose digest is due, except those that somebody else delivers.
-- name: hooks_due
SELECT h.* FROM hooks h
WHERE h.paused_at IS NULL
  AND h.digest + (SELECT min(at) FROM hook_entries WHERE hook = h.name) <= :now::float8
ORDER BY h.name FOR NO KEY UPDATE SKIP LOCKED;

-- name: hook_entries_taken
DELETE FROM hook_entries WHERE seq = ANY(ARRAY(
    SELECT seq FROM hook_entries WHERE hook = :hook::text ORDER BY at LIMIT :limit::bigint))
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

-- Deliveries that were not accepted. Their hook must be paused, if it is still the same.
-- name: hooks_gone
SELECT command, is_argv, env, created_at FROM jobs
WHERE seq = ANY(:seqs::bigint[]) AND queue = 'hooks';
