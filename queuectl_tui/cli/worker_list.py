"""``queuectl worker list``."""

from __future__ import annotations

from .declare import verb
from .session import Session
from .workers import WORKERS


@verb("list", examples=("queuectl worker list", "queuectl worker list --json"))
def list_workers(session: Session) -> None:
    """List workers: host, process id, state (idle, busy, stopping, starting, or lost when its
    process is gone), job and for how long, jobs done and failed, CPU and memory of the job,
    last heartbeat."""
    found = session.run(lambda queue: queue.workers(), read_only=True)
    with session.out.listing(WORKERS, json=session.json, header=not session.quiet) as listing:
        for worker in found:
            listing.add(worker)
    if not found and session.out.terminal and not session.json:
        session.err.note("no workers; start some with: queuectl worker start")
