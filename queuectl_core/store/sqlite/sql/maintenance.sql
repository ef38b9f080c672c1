-- Pruning jobs, and counting again.

-- Whether other jobs wait for a job. Then it is not forgotten.
-- fragment: waited_for_by_others
EXISTS (SELECT 1 FROM dependencies d JOIN jobs c ON c.seq = d.child
        WHERE d.parent = jobs.seq AND c.state = 'waiting')

-- Attempts that completed in a range of time, from the index alone, and then their jobs. CROSS JOIN
-- keeps this order. The other order would read every completed job.
-- name: expired
SELECT a.job FROM attempts a CROSS JOIN jobs ON jobs.seq = a.job
WHERE a.finished_at >= :since AND a.finished_at < :before AND a.outcome = 'completed'
  AND jobs.state = 'completed' AND jobs.finished_at < :before AND NOT
-- include: waited_for_by_others
ORDER BY a.finished_at LIMIT :limit;

-- name: ended
SELECT seq FROM jobs WHERE state = :state AND seq > :after AND finished_at < :before AND NOT
-- include: waited_for_by_others
ORDER BY seq LIMIT :limit;

-- name: prune
DELETE FROM jobs WHERE seq IN (SELECT value FROM json_each(:seqs))
    AND +state = :state AND finished_at < :before AND NOT
-- include: waited_for_by_others
RETURNING seq, runs;

-- name: runs_of
SELECT seq, runs FROM jobs WHERE seq IN (SELECT value FROM json_each(:seqs));

-- name: holds
SELECT 1 FROM jobs WHERE state = 'processing' AND owner = :id LIMIT 1;

-- name: faults
SELECT quick_check FROM pragma_quick_check(5) WHERE quick_check <> 'ok';

-- name: miscounted
SELECT count(*) FROM (
    SELECT state, queue
    FROM (SELECT state, queue, count(*) AS n FROM jobs GROUP BY state, queue
          UNION ALL SELECT state, queue, -n FROM counts)
    GROUP BY state, queue HAVING sum(n) <> 0
);

-- name: recount
INSERT OR REPLACE INTO counts
SELECT state, queue, sum(n)
FROM (SELECT state, queue, count(*) AS n FROM jobs GROUP BY state, queue
      UNION ALL SELECT state, queue, 0 FROM counts)
GROUP BY state, queue;

-- For a backup: running jobs become pending (or cancelled, if somebody asked for that), and there
-- are no workers.
-- name: copy_released
UPDATE jobs SET state = CASE cancel WHEN 1 THEN 'cancelled' ELSE 'pending' END,
                ready = CASE WHEN cancel THEN NULL WHEN key IS NULL THEN 1 ELSE 2 END,
                unique_holds = unique_holds AND (unique_for > 0 OR NOT cancel),
                owner = NULL, shim = NULL, cancel = 0
WHERE state = 'processing';

-- name: copy_starting
DELETE FROM starting;

-- name: copy_workers
DELETE FROM workers;

-- name: copy_supervisors
DELETE FROM supervisors;

-- name: processing
SELECT * FROM jobs WHERE state = 'processing';
