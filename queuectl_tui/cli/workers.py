"""How workers are shown."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from queuectl_core.domain.model import Status, Worker
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_bytes, format_duration, format_time

from .jobs import number
from .output import Column, View
from .session import Session, queue_time

STYLES = {"busy": "bold yellow", "idle": "green", "stopping": "magenta", "lost": "bold red"}


def running_for(worker: Worker, now: float) -> float | None:
    """Seconds its job has been running."""
    return None if worker.job_started_at is None else max(0.0, now - worker.job_started_at)


def document(worker: Worker) -> dict[str, Any]:
    """The public JSON of a worker, as of now."""
    return worker.to_json(queue_time())


def _cells(worker: Worker) -> list[str]:
    seconds = running_for(worker, queue_time())
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


def _pretty(worker: Worker) -> list[tuple[str, str]]:
    now = queue_time()
    seconds = running_for(worker, now)
    cpu = worker.cpu_percent
    return [
        (clean_line(worker.id, 40), "bold"),
        (clean_line(worker.host, 24), "dim"),
        (str(worker.pid), "dim"),
        (worker.state, STYLES.get(worker.state, "")),
        (clean_line(worker.job or "", 60), ""),
        ("" if seconds is None else format_duration(seconds), "yellow"),
        (f"{worker.done:,}", ""),
        (f"{worker.failed:,}", "red" if worker.failed else ""),
        ("" if cpu is None else f"{cpu:.0f}%", ""),
        ("" if worker.memory is None else format_bytes(worker.memory), ""),
        (f"{format_duration(now - worker.heartbeat_at)} ago", "dim"),
        (clean_line(",".join(worker.queues), 40) or "all", "" if worker.queues else "dim"),
    ]


WORKERS: View[Worker] = View(
    document,
    (
        "ID",
        "HOST",
        "PID",
        "STATE",
        "JOB",
        "SECONDS",
        "DONE",
        "FAILED",
        "CPU_PERCENT",
        "MEMORY_BYTES",
        "LAST_HEARTBEAT",
        "QUEUES",
        "DETACHED",
    ),
    _cells,
    (
        Column("ID"),
        Column("HOST", room=100),
        Column("PID", right=True, room=80),
        Column("STATE"),
        Column("JOB"),
        Column("FOR", right=True),
        Column("DONE", right=True),
        Column("FAILED", right=True),
        Column("CPU", right=True, room=70),
        Column("MEM", right=True, room=70),
        Column("HEARTBEAT", right=True, room=90),
        Column("QUEUES", room=80),
    ),
    _pretty,
)


def no_worker_for(status: Status, queues: Container[str] | None = None) -> str:
    """Why jobs that wait in ``queues`` (None: in any) do not start, and what to do. Empty: a worker
    serves each of them."""
    if not status.workers:
        return "no workers are running; start some with: queuectl worker start"
    names = [name for name in status.unserved() if queues is None or name in queues]
    if not names:
        return ""
    shown = ", ".join(clean_line(name, 30) for name in names[:3]) + (" …" if names[3:] else "")
    start = f"queuectl worker start --queue {clean_line(names[0], 60)}"
    return f"no worker serves queue {shown}; start one with: {start}"


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
