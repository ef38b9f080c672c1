-- What a console reads: pages both ways by key, counts over a stretch of keys, the dead by cause.
-- A stretch (floor to ceiling) bounds how much one query may read when few rows match.

-- name: bounds
SELECT (SELECT min(seq) FROM jobs), (SELECT max(seq) FROM jobs);

-- name: down_all
SELECT * FROM jobs
WHERE seq BETWEEN :floor AND :ceiling
-- include: filter
ORDER BY seq DESC LIMIT :limit;

-- name: up_all
SELECT * FROM jobs
WHERE seq BETWEEN :floor AND :ceiling
-- include: filter
ORDER BY seq LIMIT :limit;

-- name: down_state
SELECT * FROM jobs
WHERE state = :state AND seq BETWEEN :floor AND :ceiling
-- include: filter
ORDER BY seq DESC LIMIT :limit;

-- name: up_state
SELECT * FROM jobs
WHERE state = :state AND seq BETWEEN :floor AND :ceiling
-- include: filter
ORDER BY seq LIMIT :limit;

-- By the index jobs_dead: a page of a group costs the page, however many are dead.
-- name: down_reason
SELECT * FROM jobs INDEXED BY jobs_dead
WHERE state = 'dead' AND reason = :reason AND seq BETWEEN :floor AND :ceiling
-- include: filter
ORDER BY seq DESC LIMIT :limit;

-- name: up_reason
SELECT * FROM jobs INDEXED BY jobs_dead
WHERE state = 'dead' AND reason = :reason AND seq BETWEEN :floor AND :ceiling
-- include: filter
ORDER BY seq LIMIT :limit;

-- name: span_all
SELECT count(*) FROM jobs
WHERE seq BETWEEN :floor AND :ceiling
-- include: filter

-- name: span_state
SELECT count(*) FROM jobs
WHERE state = :state AND seq BETWEEN :floor AND :ceiling
-- include: filter

-- name: dead_groups
SELECT reason, min(exit_code) AS exit_code, count(*) AS n, max(finished_at) AS last_at,
       max(seq) AS newest
FROM jobs INDEXED BY jobs_dead WHERE state = 'dead'
GROUP BY reason ORDER BY n DESC, reason LIMIT :limit;

-- name: ticks
SELECT CAST(finished_at AS INTEGER) AS second, sum(outcome = 'completed') AS completed,
       sum(outcome IN ('failed', 'timeout', 'crashed')) AS failed
FROM attempts WHERE finished_at >= :since GROUP BY second ORDER BY second;

-- name: amend
UPDATE jobs SET command = :command, is_argv = :is_argv, state = 'pending', ready = 1,
                attempts = 0, crashes = 0, run_at = :now, updated_at = :now, cancel = 0
WHERE seq = :seq AND state = :state AND runs = :runs
  AND state IN ('failed', 'dead', 'cancelled', 'completed');
