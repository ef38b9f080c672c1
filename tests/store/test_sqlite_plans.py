"""SQLite: the frequent queries use their index.

Read from EXPLAIN QUERY PLAN of the very text that is sent, on a database with jobs in it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from queuectl_core.domain.model import Filter, State
from queuectl_core.store.sqlite import jobs
from queuectl_core.store.sqlite.database_file import prepare_file
from queuectl_core.store.sqlite.queries import SQL
from queuectl_core.store.sqlite.store import SqliteStore, connect

from ..support import NOW, spec

LISTS = ("LIST SUBQUERY", "SCAN json_each VIRTUAL TABLE INDEX 1:")
"""A list of the filter: read once, and only if it was given."""

WAITED_FOR = [
    "CORRELATED SCALAR SUBQUERY",
    "SEARCH d USING COVERING INDEX dependencies_parent (parent=?)",
    "SEARCH c USING INTEGER PRIMARY KEY (rowid=?)",
]
"""Whether other jobs wait for a job."""
LATER = [
    "CORRELATED SCALAR SUBQUERY",
    "SEARCH d USING PRIMARY KEY (child=? AND parent>?)",
    "SEARCH p USING INTEGER PRIMARY KEY (rowid=?)",
    *LISTS * 5,
]
"""Whether a job waits for one on a later page."""

WANTED = {
    # the claim: only rows that may be claimed, in the order they are claimed
    "candidates": ["SEARCH jobs USING INDEX jobs_claim (queue=?)"],
    "promote": [
        "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
        "LIST SUBQUERY",
        "SEARCH jobs USING COVERING INDEX jobs_due (ready=? AND run_at<?)",
    ],
    "next_due": ["SEARCH jobs USING COVERING INDEX jobs_due (ready=?)"],
    "oldest_due": [
        "CO-ROUTINE all_kinds",
        "COMPOUND QUERY",
        "LEFT-MOST SUBQUERY",
        "CO-ROUTINE first",
        "SEARCH jobs USING INDEX jobs_due (ready=? AND run_at<?)",
        "SCALAR SUBQUERY",
        "SEARCH jobs USING INDEX jobs_due (ready=?)",
        "SEARCH first",
        "UNION ALL",
        "SEARCH jobs USING COVERING INDEX jobs_due (ready=? AND run_at<?)",
        "UNION ALL",
        "CO-ROUTINE behind",
        "SEARCH jobs USING INDEX jobs_due (ready=?)",
        "SCAN behind",
        "SEARCH all_kinds",
    ],
    "claim": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "claim_ahead": [
        "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
        "LIST SUBQUERY",
        "SCAN json_each VIRTUAL TABLE INDEX 1:",
    ],
    "finish": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"],
    "commands": [
        "SEARCH s USING PRIMARY KEY (id=?)",
        "SEARCH w USING INDEX workers_supervisor (supervisor=?) LEFT-JOIN",
        "SCALAR SUBQUERY",
        "SEARCH jobs USING INDEX jobs_state (state=?)",
    ],
    "take_over": ["SEARCH jobs USING INDEX jobs_state (state=?)"],
    "held": ["SEARCH jobs USING INDEX jobs_state (state=?)"],
    "shims": ["SEARCH jobs USING INDEX jobs_state (state=?)"],
    # reading
    "jobs_by_prefix": ["SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id>? AND id<?)"],
    **{
        f"scan_state_{direction}": [
            "SEARCH jobs USING INDEX jobs_state (state=? AND seq>? AND seq<?)",
            *LISTS * 4,
        ]
        for direction in ("up", "down")
    },
    **{
        f"scan_all_{direction}": [
            "SEARCH jobs USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
            *LISTS * 4,
        ]
        for direction in ("up", "down")
    },
    **{
        f"scan_reason_{direction}": [
            "SEARCH jobs USING INDEX jobs_dead (reason=? AND seq>? AND seq<?)",
            *LISTS * 4,
        ]
        for direction in ("up", "down")
    },
    "attempts_of": ["SEARCH attempts USING PRIMARY KEY (job=?)"],
    "tail_of": ["SEARCH tails USING INDEX sqlite_autoindex_tails_1 (job=? AND number=?)"],
    "ended_since": ["SEARCH attempts USING COVERING INDEX attempts_ended (finished_at>?)"],
    # rollups: a row by its key, the rows of a window, attempts from before there were rollups
    "rollup_get": ["SEARCH rollups USING INDEX sqlite_autoindex_rollups_1 (span=? AND at=?)"],
    "rollup_to_change": [
        "SCAN CONSTANT ROW",
        "SCALAR SUBQUERY",
        "SEARCH rollups USING INDEX sqlite_autoindex_rollups_1 (span=? AND at=?)",
        "SCALAR SUBQUERY",
        "SCAN rollups_after",
    ],
    "rollups_since": ["SEARCH rollups USING INDEX sqlite_autoindex_rollups_1 (span=? AND at>?)"],
    "rollups_all": ["SCAN rollups"],
    "rollup_oldest": [
        "SEARCH rollups USING COVERING INDEX sqlite_autoindex_rollups_1 (span=? AND at>? AND at<?)"
    ],
    "rollups_taken": [
        "SEARCH rollups USING COVERING INDEX sqlite_autoindex_rollups_1 (span=? AND at>? AND at<?)"
    ],
    "rollups_after": ["SCAN rollups_after"],  # one row, or none
    "ended_until": [
        "SEARCH attempts USING COVERING INDEX attempts_ended (finished_at>? AND finished_at<?)"
    ],
    # maintenance: only what ended in a range of time is read
    "expired": [
        "SEARCH a USING COVERING INDEX attempts_ended (finished_at>? AND finished_at<?)",
        "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
        *WAITED_FOR,
    ],
    "ended": ["SEARCH jobs USING INDEX jobs_state (state=? AND seq>?)", *WAITED_FOR],
    "prune": ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)", *LISTS, *WAITED_FOR],
    "assign": [
        "SCAN a VIRTUAL TABLE INDEX 1:",
        "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "count_states": [
        "SEARCH jobs USING INDEX jobs_state (state=? AND seq>? AND seq<?)",
        *LISTS * 5,
    ],
    "holds": ["SEARCH jobs USING INDEX jobs_state (state=?)"],
    # bulk verbs: candidates from the index of the state, changed by key
    "bulk_state": ["SEARCH jobs USING INDEX jobs_state (state=? AND seq>? AND seq<?)", *LISTS * 4],
    "bulk_reason": ["SEARCH jobs USING INDEX jobs_dead (reason=? AND seq>? AND seq<?)", *LISTS * 4],
    **{
        action: [
            "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
            *LISTS * 7,  # the keys, the states and what was read, too
            *(LATER if action == "retry" else ()),
        ]
        for action in ("retry", "cancel", "hold", "release")
    },
    # admission: only the jobs of one key, of one queue, the parents of one job
    "key_heads": ["SEARCH jobs USING COVERING INDEX jobs_key (queue=? AND key=? AND ready=?)"],
    "key_next": ["SEARCH jobs USING COVERING INDEX jobs_key (queue=? AND key=? AND ready=?)"],
    "key_running": ["SEARCH jobs USING INDEX jobs_key_running (queue=? AND key=?)"],
    "queue_running": ["SEARCH jobs USING INDEX jobs_state (state=?)"],
    "children_after": [
        "SEARCH dependencies USING COVERING INDEX dependencies_parent (parent=? AND child>?)"
    ],
    "unique_holder": ["SEARCH jobs USING INDEX jobs_unique (unique_value=?)"],
    # events: one span of time, one job
    "events_between": ["SEARCH events USING INDEX events_at (at>? AND at<?)", *LISTS],
    "event_floor": ["SEARCH events USING COVERING INDEX events_at (at<?)"],
    "attempt_floor": ["SEARCH attempts USING COVERING INDEX attempts_ended (finished_at<?)"],
    "attempts_between": [
        "SEARCH a USING INDEX attempts_ended (finished_at>? AND finished_at<?)",
        "SEARCH j USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "attempts_begun": [
        "COMPOUND QUERY",
        "LEFT-MOST SUBQUERY",
        "SEARCH a USING INDEX attempts_ended (finished_at>? AND finished_at<?)",
        "SEARCH j USING INTEGER PRIMARY KEY (rowid=?)",
        "UNION ALL",
        "SEARCH a USING INDEX attempts_long (started_at>? AND started_at<?)",
        "SEARCH j USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "running_attempts": [
        "SEARCH j USING INDEX jobs_state (state=?)",
        "SEARCH s USING PRIMARY KEY (id=?) LEFT-JOIN",
    ],
    "events_named": ["SEARCH events USING INDEX events_name (name=?)"],
    "events_of": ["SEARCH events USING INDEX events_job (job_id=?)"],
    "events_range": ["SEARCH events USING INDEX events_range (job<?)"],
    "events_after": ["SEARCH events USING INTEGER PRIMARY KEY (rowid>?)"],
    "forget_events": [
        "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)",
        "LIST SUBQUERY",
        "SEARCH events USING COVERING INDEX events_at (at<?)",
    ],
    "counts": ["SCAN counts"],  # a row for each state and queue, however many jobs
}

MAY_SCAN_JOBS = {
    "ids_taken": "scans the ids given, and looks each up",
    "bounds": "min and max of the key: one row from each end",
    "miscounted": "for doctor: what the counters should say is known by counting",
    "recount": "the same",
    "dead_groups": "the index of the dead alone",
    "copy_any": "whether there is any: the first row",
    "key_running_ids": "sorts the running jobs of some keys",
    "queue_running_by_host": "groups the running jobs of a queue",
    "misadmitted": "for doctor: all jobs that wait",
    "readmit_keys": "the same",
    "staged_unique": "groups the lines of a batch, not the jobs",
    "wait_groups": "for status --why: all jobs that wait are counted",
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A plain connection to a store with some jobs in every queue. Nothing changes it."""
    path = tmp_path_factory.mktemp("plans") / "queue.db"

    async def fill() -> None:
        store = await SqliteStore.open(path)
        jobs = [spec(queue=f"q{n % 3}", run_at=NOW + n % 2 * 60) for n in range(100)]
        await store.enqueue(jobs, NOW)
        await store.close()

    asyncio.run(fill())
    with closing(sqlite3.connect(path)) as opened:
        opened.execute(SQL["stage"])
        yield opened


def plan(database: sqlite3.Connection, query: str) -> list[str]:
    text = SQL[query]
    values = [None] * text.count("?") if "?" in text else _Any()
    rows = database.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
    return [row[3] for row in rows]


class _Any(dict[str, object]):
    """A value for every parameter a query may name."""

    def __missing__(self, name: str) -> None:
        return None


@pytest.mark.parametrize("query", sorted(WANTED))
def test_the_plan(database: sqlite3.Connection, query: str) -> None:
    found = plan(database, query)
    # SQLite numbers subqueries differently from version to version.
    assert [line.split(" SUBQUERY")[0] + " SUBQUERY" * (" SUBQUERY" in line) for line in found] == (
        WANTED[query]
    )


@pytest.mark.parametrize("query", sorted(SQL.keys() - {"stage"}))  # it makes a table
def test_no_query_reads_all_jobs_or_sorts_them(database: sqlite3.Connection, query: str) -> None:
    found = plan(database, query)
    if query not in MAY_SCAN_JOBS:
        assert not [line for line in found if line.startswith("SCAN jobs")], found
        assert not [line for line in found if "TEMP B-TREE" in line and _sorts_jobs(query)], found


def _sorts_jobs(query: str) -> bool:
    """Whether it reads the table that grows; sorting few workers or ids costs nothing."""
    return " jobs" in SQL[query] and query not in ("workers", "insert_deliveries")


def test_the_list_of_exceptions_is_current() -> None:
    assert set(MAY_SCAN_JOBS) <= set(SQL)
    assert all(SQL.values())


async def test_a_filter_by_text_still_goes_by_state(store_path: Path) -> None:
    """What ``list --state failed --search X`` sends is the query whose plan is tested above."""
    store = await SqliteStore.open(store_path)
    await store.close()
    connection = await connect(prepare_file(store_path, False))
    sent: list[str] = []
    await connection.call(lambda conn: conn.set_trace_callback(sent.append))
    where = Filter(states=(State.FAILED,), search="x", queues=("q1",), exit_codes=(3,))
    await connection.read(jobs.scan, where, 10)
    await connection.close()
    [select] = [text for text in sent if text.startswith("SELECT")]
    assert "WHERE state = 'failed' AND seq BETWEEN " in select
