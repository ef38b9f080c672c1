-- What a console reads: pages both ways by key, counts over a stretch of keys, the dead by cause.
-- A stretch (floor to ceiling) bounds how much one query may read when few rows match. States and
-- reasons are compared together with the key, which keeps the server to the index that has both.

-- name: bounds
SELECT (SELECT min(seq) FROM jobs) AS low, (SELECT max(seq) FROM jobs) AS high;

-- name: down_all
SELECT * FROM jobs
WHERE seq BETWEEN :floor::bigint AND :ceiling::bigint
-- include: filter
ORDER BY seq DESC LIMIT :limit::bigint;

-- name: down_states
SELECT j.* FROM unnest(:states::text[]) AS s(state) CROSS JOIN LATERAL (
    SELECT * FROM jobs
    WHERE (state, seq) >= (s.state, :floor::bigint) AND (state, seq) <= (s.state, :ceiling::bigint)
-- include: filter
    ORDER BY state DESC, seq DESC LIMIT :limit::bigint
) j
ORDER BY j.seq DESC LIMIT :limit;

-- By the index jobs_dead: a page of a group costs the page, however many are dead.
-- name: down_reason
SELECT * FROM jobs
WHERE state = 'dead' AND (reason, seq) >= (:reason::text, :floor::bigint)
  AND (reason, seq) <= (:reason, :ceiling::bigint)
-- include: filter
ORDER BY reason DESC, seq DESC LIMIT :limit::bigint;

-- name: up_all
SELECT * FROM jobs
WHERE seq BETWEEN :floor::bigint AND :ceiling::bigint
-- include: filter
ORDER BY seq LIMIT :limit::bigint;

-- name: up_states
SELECT j.* FROM unnest(:states::text[]) AS s(state) CROSS JOIN LATERAL (
    SELECT * FROM jobs
    WHERE (state, seq) >= (s.state, :floor::bigint) AND (state, seq) <= (s.state, :ceiling::bigint)
-- include: filter
    ORDER BY state, seq LIMIT :limit::bigint
) j
ORDER BY j.seq LIMIT :limit;

-- By the index jobs_dead: a page of a group costs the page, however many are dead.
-- name: up_reason
SELECT * FROM jobs
WHERE state = 'dead' AND (reason, seq) >= (:reason::text, :floor::bigint)
  AND (reason, seq) <= (:reason, :ceiling::bigint)
-- include: filter
ORDER BY reason, seq LIMIT :limit::bigint;

-- name: span_all
SELECT count(*) FROM jobs
WHERE seq BETWEEN :floor::bigint AND :ceiling::bigint
-- include: filter

-- name: span_states
SELECT count(*) FROM jobs
WHERE state = ANY(:states::text[]) AND seq BETWEEN :floor::bigint AND :ceiling::bigint
-- include: filter

-- name: dead_groups
SELECT reason, min(exit_code) AS exit_code, count(*) AS n, max(finished_at) AS last_at,
       max(seq) AS newest
FROM jobs WHERE state = 'dead'
GROUP BY reason ORDER BY n DESC, reason LIMIT :limit::bigint;

-- name: ticks
SELECT floor(finished_at)::bigint AS second,
       count(*) FILTER (WHERE outcome = 'completed') AS completed,
       count(*) FILTER (WHERE outcome IN ('failed', 'timeout', 'crashed')) AS failed
FROM attempts WHERE finished_at >= :since::float8 GROUP BY second ORDER BY second;

-- name: amend
UPDATE jobs SET command = :command::text, is_argv = :is_argv::bool, state = 'pending', ready = 1,
                attempts = 0, crashes = 0, run_at = :now::float8, updated_at = :now, cancel = false
WHERE seq = :seq::bigint AND state = :state::text AND runs = :runs::bigint
  AND state IN ('failed', 'dead', 'cancelled', 'completed')
RETURNING *;
