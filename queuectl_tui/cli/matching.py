"""Which jobs a verb means: ids, or all, or all that match the filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from queuectl_core.errors import Conflict
from queuectl_core.model import Filter, Job, State
from queuectl_core.text import clean_line

from .command import Session
from .jobs import complete_dead, complete_id, complete_state, resolve

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

DEAD = (State.DEAD,)

_COMMON = (
    click.option("--queue", "lane", metavar="NAME", help="Only jobs of this queue."),
    click.option("--search", metavar="TEXT", help="Only with this in id, command, error."),
    click.option("--exit-code", metavar="N", type=int, help="Only with this exit code."),
)
_FILTERS = (
    *_COMMON,
    click.option("--reason", metavar="TEXT", help="Only of this group of dlq list --group."),
)
_MORE = (
    click.option(
        "--state",
        "states",
        metavar="STATE",
        multiple=True,
        shell_complete=complete_state,
        help="Only jobs in this state (repeatable).",
    ),
)


@dataclass(frozen=True, slots=True)
class Which:
    """The jobs asked for on the command line."""

    ids: tuple[str, ...]
    every: bool
    where: Filter
    """The filters alone."""
    filtered: bool
    """Whether any filter was given."""

    async def find(self, ctx: click.Context, queue: Queue, allowed: Sequence[State]) -> Filter:
        """The filter of all that is meant. Usage error when nothing says which; Conflict when
        a job named is in a state that is not ``allowed``."""
        if self.ids and self.every:
            raise click.UsageError("name jobs or give --all, not both", ctx)
        if not (self.ids or self.every or self.filtered):
            raise click.UsageError("name jobs, or give --all or a filter", ctx)
        if not self.ids:
            return self.where
        jobs = await self.named(queue, allowed)
        return replace(self.where, seqs=tuple(job.seq for job in jobs))

    @property
    def only_ids(self) -> bool:
        """Jobs are named, and there is no filter."""
        return bool(self.ids) and not self.every and not self.filtered

    async def named(self, queue: Queue, allowed: Sequence[State]) -> list[Job]:
        """The jobs named. Conflict when one is in a state that is not ``allowed``."""
        jobs = await resolve(queue, self.ids)
        for job in jobs:
            if job.state not in allowed:
                where = "not in the DLQ" if tuple(allowed) == DEAD else "which does not allow that"
                raise Conflict(
                    f"job '{clean_line(job.id)}' is {job.state}, {where}",
                    f"it must be {' or '.join(allowed)}",
                )
        return jobs


def which_dead(function: Callable[..., Any]) -> Callable[..., Any]:
    """``[ID]... --all`` and filters, among dead jobs; given to the verb as ``which``."""
    return _which(function, _FILTERS, DEAD)


def which_jobs(function: Callable[..., Any]) -> Callable[..., Any]:
    """``[ID]... --all`` and filters, among all jobs; given to the verb as ``which``."""
    return _which(function, (*_MORE, *_FILTERS), ())


def which_live(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same among jobs that have not ended: without ``--reason``, which is of dead ones."""
    return _which(function, (*_MORE, *_COMMON), ())


def dead_filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Only the filters, among dead jobs; given to the verb as ``which``."""
    return _options(_collected(function, DEAD), _FILTERS)


def _which(function: Callable[..., Any], filters: Any, states: Any) -> Callable[..., Any]:
    every = click.option("--all", "every", is_flag=True, help="All jobs (that match).")
    complete = complete_dead if states == DEAD else complete_id
    ids = click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=complete)
    return ids(every(_options(_collected(function, states), filters)))


def _options(function: Callable[..., Any], options: Any) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function


def _collected(function: Callable[..., Any], states: tuple[State, ...]) -> Callable[..., Any]:
    """``function`` with the selecting parameters made into one."""

    @wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        from queuectl_core.queue import check_states

        words = [word for text in given.pop("states", ()) for word in text.split(",")]
        where = Filter(
            check_states(words) if words else states,
            given.pop("lane", None),
            given.pop("search"),
            given.pop("exit_code"),
            reason=given.pop("reason", None),
        )
        filtered = where != Filter(states) or bool(words)
        which = Which(given.pop("ids", ()), given.pop("every", False), where, filtered)
        return function(*args, which=which, **given)

    return call


def sure(ctx: click.Context, session: Session, doing: str, jobs: str) -> bool:
    """Ask before ``jobs`` are gone for good; usage error when there is nobody to ask."""
    answer = session.err.ask(f"Remove {jobs} for good, with history and output?")
    if answer is None:
        raise click.UsageError(f"{doing} {jobs} needs -y, as nobody can be asked", ctx)
    return answer


def plural(count: int, kind: str = "job") -> str:
    """``1 job``, ``2,000 jobs``."""
    return f"{count:,} {kind}{'s' if count != 1 else ''}"
