"""``queuectl demo``."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from queuectl_core.domain.model import Filter, State
from queuectl_core.system.postcommit import commits

from .declare import verb
from .list_jobs import JOBS
from .session import Session
from .worker_start import Reporter

if TYPE_CHECKING:
    from queuectl_core.domain.model import Job
    from queuectl_core.domain.notices import Notice, Summary
    from queuectl_core.queue import Queue

WORKERS = 3
TOTAL = 5
DEMO_JOBS = (
    {"id": "hello", "command": "echo 'hello from queuectl'", "priority": 5},
    {"id": "count", "command": "for i in 1 2 3; do echo step $i; sleep 0.5; done"},
    {"id": "argv", "command": ["printf", "%s\n", "no shell here", "$HOME stays as it is"]},
    {"id": "later", "command": "date", "run_at": "+2s"},
    {
        "id": "flaky",
        "command": "echo trying; echo 'cannot reach the server' >&2; exit 7",
        "max_retries": 3,
        "backoff_base": 1.4,
    },
)

NEXT = (
    ("what a job wrote:", "logs count"),
    ("every attempt of a job, and why it failed:", "show flaky"),
    ("the DLQ, and out of it again:", "dlq retry flaky"),
    ("a job of your own:", "enqueue 'sleep 5; date'"),
    ("somebody to run it:", "worker start --count 2"),
    ("all of it on one screen:", "tui"),
)


@verb("demo", examples=("queuectl demo",))
def demo(session: Session) -> None:
    """See it work: a scratch store, five jobs (one fails until it is in the DLQ), three workers,
    and what to try next. Takes some seconds; your own queue is not touched."""
    folder = Path(tempfile.mkdtemp(prefix="queuectl-demo-"))
    store = str(folder / "demo.db")
    err = session.err
    err.note(f"a scratch store: {store}")
    jobs = session.run(lambda queue: _demo(session, queue), create=True, url=store, loop=True)
    err.clear()
    if session.json:
        session.out.json({"store": store, "jobs": [job.to_json() for job in jobs]})
        return
    session.show_all(JOBS, jobs)
    session.out.flush()
    program = f"{_program()} --store {quote(store)}"
    if err.quiet:
        return
    err.line("")
    err.line("flaky failed, was tried again after a growing pause, and is now dead: it is in the")
    err.line("DLQ. The other four completed. What to try next:")
    for about, words in NEXT:
        err.line(f"\n  {about}\n    {program} {words}")
    err.line(f"\nDone? Remove it all with: rm -r {quote(str(folder))}")


async def _demo(session: Session, queue: Queue) -> list[Job]:
    err = session.err
    await queue.enqueue(DEMO_JOBS)
    commits.goes_on()
    err.note(f"{TOTAL} jobs enqueued; {WORKERS} workers start, and end when the queue is empty")
    reporter = Reporter(session)
    ended: set[str] = set()

    def tell(notice: Notice) -> None:
        reporter.tell(notice)
        if notice.job is not None and notice.state in (State.COMPLETED, State.DEAD):
            ended.add(notice.job.id)
        err.bar("demo", len(ended), TOTAL)

    summary: Summary = await queue.run_workers(WORKERS, until_empty=True, on_notice=tell)
    err.clear()
    err.note(f"{summary.done} attempts completed, {summary.failed} failed")
    return (await queue.scan(Filter()))[::-1]


def _program() -> str:
    """How to call this very program, for commands to copy: by name only if that finds it."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{quote(sys.executable)} -m queuectl_tui"
    found = shutil.which("queuectl")
    if found is not None and Path(found).samefile(called):
        return "queuectl"
    return quote(os.path.relpath(called) if called.is_relative_to(Path.cwd()) else str(called))
