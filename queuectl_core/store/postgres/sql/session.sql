-- Opening, migrating, committing, and telling others.

-- name: opened
SELECT version, store, current_database() AS database,
       extract(epoch FROM clock_timestamp())::float8 AS clock,
       (SELECT value FROM config WHERE key = '.copy') AS mark
FROM schema_version;

-- name: place
SELECT current_setting('server_version_num')::int AS server,
       current_setting('server_encoding') AS encoding,
       to_regnamespace(quote_ident(:schema)) IS NOT NULL AS made,
       current_schema() AS schema,
       to_regclass('jobs') IS NOT NULL AS jobs,
       to_regclass('schema_version') IS NOT NULL AS ours;

-- Which schemas there are is not for one who may not create any: only a missing one is made.
-- name: schema_statement
SELECT format('CREATE SCHEMA IF NOT EXISTS %I', :schema::text);

-- name: migration_turn
SELECT pg_advisory_xact_lock(:key::bigint);

-- name: version
SELECT version FROM schema_version;

-- name: version_is
UPDATE schema_version SET version = :version::int;

-- The session's settings. Behind a pooler our process knows the session by another number (``key``);
-- then nothing is set until it is known that no other client shares the session.
-- name: session_settings
SELECT s.name, s.value AS wanted,
       CASE WHEN pg_backend_pid() = :key::bigint THEN set_config(s.name, s.value, false) END AS value,
       pg_backend_pid() AS pid,
       (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid())) AS started
FROM unnest(:names::text[], :values::text[]) AS s(name, value);

-- name: backend
SELECT pg_backend_pid();

-- The last thing before a commit: the mark by which the transaction can be found should the answer
-- to the commit be lost. One that has changed nothing needs none.
-- name: closing
INSERT INTO commit_marks (mark)
SELECT :mark::uuid WHERE pg_current_xact_id_if_assigned() IS NOT NULL
RETURNING true;

-- name: closing_ring
WITH rung AS MATERIALIZED (SELECT pg_notify(:channel::text, :news::text)),
made AS (
    INSERT INTO commit_marks (mark)
    SELECT :mark::uuid WHERE pg_current_xact_id_if_assigned() IS NOT NULL
    RETURNING true AS marked
)
SELECT made.marked FROM rung LEFT JOIN made ON true;

-- A backend of ours whose client is gone, and which waits for that client in a transaction: it would
-- wait for a minute. One that is at work (its commit may wait for a replica) is left alone.
-- name: end_idle
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = :pid::int AND backend_start = :started::timestamptz
  AND state LIKE 'idle in transaction%';

-- Waits while the transaction with this mark is under way. Then either its mark is there, or ours
-- is, and it can never be committed. ``void``: it was not.
-- name: mark_claimed
INSERT INTO commit_marks (mark, void) VALUES (:mark::uuid, true)
ON CONFLICT (mark) DO UPDATE SET void = commit_marks.void
RETURNING void;

-- name: clock
SELECT extract(epoch FROM clock_timestamp())::float8;

-- Differs from what it was whenever anything was committed: rows are only added, and folding them
-- adds one with a new id.
-- name: changes
SELECT max(id) AS last, count(*) AS number, sum(id)::text AS total,
       extract(epoch FROM clock_timestamp())::float8 AS clock
FROM ledger;
