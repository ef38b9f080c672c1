"""Schedules: what they are, and the rules that decide what they enqueue. No I/O.

A schedule has *nominal times*: those of a cron expression, or every so many seconds since it was
added. Each of them is enqueued at most once, at its nominal time or a little later (``jitter``).
Nominal times that passed while nothing fired them are *missed*; :func:`plan` says which of them are
enqueued. :func:`judge` says what happens while the previous run has not ended.

The module that reads expressions (:mod:`.cron`) is imported when it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from .errors import Conflict, InvalidInput, NotFound
from .events import EventKind
from .jobspec import INPUT_FIELDS, Defaults, field_name, parse_job
from .model import Job, JobSpec, State, plain_number
from .text import clean_line
from .times import LATEST, format_time

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
MISSED = ("once", "skip", "all")
OVERLAP = ("skip", "queue", "allow", "replace")
"""What may be chosen; the first is the default."""
WITHIN = 86400.0
"""Seconds: the default of ``missed_within``."""
LATE = 60.0
"""Seconds after which a time counts as missed, although no later time has passed."""
LONGEST = 366 * 86400.0
"""Seconds: the longest ``every``, ``jitter`` and ``missed_within``."""
GAPS = 300
"""Times of an expression that are looked at to find the smallest gap between two of them."""
COUNTED = 5000
"""Missed times are counted one by one up to this number. A count that stops here says so."""
RUNS_AT_ONCE = 50
"""Runs that are enqueued in one transaction, at most, those of all schedules together."""

NOT_IN_A_TEMPLATE = {
    "id": "the id of a run is made from the schedule's name and its time",
    "run_at": "the schedule says when; to spread runs, see --jitter",
    "hold": "pause the schedule instead",
}
"""Fields of a job that a schedule cannot give, and what to do."""


class Schedule(NamedTuple):
    """One schedule as the store keeps it."""

    name: str
    cron: str | None
    every: float | None
    """Seconds between two times. Either this or ``cron`` is given."""
    tz: str
    """The IANA time zone of the expression."""
    missed: str
    missed_within: float
    overlap: str
    jitter: float
    job: Mapping[str, Any]
    """The job that it enqueues, with the names of ``enqueue``: only what was given."""
    since: float
    """Times are counted from here: when it was added, edited or resumed."""
    next_at: float | None
    """The next nominal time; None: there is none."""
    due_at: float | None
    """When the run of that time is enqueued."""
    last_at: float | None = None
    """The last nominal time that was enqueued."""
    last_job: int | None = None
    """The key of the last job that was enqueued."""
    skipped_at: float | None = None
    """The last time that was skipped or missed."""
    skipped_reason: str | None = None
    success_at: float | None = None
    """When a run completed, as far as this was known when it last fired."""
    paused_at: float | None = None
    paused_by: str | None = None
    paused_reason: str | None = None
    created_at: float = 0.0
    updated_at: float = 0.0
    version: int = 0
    """Increased by each change of a person."""

    @property
    def paused(self) -> bool:
        return self.paused_at is not None

    @property
    def when(self) -> str:
        """``30 2 * * *``, or ``every 5m``."""
        return self.cron if self.cron is not None else f"every {format_every(self.every or 0)}"


class LastRun(NamedTuple):
    """The last run of a schedule, if its job was not removed."""

    seq: int
    id: str
    state: State
    started_at: float | None
    finished_at: float | None
    last_error: str | None


class ScheduleInfo(NamedTuple):
    """A schedule, with what became of its runs."""

    schedule: Schedule
    last: LastRun | None
    success_at: float | None
    """When a run last completed."""

    def to_json(self, *, show_env: bool = False) -> dict[str, Any]:
        """The public JSON. Values of ``env`` are masked unless ``show_env``."""
        one, last = self.schedule, self.last
        paused = one.paused
        return {
            "name": one.name,
            "cron": one.cron,
            "every": None if one.every is None else plain_number(one.every),
            "tz": one.tz,
            "missed": one.missed,
            "missed_within": plain_number(one.missed_within),
            "overlap": one.overlap,
            "jitter": plain_number(one.jitter),
            "job": masked(one.job, show_env=show_env),
            "next_at": None if paused else format_time(one.next_at),
            "due_at": None if paused else format_time(one.due_at),
            "last_at": format_time(one.last_at),
            "last_job": None if last is None else last.id,
            "last_state": None if last is None else last.state.value,
            "last_finished_at": None if last is None else format_time(last.finished_at),
            "last_success_at": format_time(self.success_at),
            "skipped_at": format_time(one.skipped_at),
            "skipped_reason": one.skipped_reason,
            "paused": paused,
            "paused_at": format_time(one.paused_at),
            "paused_by": one.paused_by,
            "paused_reason": one.paused_reason,
            "created_at": format_time(one.created_at),
            "updated_at": format_time(one.updated_at),
        }


def masked(job: Mapping[str, Any], *, show_env: bool = False) -> dict[str, Any]:
    """A template for display."""
    from .model import MASK

    found = dict(job)
    if isinstance(found.get("env"), Mapping) and not show_env:
        found["env"] = dict.fromkeys(found["env"], MASK)
    return found


def format_every(seconds: float) -> str:
    """``90`` is ``1m30s``, as ``--every`` reads it."""
    left, text = plain_number(seconds), ""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if left >= size:
            text += f"{int(left // size)}{unit}"
            left = plain_number(left % size)
    return text + (f"{left:.12g}s" if left or not text else "")


def check_name(value: Any) -> str:
    """``value`` if it is a valid name; InvalidInput otherwise."""
    if not isinstance(value, str) or not re.fullmatch(NAME, value):
        shown = clean_line(str(value), 40)
        raise InvalidInput(
            f"schedule '{shown}' is not allowed",
            "use 1 to 100 of A-Z a-z 0-9 . _ -, starting with a letter or digit",
        )
    return value


# -- times ----------------------------------------------------------------------------


def next_time(schedule: Schedule, after: float) -> float | None:
    """Its first nominal time after ``after``; None: there is none.

    InvalidInput if this host cannot read its expression or does not know its zone.
    """
    if schedule.every is not None:
        number = max(0, int((after - schedule.since) // schedule.every)) + 1
        # Both may be rounded: never return a time that has passed.
        found = schedule.since + number * schedule.every
        while found <= after:
            number += 1
            found = schedule.since + number * schedule.every
        return found if found <= LATEST else None
    from .cron import parse_cron, zone

    return parse_cron(schedule.cron or "").after(after, zone(schedule.tz))


def times_after(schedule: Schedule, after: float) -> Iterator[float]:
    """Its nominal times after ``after``, in order."""
    at = next_time(schedule, after)
    while at is not None:
        yield at
        at = next_time(schedule, at)


def smallest_gap(schedule: Schedule, after: float) -> float | None:
    """Seconds between two times that follow each other, at least, as far as the next
    :data:`GAPS` times, or those of a year, show; None: there are not two."""
    if schedule.every is not None:
        return schedule.every
    found: float | None = None
    before: float | None = None
    for number, at in enumerate(times_after(schedule, after)):
        if before is not None:
            found = at - before if found is None else min(found, at - before)
        if number == GAPS or at > after + LONGEST:
            break
        before = at
    return found


def due_time(schedule: Schedule, at: float | None) -> float | None:
    """When the run of the nominal time ``at`` is enqueued. The delay is always the same for one
    name and time, so all supervisors agree."""
    if at is None or not schedule.jitter:
        return at
    import hashlib

    digest = hashlib.blake2b(f"{schedule.name}\0{at!r}".encode(), digest_size=8).digest()
    return at + schedule.jitter * (int.from_bytes(digest, "big") / 2.0**64)


def counted_from(schedule: Schedule, now: float) -> Schedule:
    """The schedule when it is added, edited or resumed at ``now``. Its times never go back, also
    when the clock was set back."""
    since = float(now // 1)
    if schedule.last_at is not None:
        since = max(since, schedule.last_at)
    fresh = schedule._replace(since=since)
    at = next_time(fresh, max(now, since))
    return fresh._replace(next_at=at, due_at=due_time(fresh, at))


def run_id(name: str, at: float) -> str:
    """The id of the run of the nominal time ``at``: ``NAME@2026-11-26T09:30Z``."""
    when = datetime.fromtimestamp(int(at // 1), UTC)
    return f"{name}@{when:%Y-%m-%dT%H:%M}{f':{when.second:02d}' if when.second else ''}Z"


# -- what to enqueue ------------------------------------------------------------------


class Plan(NamedTuple):
    """What to do with the nominal times of a schedule that are due."""

    times: tuple[float, ...]
    """Those to enqueue, in order."""
    missed: int
    """How many are not enqueued because they were missed."""
    complete: bool
    """False: there are more than ``missed``."""
    first_missed: float | None
    last_missed: float | None
    """None also if it was not found, because there are so many."""
    next_at: float | None
    due_at: float | None
    catches_up: bool = False
    """``--missed all``: the times are enqueued because each of them is wanted. So they wait for
    each other instead of being skipped."""


def plan(schedule: Schedule, now: float, limit: int = RUNS_AT_ONCE) -> Plan:
    """What to do at ``now`` with a schedule that is due (``due_at`` is not after ``now``).

    A time is missed if it is late by more than :data:`LATE`, or by as much as there is until the
    next time. How late it is counts from when it is due, so ``jitter`` makes no time missed. To
    catch up, at most ``limit`` times are enqueued; the next plan has the rest. InvalidInput as in
    :func:`next_time`.
    """
    if schedule.missed == "all":
        return _plan_all(schedule, now, limit)
    following = schedule.next_at
    times: list[float] = []
    first = last = None
    count, complete = 0, True
    while following is not None and complete and _is_due(schedule, following, now):
        at, count = following, count + 1
        if count == COUNTED:
            at, complete = _latest(schedule, now, at), False
        following = next_time(schedule, at)
        if _runs(schedule, at, following, now):
            times.append(at)
        else:
            first, last = at if first is None else first, at
    missed = count - len(times)
    if not complete and missed:
        first, last = schedule.next_at if first is None else first, None
    return Plan(
        tuple(times), missed, complete, first, last, following, due_time(schedule, following)
    )


def _runs(schedule: Schedule, at: float, following: float | None, now: float) -> bool:
    """Whether the nominal time ``at``, which is due, is enqueued. ``following`` is the next one."""
    if not _is_missed(schedule, at, following, now):
        return True
    due = due_time(schedule, at) or at
    is_latest = not _is_due(schedule, following, now)
    return is_latest and schedule.missed == "once" and now - due <= schedule.missed_within


def _is_missed(schedule: Schedule, at: float, following: float | None, now: float) -> bool:
    """Whether the nominal time ``at``, which is due, is missed. ``following`` is the next one."""
    due = due_time(schedule, at) or at
    if now - due > LATE:
        return True
    # With jitter the next one may be due very soon after this one. So this one is missed only if
    # it is late by as much as there is between them.
    is_latest = following is None or not _is_due(schedule, following, now)
    return not is_latest and now >= (following or at) + (due - at)


def _is_due(schedule: Schedule, at: float | None, now: float) -> bool:
    due = due_time(schedule, at)
    return due is not None and due <= now


def _latest(schedule: Schedule, now: float, floor: float) -> float:
    """The last nominal time that is due at ``now``; ``floor`` is one that is."""
    back = 60.0
    while now - back > floor:
        found = next_time(schedule, now - back)
        if _is_due(schedule, found, now):
            floor = found or floor
            break
        back *= 4
    while _is_due(schedule, following := next_time(schedule, floor), now):
        floor = following or floor
    return floor


def _plan_all(schedule: Schedule, now: float, limit: int) -> Plan:
    horizon = now - schedule.missed_within
    far = min(horizon, now - LATE) - schedule.jitter  # times before this are missed and too old
    at = schedule.next_at
    first = at
    missed, complete, last = 0, True, None
    while at is not None and _is_due(schedule, at, now):
        due = due_time(schedule, at) or at
        if due >= horizon:
            break
        following = next_time(schedule, at)
        if not _is_missed(schedule, at, following, now):
            break
        missed, last, at = missed + 1, at, following
        if missed == COUNTED and at is not None and at < far:
            at, complete = next_time(schedule, far), False
    times: list[float] = []
    while len(times) < limit and _is_due(schedule, at, now):
        times.append(at or 0.0)
        at = next_time(schedule, times[-1])
    late = bool(times) and now - (due_time(schedule, times[0]) or times[0]) > LATE
    return Plan(
        tuple(times),
        missed,
        complete,
        first if missed else None,
        last,
        at,
        due_time(schedule, at),
        catches_up=len(times) > 1 or late,
    )


class Step(StrEnum):
    """What to do with a run while the previous one may not have ended."""

    RUN = "run"
    WAIT = "wait"
    """Enqueue it; it waits until the previous run has ended."""
    REPLACE = "replace"
    """Cancel the previous run, and wait until it has ended."""
    SKIP = "skip"


def judge(overlap: str, previous: Job | None, *, catches_up: bool = False) -> tuple[Step, str]:
    """What to do with a run, and the reason if it is skipped. ``previous``: the last run; None:
    there was none, or its job was removed."""
    if previous is None or overlap == "allow" or is_over(previous.state):
        return Step.RUN, ""
    if overlap == "replace":
        return Step.REPLACE, ""
    name = clean_line(previous.id, 128)
    if catches_up:
        return Step.WAIT, ""
    if overlap == "queue":
        if previous.state is State.WAITING:
            return Step.SKIP, f"a run waits already: {name}"
        return Step.WAIT, ""
    words = {
        State.PROCESSING: "runs still",
        State.FAILED: "waits for its retry",
        State.PENDING: "has not started",
        State.WAITING: "is waiting",
    }
    return Step.SKIP, f"the previous run {words[previous.state]}: {name}"


def is_over(state: State) -> bool:
    """Whether a run has ended."""
    return state in (State.COMPLETED, State.DEAD, State.CANCELLED)


class Firing(NamedTuple):
    """A schedule that is due, what is to be done, and the jobs for it."""

    schedule: Schedule
    """As it was read. The store does nothing if it has changed."""
    plan: Plan
    spec: JobSpec | None
    """The job, without an id; None: no job can be made."""
    problem: str = ""
    """Why no job can be made."""

    def spec_at(self, at: float) -> JobSpec | None:
        """The job of one nominal time."""
        if self.spec is None:
            return None
        name = self.schedule.name
        return self.spec._replace(id=run_id(name, at), schedule=name, scheduled_at=at)


class Fired(NamedTuple):
    """What became of a schedule that was due."""

    name: str
    jobs: tuple[Job, ...] = ()
    skipped: tuple[tuple[float | None, str], ...] = ()
    """(nominal time, reason)"""
    missed: int = 0


# -- templates ------------------------------------------------------------------------


def make_spec(schedule: Schedule, defaults: Defaults) -> JobSpec:
    """The job of a schedule, without an id. InvalidInput if its template is not valid any more."""
    spec, _ = parse_job(schedule.job, defaults)
    return spec._replace(schedule=schedule.name)


def parse_template(source: Any, defaults: Defaults) -> tuple[dict[str, Any], list[str]]:
    """The template in ``source`` (a job as for ``enqueue``), and the output fields that were
    ignored. What it does not give is decided by the settings when it fires, except the directory.
    Paths of secrets refer to the directory of the caller, as for ``enqueue``.

    InvalidInput names the field.
    """
    if isinstance(source, str):
        source = {"command": source}
    spec, ignored = parse_job(source, defaults)
    given = {field_name(name): value for name, value in source.items()}
    for name, hint in NOT_IN_A_TEMPLATE.items():
        if given.get(name) not in (None, False):
            raise InvalidInput(f"a schedule cannot set {name}", hint)
        given.pop(name, None)
    found = {
        name: value for name, value in given.items() if name in INPUT_FIELDS and value is not None
    }
    for name in ("after", "after_any", "after_failed", "command"):
        if name in found:
            found[name] = given[name] if isinstance(given[name], str) else list(given[name])
    if "secrets" in found:
        found["secrets"] = dict(spec.secrets)  # relative paths have become whole ones
    return found | {"cwd": spec.cwd}, ignored


# -- what the stores have in common ---------------------------------------------------


def stands_for(step: Step, previous: Job) -> tuple[str, ...]:
    """The jobs that a run waits for instead of the previous one, as far as they have not ended.
    Empty: it waits for the previous one.

    A run that waits itself ends as soon as it is cancelled, but what it waits for may still run.
    A run that stays stands for all earlier ones, so a run never has the parents of all of them.
    """
    replaced = step is Step.REPLACE and previous.state is State.WAITING
    return previous.parents.get("after_any", ()) if replaced else ()


def waits_for(spec: JobSpec, ids: Iterable[str]) -> JobSpec:
    """The run, which waits until these jobs have ended."""
    return spec._replace(after_any=tuple(dict.fromkeys((*spec.after_any, *ids))))


def run_detail(at: float | None) -> dict[str, Any]:
    """The detail of an event about a run."""
    return {} if at is None else {"scheduled_at": format_time(at)}


def missed_detail(schedule: Schedule, found: Plan) -> dict[str, Any]:
    """``complete`` false: there are more than the count."""
    return {
        "first": format_time(found.first_missed),
        "last": format_time(found.last_missed),
        "complete": found.complete,
        "missed": schedule.missed,
    }


def no_schedule(name: str) -> NotFound:
    """The error for a name that no schedule has."""
    return NotFound(f"no such schedule: '{clean_line(name, 60)}'", "see: queuectl schedule list")


def there_already(name: str) -> Conflict:
    """The error for a name that is taken."""
    return Conflict(f"schedule '{name}' exists", f"change it with: queuectl schedule edit {name}")


def success_of(previous: Job | None) -> float | None:
    """When a run completed; None: it did not."""
    done = previous is not None and previous.state is State.COMPLETED
    return previous.finished_at if previous is not None and done else None


class Outcome:
    """What becomes of a schedule that is due, while its runs are enqueued."""

    def __init__(self, firing: Firing, last_job: int | None, known: Mapping[int, Job]) -> None:
        """``last_job``: the key of the last run; ``known``: jobs by key."""
        self.firing = firing
        self.overlap = firing.schedule.overlap
        self.previous = None if last_job is None else known.get(last_job)
        """The last run; None: there was none, or its job was removed."""
        self._last_job = last_job
        self._success = success_of(self.previous)
        self._jobs: list[Job] = []
        self._skipped: list[tuple[float | None, str]] = []
        plan = firing.plan
        if plan.missed:
            at = plan.last_missed if plan.last_missed is not None else plan.first_missed
            self._skipped.append((at, "missed: nothing fired it in time"))
        self._events: list[tuple[EventKind, dict[str, Any]]] = []
        if plan.missed:
            detail = missed_detail(firing.schedule, plan)
            self._event(EventKind.SCHEDULE_MISSED, detail, count=plan.missed)

    def _event(self, kind: EventKind, detail: Mapping[str, Any], **about: Any) -> None:
        about |= {"name": self.firing.schedule.name, "detail": detail}
        self._events.append((kind, about))

    def take(self, at: float, found: Job | str) -> None:
        """The run of the nominal time ``at`` was enqueued, or was skipped for this reason."""
        if isinstance(found, str):
            self._skipped.append((at, found))
            self._event(EventKind.SCHEDULE_SKIPPED, run_detail(at) | {"reason": found})
        else:
            self._jobs.append(found)
            self.previous = found
            about = {"job": found.seq, "job_id": found.id}
            self._event(EventKind.SCHEDULE_FIRED, run_detail(at), **about)

    def events(self) -> list[tuple[EventKind, dict[str, Any]]]:
        """The events, with the arguments of ``record``."""
        return self._events

    def changes(self) -> dict[str, Any]:
        """The new values of the schedule's row; None: as it is."""
        plan, jobs, skipped = self.firing.plan, self._jobs, self._skipped
        return {
            "name": self.firing.schedule.name,
            "next_at": plan.next_at,
            "due_at": plan.due_at,
            "last_at": jobs[-1].scheduled_at if jobs else None,
            "last_job": jobs[-1].seq if jobs else self._last_job,
            "success_at": self._success,
            "skipped_at": skipped[-1][0] if skipped else None,
            "skipped_reason": skipped[-1][1] if skipped else None,
        }

    def fired(self) -> Fired:
        name, missed = self.firing.schedule.name, self.firing.plan.missed
        return Fired(name, tuple(self._jobs), tuple(self._skipped), missed)
