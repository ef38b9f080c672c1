-- A transaction that changes something adds a row with a mark that its client chose at random. When
-- the answer to its commit is lost, the client looks for the mark. A transaction number is
-- not enough: a server that crashed can give the number of an uncommitted transaction to another one.
CREATE TABLE commit_marks (
    mark uuid    PRIMARY KEY,
    -- Set by the client that looked for the mark and did not find it. The row exists now, so the
    -- transaction can no longer be committed.
    void boolean NOT NULL DEFAULT false,
    at   double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp())::float8
);

CREATE INDEX commit_marks_at ON commit_marks (at);
