"""Events: what each verb writes in its commit, and what reading them finds."""

from __future__ import annotations

from queuectl_core.store.protocol import Store
from queuectl_core.system.host import actor

from ..support import NOW, spec
from .stores import Place

ROWS = "SELECT kind, job_id, name, n, via, actor, job, last_job FROM events ORDER BY seq"


async def test_a_job_that_is_enqueued_has_its_event(store: Store, place: Place) -> None:
    jobs = await store.enqueue([spec(id="a"), spec(id="b")], NOW)
    rows = await place.execute(ROWS)
    who = actor({})
    assert rows == [
        ("job.enqueued", job.id, None, None, "python", who, job.seq, None) for job in jobs
    ]


async def test_a_bulk_enqueue_is_one_event_with_its_range_of_keys(
    store: Store, place: Place
) -> None:
    async with store.batch() as batch:
        await batch.add([(n, spec(id=f"j{n}")) for n in range(1, 6)])
        first, _ = await batch.commit(NOW)
    [row] = await place.execute(ROWS)
    assert row[:4] == ("job.enqueued", None, None, 5)
    assert row[6:] == (first, first + 4)
