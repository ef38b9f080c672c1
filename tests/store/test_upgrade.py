"""A store of the first version opens, for ever, with all that is in it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queuectl_core.domain.claims import ClaimRequest
from queuectl_core.domain.model import Filter, State
from queuectl_core.store.protocol import JobAction
from queuectl_core.store.sqlite import migrate
from queuectl_core.store.sqlite.connection import APPLICATION_ID
from queuectl_core.store.sqlite.store import SqliteStore

from ..support import NOW, ending, spec, supervisor
from .data.make_v1 import contents
from .tools import change, claim, real_counts

DATA = Path(__file__).parent / "data"


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A copy of the file."""
    return Path(shutil.copy(DATA / "v1.db", tmp_path / "queue.db"))


@pytest.fixture
async def upgraded(first: Path) -> AsyncIterator[SqliteStore]:
    """The store in that copy, opened by this version."""
    opened = await SqliteStore.open(first)
    yield opened
    await opened.close()


def schema(path: Path) -> list[tuple[str, str]]:
    database = sqlite3.connect(path)
    rows = database.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")
    found = [(str(name), str(sql)) for name, sql in rows]
    database.close()
    return found


def test_it_is_what_the_first_version_wrote(first: Path) -> None:
    database = sqlite3.connect(first)
    assert database.execute("PRAGMA user_version").fetchone() == (1,)
    assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    fresh = sqlite3.connect(":memory:")
    for statement in migrate.statements(migrate.steps()[0][1].read_text("utf-8")):
        fresh.execute(statement)
    made = fresh.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")
    # Users have such files: a released migration never changes, a change is a new one.
    assert schema(first) == made.fetchall()
    fresh.close()
    database.close()


async def test_everything_in_it_is_there(upgraded: SqliteStore) -> None:
    store = upgraded
    found = json.loads(json.dumps(await contents(store)))
    expected = json.loads((DATA / "v1.json").read_text("utf-8"))
    # A later version may add fields; it takes none away and changes no value.
    assert reduced(found, expected) == expected
    assert await store.faults() == []
    assert await store.counts() == await real_counts(store)


def reduced(found: object, expected: object) -> object:
    """``found`` with only the keys that were known then."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return {name: reduced(found.get(name), value) for name, value in expected.items()}
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        return [reduced(one, other) for one, other in zip(found, expected, strict=True)]
    return found


async def test_its_schema_becomes_that_of_a_new_store(first: Path, tmp_path: Path) -> None:
    for path in (first, tmp_path / "new.db"):
        await (await SqliteStore.open(path)).close()
    assert schema(first) == schema(tmp_path / "new.db")


async def test_work_goes_on_in_it(upgraded: SqliteStore) -> None:
    store = upgraded
    assert {job.state for job in await store.scan(Filter(), 100)} == set(State) - {State.WAITING}
    held = await claim(store, "abcde", 20, now=NOW + 2e6)
    assert {job.id for job in held} == {
        *("failed", "timeout", "interrupted", "crashed", "argv", "limited")
    }
    (dead,) = await store.by_id("dead")
    await change(store, JobAction.RETRY, [dead.seq], NOW + 2e6, True)
    (more,) = await store.enqueue([spec(id="more")], NOW + 2e6)
    assert more.seq > max(job.seq for job in held)
    assert await store.counts() == await real_counts(store)


async def test_what_ended_before_there_were_rollups_is_counted_once(upgraded: SqliteStore) -> None:
    store = upgraded
    before = await store.rollup(0.0)
    assert (before.completed, before.failed, before.dead) == (1, 4, 1)
    # Two of its jobs end: one now, and one whose end, before the upgrade, is only now found.
    await store.register(supervisor("new"), [("new-1", ()), ("new-2", ())], NOW + 2e6)
    late, now = await claim(store, "new", 2, now=NOW + 2e6)
    ends = [
        ending(late, now=NOW + 1.5, started_at=NOW + 1, waited=0.0),
        ending(now, now=NOW + 2e6 + 1),
    ]
    await store.settle_and_claim(ClaimRequest("new", ends, [], NOW + 2e6 + 1))
    assert (await store.rollup(0.0)).completed == before.completed + 2
    assert (await store.rollup(NOW + 1e6)).completed == 1
