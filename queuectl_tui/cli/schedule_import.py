"""``queuectl schedule import``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from queuectl_core.domain.errors import Conflict, InvalidInput
from queuectl_core.domain.schedule import ScheduleInfo
from queuectl_core.domain.text import clean_line

from .declare import FILE, argument, option, verb
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.domain.crontab import Line, Problem
    from queuectl_core.queue import Queue


@verb(
    "import",
    examples=(
        "crontab -l | queuectl schedule import -",
        "queuectl schedule import crontab.txt --dry-run",
        "queuectl schedule import crontab.txt --strict --queue cron",
    ),
)
@argument("file", metavar="FILE", complete=FILE)
@option("--dry-run", is_flag=True, about="Only say what would be added.")
@option("--strict", is_flag=True, about="Add nothing if a line cannot be added.")
@option("--tz", metavar="ZONE", about="The time zone of the lines; else that of this host.")
@option("--queue", metavar="NAME", about="The queue of the jobs; else 'default'.")
def import_file(
    session: Session,
    /,
    file: str,
    **options: Any,
) -> int:
    """Add the lines of a user's crontab as schedules. "-" reads standard input.

    A schedule is named after the program that it runs. As in cron, the commands run in the home
    directory, an environment line is for the lines after it, and what follows a % is standard
    input. CRON_TZ is the time zone. A line that is a schedule already, with the same times and the
    same job, is left as it is, and equal lines make one schedule.

    Lines that cannot be added (@reboot, mistakes, MAILTO) are reported one by one with their
    numbers, and the others are added; the exit code is 1 then. With --strict nothing is added, and
    the exit code is 2.

    Remove the lines from the crontab afterwards: otherwise both run them.
    """
    from queuectl_core.domain.cron import zone
    from queuectl_core.domain.crontab import parse_crontab

    if options["tz"] is not None:
        zone(options["tz"])
    lines, problems = parse_crontab(_read(file), os.path.expanduser("~"))
    if options["strict"]:
        _refuse(session, problems)

    async def act(queue: Queue) -> tuple[list[ScheduleInfo], list[str], list[Problem]]:
        if options["strict"]:
            _, _, refused = await _add(queue, lines, options | {"dry_run": True})
            _refuse(session, refused)
        return await _add(queue, lines, options)

    added, existing, refused = session.run(
        act, create=not options["dry_run"], read_only=options["dry_run"]
    )
    problems = sorted([*problems, *refused])
    _tell(session, problems)
    if session.json:
        session.out.json(
            {
                "added": [info.to_json() for info in added],
                "existing": existing,
                "problems": [one.to_json() for one in problems],
            }
        )
    else:
        from .schedule import SCHEDULES

        session.show_all(SCHEDULES, added)
    if existing:
        session.err.note(f"there already, with the same times and job: {', '.join(existing)}")
    if options["dry_run"]:
        session.err.note(f"nothing was added (--dry-run): {len(added)} would be")
    return 1 if problems else 0


def _read(file: str) -> str:
    from queuectl_core.domain.crontab import LONGEST

    try:
        if file == "-":
            raw = sys.stdin.buffer.read(LONGEST + 1)
        else:
            with open(file, "rb") as opened:
                raw = opened.read(LONGEST + 1)
    except OSError as error:
        raise InvalidInput(f"cannot read {clean_line(file, 100)}: {error.strerror}") from None
    if len(raw) > LONGEST:
        raise InvalidInput("the crontab is larger than 1 MiB")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidInput("the crontab is not UTF-8 text") from None


def _refuse(session: Session, problems: list[Problem]) -> None:
    """InvalidInput if a line cannot be added."""
    if problems:
        _tell(session, problems)
        lines = "1 line" if len(problems) == 1 else f"{len(problems)} lines"
        raise InvalidInput(f"nothing added: {lines} cannot be added", "fix them")


def _tell(session: Session, problems: list[Problem]) -> None:
    for number, message in problems:
        session.err.warn(f"line {number}: {message}")


async def _add(
    queue: Queue, lines: list[Line], options: dict[str, Any]
) -> tuple[list[ScheduleInfo], list[str], list[Problem]]:
    from queuectl_core.domain.crontab import Problem

    known = {info.schedule.name: info.schedule for info in await queue.schedules()}
    added: list[ScheduleInfo] = []
    existing: list[str] = []
    problems: list[Problem] = []
    for line in lines:
        job = dict(line.job)
        if options["queue"] is not None:
            job["queue"] = options["queue"]
        given = dict(line.options)
        if options["tz"] is not None:
            given.setdefault("tz", options["tz"])
        try:
            info = await queue.check_schedule(line.name, given, job)
            same = [
                one.name
                for one in known.values()
                if (one.cron, one.tz, one.job)
                == (info.schedule.cron, info.schedule.tz, info.schedule.job)
            ]
            if same:
                if same[0] not in existing:
                    existing.append(same[0])
                continue
            name, number = line.name, 2
            while name in known:
                name, number = f"{line.name}-{number}", number + 1
            if options["dry_run"]:
                info = info._replace(schedule=info.schedule._replace(name=name))
            else:
                info, _ = await queue.add_schedule(name, given, job)
            known[name] = info.schedule
            added.append(info)
        except (InvalidInput, Conflict) as error:
            problems.append(Problem(line.number, str(error)))
    return added, existing, problems
