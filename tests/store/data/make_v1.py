"""Made ``v1.db``, a store as the first version writes it, and ``v1.json``, what is in it.

Kept to say where they come from. They are never made again: a store file that users have does
not change either. A schema change is a new migration, and ``test_upgrade.py`` opens this file
through it.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from queuectl_core.domain.claims import AttemptResult
from queuectl_core.domain.model import Filter, Job, Outcome, State
from queuectl_core.store.protocol import JobAction
from queuectl_core.store.sqlite.store import SqliteStore

from ...support import NOW, ending, spec, supervisor
from ..tools import change, claim, finish

HOST = {"host": "first", "host_key": "boot:namespace", "pid": 4242}


async def fill(store: SqliteStore) -> None:
    """One job at least in every state, an attempt with every outcome."""
    await store.set_config("max-retries", "5")
    await store.set_config("kill-grace", "2.5")
    await store.register(
        supervisor("abcde", **HOST), [("abcde-1", ()), ("abcde-2", ("mail",))], NOW
    )
    ends = (
        ("completed", Outcome.COMPLETED, {"tail": b"out\nput \xff\n"}),
        ("failed", Outcome.FAILED, {"reason": "exit 1: no such host", "tail": b"no such host\n"}),
        ("timeout", Outcome.TIMEOUT, {"reason": "timed out after 5.0s", "signal": 15}),
        ("cancelled-running", Outcome.CANCELLED, {"reason": "cancelled while running"}),
        ("interrupted", Outcome.INTERRUPTED, {"reason": "stopped with its worker"}),
        ("crashed", Outcome.CRASHED, {"reason": "host first restarted"}),
    )
    for name, outcome, fields in ends:
        await one(store, name, outcome, {"host": "first", **fields})
    dead = {"max_retries": 1, "env": {"TOKEN": "s3cret"}, "queue": "mail", "priority": 7}
    await one(store, "dead", Outcome.FAILED, {"host": "first", "reason": "exit 3"}, **dead)
    await store.enqueue(
        [
            spec(("printf", "%s", "zwei wörter"), id="argv", run_at=NOW + 1e6),
            spec("echo 'later'\n", id="limited", run_at=NOW + 1e6, nice=5, memory_limit=1 << 30),
            spec("sleep 1", id="cancelled", run_at=NOW + 1e6, cpu_seconds=9, output_limit=4096),
            spec("sleep 2", id="processing", run_at=NOW + 100, timeout_seconds=30.0),
        ],
        NOW,
    )
    (cancelled,) = await store.by_id("cancelled")
    await change(store, JobAction.CANCEL, [cancelled.seq], NOW + 1, True)
    await claim(store, "abcde", 1, now=NOW + 100)


async def one(
    store: SqliteStore, name: str, outcome: Outcome, fields: dict[str, object], **job: object
) -> None:
    """A job with one attempt that ended so."""
    await store.enqueue([spec(f"echo {name}", id=name, **({"max_retries": 3} | job))], NOW)
    (held,) = await claim(store, "abcde", 1, now=NOW + 1)
    await finish(store, "abcde", done(held, outcome, fields), now=NOW + 2)
    # What may run again is scheduled far ahead: the next claim must take the next job.
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute(
            "UPDATE jobs SET ready = 0, run_at = ? WHERE ready IS NOT NULL", (NOW + 1e6,)
        )
    database.close()


def done(job: Job, outcome: Outcome, fields: dict[str, object]) -> AttemptResult:
    return ending(job, outcome, now=NOW + 2, **fields)  # type: ignore[arg-type]


async def contents(store: SqliteStore) -> dict[str, object]:
    """Everything one can ask of it, in public form."""
    jobs = await store.scan(Filter(), 100)
    return {
        "jobs": [job.to_json(show_env=True) for job in jobs],
        "attempts": {
            job.id: [attempt.to_json() for attempt in await store.attempts(job.seq)] for job in jobs
        },
        "tails": {job.id: repr(await store.tail(job.seq, 1)) for job in jobs},
        "counts": sorted([state, queue, n] for (state, queue), n in (await store.counts()).items()),
        "config": await store.config(),
        "workers": [worker.to_json(NOW + 200) for worker, _ in await store.workers()],
    }


async def main(folder: Path) -> None:
    path = folder / "v1.db"
    path.unlink(missing_ok=True)
    store = await SqliteStore.open(path)
    await fill(store)
    found = await contents(store)
    await store.close()
    states = {job["state"] for job in found["jobs"]}  # type: ignore[attr-defined]
    assert states == {state.value for state in State}
    (folder / "v1.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
