-- Who did what.

-- name: insert_event
INSERT INTO events (at, kind, actor, via, job, job_id, last_job, name, n, detail)
VALUES (:at::float8, :kind::text, :actor::text, :via::text, :job::bigint, :job_id::text,
        :last_job::bigint, :name::text, :count::bigint, :detail::text)
RETURNING seq;

-- One event for each of these jobs.
-- name: insert_events
INSERT INTO events (at, kind, actor, via, job, job_id, name, detail)
SELECT :at::float8, :kind::text, :actor::text, :via::text, j.seq, j.id, :name::text, :detail::text
FROM unnest(:jobs::bigint[], :ids::text[]) WITH ORDINALITY AS j(seq, id, place)
ORDER BY j.place;

-- name: event_counts
UPDATE events SET n = n + :count::bigint WHERE seq = :seq::bigint;

-- name: events_between
SELECT * FROM events
WHERE at BETWEEN :low::float8 AND :high::float8
  AND (:kinds::json IS NULL OR kind IN (SELECT json_array_elements_text(:kinds)));

-- The time of the event that is ``count`` events before the newest one up to ``high``.
-- name: event_floor
SELECT at FROM events WHERE at <= :high::float8 ORDER BY at DESC LIMIT 1 OFFSET :count::bigint;

-- name: attempt_floor
SELECT finished_at FROM attempts WHERE finished_at <= :high::float8
ORDER BY finished_at DESC LIMIT 1 OFFSET :count::bigint;

-- name: attempts_between
SELECT a.*, j.id AS job_id FROM attempts a JOIN jobs j ON j.seq = a.job
WHERE a.finished_at BETWEEN :low::float8 AND :high::float8;

-- What was started in a span of time: by the ends of short attempts, and by the index of the long
-- ones.
-- name: attempts_begun
SELECT a.*, j.id AS job_id FROM attempts a JOIN jobs j ON j.seq = a.job
WHERE a.finished_at BETWEEN :low::float8 AND :high::float8 + 10
  AND a.started_at BETWEEN :low AND :high AND NOT a.finished_at - a.started_at > 10
UNION ALL
SELECT a.*, j.id AS job_id FROM attempts a JOIN jobs j ON j.seq = a.job
WHERE a.finished_at - a.started_at > 10 AND a.started_at BETWEEN :low AND :high;

-- name: attempts_at
SELECT a.*, j.id AS job_id
FROM jsonb_array_elements(:keys::jsonb) k
JOIN attempts a ON a.job = (k ->> 0)::bigint AND a.number = (k ->> 1)::bigint
JOIN jobs j ON j.seq = a.job;

-- name: running_attempts
SELECT j.seq, j.runs, j.id, j.started_at, j.worker, s.host
FROM jobs j LEFT JOIN supervisors s ON s.id = j.owner
WHERE j.state = 'processing' AND j.worker IS NOT NULL AND j.started_at IS NOT NULL;

-- ``job``: its key, because an id may be given again; NULL: whatever had this id.
-- name: events_of
SELECT * FROM events WHERE job_id = :id::text AND (:job::bigint IS NULL OR job = :job) ORDER BY seq;

-- The bulk enqueue that may have made this job: the ranges of keys do not overlap.
-- name: events_range
SELECT * FROM events WHERE last_job IS NOT NULL AND job <= :job::bigint ORDER BY job DESC LIMIT 1;

-- name: events_named
SELECT * FROM events WHERE name = :name::text ORDER BY seq DESC LIMIT :limit::bigint;

-- What this statement can see: which transactions are committed.
-- name: events_seen
SELECT pg_current_snapshot()::text;

-- Events of transactions that could not be seen in ``seen``, and what can be seen now. A transaction
-- that took its number before and commits later is not missed. ``upto`` stays the same for all pages
-- of one read. After a restore into a new server, rows have numbers that no transaction of this
-- server has had: they are old, and in no snapshot.
-- name: events_after
SELECT e.*, pg_current_snapshot()::text AS current
FROM (SELECT 1) one LEFT JOIN LATERAL (
    SELECT * FROM events
    WHERE (xact, seq) > (:xact::text::xid8, :seq::bigint)
      AND xact < pg_snapshot_xmax(coalesce(:upto::text::pg_snapshot, pg_current_snapshot()))
      AND NOT pg_visible_in_snapshot(xact, :seen::text::pg_snapshot)
      AND pg_visible_in_snapshot(
          xact, coalesce(:upto::text::pg_snapshot, pg_current_snapshot()))
    ORDER BY xact, seq LIMIT :limit::bigint
) e ON true
ORDER BY e.xact, e.seq;

-- name: forget_events
DELETE FROM events WHERE seq IN (
    SELECT seq FROM events WHERE at < :before::float8 ORDER BY at, seq LIMIT :limit::bigint)
RETURNING seq;

-- name: oldest_event
SELECT at FROM events ORDER BY at LIMIT 1;
