"""Conformance: notifications, and noticing that something changed."""

from __future__ import annotations

import os
import select
from collections.abc import Awaitable, Callable

import pytest

from queuectl_core.domain.jobspec import Defaults
from queuectl_core.domain.model import Filter, Outcome
from queuectl_core.operations import schedules
from queuectl_core.store.protocol import JobAction, Notifier, Store

from ..support import NOW, defaults, ending, eventually_async, spec
from .tools import change, claim, finish, hired


def is_notified(notifier: Notifier) -> bool:
    """Whether it has a notification."""
    return bool(select.select([notifier], [], [], 0)[0])


async def notified(*notifiers: Notifier) -> None:
    """Wait until all of them have a notification."""

    async def all_are() -> bool:
        return all(is_notified(notifier) for notifier in notifiers)

    await eventually_async(all_are)


async def enqueue(store: Store) -> None:
    await store.enqueue([spec()], NOW)


async def batch(store: Store) -> None:
    async with store.batch() as made:
        await made.add([(1, spec())])
        await made.commit(NOW)


async def cancel(store: Store) -> None:
    await change(store, JobAction.CANCEL, [1], NOW, strict=False)


async def retry(store: Store) -> None:
    await change(store, JobAction.RETRY, [1], NOW, strict=False)


async def stop(store: Store) -> None:
    await store.stop_workers(["sup-1"], False)


async def more(store: Store) -> None:
    number = len(await store.workers()) + 1
    await store.add_workers("sup", [(f"sup-{number}", ())], NOW, up=False)


async def configure(store: Store) -> None:
    await store.set_config("lease", "20")


WRITES = [enqueue, batch, cancel, retry, stop, more, configure]


@pytest.mark.parametrize("write", WRITES)
async def test_a_supervisor_is_notified_of_what_it_must_know(
    store: Store, other: Store, write: Callable[[Store], Awaitable[None]]
) -> None:
    await hired(store)
    await store.enqueue([spec()], NOW)
    notifier, second = store.notifier("sup"), store.notifier("another")
    try:
        assert not is_notified(notifier)
        await write(other)
        await notified(notifier, second)
        notifier.clear()  # the first notification may be that of the start
        assert not is_notified(notifier)
        await write(store)  # its own store's writes too
        await notified(notifier)
        assert notifier.clear() is (write not in (enqueue, batch))
    finally:
        notifier.close()
        second.close()


async def test_a_supervisor_is_notified_of_all_that_may_let_a_job_start(
    store: Store, other: Store
) -> None:
    """``True``: it must look at more than new jobs."""
    ended, held, later = await store.enqueue([spec(), spec(hold=True), spec(run_at=NOW + 9)], NOW)
    await change(store, JobAction.CANCEL, [ended.seq], NOW, strict=True)
    ended = (await store.by_id(ended.id))[0]
    given = Defaults(defaults().settings, "", NOW)
    steps: list[tuple[str, bool, Callable[[], Awaitable[object]]]] = [
        ("limit a queue", True, lambda: other.set_queue("q", {"limit": 3})),
        ("limit it no more", True, lambda: other.remove_queue("q")),
        ("edit", True, lambda: other.edit(later, {"run_at": NOW}, NOW)),
        ("release", True, lambda: change(other, JobAction.RELEASE, [held.seq], NOW, strict=True)),
        ("amend", True, lambda: other.amend(ended, "false", NOW)),
        ("add a schedule", True, lambda: schedules.add(
            other, "s", {"every": 60}, "true", defaults=defaults(), env={})),
        ("run it", False, lambda: schedules.run_now(other, "s", given, "ann")),
        ("pause it", True, lambda: schedules.pause(other, "s", None, actor="ann", now=NOW)),
        ("resume it", True, lambda: schedules.resume(other, "s", NOW)),
        ("fire it", False, lambda: schedules.fire_due(
            other, NOW + 60, given._replace(now=NOW + 60), lambda name, why: None)),
        ("remove it", True, lambda: other.remove_schedule("s", NOW)),
    ]  # fmt: skip
    notifier = store.notifier("sup")
    try:
        for what, commands, step in steps:
            assert await store.changed()  # what was sent before has arrived by now
            notifier.clear()
            await step()
            await notified(notifier)
            assert notifier.clear() is commands, what
    finally:
        notifier.close()


async def test_a_command_is_noticed_among_many_new_jobs(store: Store, other: Store) -> None:
    notifier = store.notifier("sup")
    try:
        await enqueue(other)
        await configure(other)
        await enqueue(other)
        await notified(notifier)
        assert await store.changed()  # what was sent before has arrived by now
        assert notifier.clear()
    finally:
        notifier.close()


async def test_a_fifo_that_nobody_reads_blocks_nobody(store: Store, other: Store) -> None:
    notifier = store.notifier("sup")
    try:
        for _ in range(50):
            await other.set_config("lease", "20")
        await notified(notifier)
        notifier.clear()
        assert not is_notified(notifier)
    finally:
        notifier.close()
    await other.set_config("lease", "25")


async def test_the_fifo_of_a_dead_supervisor_blocks_nobody(store: Store) -> None:
    notifier = store.notifier("sup")
    os.close(notifier.fileno())  # it died: what it made is still there
    await store.set_config("lease", "20")
    again = store.notifier("sup")
    try:
        await store.set_config("lease", "25")
        await notified(again)
    finally:
        again.close()


async def test_changed(store: Store, other: Store) -> None:
    assert await store.changed(), "the first time, always"
    assert not await store.changed()
    await other.enqueue([spec()], NOW)
    assert await store.changed()
    assert not await store.changed()
    await other.counts()
    assert not await store.changed(), "reading changes nothing"


async def test_changed_sees_what_workers_do(store: Store, other: Store) -> None:
    await hired(other)
    await other.enqueue([spec()], NOW)
    await store.changed()
    [held] = await claim(other)
    assert await store.changed()
    await finish(other, "sup", ending(held, Outcome.FAILED))
    assert await store.changed()
    assert not await store.changed()


async def test_a_checkpoint_loses_nothing(store: Store, other: Store) -> None:
    await store.enqueue([spec("x" * 100_000) for _ in range(60)], NOW)
    await store.checkpoint()
    await store.checkpoint()
    assert await other.counts() == await store.counts()
    assert len(await other.scan(Filter(), 100)) == 60
