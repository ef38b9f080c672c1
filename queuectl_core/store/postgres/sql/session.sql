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

-- The last thing before a commit: its number, by which it can be asked for should the answer to
-- the commit be lost.
-- name: closing
SELECT pg_current_xact_id_if_assigned()::text;

-- name: closing_ring
SELECT pg_current_xact_id_if_assigned()::text FROM (SELECT pg_notify(:channel::text, :news::text)) AS rung;

-- name: commit_status
SELECT pg_xact_status(:xid::text::xid8);

-- name: clock
SELECT extract(epoch FROM clock_timestamp())::float8;

-- Differs from what it was whenever anything was committed: rows are only added, and folding them
-- adds one with a new id.
-- name: changes
SELECT max(id) AS last, count(*) AS number, sum(id)::text AS total,
       extract(epoch FROM clock_timestamp())::float8 AS clock
FROM ledger;
