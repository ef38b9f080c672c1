-- Bulk enqueue: jobs are collected in a temporary table and then moved in one statement.

-- name: stage
CREATE TEMP TABLE incoming (
    line INTEGER PRIMARY KEY, id TEXT, generated INTEGER, command TEXT, is_argv INTEGER,
    max_retries INTEGER, backoff_base REAL, priority INTEGER, run_at REAL,
    timeout_seconds REAL, cwd TEXT, env TEXT, queue TEXT, nice INTEGER, memory_limit INTEGER,
    cpu_seconds INTEGER, output_limit INTEGER
);

-- name: stage_job
INSERT INTO temp.incoming
VALUES (:line, :id, :generated, :command, :is_argv, :max_retries, :backoff_base, :priority, :run_at,
        :timeout_seconds, :cwd, :env, :queue, :nice, :memory_limit, :cpu_seconds, :output_limit);

-- name: move
INSERT INTO jobs (id, command, is_argv, max_retries, backoff_base, priority, run_at,
                  timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
                  output_limit, state, created_at, updated_at, ready)
SELECT id, command, is_argv, max_retries, backoff_base, priority, run_at,
       timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
       output_limit, 'pending', :now, :now, run_at <= :now
FROM temp.incoming ORDER BY line;

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
