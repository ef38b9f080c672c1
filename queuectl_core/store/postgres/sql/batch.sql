-- Bulk enqueue: jobs are copied into a temporary table and then moved in one statement.

-- name: stage
CREATE TEMP TABLE incoming (
    line bigint, id text COLLATE "C", generated bool, command text, is_argv bool,
    max_retries bigint, backoff_base float8, priority bigint, run_at float8,
    timeout_seconds float8, cwd text, env text, queue text, nice bigint, memory_limit bigint,
    cpu_seconds bigint, output_limit bigint
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

-- name: move
INSERT INTO jobs (seq, id, command, is_argv, max_retries, backoff_base, priority, run_at,
                  timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
                  output_limit, state, created_at, updated_at, ready)
SELECT :first::bigint - 1 + row_number() OVER (ORDER BY line), id, command, is_argv, max_retries,
       backoff_base, priority, run_at, timeout_seconds, cwd, env, queue, nice, memory_limit,
       cpu_seconds, output_limit, 'pending', :now::float8, :now, (run_at <= :now)::int
FROM pg_temp.incoming ORDER BY line;

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
