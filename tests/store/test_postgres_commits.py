"""PostgreSQL: a verb whose commit is not answered is done once, whatever came of the commit."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from queuectl_core.domain.claims import ClaimRequest, ClaimResult, ClaimSlot
from queuectl_core.domain.errors import Conflict
from queuectl_core.domain.model import Filter, State
from queuectl_core.store.open import open_store
from queuectl_core.store.postgres import connections
from queuectl_core.store.postgres.commit_log import CommitLog
from queuectl_core.store.postgres.errors import BROKEN, CommitUnknown
from queuectl_core.store.postgres.store import PostgresStore

from ..pgserver import Server, own_server
from ..supervisor.test_attempt_states import job_of
from ..support import NOW, ending, eventually_async, spec, supervisor
from .proxy import Cut, Proxy
from .stores import PostgresPlace
from .tools import claim, hired, real_counts, row_of


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    await made.clear()


@pytest.fixture
async def proxy(place: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    monkeypatch.setattr(connections, "FIRST_PAUSE", 0.01)
    async with Proxy(place.url) as made:
        made.stays_down = False
        yield made


@pytest.fixture
async def store(proxy: Proxy, place: PostgresPlace, tmp_path: Path) -> AsyncIterator[PostgresStore]:
    """A store behind the proxy, with what the verbs below need."""
    await prepared(await place.open())
    made = await open_store(proxy.url, {"HOME": str(tmp_path)})
    assert isinstance(made, PostgresStore)
    yield made
    await made.close()


@pytest.fixture
async def other(place: PostgresPlace, store: PostgresStore) -> PostgresStore:
    """A store on a way that holds."""
    made = await place.open()
    assert isinstance(made, PostgresStore)
    return made


async def prepared(store: object) -> None:
    assert isinstance(store, PostgresStore)
    await hired(store)
    await hired(store, "dead")
    await store.enqueue([spec(id="a"), spec(id="b")], NOW)
    await claim(store, "dead")


Verb = Callable[[PostgresStore], Awaitable[object]]
"""Runs a verb and checks what it answers; to be run again only if the answer was an error."""


async def enqueue(store: PostgresStore) -> None:
    assert [job.id for job in await store.enqueue([spec(id="new")], NOW)] == ["new"]
    assert len(await store.scan(Filter(), 10)) == 3


async def batch(store: PostgresStore) -> None:
    async with store.batch() as made:
        await made.add([(1, spec(id="x")), (2, spec())])
        first, count = await made.commit(NOW)
    assert len(await store.ids(first, count)) == 2
    assert len(await store.scan(Filter(), 10)) == 4


async def set_config(store: PostgresStore) -> None:
    await store.set_config("lease", "20")
    assert await store.config() == {"lease": "20"}


async def register(store: PostgresStore) -> None:
    await store.register(supervisor("fresh"), [("fresh-1", ()), ("fresh-2", ("mail",))], NOW)
    ours = [worker for worker, row in await store.workers() if row.id == "fresh"]
    assert [(one.id, one.queues) for one in ours] == [("fresh-1", ()), ("fresh-2", ("mail",))]


async def deregister(store: PostgresStore) -> None:
    await store.deregister("sup")
    assert [row.id for row in await store.supervisors()] == ["dead"]


async def settle_and_claim(store: PostgresStore) -> None:
    turn = await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("sup-1")], NOW))
    [held] = turn.claimed
    assert not (await store.settle_and_claim(ClaimRequest("sup", [ending(held)], [], NOW))).refused
    assert len(await store.attempts(held.seq)) == 1


async def add_workers(store: PostgresStore) -> None:
    await store.add_workers("sup", [("sup-2", ())], NOW, up=False)
    assert "sup-2" in [worker.id for worker, _ in await store.workers()]


async def stop_workers(store: PostgresStore) -> None:
    await store.stop_workers(["sup-1"], True)
    assert (await store.commands("sup")).workers[0].stop == "now"


async def take_over(store: PostgresStore) -> None:
    jobs = await store.take_over(await row_of(store, "dead"), "sup", NOW)
    assert jobs is not None
    assert [job.owner for job in jobs] == ["sup"]


async def recount(store: PostgresStore) -> None:
    await store.recount()
    assert await store.miscounted() == 0


async def copy(store: PostgresStore) -> None:
    await store.prune([], State.COMPLETED, NOW)
    jobs = await store.scan(Filter((State.PENDING,)), 10)
    assert (await store.prune([jobs[0].seq], State.COMPLETED, NOW)).done == []


VERBS: tuple[Verb, ...] = (
    *(
        enqueue,
        batch,
        set_config,
        register,
        deregister,
        settle_and_claim,
        add_workers,
        stop_workers,
    ),
    *(take_over, recount, copy),
)


@pytest.mark.parametrize("cut", [Cut.BEFORE_COMMIT, Cut.AFTER_COMMIT])
@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_whose_answer_is_lost_is_done_once(
    store: PostgresStore, proxy: Proxy, other: PostgresStore, verb: Verb, cut: Cut
) -> None:
    proxy.cut = cut
    await verb(store)
    assert proxy.cut is Cut.NEVER or verb is copy, "it did break"
    assert await other.counts() == await real_counts(other)


async def test_a_registration_can_be_repeated_by_the_same_process_only(
    store: PostgresStore,
) -> None:
    await register(store)
    await register(store)
    with pytest.raises(Conflict):
        await store.register(supervisor("fresh", pid=1), [("fresh-1", ())], NOW)


@pytest.fixture
def server() -> Iterator[tuple[Server, str]]:
    with own_server() as found:
        yield found


async def connected(url: str) -> asyncpg.Connection | None:
    try:
        return await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError):
        return None  # it has not come up yet


async def test_a_number_that_a_crashed_server_assigns_again_deceives_nobody(
    server: tuple[Server, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction's number belongs to another one by now, and that one was committed."""
    running, url = server
    monkeypatch.setattr(connections, "FIRST_PAUSE", 0.01)
    async with Proxy(url) as proxy:
        store = await open_store(proxy.url, {"HOME": str(tmp_path)})
        assert isinstance(store, PostgresStore)
        try:
            await store.enqueue([spec(id="first")], NOW)
            found: list[bool] = []
            ask = store._connections.committed

            async def crash_first(doubt: connections.CommitInDoubt) -> bool:
                """The server crashes, comes back, and others commit before we ask."""
                if not found:
                    running.stop(signal.SIGKILL)
                    assert running.serve()
                    direct = await eventually_async(lambda: connected(url))
                    for _ in range(50):  # more numbers than were assigned before the crash
                        await direct.execute("CREATE TEMP TABLE t (); DROP TABLE t")
                    await direct.close()
                found.append(await ask(doubt))
                return found[-1]

            monkeypatch.setattr(store._connections, "committed", crash_first)
            proxy.cut, proxy.stays_down = Cut.BEFORE_COMMIT, False
            [job] = await store.enqueue([spec(id="second")], NOW)
            assert found == [False]
            assert await store.by_seq(job.seq) == job
            assert len(await store.scan(Filter(), 10)) == 2
        finally:
            await store.close()


async def test_what_is_not_there_never_will_be(
    store: PostgresStore, other: PostgresStore, proxy: Proxy
) -> None:
    """A transaction that is still open is ended before the answer is given, and one that is found
    missing cannot be committed any more, even if its commit arrives late."""
    session = await store._connections.connect()
    await session.execute("BEGIN")
    mark = uuid4()
    await session.execute("INSERT INTO commit_marks (mark) VALUES ($1)", mark)
    doubt = connections.CommitInDoubt(mark, session.backend.pid, session.backend.started)
    assert await asyncio.wait_for(other._connections.committed(doubt), 5) is False
    assert await other._connections.committed(doubt) is False, "also when it is asked again"
    with pytest.raises((*BROKEN, asyncpg.InterfaceError)):
        await session.execute("COMMIT")
    session.terminate()
    late = await store._connections.connect()
    with pytest.raises(asyncpg.UniqueViolationError):
        await late.execute("INSERT INTO commit_marks (mark) VALUES ($1)", mark)
    late.terminate()


async def test_commits_without_an_answer_are_remembered_for_each_supervisor() -> None:
    """Two supervisors of one process. Each result is sent once, and each job that was claimed in
    vain is given back once."""
    sent: list[tuple[str, list[int], list[int]]] = []

    class Answers:
        channel = "none"
        lost = 2

        async def claim(self, do: Any, request: ClaimRequest) -> ClaimResult:
            results = [one.seq for one in request.results]
            sent.append((request.owner, results, [job.seq for job in request.released]))
            if self.lost:
                self.lost -= 1
                claimed = ClaimResult(frozenset(), (job_of(90 + self.lost),), None)
                raise CommitUnknown("none", connections.CommitInDoubt(uuid4(), 1, NOW), claimed)
            return ClaimResult(frozenset(), (), None)

        async def committed(self, doubt: connections.CommitInDoubt) -> bool:
            return True

    log = CommitLog(Answers())  # type: ignore[arg-type]

    def request(owner: str, seq: int) -> ClaimRequest:
        return ClaimRequest(owner, [ending(job_of(seq)._replace(started_at=NOW))], [], NOW)

    for owner, seq in (("a", 1), ("b", 2)):
        with pytest.raises(CommitUnknown):
            await log.settle_and_claim(request(owner, seq))
    for owner, seq in (("a", 1), ("b", 2), ("a", 3), ("b", 4)):
        await log.settle_and_claim(request(owner, seq))
    assert sent == [
        ("a", [1], []),
        ("b", [2], []),
        ("a", [], [91]),
        ("b", [], [90]),
        ("a", [3], []),
        ("b", [4], []),
    ]
