-- Claims, results and leases. Everything here runs inside BEGIN IMMEDIATE. SQLite has one writer
-- at a time, so a transaction is atomic across processes.

-- name: promote
UPDATE jobs SET ready = CASE WHEN key IS NULL THEN 1 ELSE 2 END WHERE seq IN
    (SELECT seq FROM jobs WHERE ready = 0 AND run_at <= :now ORDER BY run_at LIMIT 10000);

-- name: waiting_queues
SELECT DISTINCT queue FROM counts WHERE state IN ('pending', 'failed') AND n > 0;

-- ``suspects``: whether jobs that have crashed may be claimed.
-- name: candidates
SELECT seq, priority, run_at FROM jobs
WHERE ready = 1 AND queue = :queue AND (:suspects OR crashes = 0)
ORDER BY priority DESC, run_at, seq LIMIT :limit;

-- name: claim
UPDATE jobs SET state = 'processing', ready = NULL, owner = :owner, shim = :owner,
                worker = :worker, runs = runs + 1, started_at = :now, finished_at = NULL,
                updated_at = :now, cancel = 0, progress = NULL, progress_text = NULL, has_result = 0
WHERE seq = :seq AND ready = 1
RETURNING *;

-- Prefetches jobs: they have no worker yet. The + keeps SQLite from using the index of all waiting
-- jobs.
-- name: claim_ahead
UPDATE jobs SET state = 'processing', ready = NULL, owner = :owner, shim = :owner, worker = NULL,
                runs = runs + 1, started_at = :now, finished_at = NULL, updated_at = :now, cancel = 0,
                progress = NULL, progress_text = NULL, has_result = 0
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND +ready = 1
RETURNING *;

-- name: next_due
SELECT min(run_at) FROM jobs WHERE ready = 0;

-- A result is taken only from the attempt that holds the lease. A job that somebody wants cancelled
-- does not run again.
-- name: finish
UPDATE jobs SET state = CASE WHEN cancel AND :ready IS NOT NULL THEN 'cancelled' ELSE :state END,
                ready = CASE WHEN cancel THEN NULL WHEN :ready = 1 AND key IS NOT NULL THEN 2
                             ELSE :ready END,
                attempts = :attempts, crashes = :crashes,
                run_at = coalesce(:run_at, run_at), updated_at = :finished_at,
                finished_at = :finished_at, exit_code = :shell_code,
                last_error = :last_error, reason = :dead_reason, owner = NULL,
                shim = NULL, cancel = 0, worker = coalesce(:worker, worker),
                started_at = :started_at
WHERE seq = :seq AND runs = :run AND owner = :owner AND state = 'processing';

-- Jobs hold their unique value no longer: because they have started, or ended. This is a statement
-- of its own because most jobs have none, and no index is touched for them.
-- name: unique_started
UPDATE jobs SET unique_holds = 0
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND +unique_holds = 1 AND unique_for = 0
  AND unique_until = 'start';

-- name: unique_ended
UPDATE jobs SET unique_holds = 0
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND +unique_holds = 1 AND unique_for = 0
  AND state IN ('completed', 'dead', 'cancelled');

-- name: insert_attempt
INSERT INTO attempts VALUES (:seq, :number, :started_at, :finished_at, :outcome, :made_dead,
    :exit_code, :signal, :reason, :worker, :host, :peak_memory, :cpu_seconds, :output_bytes,
    :waited);

-- What an attempt has reported, of those that have: a progress that was not stored yet, or a result.
-- name: reported
UPDATE jobs SET progress_text = CASE WHEN :progress IS NULL THEN progress_text ELSE :progress_text END,
                progress = coalesce(:progress, progress), has_result = :result IS NOT NULL
WHERE seq = :seq AND runs = :run;

-- name: insert_result
INSERT INTO results (job, result) VALUES (:seq, :result)
ON CONFLICT (job) DO UPDATE SET result = excluded.result;

-- name: insert_tail
INSERT INTO tails VALUES (:seq, :number, :tail);

-- An attempt has started, see ClaimRequest.started.
-- name: attempt_started
UPDATE jobs SET worker = :worker, started_at = :started_at,
                unique_holds = unique_holds AND (unique_until = 'end' OR unique_for > 0)
WHERE seq = :seq AND runs = :run AND owner = :owner AND state = 'processing';

-- A prefetched job was not started. It becomes pending again, or cancelled if somebody asked for
-- that.
-- name: give_back
UPDATE jobs SET state = CASE cancel WHEN 1 THEN 'cancelled' ELSE 'pending' END,
                ready = CASE WHEN cancel THEN NULL WHEN key IS NULL THEN 1 ELSE 2 END,
                unique_holds = unique_holds AND (unique_for > 0 OR NOT cancel),
                finished_at = CASE cancel WHEN 1 THEN :now END,
                runs = runs - 1, started_at = NULL, owner = NULL, shim = NULL, cancel = 0,
                updated_at = :now
WHERE seq = :seq AND runs = :run AND owner = :owner AND state = 'processing';

-- The measured values were those of the job that ended.
-- name: worker_counted
UPDATE workers SET done = done + :done, failed = failed + :failed,
                   job_pid = NULL, cpu_percent = NULL, memory = NULL
WHERE id = :id;

-- name: supervisors
SELECT *, NULL AS lapsed FROM supervisors ORDER BY id;

-- Whether any queue has settings, whether any key is marked, and whether something has happened for
-- which there is a hook.
-- name: admission_used
SELECT EXISTS (SELECT 1 FROM queues), EXISTS (SELECT 1 FROM key_marks),
       EXISTS (SELECT 1 FROM hook_marks);

-- name: supervisor_count
SELECT count(*) FROM supervisors;

-- Whether jobs wait in the queue of one of these attempts, and its end may let one start: the queue
-- has limits, or the attempt had a key.
-- name: held_up
SELECT 1 FROM jobs j
WHERE j.seq IN (SELECT value FROM json_each(:seqs))
  AND (j.key IS NOT NULL OR j.queue IN (SELECT value FROM json_each(:limited)))
  AND EXISTS (SELECT 1 FROM counts c WHERE c.queue = j.queue AND c.state IN ('pending', 'failed')
                                       AND c.n > 0)
LIMIT 1;

-- name: supervisor_live
SELECT 1 FROM supervisors WHERE id = :id;

-- name: register
INSERT INTO supervisors VALUES (:id, :host, :host_key, :pid, :pid_start, :detached, :now,
    :now, :lease_until, :lease_mono);

-- name: heartbeat
UPDATE supervisors SET heartbeat_at = :heartbeat_at, lease_until = :lease_until,
                       lease_mono = :lease_mono
WHERE id = :id;

-- A supervisor that holds a job stays in the table, because recovery finds the job by this row.
-- name: deregister
DELETE FROM supervisors WHERE id = :id AND NOT EXISTS
    (SELECT 1 FROM jobs WHERE state = 'processing' AND owner = :id);

-- name: add_worker
INSERT INTO workers (id, supervisor, queues, stop, up, started_at)
VALUES (:id, :supervisor, :queues, :stop, :up, :now);

-- name: workers_up
UPDATE workers SET up = 1 WHERE id IN (SELECT value FROM json_each(:ids));

-- name: workers_gone
DELETE FROM workers WHERE id IN (SELECT value FROM json_each(:ids)) RETURNING id, supervisor;

-- name: workers_of
SELECT id FROM workers WHERE supervisor = :id ORDER BY length(id), id;

-- name: sample
UPDATE workers SET job_pid = json_extract(s.value, '$[1]'),
                   cpu_percent = json_extract(s.value, '$[2]'),
                   memory = json_extract(s.value, '$[3]')
FROM json_each(:samples) s WHERE workers.id = json_extract(s.value, '$[0]');

-- name: report_progress
UPDATE jobs SET progress = json_extract(r.value, '$[2]'),
                progress_text = json_extract(r.value, '$[3]')
FROM json_each(:reports) r
WHERE jobs.seq = json_extract(r.value, '$[0]') AND jobs.runs = json_extract(r.value, '$[1]')
  AND jobs.owner = :owner AND +jobs.state = 'processing';

-- name: stop_workers
UPDATE workers SET stop = CASE WHEN stop = 'now' THEN 'now' ELSE :mode END
WHERE id IN (SELECT value FROM json_each(:ids));

-- name: commands
SELECT w.id, w.queues, w.stop, w.up,
       (SELECT json_group_array(seq) FROM jobs
        WHERE state = 'processing' AND owner = :id AND cancel = 1) AS cancels
FROM supervisors s LEFT JOIN workers w ON w.supervisor = s.id
WHERE s.id = :id;

-- name: workers
SELECT w.*, s.host, s.host_key, s.pid, s.pid_start, s.detached, s.heartbeat_at,
       s.lease_until, s.lease_mono, j.id AS job, j.started_at AS job_started_at,
       j.progress, j.progress_text
FROM workers w
JOIN supervisors s ON s.id = w.supervisor
LEFT JOIN jobs j ON j.state = 'processing' AND j.owner = s.id AND j.worker = w.id
ORDER BY s.started_at, w.supervisor, length(w.id), w.id;

-- Jobs of a supervisor that is gone get a new owner. From now on results of the old owner are
-- refused, because they name the old owner.
-- name: take_over
UPDATE jobs SET owner = :successor, updated_at = :now
WHERE state = 'processing' AND owner = :id
RETURNING *;

-- name: shims_of
SELECT shim FROM jobs WHERE state = 'processing' AND owner = :id;

-- name: held
SELECT * FROM jobs WHERE state = 'processing' AND owner = :id;

-- name: shims
SELECT shim FROM jobs WHERE state = 'processing';

-- name: assign
UPDATE jobs SET worker = a.value FROM json_each(:workers) a
WHERE seq = CAST(a.key AS INTEGER) AND owner = :owner AND +state = 'processing';

-- The difference between the wall clock and the clock since boot. No setting can have this name.
-- name: clock
SELECT value FROM config WHERE key = '.clock';

-- name: clock_set
INSERT INTO config VALUES ('.clock', :value) ON CONFLICT (key) DO UPDATE SET value = :value;

-- Somebody set the wall clock. Jobs that wait for their backoff wait as long as before.
-- name: backoffs_moved
UPDATE jobs SET run_at = run_at + :delta WHERE state = 'failed';

-- name: starting_moved
UPDATE starting SET at = at + :delta;

-- The starts as they must be then. They are written anew, because two may change places.
-- name: starts_moved
SELECT queue, at + :delta, n FROM starts;

-- name: starts_gone
DELETE FROM starts;
