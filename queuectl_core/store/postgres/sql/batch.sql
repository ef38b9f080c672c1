-- Bulk enqueue: jobs are copied into a temporary table and then moved in one statement.

-- name: stage
CREATE TEMP TABLE incoming (
    line bigint, id text COLLATE "C", generated bool, command text, is_argv bool,
    max_retries bigint, backoff_base float8, priority bigint, run_at float8,
    timeout_seconds float8, cwd text, env text, queue text, nice bigint, memory_limit bigint,
    cpu_seconds bigint, output_limit bigint, key text COLLATE "C", unique_value text COLLATE "C",
    unique_until text, unique_for float8, parents text, on_parent_failure text, hold bool,
    held_by text, secrets text, schedule text, scheduled_at float8, stdin bytea, on_conflict text
) ON COMMIT DROP;

-- Nobody else takes a key while a block of keys is taken, so the keys of a block are consecutive.
-- name: key_gate
SELECT pg_advisory_lock(:key::bigint);

-- name: key_block
SELECT setval(s.keys, nextval(s.keys) + :count::bigint - 1) - :count + 1
FROM (SELECT pg_get_serial_sequence('jobs', 'seq')::regclass AS keys) s;

-- name: key_gate_open
SELECT pg_advisory_unlock(:key::bigint);

-- name: before_moving
SAVEPOINT moving;

-- name: as_before_moving
ROLLBACK TO SAVEPOINT moving;

-- name: before_settling
SAVEPOINT settling;

-- name: as_before_settling
ROLLBACK TO SAVEPOINT settling;

-- name: move
INSERT INTO jobs (seq, id, command, is_argv, max_retries, backoff_base, priority, run_at,
                  timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
                  output_limit, state, created_at, updated_at, ready, key, unique_value,
                  unique_until, unique_for, unique_holds, parents, on_parent_failure, held_at,
                  held_by, secrets, schedule, scheduled_at, has_stdin)
SELECT :first::bigint - 1 + row_number() OVER (ORDER BY line), id, command, is_argv, max_retries,
       backoff_base, priority, run_at, timeout_seconds, cwd, env, queue, nice, memory_limit,
       cpu_seconds, output_limit,
       CASE WHEN hold OR parents IS NOT NULL THEN 'waiting' ELSE 'pending' END,
       :now::float8, :now,
       CASE WHEN hold OR parents IS NOT NULL THEN NULL WHEN run_at > :now THEN 0
            WHEN key IS NULL THEN 1 ELSE 2 END,
       key, unique_value, unique_until, unique_for, unique_value IS NOT NULL, parents,
       on_parent_failure, CASE WHEN hold THEN :now END, held_by, secrets, schedule,
       scheduled_at, stdin IS NOT NULL
FROM pg_temp.incoming ORDER BY line;

-- name: move_inputs
INSERT INTO inputs (job, stdin)
SELECT j.seq, i.stdin FROM pg_temp.incoming i JOIN jobs j ON j.id = i.id WHERE i.stdin IS NOT NULL;

-- Lines whose unique value another job holds, or that an earlier or later line has too. Values whose
-- time is over were released before.
-- name: staged_unique
SELECT i.*, j.seq AS holder
FROM (SELECT *, count(*) OVER (PARTITION BY unique_value) AS lines
      FROM pg_temp.incoming WHERE unique_value IS NOT NULL) i
LEFT JOIN LATERAL (
    SELECT seq FROM jobs WHERE unique_value = i.unique_value AND unique_holds OFFSET 0) j ON true
WHERE j.seq IS NOT NULL OR i.lines > 1
ORDER BY i.line;

-- name: staged_unique_expired
UPDATE jobs j SET unique_holds = false
WHERE j.seq IN (
    SELECT s.seq FROM pg_temp.incoming i CROSS JOIN LATERAL (
        SELECT seq FROM jobs WHERE unique_value = i.unique_value AND unique_holds
          AND unique_for > 0 AND created_at + unique_for <= :now::float8 OFFSET 0) s
    ORDER BY s.seq)
  AND j.unique_holds;

-- name: staged_gone
DELETE FROM pg_temp.incoming WHERE line = ANY(:lines::bigint[]);

-- name: staged_line
SELECT line FROM pg_temp.incoming WHERE id = :id::text;

-- name: twice
SELECT id, first, line, count(*) OVER () AS total
FROM pg_temp.incoming
JOIN (SELECT id, min(line) AS first FROM pg_temp.incoming GROUP BY id HAVING count(*) > 1) r
    USING (id)
WHERE line > first ORDER BY line LIMIT 100;

-- name: taken
SELECT i.id, i.line, i.generated FROM pg_temp.incoming i JOIN jobs j ON j.id = i.id
ORDER BY i.line LIMIT 100;

-- name: renamed
UPDATE pg_temp.incoming SET id = :id::text WHERE line = :line::bigint;
