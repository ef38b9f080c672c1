"""Schedules: adding and changing them, and enqueueing the runs that are due."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple

from ..domain.errors import Conflict, InvalidInput, QueueError, StoreError
from ..domain.jobspec import Defaults
from ..domain.model import Job
from ..domain.schedule import (
    LONGEST,
    MISSED,
    OVERLAP,
    RUNS_AT_ONCE,
    WITHIN,
    Fired,
    Firing,
    Schedule,
    ScheduleInfo,
    check_name,
    counted_from,
    format_every,
    make_spec,
    no_schedule,
    parse_template,
    plan,
    smallest_gap,
    times_after,
)
from ..domain.text import clean_line, nearest
from ..domain.times import format_time, parse_duration
from ..store.protocol import Store
from ..system.run_sync import off_loop

AT_ONCE = RUNS_AT_ONCE
"""Schedules that are fired in one transaction, at most, with as many runs together. Meanwhile
nobody else can write to an SQLite file."""
TRIES = 20
"""How often a change is tried again when the schedule has fired meanwhile."""
SHOWN_TIMES = 5
SHOWN_RUNS = 10

FIELDS = ("cron", "every", "tz", "missed", "missed_within", "overlap", "jitter")
"""What may be given about the times of a schedule. The rest is its job."""


class Shown(NamedTuple):
    """Everything about one schedule."""

    info: ScheduleInfo
    times: tuple[float, ...]
    """The next nominal times."""
    runs: tuple[Job, ...]
    """The last runs that are still there, newest first."""
    trouble: str = ""
    """Why no times can be computed on this host."""


# -- firing ---------------------------------------------------------------------------


async def fire_due(
    store: Store, now: float, defaults: Defaults, on_trouble: Callable[[str, str], None]
) -> list[Fired]:
    """Enqueue the runs of all schedules that are due at ``now``. Returns what was done here; other
    supervisors may do the rest.

    A schedule whose times cannot be computed on this host (an unknown time zone) is left to other
    hosts, and reported to ``on_trouble`` with its name. There are at most :data:`RUNS_AT_ONCE` runs
    in one transaction, and other writers go first between two of them.
    """
    done: list[Fired] = []
    left: set[tuple[str, float | None]] = set()
    while True:
        # Those that could not be fired come first again, so read beyond them.
        due = await store.due_schedules(now, AT_ONCE + len(left))
        due = [one for one in due if (one.name, one.next_at) not in left][:AT_ONCE]
        if not due:
            return done
        firings, problems = await off_loop(_all_firings, due, now, defaults)
        for name, problem in problems.items():
            on_trouble(name, problem)
        fired: list[Fired] = []
        if firings:
            began = monotonic()
            fired = await _fire(store, firings, now)
            await store.give_way(monotonic() - began)
        done += fired
        names = {one.name for one in fired}  # these have another time now, or none
        left |= {(one.name, one.next_at) for one in due if one.name not in names}


async def next_due(store: Store, now: float, cannot: Collection[str]) -> float | None:
    """When a schedule is due next, which may have passed. ``cannot``: the names of those that
    cannot fire on this host: their times up to ``now`` do not count."""
    if not cannot:
        return await store.next_schedule(None)
    for one in await store.due_schedules(now, len(cannot) + 1):
        if one.name not in cannot:
            return one.due_at
    return await store.next_schedule(now)


def _all_firings(
    due: Sequence[Schedule], now: float, defaults: Defaults
) -> tuple[list[Firing], dict[str, str]]:
    """What to do for each of them, with equal shares of the runs that one transaction may make; and
    why others cannot fire here, by name."""
    firings, problems = [], {}
    share = max(1, RUNS_AT_ONCE // len(due))
    for schedule in due:
        try:
            firings.append(firing(schedule, now, defaults, share))
        except InvalidInput as error:
            problem = f"schedule {schedule.name} cannot fire on this host: {error}"
            problems[schedule.name] = problem
    return firings, problems


async def _fire(store: Store, firings: Sequence[Firing], now: float) -> list[Fired]:
    """In one transaction; if something is wrong with one of them, one after another."""
    try:
        return await store.fire(firings, now)
    except StoreError:
        raise
    except QueueError:
        done: list[Fired] = []
        for one in firings:
            try:
                done += await store.fire([one], now)
            except StoreError:
                raise
            except QueueError as error:
                broken = one._replace(spec=None, problem=error.message)
                done += await store.fire([broken], now)
        return done


def firing(schedule: Schedule, now: float, defaults: Defaults, limit: int = RUNS_AT_ONCE) -> Firing:
    """What is to be done for a schedule that is due, with at most ``limit`` of the runs that
    catch up. InvalidInput if its times cannot be computed."""
    found = plan(schedule, now, limit)
    if not found.times:
        return Firing(schedule, found, None)
    try:
        return Firing(schedule, found, make_spec(schedule, defaults))
    except InvalidInput as error:
        return Firing(schedule, found, None, f"its job is not valid any more: {error.message}")


# -- changing -------------------------------------------------------------------------


def parse_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a schedule, except its job, from text or numbers. Only what is given.

    InvalidInput names the field.
    """
    found: dict[str, Any] = {}
    for field, value in given.items():
        if field not in FIELDS:
            raise InvalidInput(
                f"unknown field '{clean_line(str(field), 40)}' of a schedule",
                nearest(str(field), FIELDS),
            )
        if value is None:
            continue
        if field in ("every", "jitter", "missed_within"):
            found[field] = _seconds(field, value)
        elif not isinstance(value, str):
            raise InvalidInput(f"{field} must be text")
        elif field == "missed":
            found[field] = _choice(field, value, MISSED)
        elif field == "overlap":
            found[field] = _choice(field, value, OVERLAP)
        elif field == "cron":
            from ..domain.cron import parse_cron

            found[field] = parse_cron(" ".join(value.split())).text
        else:
            from ..domain.cron import zone

            found[field] = zone(value).name
    if "cron" in found and "every" in found:
        raise InvalidInput("cron and every exclude each other", "give one of them")
    return found


def _seconds(field: str, value: Any) -> float:
    word = field.replace("_", "-")
    low = 1.0 if field == "every" else 0.0
    if isinstance(value, str):
        try:
            value = parse_duration(value)
        except InvalidInput as error:
            raise InvalidInput(f"{word}: {error.message}", error.hint) from None
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not low <= value <= LONGEST:
        raise InvalidInput(
            f"{word} must be a time from {low:.0f} second{'s' * (low != 1)} to 366 days",
            "write 30s, 5m, 2h or 1d",
        )
    return float(value)


def _choice(field: str, value: str, words: Sequence[str]) -> str:
    if value in words:
        return value
    shown = clean_line(value, 40)
    raise InvalidInput(f"{field}: unknown '{shown}'", nearest(shown, words))


def make_schedule(
    name: str, options: Mapping[str, Any], template: Mapping[str, Any], now: float, default_tz: str
) -> Schedule:
    """A new schedule. ``options`` are as :func:`parse_options` returns them."""
    if "cron" not in options and "every" not in options:
        raise InvalidInput("say when: a cron expression or an interval", "give --cron or --every")
    schedule = Schedule(
        check_name(name),
        options.get("cron"),
        options.get("every"),
        options.get("tz", default_tz),
        options.get("missed", MISSED[0]),
        options.get("missed_within", WITHIN),
        options.get("overlap", OVERLAP[0]),
        options.get("jitter", 0.0),
        template,
        since=now,
        next_at=None,
        due_at=None,
        created_at=now,
        updated_at=now,
    )
    _check_jitter(schedule, now)
    return counted_from(schedule, now)


def _check_jitter(schedule: Schedule, now: float) -> None:
    """Otherwise a time might be due before the one before it."""
    if not schedule.jitter:
        return
    gap = smallest_gap(schedule, now)
    if gap is not None and schedule.jitter >= gap:
        between = format_every(gap)
        raise InvalidInput(
            f"jitter must be shorter than the time between two runs, which can be {between}",
            f"give less than {between}",
        )


async def add(
    store: Store,
    name: str,
    given: Mapping[str, Any],
    job: Any,
    *,
    defaults: Defaults,
    env: Mapping[str, str],
) -> tuple[ScheduleInfo, list[str]]:
    """Add a schedule. Returns it, and the output fields of ``job`` that were ignored."""
    info, ignored = make(name, given, job, defaults=defaults, env=env)
    await store.add_schedule(info.schedule, defaults.now)
    return info, ignored


def make(
    name: str, given: Mapping[str, Any], job: Any, *, defaults: Defaults, env: Mapping[str, str]
) -> tuple[ScheduleInfo, list[str]]:
    """A new schedule, which is not in the store yet. InvalidInput."""
    check_name(name)
    options = parse_options(given)
    template, ignored = parse_template(job, defaults)
    zone_name = options.get("tz") or local_zone(env)
    schedule = make_schedule(name, options, template, defaults.now, zone_name)
    return ScheduleInfo(schedule, None, None), ignored


async def edit(
    store: Store,
    name: str,
    given: Mapping[str, Any],
    job: Mapping[str, Any],
    defaults: Defaults,
) -> ScheduleInfo:
    """Change these fields; ``job`` has those of the job, where None takes a field away."""
    options = parse_options(given)
    for one, other in (("cron", "every"), ("every", "cron")):
        if options.get(one) is not None:
            options[other] = None
    if not options and not job:
        raise InvalidInput("say what to change")

    def changed(seen: Schedule) -> Schedule:
        template = {**seen.job, **job}
        template = {field: value for field, value in template.items() if value is not None}
        template, _ = parse_template(template, defaults)
        new = seen._replace(**options, job=template)
        if options:
            _check_jitter(new, defaults.now)
        return counted_from(new, defaults.now)

    detail = {"action": "edited", "fields": sorted({*given, *job})}
    return await _change(store, name, changed, detail, defaults.now)


async def pause(
    store: Store, name: str, reason: str | None, *, actor: str, now: float
) -> ScheduleInfo:
    """Fire this schedule no more, until it is resumed. If it is paused already, only a new reason
    changes anything."""
    reason = clean_line(reason, 300) if reason else None

    def changed(seen: Schedule) -> Schedule | None:
        if seen.paused and reason is None:
            return None
        return seen._replace(paused_at=now, paused_by=actor, paused_reason=reason)

    detail = {"action": "paused"} | ({"reason": reason} if reason else {})
    return await _change(store, name, changed, detail, now)


async def resume(store: Store, name: str, now: float) -> ScheduleInfo:
    """End the pause. Times that passed meanwhile were not missed: it counts from now."""

    def changed(seen: Schedule) -> Schedule | None:
        if not seen.paused:
            return None
        open_ = seen._replace(paused_at=None, paused_by=None, paused_reason=None)
        return counted_from(open_, now)

    return await _change(store, name, changed, {"action": "resumed"}, now)


async def _change(
    store: Store,
    name: str,
    change: Callable[[Schedule], Schedule | None],
    detail: Mapping[str, Any],
    now: float,
) -> ScheduleInfo:
    """Change a schedule. It may fire at any moment, so look again then."""
    for _ in range(TRIES):
        info = await get(store, name)
        seen = info.schedule
        new = change(seen)
        if new is None:
            return info
        new = new._replace(updated_at=now)
        if await store.change_schedule(seen, new, detail, now):
            return info._replace(schedule=new._replace(version=seen.version + 1))
    raise Conflict(f"schedule '{clean_line(name, 100)}' changes all the time", "try again")


async def get(store: Store, name: str) -> ScheduleInfo:
    """The schedule of this name. NotFound."""
    found = await store.schedules(name) if "\0" not in name else []
    if not found:
        raise no_schedule(name)
    return found[0]


async def show(store: Store, name: str, now: float) -> Shown:
    """Everything about a schedule."""
    info = await get(store, name)
    runs = await store.schedule_runs(name, SHOWN_RUNS)
    times, trouble = next_times(info.schedule, now)
    return Shown(info, times, tuple(runs), trouble)


def next_times(
    schedule: Schedule, now: float, count: int = SHOWN_TIMES
) -> tuple[tuple[float, ...], str]:
    """The next nominal times, and why they cannot be computed on this host. A paused schedule is
    taken as if it were resumed now."""
    found: list[float] = []
    try:
        if schedule.next_at is not None and not schedule.paused:
            found.append(schedule.next_at)
            start = schedule.next_at
        else:
            start = now
        for at in times_after(schedule, start):
            if len(found) >= count:
                break
            found.append(at)
    except InvalidInput as error:
        return (), str(error)
    return tuple(found[:count]), ""


async def run_now(store: Store, name: str, defaults: Defaults, actor: str) -> Job:
    """Enqueue a run at once."""
    info = await get(store, name)
    spec = make_spec(info.schedule, defaults)
    return await store.run_schedule(name, spec._replace(actor=actor), defaults.now)


def local_zone(env: Mapping[str, str]) -> str:
    """The name of the time zone of this process: TZ, /etc/localtime, else UTC."""
    import os

    from ..domain.cron import zone

    names: list[str] = []
    given = env.get("TZ", "").lstrip(":")
    if given:
        names.append(_below(given))
    else:
        try:
            names.append(_below(os.path.realpath("/etc/localtime")))
            with open("/etc/timezone", encoding="utf-8", errors="replace") as file:
                names.append(file.readline(100).strip())
        except OSError:
            pass
    for name in names:
        try:
            return zone(name).name
        except InvalidInput:
            continue
    return "UTC"


def _below(path: str) -> str:
    """``Europe/Berlin`` in ``/usr/share/zoneinfo/Europe/Berlin``."""
    return path.rpartition("zoneinfo/")[2].removeprefix("posix/")


def warnings(schedule: Schedule, now: float) -> list[str]:
    """What a person may not expect of these times."""
    if schedule.cron is None:
        return []
    from ..domain.cron import parse_cron, zone

    cron, where = parse_cron(schedule.cron), zone(schedule.tz)
    if cron.after(now, where) is None:
        return [f"'{schedule.cron}' never fires: there is no such time"]
    wall = None
    if cron.fixed or not cron.every_hour:
        wall = cron.jumped_over(now, now + 366 * 86400, where)
    if wall is None:
        return []
    then = "it does not fire at such times"
    if cron.fixed:
        then = f"it fires at {format_time(where.moment(wall))} then"
    return [
        f"{wall:%Y-%m-%d %H:%M} does not exist in {where.name}: the clock is set forward; {then}"
    ]
