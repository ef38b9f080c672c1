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
