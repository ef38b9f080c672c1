"""``queuectl enqueue``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from queuectl_core.domain.jobspec import ON_CONFLICT

from .declare import DIRECTORY, FILE, UsageError, argument, option, verb
from .jobs import choices, complete_ids, complete_queue
from .results import tell_existing
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.domain.model import Job, JobSpec
    from queuectl_core.queue import Queue

LOOKED_AT = 20
"""Jobs whose directory and script are checked: nobody types more on a command line."""


@verb(
    "enqueue",
    has_argv=True,
    examples=(
        "queuectl enqueue 'sleep 2 && echo done'",
        "queuectl enqueue -- rsync -a /data host:/backup",
        """queuectl enqueue '{"id":"job1","command":"echo hi","max_retries":5}'""",
        "queuectl enqueue --delay 10m --priority 5 --env LEVEL=2 'make report'",
        "queuectl enqueue --file jobs.jsonl",
        "generate-jobs | queuectl enqueue -",
        "queuectl enqueue --id load --after fetch,clean './load.sh'",
        "queuectl enqueue --stdin mail.txt --secret TOKEN=file:/run/secrets/mail './send.sh'",
        "queuectl enqueue --key db1 --unique nightly-db1 --on-conflict fail './dump.sh db1'",
    ),
)
@argument("jobs", metavar="[JOB]...", many=True)
@option(
    "--file", metavar="F", complete=FILE, about="Read JSON Lines or a JSON array from this file."
)
@option("--command", metavar="CMD", about="The command, also one that starts with { or [.")
@option("--id", metavar="ID", about="The job's id; else a short one is made.")
@option("--max-retries", metavar="N", about="Dead after so many failed attempts; 0 is as 1.")
@option("--backoff-base", metavar="B", about="Wait B, B*B, B*B*B ... seconds after failures.")
@option("-p", "--priority", metavar="N", about="Higher runs first; 0 if not given.")
@option("--run-at", metavar="TIME", about="Not before: 2026-01-31T09:00:00Z, +10m, epoch.")
@option("--delay", metavar="TIME", about="Not before this much from now: 30s, 5m, 2h.")
@option("--timeout", metavar="TIME", about="End it after this long: 30s, 5m; 0 for never.")
@option(
    "--cwd", metavar="DIR", complete=DIRECTORY, about="Where it runs; else the current directory."
)
@option("--env", metavar="K=V", multiple=True, about="Set a variable; may be repeated.")
@option(
    "--queue",
    dest="queue",
    metavar="NAME",
    complete=complete_queue,
    about="The queue it goes to; else 'default'.",
)
@option("--key", metavar="KEY", about="Jobs of a queue with the same key run one at a time.")
@option("--unique", metavar="VALUE", about="At most one job holds this value; see --on-conflict.")
@option(
    "--unique-until",
    metavar="WHEN",
    complete=choices("start", "end"),
    about="It holds the value until it starts (start), or has ended (end, the default).",
)
@option("--unique-for", metavar="TIME", about="It holds the value for this long: 30s, 1h.")
@option(
    "--on-conflict",
    metavar="HOW",
    complete=choices(*ON_CONFLICT),
    about="If the value is held: existing (show that job, the default), replace (its fields, if "
    "it has not started), fail.",
)
@option(
    "--after",
    metavar="ID",
    multiple=True,
    complete=complete_ids,
    about="Start when this job is completed; repeatable, or several with commas.",
)
@option(
    "--after-any",
    metavar="ID",
    multiple=True,
    complete=complete_ids,
    about="The same, when it is completed, dead or cancelled.",
)
@option(
    "--after-failed",
    metavar="ID",
    multiple=True,
    complete=complete_ids,
    about="The same, when it is dead or cancelled.",
)
@option(
    "--on-parent-failure",
    metavar="HOW",
    complete=choices("cancel", "hold"),
    about="If such a job ends the wrong way: cancel this one (the default), or hold it.",
)
@option("--hold", is_flag=True, about="Wait until somebody releases it: queuectl release ID.")
@option(
    "--stdin",
    metavar="FILE",
    complete=FILE,
    about="What it reads on standard input: at most 1 MiB; - is our own.",
)
@option(
    "--secret",
    metavar="NAME=file:PATH",
    multiple=True,
    about="Set a variable to what that file holds when it starts; may be repeated.",
)
@option("--nice", metavar="N", about="Run with lower CPU priority: 0 to 19, lowest.")
@option("--memory-limit", metavar="SIZE", about="Memory for each of its processes: 512MiB.")
@option("--cpu-seconds", metavar="TIME", about="CPU time for each of its processes: 90, 5m.")
@option("--output-limit", metavar="SIZE", about="Output to keep; else as configured.")
def enqueue(
    session: Session,
    /,
    jobs: tuple[str, ...],
    file: str | None,
    command: str | None,
    argv: list[str] | None,
    **options: Any,
) -> None:
    """Add jobs to the queue: all that are given, or none.

    A JOB is a command for the shell, a JSON object, or a JSON array of objects (it is JSON if
    it starts with { or [). "-" reads standard input and --file a file: one JSON object a
    line, or one array; every bad line (of an array: item) is named by its number, and nothing
    is enqueued then. What follows "--" is one command with its arguments, run without a shell.

    Fields of a job: id, command, max_retries, backoff_base, priority, run_at,
    timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds, output_limit, key, unique,
    unique_until, unique_for, after, after_any, after_failed, on_parent_failure, hold, stdin,
    secrets. Options fill them in and win over what JSON says.

    A job may name jobs of the same call as those it waits for, in any order. If a job that it
    waits for does not exist, the exit code is 3; jobs that wait for each other in a circle are
    refused.

    Prints the ids, one a line, also with -q, which takes only the notes away. At a terminal it
    shows the jobs instead, and the ids with -q. With --json: an object for one job, else an
    array. For a job that is not added because another one holds its unique value, that one is
    shown; in JSON it has "existing": true.
    """
    from .overrides import Overrides

    if file is None and len(jobs) == 1 and jobs[0].startswith("@") and len(jobs[0]) > 1:
        file, jobs = jobs[0][1:], ()
    if options["stdin"] == "-" and (file == "-" or (file is None and "-" in jobs)):
        raise UsageError("standard input has the jobs; give --stdin a file")
    overrides = Overrides.of(options)
    if file is not None or "-" in jobs:
        if argv is not None or command is not None or len(jobs) > (file is None):
            raise UsageError("read jobs from one place: - or --file F or arguments")
        from .bulk import enqueue_stream

        enqueue_stream(session, file if file is not None else "-", overrides)
        return
    if argv is not None:
        if jobs or command is not None:
            raise UsageError("give the whole command after --, and nothing before it")
        if not argv:
            raise UsageError("no command after --; type: queuectl enqueue -- CMD ARG...")
        sources: list[Any] = [{"command": argv}]
    elif command is not None:
        if jobs:
            raise UsageError("give the command once: as JOB or with --command")
        sources = [{"command": command}]
    elif jobs:
        check_words(jobs)
        sources = [source for job in jobs for source in sources_of(job, len(jobs) > 1)]
    else:
        raise UsageError("give a job: a command, JSON, -, --file F, or -- CMD ARG...")
    added = session.run(lambda queue: _add(queue, session, sources, overrides), create=True)
    _show(session, added, _is_local(sources, overrides))
    tell_existing(session, [job.id for job in added if job.existing], overrides.on_conflict)
    session.out.flush()  # the next checks look at directories, which may be slow
    _warn(session, added)
    if not added:
        session.err.note("no jobs given; nothing enqueued")


def check_words(jobs: tuple[str, ...]) -> None:
    """InvalidInput for arguments that are one command without quotes, or not a command."""
    if len(jobs) > 1:
        from .intent import refuse_words

        refuse_words(jobs)
    for job in jobs:
        # A quick check without an import: most jobs are plain commands.
        word = job.split(maxsplit=1)[0] if job.strip() else ""
        if word.startswith(("“", "”", "„", "‘", "’", "-")) or ":" in word or "." in word:
            if word[:1] in ("{", "["):
                continue
            from .intent import odd, refuse_odd

            if odd(job):
                refuse_odd(job)


def sources_of(job: str, several: bool) -> list[Any]:
    if not job.lstrip().startswith(("{", "[")):
        return [job]
    from queuectl_core.domain.errors import InvalidInput
    from queuectl_core.domain.json_strict import parse_json

    found = parse_json(job)
    if isinstance(found, dict):
        return [found]
    if found and all(isinstance(part, str) for part in found):
        raise InvalidInput(
            "a list of texts is not a job", "for one command with arguments: enqueue -- CMD ARG"
        )
    for part in found:
        if not isinstance(part, dict):
            raise InvalidInput("a JSON array must hold job objects only", "give fields as objects")
    return list(found)


async def _add(queue: Queue, session: Session, sources: Sequence[Any], overrides: Any) -> list[Job]:
    from queuectl_core.domain.errors import InvalidInput
    from queuectl_core.domain.jobspec import parse_job
    from queuectl_core.system.postcommit import after_commit

    from .overrides import tell_ignored

    overrides.check_count(len(sources))
    defaults = await queue.defaults()
    specs: list[JobSpec] = []
    ignored: set[str] = set()
    for number, source in enumerate(sources, 1):
        try:
            spec, extra = parse_job(overrides.apply(source, defaults.now), defaults)
        except InvalidInput as error:
            if len(sources) == 1:
                raise
            raise InvalidInput(f"job {number}: {error.message}", error.hint) from None
        specs.append(overrides.spec(spec))
        ignored.update(extra)
    added = await queue.enqueue_specs(specs)
    if session.json and any(job.has_stdin for job in added):
        with after_commit("reading them"):
            added = await queue.with_texts(added)
    tell_ignored(session, ignored)
    return added


def _warn(session: Session, added: Sequence[Job]) -> None:
    """Warn about jobs that were accepted but are probably not what the user wanted."""
    from queuectl_core.system.host import current_directory

    added = [job for job in added if not job.existing]
    past = next((job for job in added if job.run_at < job.created_at - 60), None)
    if past is not None:
        from queuectl_core.domain.times import format_time

        session.err.note(f"{format_time(past.run_at)} is in the past: due at once")
    for job in [job for job in added if job.cause is not None][:LOOKED_AT]:
        from queuectl_core.domain.text import clean_line

        what = "held" if job.held else "cancelled"
        session.err.note(
            f"job '{clean_line(job.id)}' is {what} already, because of how job"
            f" '{clean_line(job.cause or '')}' ended"
        )
    here = current_directory()
    for cwd in {job.cwd for job in added[:LOOKED_AT]}:
        if cwd != here and not os.path.isdir(cwd):
            from queuectl_core.domain.text import clean_line

            where = clean_line(cwd, 100)
            session.err.warn(f"there is no directory {where} on this host; accepted all the same")
    for job in added[:LOOKED_AT]:
        if said := _windows_ends(job):
            session.err.warn(said)


def _windows_ends(job: Job) -> str | None:
    """A warning for a command, or a script that it starts, with Windows line ends."""
    first = job.command if isinstance(job.command, str) else job.command[0]
    if "\r\n" in first:
        return "the command has Windows line ends (CR LF): the shell takes each CR as text"
    program = first.split(maxsplit=1)[0].strip("'\"")
    if "/" not in program:
        return None
    path = os.path.join(job.cwd, program)
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            line = file.readline(256)
    except (OSError, ValueError):
        return None
    if not (line.startswith(b"#!") and line.endswith(b"\r\n")):
        return None
    from queuectl_core.domain.text import clean_line

    shown = clean_line(program, 100)
    return (
        f"{shown} has Windows line ends (CR LF), so it cannot be started; "
        f"take them away: sed -i 's/\\r$//' {shown}"
    )


def _is_local(sources: Sequence[Any], overrides: Any) -> bool:
    """Whether the first job's time was given without a zone."""
    given = overrides.fields.get("run_at")
    if given is None and isinstance(sources[0] if sources else None, dict):
        given = sources[0].get("run_at")
    if not isinstance(given, str):
        return False
    from queuectl_core.domain.times import is_local

    return is_local(given)


def _show(session: Session, added: list[Job], local_time: bool) -> None:
    from queuectl_core.domain.times import format_time

    if session.json:
        documents = [job.to_json() for job in added]
        session.out.json(documents[0] if len(documents) == 1 else documents)
    elif session.out.terminal and not session.err.quiet:
        from .list_jobs import JOBS

        session.show_all(JOBS, added)
    else:
        for job in added:
            session.out.line(job.id)
    if local_time and not session.json and added:
        session.err.note(f"local time taken: runs at {format_time(added[0].run_at)}")
