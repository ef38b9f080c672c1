-- Schedules.

-- name: schedules
SELECT * FROM schedules ORDER BY name;

-- name: schedule_by_name
SELECT * FROM schedules WHERE name = :name;

-- Schedules with what became of their runs. The last success is looked for among the last 100 runs.
-- name: schedule_infos
SELECT s.*, j.id AS run_id, j.state AS run_state, j.started_at AS run_started_at,
       j.finished_at AS run_finished_at, j.last_error AS run_error,
       CASE WHEN j.state = 'completed' THEN j.finished_at ELSE
           (SELECT r.finished_at FROM
               (SELECT state, finished_at FROM jobs INDEXED BY jobs_schedule
                WHERE schedule = s.name ORDER BY seq DESC LIMIT 100) AS r
            WHERE r.state = 'completed' LIMIT 1) END AS run_success_at
FROM schedules s LEFT JOIN jobs j ON j.seq = s.last_job
WHERE :name IS NULL OR s.name = :name
ORDER BY s.name;

-- name: schedule_runs
SELECT * FROM jobs INDEXED BY jobs_schedule WHERE schedule = :name ORDER BY seq DESC LIMIT :limit;

-- name: schedules_due
SELECT * FROM schedules INDEXED BY schedules_due
WHERE due_at IS NOT NULL AND paused_at IS NULL AND due_at <= :now ORDER BY due_at LIMIT :limit;

-- name: schedule_next
SELECT min(due_at) FROM schedules INDEXED BY schedules_due
WHERE due_at IS NOT NULL AND paused_at IS NULL AND due_at > :after;

-- Which of these jobs have not ended.
-- name: not_over
SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(:ids))
  AND +state NOT IN ('completed', 'dead', 'cancelled');

-- name: schedule_add
INSERT INTO schedules (name, cron, every, tz, missed, missed_within, overlap, jitter, job, since,
                       next_at, due_at, last_at, last_job, skipped_at, skipped_reason, success_at,
                       paused_at, paused_by, paused_reason, created_at, updated_at, version)
VALUES (:name, :cron, :every, :tz, :missed, :missed_within, :overlap, :jitter, :job, :since,
        :next_at, :due_at, :last_at, :last_job, :skipped_at, :skipped_reason, :success_at,
        :paused_at, :paused_by, :paused_reason, :created_at, :updated_at, :version)
ON CONFLICT (name) DO NOTHING;

-- Changes what a person may change, if nobody else has changed it, and it has not fired meanwhile.
-- name: schedule_change
UPDATE schedules SET cron = :cron, every = :every, tz = :tz, missed = :missed,
                     missed_within = :missed_within, overlap = :overlap, jitter = :jitter,
                     job = :job, since = :since, next_at = :next_at, due_at = :due_at,
                     paused_at = :paused_at, paused_by = :paused_by,
                     paused_reason = :paused_reason, updated_at = :updated_at,
                     version = version + 1
WHERE name = :name AND version = :version AND next_at IS :seen_at;

-- name: schedule_remove
DELETE FROM schedules WHERE name = :name;

-- The schedule, if nobody has fired it since it was read, and no person has changed or paused it.
-- name: schedule_locked
SELECT last_job FROM schedules
WHERE name = :name AND version = :version AND next_at = :seen_at AND paused_at IS NULL;

-- name: schedule_fired
UPDATE schedules SET next_at = :next_at, due_at = :due_at,
                     last_at = coalesce(:last_at, last_at), last_job = :last_job,
                     success_at = coalesce(:success_at, success_at),
                     skipped_at = coalesce(:skipped_at, skipped_at),
                     skipped_reason = coalesce(:skipped_reason, skipped_reason)
WHERE name = :name;

-- name: schedule_ran
UPDATE schedules SET last_job = :last_job, success_at = coalesce(:success_at, success_at)
WHERE name = :name;
