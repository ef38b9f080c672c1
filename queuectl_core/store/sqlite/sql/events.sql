-- Who did what.

-- name: insert_event
INSERT INTO events (at, kind, actor, via, job, job_id, last_job, name, n, detail)
VALUES (:at, :kind, :actor, :via, :job, :job_id, :last_job, :name, :count, :detail);

-- name: event_counts
UPDATE events SET n = n + :count WHERE seq = :seq;

-- name: events_between
SELECT * FROM events
WHERE at BETWEEN :low AND :high
  AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)));

-- The time of the event that is ``count`` events before the newest one up to ``high``.
-- name: event_floor
SELECT at FROM events WHERE at <= :high ORDER BY at DESC LIMIT 1 OFFSET :count;

-- name: attempt_floor
SELECT finished_at FROM attempts WHERE finished_at <= :high
ORDER BY finished_at DESC LIMIT 1 OFFSET :count;

-- name: attempts_between
SELECT a.*, j.id AS job_id FROM attempts a CROSS JOIN jobs j
WHERE a.finished_at BETWEEN :low AND :high AND j.seq = a.job;

-- What was started in a span of time: by the ends of short attempts, and by the index of the long
-- ones.
-- name: attempts_begun
SELECT a.*, j.id AS job_id FROM attempts a INDEXED BY attempts_ended CROSS JOIN jobs j
WHERE a.finished_at BETWEEN :low AND :high + 10 AND a.started_at BETWEEN :low AND :high
  AND NOT a.finished_at - a.started_at > 10 AND j.seq = a.job
UNION ALL
SELECT a.*, j.id AS job_id FROM attempts a INDEXED BY attempts_long CROSS JOIN jobs j
WHERE a.finished_at - a.started_at > 10 AND a.started_at BETWEEN :low AND :high AND j.seq = a.job;

-- name: attempts_at
SELECT a.*, j.id AS job_id FROM json_each(:keys) k CROSS JOIN attempts a CROSS JOIN jobs j
WHERE a.job = json_extract(k.value, '$[0]') AND a.number = json_extract(k.value, '$[1]')
  AND j.seq = a.job;

-- name: running_attempts
SELECT j.seq, j.runs, j.id, j.started_at, j.worker, s.host
FROM jobs j LEFT JOIN supervisors s ON s.id = j.owner
WHERE j.state = 'processing' AND j.worker IS NOT NULL AND j.started_at IS NOT NULL;

-- ``job``: its key, because an id may be given again; NULL: whatever had this id.
-- name: events_of
SELECT * FROM events WHERE job_id = :id AND (:job IS NULL OR job = :job) ORDER BY seq;

-- The bulk enqueue that may have made this job: the ranges of keys do not overlap.
-- name: events_range
SELECT * FROM events WHERE last_job IS NOT NULL AND job <= :job ORDER BY job DESC LIMIT 1;

-- name: events_named
SELECT * FROM events WHERE name = :name ORDER BY seq DESC LIMIT :limit;

-- name: events_last
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0);

-- One commit writes at a time, so the order of seq is the order of commits.
-- name: events_after
SELECT * FROM events WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: forget_events
DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE at < :before ORDER BY at LIMIT :limit)
RETURNING seq;

-- name: oldest_event
SELECT at FROM events ORDER BY at LIMIT 1;
