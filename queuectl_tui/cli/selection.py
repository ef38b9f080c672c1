"""Which jobs a verb acts on: ids, or all jobs, or all that match the filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from queuectl_core.domain.errors import Conflict
from queuectl_core.domain.model import Filter, Job, State
from queuectl_core.domain.text import clean_line, closest

from .declare import UsageError, argument, option
from .jobs import (
    chosen_states,
    complete_dead,
    complete_id,
    key_filter,
    queue_filter,
    resolve,
    search_filter,
    state_filter,
)
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

DEAD = (State.DEAD,)

SHOWN = 10
"""Names of queues shown for one that does not exist."""
SHOWN_REASONS = 3
ALL_GROUPS = 1_000_000

_COMMON = (
    queue_filter,
    key_filter,
    search_filter,
    option(
        "--exit-code",
        dest="exit_codes",
        metavar="N",
        kind=int,
        multiple=True,
        about="Only with this exit code; repeatable.",
    ),
)
_FILTERS = (
    *_COMMON,
    option(
        "--reason",
        dest="reasons",
        metavar="TEXT",
        multiple=True,
        about="Only with this in the reason that dlq list --group shows (# for digits); "
        "repeatable.",
    ),
)
_STATE = state_filter("Only jobs in this state; repeatable.")


@dataclass(frozen=True, slots=True)
class JobSelection:
    """The jobs that the command line selects: by id, or else all that match the filters."""

    ids: tuple[str, ...]
    where: Filter
    """The filters, except ``reasons``."""
    reasons: tuple[str, ...]
    """Parts of reasons, as they were given."""
    filtered: bool
    """Whether any filter was given."""

    async def find(self, session: Session, queue: Queue) -> Filter:
        """The complete filter. Prints a note if a condition can match nothing."""
        await tell_unknown_queues(session, queue, self.where.queues)
        if not self.reasons:
            return self.where
        return self.where._replace(reasons=await _reasons(session, queue, self.reasons))

    async def named(self, session: Session, queue: Queue, allowed: Sequence[State]) -> list[Job]:
        """The jobs named. Conflict when one is in a state that is not ``allowed``."""
        jobs = await resolve(session, queue, self.ids)
        for job in jobs:
            if job.state not in allowed:
                where = "not in the DLQ" if tuple(allowed) == DEAD else "which does not allow that"
                raise Conflict(
                    f"job '{clean_line(job.id)}' is {job.state}, {where}",
                    f"it must be {' or '.join(allowed)}",
                )
        return jobs


def queue_names(given: Sequence[str]) -> tuple[str, ...]:
    """The names that ``--queue`` options hold. InvalidInput for one that no queue can have."""
    from queuectl_core.domain.jobspec import check_queue

    return tuple(check_queue(name.strip()) for text in given for name in text.split(","))


async def tell_unknown_queues(session: Session, queue: Queue, names: Sequence[str]) -> bool:
    """Say which of these queues no job is in; returns whether there is one."""
    if not names:
        return False
    known = sorted(await queue.queue_names())
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    for name in unknown:
        hint = ""
        if close := closest(name, known):
            hint = f"; did you mean {clean_line(close)}?"
        elif 0 < len(known) <= SHOWN:
            hint = f"; queues with jobs: {clean_line(', '.join(known))}"
        session.err.note(f"no job is in queue '{clean_line(name, 60)}'{hint}")
    return bool(unknown)


async def _reasons(session: Session, queue: Queue, texts: Sequence[str]) -> tuple[str, ...]:
    """The reasons of dead jobs that contain one of ``texts``. A text that is a whole reason selects
    that reason only. A text that is in no reason is kept, matches nothing, and is noted.
    """
    from queuectl_core.operations.queries import dead_groups

    groups = [group.reason for group in await dead_groups(queue, ALL_GROUPS)]
    chosen: dict[str, None] = {}
    for text in texts:
        found = [reason for reason in groups if text.lower() in reason.lower()]
        if text in groups:
            found = [text]
        elif not found:
            shown = "; ".join(f"'{clean_line(reason, 60)}'" for reason in groups[:SHOWN_REASONS])
            hint = f"; they died of: {shown}" if shown else ""
            session.err.note(f"no dead job has the reason '{clean_line(text, 60)}'{hint}")
        chosen.update(dict.fromkeys(found or [text]))
    return tuple(chosen)


def filters_dead_jobs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Only the filters, among dead jobs; given to the verb as ``selection``."""
    return _options(_collected(function, DEAD), _FILTERS)


def _selects(function: Callable[..., Any], filters: Any, states: Any) -> Callable[..., Any]:
    every = option("--all", dest="every", is_flag=True, about="All jobs (that match).")
    complete = complete_dead if states == DEAD else complete_id
    ids = argument("ids", metavar="[ID]...", many=True, complete=complete)
    return ids(every(_options(_collected(function, states), filters)))


selects_dead_jobs = partial(_selects, filters=_FILTERS, states=DEAD)
"""``[ID]... --all`` and filters, among dead jobs; given to the verb as ``selection``."""
selects_jobs = partial(_selects, filters=(_STATE, *_FILTERS), states=())
"""The same among all jobs."""
selects_live_jobs = partial(_selects, filters=(_STATE, *_COMMON), states=())
"""The same among jobs that have not ended: without ``--reason``, which only dead jobs have."""


def _options(function: Callable[..., Any], options: Any) -> Callable[..., Any]:
    for declare in reversed(options):
        function = declare(function)
    return function


def _collected(function: Callable[..., Any], states: tuple[State, ...]) -> Callable[..., Any]:
    """``function`` with one parameter ``selection`` instead of those that select jobs."""

    @wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        named = given.pop("states", ())
        where = Filter(
            chosen_states(named) if named else states,
            queue_names(given.pop("queues")),
            given.pop("search"),
            given.pop("exit_codes"),
            keys=given.pop("keys"),
        )
        reasons = given.pop("reasons", ())
        filtered = where != Filter(states) or bool(named or reasons)
        ids: tuple[str, ...] = ()
        if "ids" in given:
            ids, some = given.pop("ids"), given.pop("every") or filtered
            if bool(ids) == some:
                raise UsageError(
                    "name jobs, or give filters or --all, not both"
                    if ids
                    else "name jobs, or give --all or a filter"
                )
        return function(*args, selection=JobSelection(ids, where, reasons, filtered), **given)

    return call


def confirm(session: Session, doing: str, jobs: str) -> bool:
    """Ask before ``jobs`` are removed. UsageError when nobody can be asked."""
    answer = session.err.ask(f"Remove {jobs} for good, with history and output?")
    if answer is None:
        raise UsageError(f"{doing} {jobs} needs -y, as nobody can be asked")
    return answer
