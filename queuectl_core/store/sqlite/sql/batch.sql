-- Bulk enqueue: jobs are collected in a temporary table and then moved in one statement.

-- name: stage
CREATE TEMP TABLE incoming (
    line INTEGER PRIMARY KEY, id TEXT, generated INTEGER, command TEXT, is_argv INTEGER,
    max_retries INTEGER, backoff_base REAL, priority INTEGER, run_at REAL,
    timeout_seconds REAL, cwd TEXT, env TEXT, queue TEXT, nice INTEGER, memory_limit INTEGER,
    cpu_seconds INTEGER, output_limit INTEGER, key TEXT, unique_value TEXT, unique_until TEXT,
    unique_for REAL, parents TEXT, on_parent_failure TEXT, hold INTEGER, held_by TEXT,
    on_conflict TEXT, secrets TEXT, schedule TEXT, scheduled_at REAL, stdin BLOB
);

-- name: stage_job
INSERT INTO temp.incoming
VALUES (:line, :id, :generated, :command, :is_argv, :max_retries, :backoff_base, :priority, :run_at,
        :timeout_seconds, :cwd, :env, :queue, :nice, :memory_limit, :cpu_seconds, :output_limit,
        :key, :unique, :unique_until, :unique_for, :parents, :on_parent_failure, :hold, :held_by,
        :on_conflict, :secrets, :schedule, :scheduled_at, :stdin);

-- name: move
INSERT INTO jobs (id, command, is_argv, max_retries, backoff_base, priority, run_at,
                  timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
                  output_limit, state, created_at, updated_at, ready, key, unique_value,
                  unique_until, unique_for, unique_holds, parents, on_parent_failure, held_at,
                  held_by, secrets, schedule, scheduled_at, has_stdin)
SELECT id, command, is_argv, max_retries, backoff_base, priority, run_at,
       timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
       output_limit, CASE WHEN hold OR parents IS NOT NULL THEN 'waiting' ELSE 'pending' END,
       :now, :now,
       CASE WHEN hold OR parents IS NOT NULL THEN NULL WHEN run_at > :now THEN 0
            WHEN key IS NULL THEN 1 ELSE 2 END,
       key, unique_value, unique_until, unique_for, unique_value IS NOT NULL, parents,
       on_parent_failure, CASE WHEN hold THEN :now END, held_by, secrets, schedule,
       scheduled_at, stdin IS NOT NULL
FROM temp.incoming ORDER BY line;

-- name: move_inputs
INSERT INTO inputs (job, stdin)
SELECT j.seq, i.stdin FROM temp.incoming i CROSS JOIN main.jobs j ON j.id = i.id
WHERE i.stdin IS NOT NULL;

-- Lines whose unique value another job holds, or that an earlier or later line has too. Values whose
-- time is over were released before.
-- name: staged_unique
SELECT line, id, unique_value, on_conflict, holder
FROM (SELECT i.*, (SELECT seq FROM main.jobs INDEXED BY jobs_unique
                   WHERE unique_value = i.unique_value AND unique_holds = 1) AS holder
      FROM temp.incoming i WHERE i.unique_value IS NOT NULL)
WHERE holder IS NOT NULL OR unique_value IN (
    SELECT unique_value FROM temp.incoming WHERE unique_value IS NOT NULL
    GROUP BY unique_value HAVING count(*) > 1)
ORDER BY line;

-- name: staged_unique_expired
UPDATE jobs SET unique_holds = 0
WHERE seq IN (
    SELECT j.seq FROM temp.incoming i CROSS JOIN main.jobs j INDEXED BY jobs_unique
    WHERE j.unique_value = i.unique_value AND j.unique_holds = 1 AND j.unique_for > 0
      AND j.created_at + j.unique_for <= :now);

-- name: staged_job
SELECT * FROM temp.incoming WHERE line = :line;

-- name: staged_gone
DELETE FROM temp.incoming WHERE line = :line;

-- name: staged_parents
SELECT 1 FROM temp.incoming WHERE parents IS NOT NULL LIMIT 1;

-- name: staged_line
SELECT line FROM temp.incoming WHERE id = :id;

-- name: twice
SELECT id, first, line, count(*) OVER () AS total
FROM temp.incoming
JOIN (SELECT id, min(line) AS first FROM temp.incoming GROUP BY id HAVING count(*) > 1) USING (id)
WHERE line > first ORDER BY line LIMIT 100;

-- name: taken
SELECT i.id, i.line, i.generated FROM temp.incoming i JOIN main.jobs j ON j.id = i.id
ORDER BY i.line LIMIT 100;

-- name: renamed
UPDATE temp.incoming SET id = :id WHERE line = :line;
