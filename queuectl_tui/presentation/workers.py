"""What is shown of a worker, and of the lack of one."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence

from queuectl_core.domain.model import Status, Worker
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_bytes, format_duration, format_time

from .columns import BOTH, Cell, Column, Place, TableColumn, number, state_cell, table
from .format import ago, lasting, short
from .progress import progress_short

SAMPLE_EVERY = 2.0
"""Seconds a job must have run until its CPU and memory have been measured."""

SILENT = 15.0
"""Seconds without a heartbeat after which a worker is marked."""


def running_for(worker: Worker, now: float) -> float | None:
    """Seconds its job has been running."""
    return None if worker.job_started_at is None else max(0.0, now - worker.job_started_at)


def running_seconds(worker: Worker, now: float) -> str:
    """The same as exact text; empty: it has no job."""
    seconds = running_for(worker, now)
    return "" if seconds is None else f"{seconds:.3f}"


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


def queue_list(names: Sequence[str]) -> str:
    return ", ".join(clean_line(name, 30) for name in names[:3])


def _id(worker: Worker, now: float) -> Cell:
    return short(worker.id, 64), "name"


def _host(worker: Worker, now: float) -> Cell:
    return short(worker.host, 128), "muted"


def _pid(worker: Worker, now: float) -> Cell:
    return str(worker.pid), "muted"


def _queues(worker: Worker, now: float) -> Cell:
    queues = clean_line(",".join(worker.queues), 40)
    return queues or "all", "text" if queues else "muted"


def _job(worker: Worker, now: float) -> Cell:
    return short(worker.job, 128), "text"


def _done(worker: Worker, now: float) -> Cell:
    return f"{worker.done:,}", "minor"


def _failed(worker: Worker, now: float) -> Cell:
    return f"{worker.failed:,}", "problem" if worker.failed else "minor"


def _heartbeat(worker: Worker, now: float) -> Cell:
    return f"{format_duration(now - worker.heartbeat_at)} ago", "muted"


def _served(worker: Worker, now: float) -> Cell:
    return short(" ".join(worker.queues), 128) or "all", "muted"


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


def _progress(worker: Worker, now: float) -> Cell:
    return progress_short(worker.progress, running_for(worker, now)), "accent"


def _cpu(worker: Worker, now: float) -> Cell:
    cpu = worker.cpu_percent
    return "" if cpu is None else f"{cpu:.0f}%", "text"


def _memory(worker: Worker, now: float) -> Cell:
    return "" if worker.memory is None else format_bytes(worker.memory), "text"


def _measured(cell: Callable[[Worker, float], Cell]) -> Callable[[Worker, float], Cell]:
    """``cell``, empty unless its figure is that of the job that runs now."""

    def measured(worker: Worker, now: float) -> Cell:
        started = worker.job_started_at
        if worker.state == "lost" or started is None or now - started < SAMPLE_EVERY:
            return "", "muted"
        return cell(worker, now)

    return measured


def _seen(worker: Worker, now: float) -> Cell:
    silent = now - worker.heartbeat_at
    return ("now", "muted") if silent < SILENT else (ago(silent), "warn")


WORKER_COLUMNS: tuple[Column[Worker], ...] = (
    Column("id", "", _id, terminal=Place(limit=40), console=Place(8, flex=1)),
    Column("id", "pipe", value=lambda w, _: clean_line(w.id)),
    Column("host", "", _host, terminal=Place(limit=24, room=100)),
    Column("host", "", _host, several_hosts=Place(10, rank=2, flex=1)),
    Column("host", "pipe", value=lambda w, _: clean_line(w.host)),
    Column("pid", "pipe", _pid, right=True, terminal=Place(room=80)),
    Column("state", BOTH, lambda w, _: state_cell(w.state)),
    # The same, with the time since a lost worker was last seen.
    Column("state", "", _state_since, console=Place(8, rank=1)),
    Column("job", "", _job, terminal=Place(limit=60), console=Place(10, flex=2, rank=2)),
    Column("job", "pipe", value=lambda w, _: clean_line(w.job or "")),
    Column("for", "", _for, right=True, console=Place(6, rank=3)),
    Column("for", "terminal", _for_exact, right=True),
    Column("seconds", "pipe", value=running_seconds),
    Column("progress", "", _progress, reporting=Place(5, rank=2, flex=2)),
    # Without its text, which would take the width of the job's name.
    Column("progress", "", _progress, terminal_reporting=Place(limit=16)),
    Column("queue", "", _served, several_queues=Place(8, rank=3)),
    Column("cpu", "", _measured(_cpu), right=True, console=Place(5, rank=4)),
    Column("mem", "", _measured(_memory), right=True, console=Place(5, rank=5)),
    Column("done", "terminal", _done, right=True, console=Place(7, rank=6)),
    Column("done", "pipe", value=lambda w, _: str(w.done)),
    Column("failed", "terminal", _failed, right=True, console=Place(6, rank=7)),
    Column("failed", "pipe", value=lambda w, _: str(w.failed)),
    # As they were measured last, also when that was for an earlier job.
    Column("cpu", "", _cpu, right=True, terminal=Place(room=70)),
    Column("cpu_percent", "pipe", value=lambda w, _: number(w.cpu_percent)),
    Column("mem", "", _memory, right=True, terminal=Place(room=70)),
    Column("memory_bytes", "pipe", value=lambda w, _: number(w.memory)),
    Column("seen", "", _seen, right=True, console=Place(5, rank=8)),
    Column("heartbeat", "", _heartbeat, right=True, terminal=Place(room=90)),
    Column("last_heartbeat", "pipe", value=lambda w, _: format_time(w.heartbeat_at) or ""),
    Column("queues", "", _queues, terminal=Place(room=80)),
    Column("queues", "pipe", value=lambda w, _: clean_line(",".join(w.queues))),
    Column("detached", "pipe", value=lambda w, _: "yes" if w.detached else "no"),
    Column("progress", "pipe", value=lambda w, _: number(w.progress)),
    Column("progress_text", "pipe", value=lambda w, _: clean_line(w.progress_text or "")),
    Column("host", "", _host, one_host=Place(10, rank=9, flex=1)),
    Column("pid", "", _pid, right=True, console=Place(7, rank=10)),
)
"""Workers. Tables: ``terminal``, ``pipe`` and ``console``, and what :func:`console_columns` adds to
the last one."""


def console_columns(workers: Iterable[Worker]) -> tuple[TableColumn[Worker], ...]:
    """The columns of the console for these workers. Their hosts matter when there are several, and
    the queues they serve when these differ, and the progress when a job reports one."""
    workers = list(workers)
    hosts = "several_hosts" if len({worker.host for worker in workers}) > 1 else "one_host"
    queues = "several_queues" if len({worker.queues for worker in workers}) > 1 else ""
    reporting = "reporting" if is_reporting(workers) else ""
    return table(WORKER_COLUMNS, "console", hosts, queues, reporting)


def terminal_columns(workers: Iterable[Worker]) -> tuple[TableColumn[Worker], ...]:
    """The columns at a terminal for these workers."""
    return table(WORKER_COLUMNS, "terminal", "terminal_reporting" * is_reporting(workers))


def is_reporting(workers: Iterable[Worker]) -> bool:
    """Whether the job of one of them reports its progress."""
    return any(worker.progress is not None for worker in workers)
