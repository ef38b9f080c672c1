"""PostgreSQL: what runs all the time reads as little with a hundred thousand jobs as with ten.

Read from EXPLAIN ANALYZE of the very text that is sent, with the plan made for the values given
and with the one for any values (which the server may choose after five executions).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from queuectl_core.store.postgres.queries import SQL, query

from ..pgserver import server_url
from ..support import NOW
from .stores import PostgresPlace
from .tools import hired

JOBS = 100_000
LARGE = ("jobs", "attempts", "events")
LITTLE = 100
"""Rows of ``jobs`` and ``attempts`` a query may look at."""

FILL = """
INSERT INTO jobs (id, command, is_argv, max_retries, backoff_base, priority, run_at,
                  timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds, output_limit,
                  state, created_at, updated_at, finished_at, ready, owner, runs, reason)
SELECT 'j' || n, 'true', false, 3, 2, CASE WHEN n % 10 < 5 THEN 100 ELSE n % 10 END,
       CASE WHEN n % 10 < 5 THEN {now} + 86400 + n ELSE {now} - n % 1000 END, 0, '/', '{{}}',
       'q' || n % 3, 0, 0, 0, 0, s.state, {now} - n, {now},
       CASE s.ready WHEN 0 THEN NULL ELSE {now} END, s.ready,
       CASE s.state WHEN 'processing' THEN 'sup' END, 1,
       CASE s.state WHEN 'dead' THEN 'exit ' || n % 7 END
FROM generate_series(1, {count}) AS n
CROSS JOIN LATERAL (SELECT
    CASE WHEN n % 10 < 5 THEN 'pending' WHEN n % 10 < 7 THEN 'pending' WHEN n % 1000 = 7
         THEN 'processing' WHEN n % 10 = 8 THEN 'dead' ELSE 'completed' END AS state,
    CASE WHEN n % 10 < 5 THEN 0 WHEN n % 10 < 7 THEN 1 END AS ready) s;
INSERT INTO attempts
SELECT seq, 1, {now} - 10, {now} + seq, 'completed', false, 0, NULL, NULL, 'w', 'h', 1, 1, 1, 1
FROM jobs WHERE state = 'completed';
INSERT INTO events (at, kind, actor, via, job, job_id, last_job)
SELECT {now} + n, 'job.enqueued', 'a', 'cli', n * 10,
       CASE WHEN n % 2 = 0 THEN 'j' || n END, CASE WHEN n % 2 = 1 THEN n * 10 + 5 END
FROM generate_series(1, {count} / 2) AS n;
ANALYZE;
"""

VALUES: dict[str, Any] = {
    "idle": 4,
    "owner": "sup",
    "id": "j77",
    "prefix": "j7777",
    "successor": "successor",
    "queues": None,
    "workers": ["w1", "w2", "w3", "w4"],
    "now": NOW,
    "seq": 5000,
    "seqs": [5000, 5001],
    "later": 1 << 62,
    "first": 5000,
    "end": 5010,
    "after": 50_000,
    "until": 50_050,
    "seen": None,
    "since": NOW + JOBS - 20,
    "limit": 20,
    "exit_codes": None,
    "reasons": None,
    "keys": None,
    "look_judge": True,
    "look_limited": True,
    "admitted": [],
    "rooms": [],
    "rated": [],
    "search": None,
    "regex": None,
    "state": "dead",
    "states": ["dead", "failed", "processing"],
    "low": 50_000,
    "high": 50_050,
    "number": 1,
    "up": True,
    "mark": UUID(int=1),
    "suspects": False,
}
ENDINGS: dict[str, Any] = {
    **{key: [1007, 2007] for key in ("seq", "prefetch_seq", "released_seq")},
    **{key: [1, 1] for key in ("run", "prefetch_run", "released_run", "attempts", "crashes")},
    **{key: [2, 2] for key in ("number", "output_bytes", "exit_code", "shell_code")},
    **{key: ["completed", "completed"] for key in ("state", "outcome")},
    **{key: [NOW, NOW] for key in ("started_at", "finished_at", "waited", "prefetch_at")},
    **{key: ["sup-1", "sup-1"] for key in ("prefetch_worker", "worker")},
    "made_dead": [False, False],
    "tail": [b"x", b""],
    "mark": UUID(int=1),
}
"""For ``settle``; what is left out is NULL."""
SPECIAL: dict[str, dict[str, Any]] = {
    "settle": ENDINGS,
    "assign": {"workers": json.dumps({"1007": "sup-1", "2007": "sup-1"})},
    "scan_reason_down": {"reason": "exit 3", "reasons": ["exit 3"]},
    "bulk_reason": {"reason": "exit 3", "reasons": ["exit 3"]},
    **{
        key: {"low": NOW + 1000, "high": NOW + 1010}
        for key in ("attempts_between", "attempts_begun")
    },
    "events_between": {"low": NOW + 1000, "high": NOW + 1010, "kinds": '["enqueued"]'},
    "event_floor": {"high": NOW + 5000, "count": 20},
    "attempt_floor": {"high": NOW + 5000, "count": 20},
    "attempts_at": {"keys": "[[5000, 1], [5009, 1]]"},
    "events_of": {"id": "j5000", "job": None},
    "events_named": {"name": "q", "limit": 10},
    "events_range": {"job": 5007},
    "forget_events": {"before": NOW + 20, "limit": 10},
    **{key: {"before": NOW + 1} for key in ("ended", "expired", "prune")},
}
INDEXES = {
    "settle": {"jobs_pkey"},
    "take_over": {"jobs_held", "jobs_pkey"},
    "prune": {"jobs_pkey"},
    # the claim: only what may be claimed, in the order it is claimed
    "claim": {"jobs_claim", "jobs_due"},
    "next_due": {"jobs_due"},
    "waiting": {"jobs_claim", "jobs_due"},
    "oldest_due": {"jobs_due"},
    "commands": {"jobs_held"},
    "assign": set(),
    "holds": {"jobs_held"},
    "held": {"jobs_held"},
    "shims": {"jobs_held"},
    "jobs_by_prefix": {"jobs_id_key"},
    "job_by_seq": {"jobs_pkey"},
    "ids_from": {"jobs_pkey"},
    "scan_seqs": {"jobs_pkey"},
    "bounds": {"jobs_pkey"},
    "scan_all_down": {"jobs_pkey"},
    "scan_states_down": {"jobs_state"},
    "scan_states_up": {"jobs_state"},
    "scan_reason_down": {"jobs_dead"},
    "count_all": {"jobs_pkey"},
    "ended_since": {"attempts_ended"},
    "throughput": {"attempts_ended"},
    "expired": {"attempts_ended"},
    "ended": {"jobs_state"},
    "runs_of": {"jobs_pkey"},
    # bulk verbs: candidates from a limited range of keys, changed by key
    "bulk_states": {"jobs_state"},
    "bulk_reason": {"jobs_dead"},
    "retry": {"jobs_pkey"},
    "cancel": {"jobs_pkey"},
    "remove": {"jobs_pkey"},
    "events_between": {"events_at"},
    "event_floor": {"events_at"},
    "attempts_between": {"attempts_ended"},
    "attempts_begun": {"attempts_ended", "attempts_long"},
    "attempt_floor": {"attempts_ended"},
    "attempts_at": {"attempts_pkey"},
    "running_attempts": {"jobs_state"},
    "events_of": {"events_job"},
    "events_named": {"events_name"},
    "events_range": {"events_range"},
    "forget_events": {"events_at"},
    "events_after": {"events_xact"},
    "counts": set(),
    "changes": set(),
}


@pytest.fixture
async def filled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a store with all those jobs, most of them scheduled far ahead."""
    place = PostgresPlace(tmp_path_factory.mktemp("plans"))
    store = await place.open()
    await hired(store)
    connection = await asyncpg.connect(server_url(), server_settings={"search_path": place.schema})
    await connection.execute(FILL.format(now=NOW, count=JOBS))
    await store.checkpoint()
    yield connection
    await connection.close()
    await place.clear()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


async def test_what_runs_all_the_time_reads_little(filled: asyncpg.Connection) -> None:
    for mode in ("force_custom_plan", "force_generic_plan"):
        await filled.execute(f"SET plan_cache_mode = {mode}")
        for name, indexes in INDEXES.items():
            sent = query(name)
            await filled.execute("BEGIN")
            known = SPECIAL.get(name, {})
            if name == "events_after":
                seen = await filled.fetchval("SELECT pg_current_snapshot()::text")
                # What is read in the middle of very many: one transaction wrote all.
                known = {"seen": "3:3:", "upto": seen, "limit": 10, "seq": 5000}
                known["xact"] = await filled.fetchval("SELECT min(xact)::text FROM events")
            values = [known.get(key, VALUES.get(key, [None, None])) for key in sent.names]
            text = f"EXPLAIN (ANALYZE, FORMAT JSON) {sent.text}"
            [plan] = json.loads(await filled.fetchval(text, *values))
            await filled.execute("ROLLBACK")
            found = list(nodes(plan["Plan"]))
            used = {node["Index Name"] for node in found if "Index Name" in node}
            assert indexes <= used, (mode, name, used)
            for node in found:
                if "Scan" not in node["Node Type"] or node.get("Relation Name") not in LARGE:
                    continue
                assert node["Node Type"] != "Seq Scan", f"{mode} {name}: {node}"
                read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                assert read * node["Actual Loops"] <= LITTLE, f"{mode} {name}: {node}"


def test_the_list_is_current() -> None:
    assert INDEXES.keys() <= SQL.keys()
    assert all(SQL.values())
