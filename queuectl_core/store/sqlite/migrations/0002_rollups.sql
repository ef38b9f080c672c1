-- What ended, added up by the minute, and as time goes by over longer spans: statistics over many
-- attempts read these and not the attempts. See queuectl_core/domain/rollup.py for what is in one.

CREATE TABLE rollups (
    -- Seconds it covers.
    span INTEGER NOT NULL CHECK (span IN (60, 600, 3600, 86400)),
    -- When that time began, in epoch seconds; a multiple of span.
    at   INTEGER NOT NULL CHECK (at % span = 0),
    data BLOB    NOT NULL,
    PRIMARY KEY (span, at)
);

-- Attempts that ended up to this moment were recorded before there were rollups, and are in
-- none. Adding a store's whole history up here would keep everybody waiting at the first
-- opening; they are read where they are asked for, as they always were.
CREATE TABLE rollups_after (moment REAL NOT NULL);

INSERT INTO rollups_after SELECT finished_at FROM attempts ORDER BY finished_at DESC LIMIT 1;
