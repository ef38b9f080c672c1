"""``queuectl events``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuectl_core.domain.events import Event, EventKind

from ..presentation.events import EVENT_COLUMNS
from .declare import argument, option, verb
from .jobs import complete_id, until_changed
from .output import View
from .session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from queuectl_core.operations.events import Kinds
    from queuectl_core.queue import Queue

AT_TERMINAL = 50
"""Events shown to a person who did not say how many."""
COUNTED = 1000
"""Events beyond those that are shown, which are counted at most."""
BEFORE = 10
"""Events that ``--follow`` shows first."""
POLL = 0.25
"""Seconds between looks at the store while events are followed."""

EVENTS: View[Event] = View(lambda event, now: event.to_json(), EVENT_COLUMNS)


def complete_kind(_: Session, incomplete: str) -> list[str]:
    """The kinds that start with what has been typed, after the last comma of several."""
    before, comma, word = incomplete.rpartition(",")
    groups = sorted({kind.partition(".")[0] for kind in EventKind})
    known = [*groups, *(kind.value for kind in EventKind)]
    return [f"{before}{comma}{kind}" for kind in known if kind.startswith(word)]


@verb(
    "events",
    examples=(
        "queuectl events",
        "queuectl events job1",
        "queuectl events --since 1h --kind job.dead --kind worker",
        "queuectl events --follow --kind config,queue",
        "queuectl events --json --limit 1000",
    ),
)
@argument("ref", metavar="[ID]", required=False, complete=complete_id)
@option("--since", metavar="T", about="Only since then: 1h (ago), 09:30, or a date and time.")
@option(
    "--kind",
    dest="kinds",
    metavar="KIND",
    multiple=True,
    complete=complete_kind,
    about="Only events of this kind, such as job.dead; job means all of jobs. Repeatable.",
)
@option("-f", "--follow", is_flag=True, about="Go on showing events as they happen.")
@option("--limit", metavar="N", kind=int, least=0, about="At most so many, the newest.")
def events(
    session: Session,
    /,
    *,
    ref: str | None,
    since: str | None,
    kinds: tuple[str, ...],
    follow: bool,
    limit: int | None,
) -> None:
    """Show who did what, and what happened, the newest first. With ID: what is known of one job,
    also of one that was removed, while its events are kept (keep-events). ID may also be the name
    of a queue, schedule, hook or setting, if no job has this id.

    Each deliberate change is an event, with the user and the front end. What attempts did is shown
    with them. A change of many jobs by a filter is one event, with the filter and the number of
    jobs. Anyone who can write to the store can also write false events.

    At a terminal: the newest 50 (see --limit). In a pipe: all of them, as lines of tab-separated
    columns. With --json: an array; with --follow one JSON document a line, the newest last.
    """
    from queuectl_core.operations.events import parse_kinds

    asked = _Asked(ref, since, parse_kinds(kinds))
    if follow:
        session.run(lambda queue: _follow(session, queue, asked, limit), read_only=True)
        return
    for_person = session.out.terminal and not session.json
    most = AT_TERMINAL if limit is None and for_person else limit

    async def act(queue: Queue) -> tuple[int, int]:
        shown = more = 0
        with session.listing(EVENTS) as listing:
            async for page in _pages(queue, asked, most, COUNTED if for_person else 0):
                for event in page:
                    if most is None or shown < most:
                        listing.add(event)
                        shown += 1
                    else:
                        more += 1
        return shown, more

    shown, more = session.run(act, read_only=True)
    if not for_person:
        return
    session.out.flush()
    if not shown and not more:
        session.err.note("no events" if not (ref or since or kinds) else "no events match")
    elif more:
        count = f"{more:,}" if more < COUNTED else f"at least {more:,}"
        session.err.note(f"{count} more; --limit N shows N, a pipe or --json all")


class _Asked:
    """Which events are asked for."""

    def __init__(self, ref: str | None, since: str | None, kinds: Kinds | None) -> None:
        self.ref = ref
        self.since = since
        self.kinds = kinds


async def _pages(
    queue: Queue, asked: _Asked, limit: int | None, beyond: int
) -> AsyncIterator[Sequence[Event]]:
    """Events, the newest first, by pages: up to ``limit``, and up to ``beyond`` more."""
    from queuectl_core.operations.events import by_kind, parse_since

    moment = None if asked.since is None else parse_since(asked.since, queue.clock())
    most = None if limit is None else limit + beyond
    if asked.ref is None:
        async for page in queue.event_pages(kinds=asked.kinds, since=moment, limit=most):
            yield page
        return
    _, found = await queue.events_of(asked.ref)
    found = [one for one in by_kind(found, asked.kinds) if moment is None or one.at >= moment]
    yield found if most is None else found[:most]


async def _follow(session: Session, queue: Queue, asked: _Asked, limit: int | None) -> None:
    """Show the newest events, then each as it happens. Ends with an interrupt."""
    job = None if asked.ref is None else await queue.find(asked.ref)
    follower = await queue.follow_events(kinds=asked.kinds, job=job)
    if limit is None and asked.ref is None and asked.since is None:
        limit = BEFORE
    known: list[Event] = []
    async for page in _pages(queue, asked, limit, 0):
        known += page
    seen = {one.identity for one in known}
    printer = _Printer(session)
    printer.show(known[::-1])
    await queue.changed()
    while True:
        # What was written between beginning to follow and reading what there was comes twice.
        fresh = await follower.more()
        printer.show([one for one in fresh if one.identity not in seen])
        seen -= {one.identity for one in fresh}
        if not follower.behind:
            await until_changed(queue, POLL)


class _Printer:
    """Prints events, each as soon as it is known: a line, or a JSON document a line."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._header = not session.err.quiet and not session.out.terminal

    def show(self, events: Sequence[Event]) -> None:
        import json

        out, now = self.session.out, self.session.clock()
        for event in events:
            if self.session.json:
                out.line(json.dumps(event.to_json()))
            elif out.terminal:
                cells = [column.cell(event, now)[0] for column in EVENTS.terminal]
                out.line("  ".join(filter(None, cells)))
            else:
                if self._header:
                    self._header = False
                    out.line("\t".join(column.name.upper() for column in EVENTS.pipe))
                out.line("\t".join(column.value(event, now) or "-" for column in EVENTS.pipe))
        out.flush()
