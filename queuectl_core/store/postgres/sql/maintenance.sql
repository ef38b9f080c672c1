-- Pruning jobs, folding the ledger into the counters, and counting again.

-- Whether other jobs wait for a job. Then it is not forgotten.
-- fragment: waited_for_by_others
EXISTS (SELECT FROM dependencies d CROSS JOIN LATERAL (
            SELECT state FROM jobs c WHERE c.seq = d.child OFFSET 0) c
        WHERE d.parent = jobs.seq AND c.state = 'waiting')

-- Attempts that completed in a range of time, from the index, and then their jobs.
-- name: expired
SELECT a.job FROM attempts a CROSS JOIN LATERAL (
    SELECT FROM jobs WHERE seq = a.job AND state = 'completed'
    AND finished_at < :before::float8 AND NOT
-- include: waited_for_by_others
    OFFSET 0
) still
WHERE a.finished_at >= :since::float8 AND a.finished_at < :before AND a.outcome = 'completed'
ORDER BY a.finished_at LIMIT :limit::bigint;

-- name: ended
SELECT seq FROM jobs
WHERE state <= :state::text AND (state, seq) > (:state, :after::bigint)
  AND finished_at < :before::float8 AND NOT
-- include: waited_for_by_others
ORDER BY state, seq LIMIT :limit::bigint;

-- name: prune
DELETE FROM jobs
WHERE seq IN (SELECT seq FROM jobs WHERE seq = ANY(:seqs::bigint[]) ORDER BY seq FOR UPDATE)
  AND state = :state::text AND finished_at < :before::float8 AND NOT
-- include: waited_for_by_others
RETURNING seq, runs;

-- name: runs_of
SELECT seq, runs FROM jobs WHERE seq = ANY(:seqs::bigint[]);

-- name: holds
SELECT true FROM jobs WHERE owner = :id::text LIMIT 1;

-- Whether the ledger has more than ``most`` rows. Reads no more rows than necessary.
-- name: ledger_long
SELECT count(*) > :most::bigint FROM (SELECT FROM ledger LIMIT :most + 1) enough;

-- One at a time. If another transaction has the lock, there is nothing to do.
-- name: fold_turn
SELECT pg_try_advisory_xact_lock(:key::bigint);

-- The added row has a new id. ``changes`` relies on that.
-- name: fold
WITH taken AS (
    DELETE FROM ledger RETURNING state, queue, n
), summed AS (
    INSERT INTO counts (state, queue, n)
    SELECT state, queue, sum(n) FROM taken WHERE state IS NOT NULL
    GROUP BY state, queue HAVING sum(n) <> 0 ORDER BY state, queue
    ON CONFLICT (state, queue) DO UPDATE SET n = counts.n + excluded.n
)
INSERT INTO ledger (n) VALUES (0);

-- name: marks_expired
DELETE FROM commit_marks WHERE at < extract(epoch FROM clock_timestamp())::float8 - :age::float8;

-- Adds the difference between the counters and the real counts. It reads everything in one
-- statement. Other transactions record their own changes.
-- name: recount
INSERT INTO ledger (state, queue, n)
SELECT state, queue, sum(n)
FROM (SELECT state, queue, count(*) AS n FROM jobs GROUP BY state, queue
      UNION ALL SELECT state, queue, -n FROM counts
      UNION ALL SELECT state, queue, -n FROM ledger WHERE state IS NOT NULL) parts
GROUP BY state, queue HAVING sum(n) <> 0;

-- name: miscounted
SELECT count(*) FROM (
    SELECT state, queue
    FROM (SELECT state, queue, count(*) AS n FROM jobs GROUP BY state, queue
          UNION ALL SELECT state, queue, -n FROM counts
          UNION ALL SELECT state, queue, -n FROM ledger WHERE state IS NOT NULL) parts
    GROUP BY state, queue HAVING sum(n) <> 0
) off;

-- name: faults
SELECT count(*) || ' processing jobs belong to no supervisor that is known' FROM jobs
WHERE owner IS NOT NULL AND owner NOT IN (SELECT id FROM supervisors) HAVING count(*) > 0;
