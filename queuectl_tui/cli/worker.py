"""``queuectl worker``, its verb ``list``, and how workers are listed."""

from __future__ import annotations

from queuectl_core.domain.model import Worker
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time

from ..presentation import workers as shown
from ..presentation.columns import number
from .declare import Noun, verb
from .output import TerminalColumn, View
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


def _cells(worker: Worker, now: float) -> list[str]:
    seconds = shown.running_for(worker, now)
    return [
        clean_line(worker.id),
        clean_line(worker.host),
        str(worker.pid),
        worker.state,
        clean_line(worker.job or ""),
        "" if seconds is None else f"{seconds:.3f}",
        str(worker.done),
        str(worker.failed),
        number(worker.cpu_percent),
        number(worker.memory),
        format_time(worker.heartbeat_at) or "",
        clean_line(",".join(worker.queues)),
        "yes" if worker.detached else "no",
    ]


WORKERS: View[Worker] = View(
    Worker.to_json,
    "ID HOST PID STATE JOB SECONDS DONE FAILED CPU_PERCENT MEMORY_BYTES LAST_HEARTBEAT QUEUES"
    " DETACHED",
    _cells,
    (
        TerminalColumn(shown.ID, limit=40),
        TerminalColumn(shown.HOST, limit=24, room=100),
        TerminalColumn(shown.PID, room=80),
        TerminalColumn(shown.STATE),
        TerminalColumn(shown.JOB, limit=60),
        TerminalColumn(shown.FOR_EXACT),
        TerminalColumn(shown.DONE),
        TerminalColumn(shown.FAILED),
        TerminalColumn(shown.LAST_CPU, room=70),
        TerminalColumn(shown.LAST_MEMORY, room=70),
        TerminalColumn(shown.HEARTBEAT, room=90),
        TerminalColumn(shown.QUEUES, room=80),
    ),
)


def complete_worker(session: Session, incomplete: str) -> list[str]:
    """Worker ids that start with what has been typed, for shell completion."""
    return [worker.id for worker in _workers(session) if worker.id.startswith(incomplete)]


def complete_host(session: Session, incomplete: str) -> list[str]:
    """Names of hosts that have workers, for shell completion."""
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
    session.show_all(WORKERS, found)
    if not found and session.out.terminal and not session.json:
        session.err.note("no workers; start some with: queuectl worker start")
