-- Copying a store into another. Values are copied as they are stored, in the order of keys.

-- The mark is kept with the settings, under a name that no setting can have.
-- name: copy_mark
SELECT value FROM config WHERE key = '.copy';

-- name: copy_mark_set
INSERT INTO config VALUES ('.copy', :new);

-- name: copy_mark_changed
UPDATE config SET value = :new WHERE key = '.copy' AND value = :old;

-- name: copy_mark_gone
DELETE FROM config WHERE key = '.copy' AND value = :old;

-- name: copy_any
SELECT 1 WHERE EXISTS (SELECT 1 FROM jobs) OR EXISTS (SELECT 1 FROM config WHERE key <> '.clock')
    OR EXISTS (SELECT 1 FROM rollups) OR EXISTS (SELECT 1 FROM queues)
    OR EXISTS (SELECT 1 FROM hooks)
    OR EXISTS (SELECT 1 FROM schedules);

-- name: copy_entries
SELECT * FROM hook_entries ORDER BY seq;

-- What has happened and is not delivered to hooks yet.
-- name: copy_happened
SELECT kind, job, event FROM hook_marks ORDER BY seq;

-- name: copy_hook_mark
INSERT INTO hook_marks (kind, job, event) VALUES (?, ?, ?);

-- name: copy_highest
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0);

-- name: copy_highest_gone
DELETE FROM sqlite_sequence WHERE name = 'jobs';

-- name: copy_highest_set
INSERT INTO sqlite_sequence (name, seq)
VALUES ('jobs', max(:highest, coalesce((SELECT max(seq) FROM jobs), 0)));

-- name: copy_attempts
SELECT * FROM attempts WHERE (job, number) > (:seq, :number) AND job <= :last
ORDER BY job, number LIMIT :limit;

-- name: copy_tails
SELECT job, number, tail FROM tails WHERE (job, number) > (:seq, :number) AND job <= :last
ORDER BY job, number LIMIT :limit;

-- name: copy_inputs
SELECT job, stdin FROM inputs WHERE job > :after AND job <= :last ORDER BY job LIMIT :limit;

-- name: copy_results
SELECT job, result FROM results WHERE job > :after AND job <= :last ORDER BY job LIMIT :limit;

-- name: copy_rollups
SELECT span, at, data FROM rollups ORDER BY span, at;

-- name: copy_ended
SELECT outcome, made_dead, finished_at - started_at, waited, finished_at FROM attempts
WHERE finished_at <= :until ORDER BY finished_at;

-- name: copy_totals
SELECT (SELECT count(*) FROM attempts), (SELECT count(*) FROM tails),
       (SELECT count(*) FROM inputs), (SELECT count(*) FROM results);

-- name: copy_emptied
DELETE FROM jobs WHERE seq BETWEEN :first AND :last;

-- name: copy_job
INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
                         ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: copy_attempt
INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: copy_dependencies
SELECT d.*, c.id AS child_id, c.state AS child_state, p.state AS parent_state
FROM dependencies d JOIN jobs c ON c.seq = d.child LEFT JOIN jobs p ON p.seq = d.parent
WHERE d.child BETWEEN :first AND :last ORDER BY d.child, d.parent;

-- name: copy_dependency
INSERT INTO dependencies VALUES (?, ?, ?, ?, ?);

-- name: copy_starts
SELECT queue, at, sum(n) FROM (
    SELECT queue, at, n FROM starts UNION ALL SELECT queue, at, 1 FROM starting) AS both_kinds
GROUP BY queue, at ORDER BY queue, at;

-- name: copy_tail
INSERT INTO tails VALUES (?, ?, ?);

-- name: copy_input
INSERT INTO inputs VALUES (?, ?);

-- name: copy_result
INSERT INTO results VALUES (?, ?);

-- name: copy_events
SELECT * FROM events WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: copy_event_totals
SELECT count(*), coalesce(sum(n), 0) FROM events;

-- name: copy_no_events
DELETE FROM events;

-- name: copy_event
INSERT INTO events (seq, at, kind, actor, via, job, job_id, last_job, name, n, detail)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: copy_events_above
INSERT INTO sqlite_sequence (name, seq)
VALUES ('events', max(:highest, coalesce((SELECT max(seq) FROM events), 0)));

-- name: copy_events_above_gone
DELETE FROM sqlite_sequence WHERE name = 'events';
