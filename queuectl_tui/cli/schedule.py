"""``queuectl schedule``: add, list, show, edit, pause, resume, run, remove, import."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.schedule import MISSED, OVERLAP, ScheduleInfo
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time

from ..presentation.schedules import (
    SCHEDULE_COLUMNS,
    enqueued_at,
    is_overdue,
    local_time,
    schedule_fields,
    shown_json,
)
from .declare import Noun, Option, UsageError, argument, option, verb
from .enqueue import check_words, enqueue, sources_of
from .jobs import choices
from .output import View
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.domain.model import Job
    from queuectl_core.queue import Queue

schedule = Noun(
    "schedule",
    {
        "list": (
            "schedule:list_schedules",
            "List schedules: when, the last run, what was skipped.",
        ),
        "show": ("schedule:show", "Show everything about one schedule."),
        "add": ("schedule:add", "Enqueue a job again and again."),
        "edit": ("schedule:edit", "Change a schedule."),
        "pause": ("schedule:pause", "Enqueue nothing more for a schedule."),
        "resume": ("schedule:resume", "End the pause of a schedule."),
        "run": ("schedule:run", "Enqueue a run of a schedule now."),
        "remove": ("schedule:remove", "Remove a schedule; its jobs stay."),
        "import": ("schedule_import:import_file", "Add the lines of a crontab as schedules."),
    },
    about="Schedules enqueue a job again and again: at times of the day (cron) or after so much "
    "time. Any worker's supervisor fires them, each time once. A run is an ordinary job.",
    examples=(
        "queuectl schedule add nightly --cron '30 2 * * *' './backup.sh'",
        "queuectl schedule add poll --every 5m --overlap skip './poll.sh'",
        "queuectl schedule list",
        "queuectl schedule show nightly",
        "crontab -l | queuectl schedule import -",
    ),
)

SCHEDULES: View[ScheduleInfo] = View(lambda info, now: info.to_json(), SCHEDULE_COLUMNS)

TIME_OPTIONS = ("cron", "every", "tz", "missed", "missed_within", "overlap", "jitter")
NOT_HERE = ("file", "id", "run_at", "delay", "hold", "on_conflict")
"""Options of ``enqueue`` that a schedule does not take."""


def complete_schedule(session: Session, incomplete: str) -> list[str]:
    """The names of schedules."""
    try:
        found = session.run(lambda queue: queue.schedules(), read_only=True)
    except Exception:
        return []
    names = (info.schedule.name for info in found)
    return [name for name in names if name.startswith(incomplete)]


name_argument = argument("name", metavar="NAME", complete=complete_schedule)


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of ``enqueue`` that set fields of a job."""
    kept = [
        param
        for param in enqueue.params
        if isinstance(param, Option) and param.dest not in NOT_HERE
    ]
    function.__dict__.setdefault("params", []).extend(reversed(kept))
    return function


def time_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say when."""
    found = (
        option("--cron", metavar="EXPR", about="Five fields ('30 2 * * 1-5'), six (seconds first), "
               "or @hourly, @daily, @weekly, @monthly, @yearly."),
        option("--every", metavar="TIME", about="After so much time, again and again: 30s, 5m."),
        option("--tz", metavar="ZONE", complete=complete_zone,
               about="The time zone of --cron: Europe/Berlin; else that of this host."),
        option("--missed", metavar="WHAT", complete=choices(*MISSED),
               about="If times passed while no worker was up: run the latest (once, the default), "
               "none (skip), or each of them (all)."),
        option("--missed-within", metavar="TIME", about="But none older than 24h if not given."),
        option("--overlap", metavar="WHAT", complete=choices(*OVERLAP),
               about="If the previous run has not ended: skip this one (the default), let one wait "
               "(queue), run both (allow), or cancel the previous one (replace)."),
        option("--jitter", metavar="TIME", about="Enqueue it up to so much later, always the same "
               "for one time: spreads schedules of one minute."),
    )  # fmt: skip
    for one in reversed(found):
        function = one(function)
    return function


def complete_zone(_: Session, incomplete: str) -> list[str]:
    """The time zones that start with what has been typed."""
    from zoneinfo import available_timezones

    return sorted(name for name in available_timezones() if name.startswith(incomplete))


@verb("list", examples=("queuectl schedule list", "queuectl schedule list --json"))
def list_schedules(session: Session) -> None:
    """List schedules. NEXT is when it is enqueued next (with its jitter), LAST and OUTCOME are
    about the last run, SKIPPED says why the last time was not run, if it was not."""

    async def act(queue: Queue) -> tuple[list[ScheduleInfo], bool]:
        found = await queue.schedules()
        overdue = any(is_overdue(info, queue.clock()) for info in found)
        return found, overdue and all(worker.state == "lost" for worker in await queue.workers())

    found, unattended = session.run(act, read_only=True)
    session.show_all(SCHEDULES, found)
    if unattended and session.out.terminal and not session.json:
        session.err.warn("overdue: no worker is up; start one with: queuectl worker start")
    if not found and session.out.terminal and not session.json:
        session.err.note("no schedules yet; add one with: queuectl schedule add")


@verb("show", examples=("queuectl schedule show nightly", "queuectl schedule show nightly --json"))
@name_argument
@option("--show-env", is_flag=True, about="Print the values of env, not ***.")
def show(session: Session, /, name: str, show_env: bool) -> None:
    """Show one schedule: its rules, the next five times in its zone and in UTC, the last runs, and
    why a run was skipped."""
    shown = session.run(lambda queue: queue.schedule(name), read_only=True)
    now, zone = session.clock(), shown.info.schedule.tz
    if session.json:
        session.out.json(shown_json(shown, show_env=show_env))
        return
    fields = schedule_fields(shown.info, now, show_env=show_env)
    if session.out.terminal:
        _pretty(session, fields)
    else:
        session.out.pairs([(field, text) for field, text, _ in fields])
    if shown.trouble:
        session.err.warn(shown.trouble)
    if shown.times:
        session.out.line()
        later = " (if it were resumed now)" if shown.info.schedule.paused else ""
        session.out.line(f"Next times{later}:")
        for at in shown.times:
            session.out.line(f"  {local_time(at, zone):<32} {format_time(at)}")
    if shown.runs:
        from .list_jobs import JOBS

        session.out.line()
        session.show_all(JOBS, shown.runs)


@verb(
    "add",
    has_argv=True,
    examples=(
        "queuectl schedule add nightly --cron '30 2 * * *' --tz Europe/Berlin './backup.sh'",
        "queuectl schedule add poll --every 30s --timeout 20s -- curl -fsS https://example.org/",
        "queuectl schedule add report --cron '0 9 * * mon' --missed all --queue slow './report.sh'",
        "queuectl schedule add sync --every 10m --overlap replace --key sync './sync.sh'",
    ),
)
@argument("name", metavar="NAME")
@argument("jobs", metavar="COMMAND", many=True)
@time_options
@job_options
def add(
    session: Session,
    /,
    name: str,
    jobs: tuple[str, ...],
    command: str | None,
    argv: list[str] | None,
    **options: Any,
) -> None:
    """Add a schedule: enqueue this job at the times of --cron, or every so much time.

    COMMAND is a command for the shell, or a job as a JSON object. What follows "--" is one command
    with its arguments, run without a shell. The options of enqueue set the fields of each job. It
    runs in the directory in which the schedule is added, unless --cwd says otherwise. Settings like
    max-retries are those at the time of each run.

    A run has the id NAME@TIME, and its command finds its time in QUEUECTL_SCHEDULED_AT. When the
    clock is set forward or back (daylight saving time), a job at a fixed time is neither skipped
    nor run twice, and frequent jobs (*/15) follow elapsed time, as in Debian's cron.
    """
    from .overrides import Overrides

    overrides = Overrides.of(_all_options(options))
    given = {field: options[field] for field in TIME_OPTIONS}
    _refuse_pieces(options["cron"], jobs, command, argv)
    source = overrides.apply(_source(jobs, command, argv), 0.0)
    if source is None:
        raise UsageError("give a command: queuectl schedule add NAME --cron EXPR COMMAND")

    async def act(queue: Queue) -> tuple[ScheduleInfo, list[str]]:
        from .overrides import tell_ignored

        info, ignored = await queue.add_schedule(name, given, source)
        tell_ignored(session, set(ignored))
        return info, ignored

    info, _ = session.run(act, create=True)
    _answer(session, info, "added")
    _warn(session, info)


def _all_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of enqueue: those that are not taken here have no value."""
    return dict.fromkeys(NOT_HERE) | {"hold": False} | options


def _refuse_pieces(
    cron: str | None, jobs: Sequence[str], command: str | None, argv: list[str] | None
) -> None:
    """InvalidInput for an expression without quotes: the shell makes words of it, and each star
    becomes the names of files."""
    others = len(jobs) + (command is not None) + (argv is not None)
    if cron is not None and jobs and others > 1 and not cron.startswith("@") and " " not in cron:
        raise InvalidInput(
            "the shell took the cron expression apart", "quote it: --cron '30 2 * * 1-5'"
        )


def _source(jobs: Sequence[str], command: str | None, argv: list[str] | None) -> Any:
    """The job that the command line describes; None: none is given."""
    given = (bool(jobs), command is not None, argv is not None)
    if sum(given) > 1:
        raise UsageError("give the command once: as COMMAND, with --command, or after --")
    if argv is not None:
        if not argv:
            raise UsageError("no command after --")
        return {"command": argv}
    if command is not None:
        return {"command": command}
    if not jobs:
        return None
    if len(jobs) > 1:
        import shlex

        line = clean_line(shlex.join(jobs), 60)
        raise InvalidInput(
            f"COMMAND is one argument, and these are {len(jobs)}",
            f"quote the command, or write: -- {line}",
        )
    check_words(tuple(jobs))
    found = sources_of(jobs[0], several=False)
    if len(found) != 1:
        raise InvalidInput("a schedule enqueues one job", "give one job")
    return {"command": found[0]} if isinstance(found[0], str) else found[0]


@verb(
    "edit",
    has_argv=True,
    examples=(
        "queuectl schedule edit nightly --cron '0 3 * * *'",
        "queuectl schedule edit poll --every 1m --overlap queue",
        "queuectl schedule edit nightly --timeout 2h --unset env './backup.sh --full'",
    ),
)
@name_argument
@argument("jobs", metavar="[COMMAND]", many=True)
@time_options
@job_options
@option(
    "--unset", metavar="FIELD", multiple=True, about="Take a field of the job away; repeatable."
)
def edit(
    session: Session,
    /,
    name: str,
    jobs: tuple[str, ...],
    command: str | None,
    argv: list[str] | None,
    **options: Any,
) -> None:
    """Change a schedule. What is not given stays as it is. It counts from now: times that passed
    before are not caught up. Runs that are enqueued already are not changed."""
    from queuectl_core.domain.jobspec import INPUT_FIELDS, field_name

    from .overrides import Overrides

    unset: tuple[str, ...] = options.pop("unset")
    overrides = Overrides.of(_all_options(options))
    given = {field: options[field] for field in TIME_OPTIONS if options[field] is not None}
    _refuse_pieces(options["cron"], jobs, command, argv)
    source = _source(jobs, command, argv) or {}
    job: dict[str, Any] = dict(overrides.apply(source, 0.0))
    for word in unset:
        field = field_name(word.lstrip("-"))
        if field not in INPUT_FIELDS or field in ("command", "cwd"):
            raise InvalidInput(f"--unset: '{clean_line(word, 40)}' cannot be taken away")
        job[field] = None
    if not given and not job:
        raise UsageError("say what to change")
    info = session.run(lambda queue: queue.edit_schedule(name, given, job))
    _answer(session, info, "changed")
    _warn(session, info)


@verb(
    "pause",
    examples=(
        "queuectl schedule pause nightly",
        "queuectl schedule pause nightly --reason 'the disk is being replaced'",
    ),
)
@name_argument
@option("--reason", metavar="TEXT", about="Shown with the schedule.")
def pause(session: Session, /, name: str, reason: str | None) -> None:
    """Enqueue nothing more for a schedule until it is resumed. Runs that are enqueued go on."""
    info = session.run(lambda queue: queue.pause_schedule(name, reason))
    _answer(session, info, "paused")


@verb("resume", examples=("queuectl schedule resume nightly",))
@name_argument
def resume(session: Session, /, name: str) -> None:
    """End the pause of a schedule. It counts from now: times that passed meanwhile are not caught
    up."""
    info = session.run(lambda queue: queue.resume_schedule(name))
    _answer(session, info, "resumed")


@verb("run", examples=("queuectl schedule run nightly",))
@name_argument
def run(session: Session, /, name: str) -> None:
    """Enqueue a run of a schedule now, outside its times, also if it is paused. If the previous run
    has not ended, --overlap of the schedule decides; the exit code is 4 if it does not allow a run.

    Prints the id of the job."""

    async def act(queue: Queue) -> Job:
        job = await queue.run_schedule(name)
        return (await queue.with_texts([job]))[0] if session.json else job

    job = session.run(act)
    if session.json:
        session.out.json(job.to_json())
    elif session.out.terminal and not session.err.quiet:
        session.out.line(f"Job {clean_line(job.id)} enqueued.")
    else:
        session.out.line(clean_line(job.id))


@verb("remove", examples=("queuectl schedule remove nightly",))
@name_argument
def remove(session: Session, /, name: str) -> None:
    """Remove a schedule. Its jobs stay: what runs goes on."""

    async def act(queue: Queue) -> ScheduleInfo:
        from queuectl_core.operations.schedules import get

        info = await get(queue.store, name)
        await queue.remove_schedule(name)
        return info

    info = session.run(act)
    if session.json:
        session.out.json(info.to_json())
    elif session.out.terminal:
        session.out.line(f"Schedule {info.schedule.name} removed.")
    else:
        session.out.line(info.schedule.name)


def _answer(session: Session, info: ScheduleInfo, done: str) -> None:
    """A sentence at a terminal, the name in a pipe, an object as JSON."""
    one = info.schedule
    if session.json:
        session.out.json(info.to_json())
    elif session.out.terminal and not session.err.quiet:
        text = f"Schedule {one.name} {done}."
        at = enqueued_at(one)
        if at is not None and not one.paused:
            local = local_time(at, one.tz)
            zone = "" if one.cron is None or local.endswith(f" {one.tz}") else f" {one.tz}"
            text += f" Next: {local}{zone} ({format_time(at)})."
        session.out.line(text)
    else:
        session.out.line(one.name)


def _warn(session: Session, info: ScheduleInfo) -> None:
    from queuectl_core.operations.schedules import warnings

    for text in warnings(info.schedule, session.clock()):
        session.err.warn(text)


def _pretty(session: Session, fields: Sequence[tuple[str, str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from .output import styled

    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for field, text, role in fields:
        made.add_row(Text(field), styled((text, role)))
    session.out.render(made)
