-- Rollups of attempts that ended. A batch of results changes one row for each minute.

-- name: rollup_get
SELECT data FROM rollups WHERE span = :span AND at = :at;

-- Two questions in one query, because every commit with results asks them.
-- name: rollup_to_change
SELECT (SELECT data FROM rollups WHERE span = :span AND at = :at),
       (SELECT moment FROM rollups_after);

-- name: rollup_put
INSERT INTO rollups VALUES (:span, :at, :data)
ON CONFLICT (span, at) DO UPDATE SET data = :data;

-- name: rollups_after
SELECT moment FROM rollups_after;

-- name: rollups_since
SELECT data FROM rollups WHERE span IN (60, 600, 3600, 86400) AND at >= :since;

-- The place of each in their order, and its data.
-- name: rollups_all
SELECT at, -span, '', data FROM rollups;

-- Attempts that ended before the store kept rollups.
-- name: ended_until
SELECT outcome, made_dead, finished_at - started_at, waited FROM attempts
WHERE finished_at >= :since AND finished_at <= :until;

-- name: rollup_oldest
SELECT at FROM rollups WHERE span = :span AND at > :after AND at < :before ORDER BY at LIMIT 1;

-- name: rollups_taken
DELETE FROM rollups WHERE span = :span AND at >= :first AND at < :end
RETURNING at, data;
