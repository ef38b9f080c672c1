"""What is shown of a worker, and of the lack of one."""

from __future__ import annotations

from collections.abc import Container

from queuectl_core.domain.model import Status, Worker
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_bytes, format_duration

from .columns import Cell, Column, state_cell
from .format import ago, lasting, short

SAMPLE_EVERY = 2.0
"""Seconds a job must have run until its CPU and memory have been measured."""

SILENT = 15.0
"""Seconds without a heartbeat after which a worker is marked."""


def running_for(worker: Worker, now: float) -> float | None:
    """Seconds its job has been running."""
    return None if worker.job_started_at is None else max(0.0, now - worker.job_started_at)


def no_worker_for(status: Status, queues: Container[str] | None = None) -> str:
    """Why jobs that wait in ``queues`` (None: in any) do not start, and what to do. Empty: a worker
    serves each of them."""
    if not status.workers:
        return "no workers are running; start some with: queuectl worker start"
    names = [name for name in status.unserved() if queues is None or name in queues]
    if not names:
        return ""
    shown = queue_list(names) + (" …" if names[3:] else "")
    start = f"queuectl worker start --queue {clean_line(names[0], 60)}"
    return f"no worker serves queue {shown}; start one with: {start}"


def queue_list(names: list[str]) -> str:
    """The first three names of queues."""
    return ", ".join(clean_line(name, 30) for name in names[:3])


def _state_since(worker: Worker, now: float) -> Cell:
    if worker.state != "lost":
        return state_cell(worker.state)
    return f"lost {ago(now - worker.heartbeat_at).replace('now', '')}".rstrip(), "bad"


def _for(worker: Worker, now: float) -> Cell:
    seconds = running_for(worker, now)
    if seconds is None:
        return "", "muted"
    return lasting(seconds), "muted" if worker.state == "lost" else "text"


def _for_exact(worker: Worker, now: float) -> Cell:
    seconds = running_for(worker, now)
    return "" if seconds is None else format_duration(seconds), "accent"


def _measured(worker: Worker, now: float) -> bool:
    """Whether its figures are those of the job that runs now."""
    started = worker.job_started_at
    return worker.state != "lost" and started is not None and now - started >= SAMPLE_EVERY


def _cpu(worker: Worker, now: float) -> Cell:
    cpu = worker.cpu_percent
    return "" if cpu is None else f"{cpu:.0f}%", "text"


def _memory(worker: Worker, now: float) -> Cell:
    return "" if worker.memory is None else format_bytes(worker.memory), "text"


def _seen(worker: Worker, now: float) -> Cell:
    silent = now - worker.heartbeat_at
    return ("now", "muted") if silent < SILENT else (ago(silent), "warn")


WorkerColumn = Column[Worker]

ID = WorkerColumn("id", lambda w, _: (short(w.id, 64), "name"))
HOST = WorkerColumn("host", lambda w, _: (short(w.host, 128), "muted"))
PID = WorkerColumn("pid", lambda w, _: (str(w.pid), "muted"), right=True)
STATE = WorkerColumn("state", lambda w, _: state_cell(w.state))
STATE_SINCE = WorkerColumn("state", _state_since)
"""The same, with the time since a lost worker was last seen."""
JOB = WorkerColumn("job", lambda w, _: (short(w.job, 128), "text"))
FOR = WorkerColumn("for", _for, right=True)
FOR_EXACT = WorkerColumn("for", _for_exact, right=True)
DONE = WorkerColumn("done", lambda w, _: (f"{w.done:,}", "minor"), right=True)
FAILED = WorkerColumn(
    "failed", lambda w, _: (f"{w.failed:,}", "problem" if w.failed else "minor"), right=True
)
LAST_CPU = WorkerColumn("cpu", _cpu, right=True)
"""As it was measured last, also when that was for an earlier job."""
LAST_MEMORY = WorkerColumn("mem", _memory, right=True)
CPU = WorkerColumn(
    "cpu", lambda w, now: _cpu(w, now) if _measured(w, now) else ("", "muted"), right=True
)
MEMORY = WorkerColumn(
    "mem", lambda w, now: _memory(w, now) if _measured(w, now) else ("", "muted"), right=True
)
SEEN = WorkerColumn("seen", _seen, right=True)
HEARTBEAT = WorkerColumn(
    "heartbeat",
    lambda w, now: (f"{format_duration(now - w.heartbeat_at)} ago", "muted"),
    right=True,
)
QUEUE = WorkerColumn("queue", lambda w, _: (short(" ".join(w.queues), 128) or "all", "muted"))
QUEUES = WorkerColumn(
    "queues",
    lambda w, _: (clean_line(",".join(w.queues), 40) or "all", "text" if w.queues else "muted"),
)
