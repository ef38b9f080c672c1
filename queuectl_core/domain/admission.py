"""Admission: whether a waiting job may start now, and every reason why not. Pure functions.

The stores use :func:`room` and :func:`heads` inside the claim. Their SQL for dependencies is tested
against :func:`verdict`. ``why`` uses :func:`blockers` on facts that were read for it.
There is no counter of running attempts: the claim counts the jobs that are ``processing``.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from .lifecycle import FINAL, NOT_STARTED
from .model import Attempt, Dependency, Job, Outcome, QueueSettings, Rate, State
from .times import format_time

if TYPE_CHECKING:
    from .figures import WaitGroup

RATE_MARGIN = 0.05
"""Seconds by which the period of a rate is extended. Hosts do not know the time of the store
exactly."""
STARTS_KEPT = 1000
"""How many times of starts are kept for a rate. If it counts more starts in its period, those of
the same thousandth of the period are kept as one."""


class Reason(StrEnum):
    """Why a job does not run, in the order in which ``why`` lists the reasons."""

    HELD = "Held"
    WAITING_FOR = "WaitingFor"
    NOT_DUE = "NotDue"
    BACKOFF = "Backoff"
    QUEUE_PAUSED = "QueuePaused"
    QUEUE_LIMIT = "QueueLimit"
    HOST_LIMIT = "HostLimit"
    KEY_LIMIT = "KeyLimit"
    RATE_LIMIT = "RateLimit"
    NO_WORKER = "NoWorker"
    ALL_BUSY = "AllBusy"
    UNCERTAIN = "Uncertain"


# -- for the claim --------------------------------------------------------------------


class Room(NamedTuple):
    """How many attempts of a queue may start now."""

    free: int | None
    """None: any number."""
    next_at: float | None = None
    """When more may start although no attempt ends: the pause ends, or the rate allows it."""
    by_rate: bool = False
    """The rate is what limits ``free``."""


class Start(NamedTuple):
    """Starts of attempts in a queue with a rate."""

    at: float
    """When they started. If that is not known yet: when they were claimed."""
    number: int = 1
    known: bool = True
    """False: they were claimed, and have started or will start at a time that is not known yet.
    So they count until it is."""


def room(
    queue: QueueSettings, running: int, running_here: int, starts: Sequence[Start], now: float
) -> Room:
    """How many attempts of ``queue`` a supervisor may start at ``now``.

    ``running``: attempts that run in all; ``running_here``: on this host. ``starts``: the starts
    of the queue within its :func:`rate_window`, oldest first.
    """
    if queue.paused(now):
        return Room(0, queue.paused_until)
    counts = []
    if queue.limit is not None:
        counts.append(queue.limit - running)
    if queue.per_host is not None:
        counts.append(queue.per_host - running_here)
    count = max(0, min(counts)) if counts else None
    if queue.rate is None:
        return Room(count)
    window = rate_window(queue)
    # A start far in the future comes from a clock that was set back. It must not block the queue
    # until the clock is there again.
    recent = [one for one in starts if not one.known or now - window < one.at <= now + window]
    free = max(0, queue.rate.starts - sum(one.number for one in recent))
    next_at = None if free else _leaves(recent, queue.rate.starts, window, now)
    by_rate = count is None or free < count
    return Room(free if count is None else min(count, free), next_at, by_rate)


def _leaves(recent: Sequence[Start], count: int, window: float, now: float) -> float:
    """When only ``count`` - 1 of these starts are left in the window. If it depends on a start
    that is not known yet: when to look again."""
    left = count
    for one in reversed(recent):
        left -= one.number
        if left <= 0:
            break
    end = min(one.at, now) + window
    return end if end > now else now + window


def rate_window(queue: QueueSettings) -> float:
    """Seconds in which at most ``rate.starts`` attempts start: the period and a margin."""
    return (queue.rate.seconds if queue.rate else 0.0) + RATE_MARGIN


def started_at(attempt: Attempt) -> float:
    """When an attempt that has ended was started, at the latest: of one that nobody saw ending,
    the start may not have been seen either."""
    if attempt.outcome in (Outcome.CRASHED, Outcome.INTERRUPTED):
        return max(attempt.started_at, attempt.finished_at or 0.0)
    return attempt.started_at


def kept_start(rate: Rate, at: float) -> float:
    """The time under which a start at ``at`` is kept: never an earlier one."""
    if rate.starts <= STARTS_KEPT:
        return at
    grain = rate.seconds / STARTS_KEPT
    return math.ceil(at / grain) * grain


def next_start(queue: QueueSettings, starts: Sequence[Start], now: float) -> float | None:
    """When the rate of ``queue`` allows the next start, whatever else blocks it; None: now, or
    there is no rate. ``starts``: as for :func:`room`."""
    alone = queue._replace(limit=None, per_host=None, paused_at=None)
    return room(alone, 0, 0, starts, now).next_at


def key_room(queue: QueueSettings, running: int) -> int:
    """How many more attempts with one key may run, while ``running`` run."""
    return max(0, (queue.per_key or 1) - running)


class Candidate(NamedTuple):
    """A job that waits, with what decides its place."""

    seq: int
    priority: int
    run_at: float

    @property
    def place(self) -> tuple[int, float, int]:
        """Jobs start in the order of this: by priority, then by ``run_at``, then by arrival."""
        return -self.priority, self.run_at, self.seq


def heads(
    now_heads: Iterable[Candidate], others: Iterable[Candidate], count: int
) -> tuple[set[int], set[int]]:
    """Which jobs of one key a claim may see: the first ``count``. Returns the seqs of those that
    must become visible, and of those that must not stay visible.

    ``now_heads`` are visible; ``others`` are the first of the rest, at least ``count`` of them.
    """
    before = {one.seq for one in now_heads}
    best = sorted((*now_heads, *others), key=lambda one: one.place)[:count]
    after = {one.seq for one in best}
    return after - before, before - after


# -- dependencies ---------------------------------------------------------------------

FAILED = (State.DEAD, State.CANCELLED)
"""States of a parent that did not do its work."""


class Verdict(StrEnum):
    """What the state of a parent means for a job that waits for it."""

    MET = "met"
    UNMET = "unmet"
    IMPOSSIBLE = "impossible"


def verdict(kind: str, parent: State | None, *, waived: bool = False) -> Verdict:
    """What ``parent`` means for a job that waits for it in the way ``kind``. None: the parent was
    removed, which is only possible if nobody waited for it."""
    if parent is None or waived:
        return Verdict.MET
    if parent not in FINAL:
        return Verdict.UNMET
    if kind == "after_any":
        return Verdict.MET
    wanted = (State.COMPLETED,) if kind == "after" else FAILED
    return Verdict.MET if parent in wanted else Verdict.IMPOSSIBLE


def cycle(edges: Mapping[Any, Collection[Any]]) -> list[Any]:
    """A circle in a graph, as the nodes on it; empty: there is none."""
    from graphlib import CycleError, TopologicalSorter

    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        found: list[Any] = error.args[1]
        return found
    return []


# -- why ------------------------------------------------------------------------------


class QueueFacts(NamedTuple):
    """What decides about the jobs of one queue at one moment."""

    settings: QueueSettings
    running: int = 0
    running_ids: tuple[str, ...] = ()
    """Some of the jobs that run."""
    hosts: Mapping[str, int] = {}
    """For each host with a live worker for this queue: how many attempts of the queue run there."""
    rate_next: float | None = None
    """When the rate allows the next start; None: now, or there is no rate."""
    workers: int = 0
    """Live workers that serve this queue and are not stopping."""
    idle: int = 0
    """How many of these are idle."""


class Facts(NamedTuple):
    """What decides about one job."""

    now: float
    queue: QueueFacts
    key_running: tuple[str, ...] = ()
    """The running jobs with the same key."""
    parents: tuple[Dependency, ...] | None = None
    """None: they were not read. Then a job that is waiting and not held counts as one that waits
    for others. A held one that waits for others, too, counts as held only."""
    ahead: int = 0
    """How many jobs of the queue would start before it, at most :data:`MOST_AHEAD`."""
    silent_until: float | None = None
    """The job is processing, and its owner is silent: when its lease ends."""


MOST_AHEAD = 1000
"""Jobs ahead of a job are counted up to this number."""


class Why(NamedTuple):
    """The answer to why a job does not run."""

    job: Job
    blockers: tuple["Blocker", ...]

    @property
    def ready(self) -> bool:
        """Nothing blocks it: it starts at once."""
        return self.job.state in NOT_STARTED and not self.blockers


class Tree(NamedTuple):
    """The jobs around one job."""

    parents: tuple[Dependency, ...]
    """What it waits for or waited for, directly and through other jobs."""
    children: tuple[Dependency, ...]
    """What waits for it or waited for it."""
    complete: bool
    """False: there are more than the limit."""


class Blocker(NamedTuple):
    """One reason why a job does not run."""

    reason: Reason
    detail: str
    since: float | None = None
    until: float | None = None
    command: tuple[str, ...] | None = None
    """The arguments of ``queuectl`` that remove this reason; None: no command does."""

    def to_json(self, command: str | None) -> dict[str, Any]:
        """The public JSON. ``command``: the whole command line."""
        return {
            "reason": self.reason.value,
            "detail": self.detail,
            "since": format_time(self.since),
            "until": format_time(self.until),
            "command": command,
        }


def unmet(job: Job, facts: Facts) -> bool:
    """Whether the job waits for other jobs."""
    if job.state is not State.WAITING:
        return False
    if facts.parents is None:
        return not job.held
    found = (verdict(p.kind, p.parent_state, waived=p.waived) for p in facts.parents)
    return any(one is Verdict.UNMET for one in found)


def reasons(job: Job, facts: Facts) -> list[Reason]:
    """Every reason why ``job`` does not run, in the order of :class:`Reason`. Empty: it runs, has
    ended, or will start at once."""
    if job.state is State.PROCESSING:
        return [Reason.UNCERTAIN] if facts.silent_until is not None else []
    if job.state in FINAL:
        return []
    return _reasons(
        facts.queue,
        facts.now,
        later=job.run_at > facts.now,
        failed=job.state is State.FAILED,
        held=job.held,
        waits=unmet(job, facts),
        key_full=job.key is not None and not key_room(facts.queue.settings, len(facts.key_running)),
    )


def first_reason(group: "WaitGroup", queue: QueueFacts, now: float) -> Reason | None:
    """The first reason why the jobs of a group do not run; None: they will start at once."""
    found = _reasons(
        queue,
        now,
        later=group.later,
        failed=group.state is State.FAILED,
        held=group.held,
        waits=group.state is State.WAITING and not group.held,
        key_full=group.key_full,
    )
    return found[0] if found else None


def _reasons(
    queue: QueueFacts,
    now: float,
    *,
    later: bool,
    failed: bool,
    held: bool,
    waits: bool,
    key_full: bool,
) -> list[Reason]:
    settings = queue.settings
    per_host = settings.per_host
    hosts_full = (
        per_host is not None
        and bool(queue.hosts)
        and all(number >= per_host for number in queue.hosts.values())
    )
    applies = {
        Reason.HELD: held,
        Reason.WAITING_FOR: waits,
        Reason.NOT_DUE: later and not failed,
        Reason.BACKOFF: later and failed,
        Reason.QUEUE_PAUSED: settings.paused(now),
        Reason.QUEUE_LIMIT: settings.limit is not None and queue.running >= settings.limit,
        Reason.HOST_LIMIT: hosts_full,
        Reason.KEY_LIMIT: key_full,
        Reason.RATE_LIMIT: queue.rate_next is not None and queue.rate_next > now,
        Reason.NO_WORKER: not queue.workers,
        Reason.ALL_BUSY: bool(queue.workers) and not queue.idle,
    }
    return [reason for reason in Reason if applies.get(reason)]


def blockers(job: Job, facts: Facts) -> list[Blocker]:
    """Every reason with its details, and the command that removes it."""
    return [_DETAILS[reason](job, facts) for reason in reasons(job, facts)]


def _held(job: Job, facts: Facts) -> Blocker:
    if job.held_at is None:
        detail = f"it cannot run because of how its parent {job.cause} ended"
        return Blocker(Reason.HELD, detail, job.updated_at, None, ("release", job.id))
    by = f"by {job.held_by}" if job.held_by else "by somebody"
    return Blocker(Reason.HELD, by, job.held_at, None, ("release", job.id))


def _waiting_for(job: Job, facts: Facts) -> Blocker:
    left = [
        one
        for one in facts.parents or ()
        if verdict(one.kind, one.parent_state, waived=one.waived) is Verdict.UNMET
    ]
    parts = []
    for kind, what in (("after", "complete"), ("after_any", "end"), ("after_failed", "fail")):
        shown = [f"{one.parent} ({one.parent_state})" for one in left if one.kind == kind]
        if shown:
            more = f" and {len(shown) - 5:,} more" if len(shown) > 5 else ""
            parts.append(f"{', '.join(shown[:5])}{more} to {what}")
    detail = "; ".join(parts) or "other jobs to end"
    return Blocker(Reason.WAITING_FOR, detail, job.created_at)


def _not_due(job: Job, facts: Facts) -> Blocker:
    detail = f"due at {format_time(job.run_at)}"
    command = ("edit", job.id, "--run-at", "now")
    return Blocker(Reason.NOT_DUE, detail, None, job.run_at, command)


def _backoff(job: Job, facts: Facts) -> Blocker:
    detail = f"attempt {job.attempts} of {max(1, job.max_retries)} failed"
    return Blocker(Reason.BACKOFF, detail, job.finished_at, job.run_at, ("retry", job.id))


def _paused(job: Job, facts: Facts) -> Blocker:
    one = facts.queue.settings
    detail = f"queue {one.name} was paused"
    detail += f" by {one.paused_by}" if one.paused_by else ""
    detail += f": {one.paused_reason}" if one.paused_reason else ""
    command = ("queue", "resume", one.name)
    return Blocker(Reason.QUEUE_PAUSED, detail, one.paused_at, one.paused_until, command)


def _some(ids: Sequence[str], count: int) -> str:
    more = f" and {count - len(ids):,} more" if count > len(ids) else ""
    return f": {', '.join(ids)}{more}" if ids else ""


def _queue_limit(job: Job, facts: Facts) -> Blocker:
    queue = facts.queue
    limit, name = queue.settings.limit, queue.settings.name
    detail = f"{queue.running} of {limit} run in queue {name}"
    detail += _some(queue.running_ids, queue.running)
    command = ("queue", "set", name, "--limit", str(max(queue.running, limit or 0) + 1))
    return Blocker(Reason.QUEUE_LIMIT, detail, command=command)


def _host_limit(job: Job, facts: Facts) -> Blocker:
    one, hosts = facts.queue.settings, facts.queue.hosts
    shown = ", ".join(f"{number} on {host}" for host, number in sorted(hosts.items())[:5])
    detail = f"per-host is {one.per_host} in queue {one.name}: {shown} run"
    most = min(hosts.values(), default=0) + 1
    command = ("queue", "set", one.name, "--per-host", str(most))
    return Blocker(Reason.HOST_LIMIT, detail, command=command)


def _key_limit(job: Job, facts: Facts) -> Blocker:
    one, running = facts.queue.settings, facts.key_running
    detail = f"{len(running)} of {one.per_key or 1} run with key {job.key}"
    detail += _some(running[:5], len(running))
    command = ("queue", "set", one.name, "--per-key", str(len(running) + 1))
    return Blocker(Reason.KEY_LIMIT, detail, command=command)


def _rate_limit(job: Job, facts: Facts) -> Blocker:
    from .model import format_rate

    one = facts.queue.settings
    detail = f"the rate of queue {one.name} is {format_rate(one.rate)}"
    command = ("queue", "set", one.name, "--rate", "none")
    return Blocker(Reason.RATE_LIMIT, detail, None, facts.queue.rate_next, command)


def _no_worker(job: Job, facts: Facts) -> Blocker:
    command = ("worker", "start", "--detach", "--queue", job.queue)
    return Blocker(Reason.NO_WORKER, f"no live worker serves queue {job.queue}", command=command)


def _all_busy(job: Job, facts: Facts) -> Blocker:
    number, ahead = facts.queue.workers, facts.ahead
    who = "the only worker is busy" if number == 1 else f"all {number:,} workers are busy"
    first = f"{ahead:,}{'+' if ahead >= MOST_AHEAD else ''}"
    detail = f"{who}; {first} job{'s' * (ahead != 1)} ahead of it"
    command = ("worker", "start", "--detach", "--queue", job.queue)
    return Blocker(Reason.ALL_BUSY, detail, command=command)


def _uncertain(job: Job, facts: Facts) -> Blocker:
    detail = "the supervisor that runs it is silent; another one takes over when its lease ends"
    return Blocker(Reason.UNCERTAIN, detail, None, facts.silent_until)


_DETAILS = {
    Reason.HELD: _held,
    Reason.WAITING_FOR: _waiting_for,
    Reason.NOT_DUE: _not_due,
    Reason.BACKOFF: _backoff,
    Reason.QUEUE_PAUSED: _paused,
    Reason.QUEUE_LIMIT: _queue_limit,
    Reason.HOST_LIMIT: _host_limit,
    Reason.KEY_LIMIT: _key_limit,
    Reason.RATE_LIMIT: _rate_limit,
    Reason.NO_WORKER: _no_worker,
    Reason.ALL_BUSY: _all_busy,
    Reason.UNCERTAIN: _uncertain,
}
