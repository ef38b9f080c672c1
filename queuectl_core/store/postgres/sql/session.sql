-- Opening, migrating, committing and notifying.

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

-- Called only if the schema is missing: a user may lack the right to create schemas.
-- name: schema_statement
SELECT format('CREATE SCHEMA IF NOT EXISTS %I', :schema::text);

-- name: migration_turn
SELECT pg_advisory_xact_lock(:key::bigint);

-- name: version
SELECT version FROM schema_version;

-- name: version_is
UPDATE schema_version SET version = :version::int;

-- The session's settings. Behind a pooler our process knows the session by another number
-- (``key``). Then nothing is set until we know that no other client shares the session.
-- name: session_settings
SELECT s.name, s.value AS wanted,
       CASE WHEN pg_backend_pid() = :key::bigint THEN set_config(s.name, s.value, false) END AS value,
       pg_backend_pid() AS pid,
       (SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid())) AS started
FROM unnest(:names::text[], :values::text[]) AS s(name, value);

-- name: backend
SELECT pg_backend_pid();

-- The last statement before a commit writes the mark. It finds the transaction if the answer to the
-- commit is lost. A transaction that has changed nothing needs no mark.
-- name: closing
INSERT INTO commit_marks (mark)
SELECT :mark::uuid WHERE pg_current_xact_id_if_assigned() IS NOT NULL
RETURNING true;

-- name: closing_notify
WITH notified AS MATERIALIZED (SELECT pg_notify(:channel::text, :news::text)),
made AS (
    INSERT INTO commit_marks (mark)
    SELECT :mark::uuid WHERE pg_current_xact_id_if_assigned() IS NOT NULL
    RETURNING true AS marked
)
SELECT made.marked FROM notified LEFT JOIN made ON true;

-- name: notify
SELECT pg_notify(:channel::text, :news::text);

-- Ends a backend of ours that waits in a transaction for a client that is gone. It would wait for
-- a minute. A backend that is busy (its commit may wait for a replica) is left alone.
-- name: end_idle
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = :pid::int AND backend_start = :started::timestamptz
  AND state LIKE 'idle in transaction%';

-- Waits until the transaction with this mark has ended. If its mark is there, it was committed. If
-- not, we insert the mark, so that it can never be committed. ``void``: it was not committed.
-- name: mark_claimed
INSERT INTO commit_marks (mark, void) VALUES (:mark::uuid, true)
ON CONFLICT (mark) DO UPDATE SET void = commit_marks.void
RETURNING void;

-- name: clock
SELECT extract(epoch FROM clock_timestamp())::float8;

-- The answer differs after every commit, because rows are only added, and folding adds a row with a
-- new id.
-- name: changes
SELECT max(id) AS last, count(*) AS number, sum(id)::text AS total,
       extract(epoch FROM clock_timestamp())::float8 AS clock
FROM ledger;
