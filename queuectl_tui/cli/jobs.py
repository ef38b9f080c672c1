"""How the jobs that a user names or filters are found and changed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from queuectl_core.domain.model import Job, State
from queuectl_core.system.postcommit import after_commit
from queuectl_core.system.run_sync import sleep

from .declare import option
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


async def resolve(
    session: Session, queue: Queue, refs: Sequence[str], *, to_change: bool = True
) -> list[Job]:
    """The jobs with these ids, each once. NotFound for the first one that does not exist. A prefix
    is enough for an id that queuectl generated, and for every id when nothing is changed."""
    from queuectl_core.domain.errors import NotFound

    found = {}
    for ref in refs:
        try:
            job = await queue.find(ref, to_change=to_change)
        except NotFound as error:
            if to_change and ref == "all":
                error.hint = f"type: {session.err.path} --all"
            raise
        if session.json:
            [job] = await queue.with_texts([job])
        found[job.seq] = job
    return list(found.values())


async def read_again(session: Session, queue: Queue, jobs: Sequence[Job]) -> list[Job]:
    """Jobs that were changed, as they are now; as they were if they cannot be read."""
    current = {job.seq: job for job in jobs}
    with after_commit("reading the jobs again"):
        for seq, job in list(current.items()):
            found = await queue.get(seq)
            if found is not None and session.json:
                [found] = await queue.with_texts([found])
            current[seq] = found or job
    return list(current.values())


async def change_named(
    session: Session,
    queue: Queue,
    refs: Sequence[str],
    change: Callable[[Sequence[Job]], Awaitable[int]],
) -> list[Job]:
    """Find jobs by their ids and change them, all or none; the jobs as they were found."""
    from ..presentation.lookups import change_as_found

    return await change_as_found(lambda: resolve(session, queue, refs), change)


async def until_changed(queue: Queue, pause: float, deadline: float | None = None) -> bool:
    """Sleep until something was committed (True), or ``deadline`` (monotonic) is past (False)."""
    while True:
        if await queue.changed():
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False
        await sleep(pause)


def complete_id(session: Session, incomplete: str, states: tuple[State, ...] = ()) -> list[str]:
    async def newest(queue: Queue) -> list[Job]:
        from queuectl_core.domain.model import Filter

        return await queue.scan(Filter(states, search=incomplete or None), 200)

    try:
        jobs = session.run(newest, read_only=True)
    except Exception:
        return []
    return [job.id for job in jobs if job.id.startswith(incomplete)]


def complete_ids(session: Session, incomplete: str) -> list[str]:
    """Ids that start with what has been typed, after the last comma of several."""
    before, comma, word = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in complete_id(session, word)]


def complete_queue(session: Session, incomplete: str) -> list[str]:
    """Queues that start with what has been typed, after the last comma of several."""

    async def names(queue: Queue) -> list[str]:
        return [info.settings.name for info in await queue.queues()]

    try:
        found = session.run(names, read_only=True)
    except Exception:
        return []
    before, comma, word = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in found if name.startswith(word)]


def choices(*words: str) -> Callable[[Any, str], list[str]]:
    """Completes one of these words."""
    return lambda _, incomplete: [word for word in words if word.startswith(incomplete)]


complete_dead = partial(complete_id, states=(State.DEAD,))


def complete_state(_: Session, incomplete: str) -> list[str]:
    """The states that start with what has been typed, after the last comma of several."""
    before, comma, word = incomplete.rpartition(",")
    return [f"{before}{comma}{state}" for state in State if state.value.startswith(word)]


def state_filter(about: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``--state``. :func:`chosen_states` reads its values."""
    rest = {"dest": "states", "multiple": True, "complete": complete_state}
    return option("--state", metavar="STATE", about=about, **rest)


def chosen_states(given: Sequence[str]) -> tuple[State, ...]:
    """The states that ``--state`` options name, several with commas."""
    from queuectl_core.queue import check_states

    return check_states([word for text in given for word in text.split(",")])


queue_filter = option(
    "--queue",
    dest="queues",
    metavar="NAME",
    multiple=True,
    complete=complete_queue,
    about="Only jobs of this queue; repeatable.",
)
key_filter = option(
    "--key",
    dest="keys",
    metavar="KEY",
    multiple=True,
    about="Only jobs with this key; repeatable.",
)
search_filter = option(
    "--search", metavar="TEXT", about="Only jobs with this in id, command or error."
)
