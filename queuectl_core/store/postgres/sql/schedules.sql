-- Schedules.

-- name: schedules
SELECT * FROM schedules ORDER BY name;

-- name: schedule_by_name
SELECT * FROM schedules WHERE name = :name::text;

-- name: schedule_held
SELECT * FROM schedules WHERE name = :name::text FOR UPDATE;

-- Schedules with what became of their runs. The last success is looked for among the last 100 runs.
-- name: schedule_infos
SELECT s.*, j.id AS run_id, j.state AS run_state, j.started_at AS run_started_at,
       j.finished_at AS run_finished_at, j.last_error AS run_error,
       CASE WHEN j.state = 'completed' THEN j.finished_at ELSE
           (SELECT r.finished_at FROM
               (SELECT state, finished_at FROM jobs
                WHERE schedule = s.name ORDER BY seq DESC LIMIT 100) AS r
            WHERE r.state = 'completed' LIMIT 1) END AS run_success_at
FROM schedules s LEFT JOIN LATERAL (SELECT * FROM jobs WHERE seq = s.last_job OFFSET 0) j ON true
WHERE :name::text IS NULL OR s.name = :name
ORDER BY s.name;

-- name: schedule_runs
SELECT * FROM jobs WHERE schedule = :name::text ORDER BY seq DESC LIMIT :limit::bigint;

-- name: schedules_due
SELECT * FROM schedules
WHERE due_at IS NOT NULL AND paused_at IS NULL AND due_at <= :now::float8
ORDER BY due_at LIMIT :limit::bigint;

-- name: schedule_next
SELECT min(due_at) FROM schedules
WHERE due_at IS NOT NULL AND paused_at IS NULL AND due_at > :after::float8;

-- Which of these jobs have not ended.
-- name: not_over
SELECT id FROM jobs WHERE id = ANY(:ids::text[])
  AND state NOT IN ('completed', 'dead', 'cancelled');

-- name: schedule_add
INSERT INTO schedules (name, cron, every, tz, missed, missed_within, overlap, jitter, job, since,
                       next_at, due_at, last_at, last_job, skipped_at, skipped_reason, success_at,
                       paused_at, paused_by, paused_reason, created_at, updated_at, version)
VALUES (:name::text, :cron::text, :every::float8, :tz::text, :missed::text, :missed_within::float8,
        :overlap::text, :jitter::float8, :job::text, :since::float8, :next_at::float8,
        :due_at::float8, :last_at::float8, :last_job::bigint, :skipped_at::float8,
        :skipped_reason::text, :success_at::float8, :paused_at::float8, :paused_by::text,
        :paused_reason::text, :created_at::float8, :updated_at::float8, :version::bigint)
ON CONFLICT (name) DO NOTHING;

-- Changes what a person may change, if nobody else has changed it, and it has not fired meanwhile.
-- name: schedule_change
UPDATE schedules SET cron = :cron::text, every = :every::float8, tz = :tz::text,
                     missed = :missed::text, missed_within = :missed_within::float8,
                     overlap = :overlap::text, jitter = :jitter::float8, job = :job::text,
                     since = :since::float8, next_at = :next_at::float8, due_at = :due_at::float8,
                     paused_at = :paused_at::float8, paused_by = :paused_by::text,
                     paused_reason = :paused_reason::text, updated_at = :updated_at::float8,
                     version = version + 1
WHERE name = :name::text AND version = :version::bigint
  AND next_at IS NOT DISTINCT FROM :seen_at::float8;

-- name: schedule_remove
DELETE FROM schedules WHERE name = :name::text;

-- Schedules that nobody else fires or changes at this moment.
-- name: schedules_locked
SELECT name, version, next_at, paused_at, last_job FROM schedules
WHERE name = ANY(:names::text[]) ORDER BY name FOR NO KEY UPDATE SKIP LOCKED;

-- name: schedules_fired
UPDATE schedules s SET next_at = f.next_at, due_at = f.due_at,
                       last_at = coalesce(f.last_at, s.last_at), last_job = f.last_job,
                       success_at = coalesce(f.success_at, s.success_at),
                       skipped_at = coalesce(f.skipped_at, s.skipped_at),
                       skipped_reason = coalesce(f.skipped_reason, s.skipped_reason)
FROM unnest(:names::text[], :next_at::float8[], :due_at::float8[], :last_at::float8[],
            :last_job::bigint[], :success_at::float8[], :skipped_at::float8[],
            :skipped_reason::text[])
    AS f (name, next_at, due_at, last_at, last_job, success_at, skipped_at, skipped_reason)
WHERE s.name = f.name;

-- name: schedule_ran
UPDATE schedules SET last_job = :last_job::bigint,
                     success_at = coalesce(:success_at::float8, success_at)
WHERE name = :name::text;

-- name: before_run
SAVEPOINT run;

-- name: as_before_run
ROLLBACK TO SAVEPOINT run;

-- name: after_run
RELEASE SAVEPOINT run;

-- name: insert_schedule_events
INSERT INTO events (at, kind, actor, via, job, job_id, name, n, detail)
SELECT :at::float8, e.kind, :actor::text, :via::text, e.job, e.job_id, e.name, e.n, e.detail
FROM unnest(:kinds::text[], :jobs::bigint[], :ids::text[], :names::text[], :counts::bigint[],
            :details::text[]) WITH ORDINALITY AS e (kind, job, job_id, name, n, detail, place)
ORDER BY e.place;
