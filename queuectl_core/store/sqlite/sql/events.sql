-- Who did what.

-- name: insert_event
INSERT INTO events (at, kind, actor, via, job, job_id, last_job, name, n, detail)
VALUES (:at, :kind, :actor, :via, :job, :job_id, :last_job, :name, :count, :detail);

-- name: event_counts
UPDATE events SET n = n + :count WHERE seq = :seq;
