-- Copying a store into another. Values are copied as they are stored, in the order of keys.

-- The mark is kept with the settings, under a name that no setting can have.
-- name: copy_mark
SELECT value FROM config WHERE key = '.copy';

-- name: copy_mark_set
INSERT INTO config (key, value) VALUES ('.copy', :new::text);

-- name: copy_mark_changed
UPDATE config SET value = :new::text WHERE key = '.copy' AND value = :old::text;

-- name: copy_mark_gone
DELETE FROM config WHERE key = '.copy' AND value = :old::text;

-- Waits for transactions that enqueue or register, so that we see what they wrote. Later ones wait
-- until they see the mark.
-- name: copy_alone
LOCK TABLE jobs, config, rollups, supervisors IN SHARE ROW EXCLUSIVE MODE;

-- name: copy_any
SELECT EXISTS (SELECT FROM jobs) OR EXISTS (SELECT FROM config) OR EXISTS (SELECT FROM rollups)
    OR EXISTS (SELECT FROM queues WHERE given) OR EXISTS (SELECT FROM hooks)
    OR EXISTS (SELECT FROM schedules);

-- name: copy_entries
SELECT * FROM hook_entries ORDER BY seq;

-- What has happened and is not delivered to hooks yet.
-- name: copy_happened
SELECT kind, job, event FROM hook_marks ORDER BY seq;

-- name: copy_highest
SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('jobs', 'seq')::regclass), 0);

-- name: copy_highest_set
SELECT setval(pg_get_serial_sequence('jobs', 'seq')::regclass, greatest(h.highest, 1),
              h.highest > 0)
FROM (SELECT greatest(:highest::bigint, (SELECT max(seq) FROM jobs)) AS highest) h;

-- name: copy_attempts
SELECT * FROM attempts
WHERE (job, number) > (:seq::bigint, :number::bigint) AND job <= :last::bigint
ORDER BY job, number LIMIT :limit::bigint;

-- name: copy_tails
SELECT job, number, tail FROM tails
WHERE (job, number) > (:seq::bigint, :number::bigint) AND job <= :last::bigint
ORDER BY job, number LIMIT :limit::bigint;

-- name: copy_dependencies
SELECT d.*, c.id AS child_id, c.state AS child_state, p.state AS parent_state
FROM dependencies d JOIN jobs c ON c.seq = d.child LEFT JOIN jobs p ON p.seq = d.parent
WHERE d.child BETWEEN :first::bigint AND :last::bigint ORDER BY d.child, d.parent;

-- name: copy_starts
SELECT queue, at, sum(n)::bigint FROM (
    SELECT queue, at, n FROM starts UNION ALL SELECT queue, at, 1 FROM starting) AS both_kinds
GROUP BY queue, at ORDER BY queue, at;

-- name: copy_inputs
SELECT job, stdin FROM inputs WHERE job > :after::bigint AND job <= :last::bigint ORDER BY job LIMIT :limit::bigint;

-- name: copy_results
SELECT job, result FROM results WHERE job > :after::bigint AND job <= :last::bigint ORDER BY job LIMIT :limit::bigint;

-- name: copy_rollups
SELECT span, at, data FROM rollups ORDER BY span, at, source;

-- name: copy_totals
SELECT (SELECT count(*) FROM attempts) AS attempts, (SELECT count(*) FROM tails) AS tails,
       (SELECT count(*) FROM inputs) AS inputs, (SELECT count(*) FROM results) AS results;

-- name: copy_emptied
DELETE FROM jobs WHERE seq BETWEEN :first::bigint AND :last::bigint;

-- name: copy_events
SELECT * FROM events WHERE seq > :after::bigint ORDER BY seq LIMIT :limit::bigint;

-- name: copy_event_totals
SELECT count(*), coalesce(sum(n), 0) FROM events;

-- name: copy_no_events
DELETE FROM events;

-- name: copy_events_above
SELECT setval(pg_get_serial_sequence('events', 'seq')::regclass, greatest(h.highest, 1),
              h.highest > 0)
FROM (SELECT greatest(:highest::bigint, (SELECT max(seq) FROM events)) AS highest) h;
