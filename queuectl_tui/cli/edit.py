"""``queuectl edit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl_core.domain.errors import JobChanged
from queuectl_core.domain.model import Job
from queuectl_core.domain.text import clean_line

from ..presentation.lookups import TRIES
from .declare import UsageError, argument, option, verb
from .durations import duration
from .jobs import complete_id, complete_queue, resolve
from .overrides import number
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from queuectl_core.queue import Queue

TEXTS = ("command", "run_at", "queue", "key")
NUMBERS = ("priority", "max_retries")


@verb(
    "edit",
    examples=(
        "queuectl edit job1 --run-at now --priority 10",
        "queuectl edit job1 --command './import.sh --force' --timeout 1h",
        "queuectl edit job1 --queue slow --no-key",
    ),
)
@argument("ref", metavar="ID", complete=complete_id)
@option("--command", metavar="CMD", about="Run this instead (for the shell); the old one is lost.")
@option("-p", "--priority", metavar="N", about="Higher runs first.")
@option("--run-at", metavar="TIME", about="Not before: 2026-01-31T09:00:00Z, +10m, epoch; now.")
@option("--queue", metavar="NAME", complete=complete_queue, about="Put it in this queue.")
@option("--timeout", metavar="TIME", about="End it after this long: 30s, 5m; 0 for never.")
@option("--max-retries", metavar="N", about="Dead after so many failed attempts; 0 is as 1.")
@option("--key", metavar="KEY", about="Its key in its queue.")
@option("--no-key", is_flag=True, about="Take its key away.")
def edit(session: Session, /, ref: str, no_key: bool, **options: Any) -> None:
    """Change a job that does not run. What is not given stays as it is.

    A job that has ended can be changed too: it is for the next time that it runs (queuectl retry).
    If the job runs, nothing is changed (exit code 4).
    """
    changes: dict[str, Any] = {name: options[name] for name in TEXTS if options[name] is not None}
    for name in NUMBERS:
        if options[name] is not None:
            changes[name] = number(name, options[name])
    if options["timeout"] is not None:
        changes["timeout_seconds"] = duration("--timeout", options["timeout"])
    if no_key:
        if "key" in changes:
            raise UsageError("--key and --no-key exclude each other")
        changes["key"] = None
    elif changes.get("key") == "":
        raise UsageError("--key is empty; to take the key away, give --no-key")
    if not changes:
        raise UsageError("say what to change")

    async def act(queue: Queue) -> Job:
        job = await _edit(session, queue, ref, changes)
        return (await queue.with_texts([job]))[0] if session.json else job

    job = session.run(act)
    if session.json:
        session.out.json(job.to_json())
    elif session.out.terminal:
        session.out.line(f"Job {clean_line(job.id)} changed.")
    else:
        session.out.line(clean_line(job.id))
    _tell_time(session, job, options["run_at"])


async def _edit(session: Session, queue: Queue, ref: str, changes: Mapping[str, Any]) -> Job:
    """A job that somebody else changes at the same time is looked up again."""
    for _ in range(TRIES):
        [job] = await resolve(session, queue, [ref])
        try:
            return await queue.edit(job, changes)
        except JobChanged:
            continue
    [job] = await resolve(session, queue, [ref])
    return await queue.edit(job, changes)


def _tell_time(session: Session, job: Job, given: str | None) -> None:
    """Say what a local time became."""
    from queuectl_core.domain.times import format_time, is_local

    if given is not None and is_local(given):
        session.err.note(f"local time taken: runs at {format_time(job.run_at)}")
