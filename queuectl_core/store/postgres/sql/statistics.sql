-- Rollups of attempts that ended. A batch of results changes one row for each minute. Each
-- supervisor has its own rows.

-- name: rollups_mine
SELECT at, data FROM rollups
WHERE span = :span::bigint AND at = ANY(:moments::bigint[]) AND source = :source::text;

-- name: rollups_put
INSERT INTO rollups (span, at, source, data)
SELECT :span::bigint, m.at, :source::text, m.data
FROM unnest(:moments::bigint[], :datas::bytea[]) AS m (at, data)
ON CONFLICT (span, at, source) DO UPDATE SET data = excluded.data;

-- name: rollups_since
SELECT data FROM rollups WHERE span IN (60, 600, 3600, 86400) AND at >= :since::float8;

-- The place of each in their order, and its data.
-- name: rollups_all
SELECT at, -span, source, data FROM rollups;

-- name: rollup_oldest
SELECT at FROM rollups
WHERE span = :span::bigint AND at > :after::bigint AND at < :before::bigint ORDER BY at LIMIT 1;

-- name: rollups_taken
DELETE FROM rollups WHERE span = :span::bigint AND at >= :first::bigint AND at < :end::bigint
RETURNING at, source, data;
