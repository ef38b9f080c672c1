"""``queuectl worker``, its verb ``list``, and how workers are listed."""

from __future__ import annotations

from queuectl_core.domain.model import Worker

from ..presentation.workers import WORKER_COLUMNS, terminal_columns
from .declare import Noun, verb
from .output import View
from .session import Session

worker = Noun(
    "worker",
    {
        "start": ("worker_start:start", "Run workers, here or in the background."),
        "stop": ("worker_stop:stop", "Stop workers once they have finished their jobs."),
        "list": ("worker:list_workers", "List workers and what they run."),
    },
    about="Start, stop and list workers. A worker runs one job at a time.",
    examples=(
        "queuectl worker start --count 4",
        "queuectl worker start --count 4 --detach",
        "queuectl worker stop",
    ),
)

WORKERS: View[Worker] = View(Worker.to_json, WORKER_COLUMNS)


def complete_worker(session: Session, incomplete: str) -> list[str]:
    return [worker.id for worker in _workers(session) if worker.id.startswith(incomplete)]


def complete_host(session: Session, incomplete: str) -> list[str]:
    hosts = {worker.host for worker in _workers(session)}
    return sorted(host for host in hosts if host.startswith(incomplete))


def _workers(session: Session) -> list[Worker]:
    try:
        found: list[Worker] = session.run(lambda queue: queue.workers(), read_only=True)
    except Exception:
        return []
    return found


@verb("list", examples=("queuectl worker list", "queuectl worker list --json"))
def list_workers(session: Session) -> None:
    """List workers: host, process id, state (idle, busy, stopping, starting, or lost when its
    process is gone), job and for how long, jobs done and failed, CPU and memory of the job,
    last heartbeat."""
    found = session.run(lambda queue: queue.workers(), read_only=True)
    view = View(Worker.to_json, WORKER_COLUMNS)
    view.terminal = terminal_columns(found)
    session.show_all(view, found)
    if not found and session.out.terminal and not session.json:
        session.err.note("no workers; start some with: queuectl worker start")
