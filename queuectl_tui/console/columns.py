"""The columns of the console's tables, and where their rows come from."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from queuectl_core.domain.figures import DeadGroup
from queuectl_core.domain.model import Attempt, Filter, Job, State, Worker
from queuectl_core.domain.times import format_bytes, format_duration
from queuectl_core.operations.queries import JobView
from queuectl_core.queue import outcome_word

from ..presentation.format import ago, command_line, lasting, short
from .connections import Connections
from .theme import STATE_STYLE
from .widgets.strips import Cell, Column


@dataclass(frozen=True, slots=True)
class StateRow:
    """A line of the states pane; ``state`` None: all jobs."""

    state: State | None
    count: int

    @property
    def name(self) -> str:
        """What names the row."""
        return "all" if self.state is None else self.state.value


def _state(row: StateRow, now: float) -> Cell:
    style = STATE_STYLE.get(row.name, "strong")
    return row.name, style if row.count or row.state is None else "muted"


def _state_count(row: StateRow, now: float) -> Cell:
    alarming = row.state is State.DEAD and row.count
    return f"{row.count:,}", "bad" if alarming else ("strong" if row.count else "muted")


STATES: tuple[Column[StateRow], ...] = (
    Column("state", 11, _state),
    Column("jobs", 9, _state_count, right=True, flex=1),
)


def _when(job: Job, now: float) -> Cell:
    if job.state is State.PROCESSING and job.started_at is not None:
        return lasting(now - job.started_at), "busy"
    if job.state in (State.PENDING, State.FAILED) and job.run_at > now + 1:
        return ago(now - job.run_at), "muted"
    return ago(now - job.updated_at), "muted"


def _error(job: Job, now: float) -> Cell:
    if job.state is State.COMPLETED or not job.last_error:
        return "", "muted"
    style = {State.DEAD: "bad", State.FAILED: "warn"}.get(job.state, "muted")
    return short(job.last_error), style


def _exit(job: Job, now: float) -> Cell:
    if job.exit_code is None:
        return "", "muted"
    loud = job.exit_code and job.state in (State.DEAD, State.FAILED)
    return str(job.exit_code), "warn" if loud else "muted"


JOBS: tuple[Column[Job], ...] = (
    Column("id", 10, lambda j, _: (short(j.id, 128), "text"), flex=1, sort="id"),
    Column(
        "state",
        10,
        lambda j, _: (j.state.value, STATE_STYLE[j.state]),
        rank=2,
        sort="state",
    ),
    Column(
        "tries",
        5,
        lambda j, _: (f"{j.tries}/{max(1, j.max_retries)}", "muted"),
        rank=4,
        right=True,
        sort="attempts",
    ),
    Column("when", 7, _when, rank=3, right=True, sort="updated_at"),
    Column("command", 14, lambda j, _: (command_line(j.command), "text"), flex=4, sort="command"),
    Column("exit", 4, _exit, rank=6, right=True, sort="exit_code"),
    Column("error", 18, _error, rank=5, flex=3, sort="last_error"),
    Column(
        "prio",
        4,
        lambda j, _: (str(j.priority) if j.priority else "", "muted"),
        rank=8,
        right=True,
        sort="priority",
    ),
    Column("queue", 9, lambda j, _: (short(j.queue, 128), "muted"), rank=7, sort="queue"),
)

ARRIVAL = "arrival"
"""The order jobs are kept in: the only one a million of them can be read in from either end."""


SAMPLE_EVERY = 2.0
"""Seconds a job must have run for a figure of what it uses to be its own."""

SILENT = 15.0
"""Seconds without a heartbeat after which what a worker does is marked as old news."""


def _worker_state(worker: Worker, now: float) -> Cell:
    if worker.state != "lost":
        return worker.state, STATE_STYLE.get(worker.state, "text")
    return f"lost {ago(now - worker.heartbeat_at).replace('now', '')}".rstrip(), "bad"


def _worker_for(worker: Worker, now: float) -> Cell:
    if worker.job_started_at is None:
        return "", "muted"
    style = "muted" if worker.state == "lost" else "text"
    return lasting(now - worker.job_started_at), style


def _measured(worker: Worker, now: float) -> bool:
    """Whether there is somebody who measures its job, and has had the time to."""
    started = worker.job_started_at
    return worker.state != "lost" and started is not None and now - started >= SAMPLE_EVERY


def _cpu(worker: Worker, now: float) -> Cell:
    if worker.cpu_percent is None or not _measured(worker, now):
        return "", "muted"
    return f"{worker.cpu_percent:.0f}%", "text"


def _memory(worker: Worker, now: float) -> Cell:
    if worker.memory is None or not _measured(worker, now):
        return "", "muted"
    return format_bytes(worker.memory), "text"


def _seen(worker: Worker, now: float) -> Cell:
    silent = now - worker.heartbeat_at
    return ("now", "muted") if silent < SILENT else (ago(silent), "warn")


FOR: Column[Worker] = Column("for", 6, _worker_for, rank=3, right=True)

QUEUES: Column[Worker] = Column(
    "queue", 8, lambda w, _: (short(" ".join(w.queues), 128) or "all", "muted"), rank=3
)

HOST: Column[Worker] = Column(
    "host", 10, lambda w, _: (short(w.host, 128), "muted"), rank=9, flex=1
)

WORKERS: tuple[Column[Worker], ...] = (
    Column("id", 8, lambda w, _: (short(w.id, 64), "text"), flex=1),
    Column("state", 8, _worker_state, rank=1),
    Column("job", 10, lambda w, _: (short(w.job, 128), "text"), flex=2, rank=2),
    FOR,
    Column("cpu", 5, _cpu, rank=4, right=True),
    Column("mem", 5, _memory, rank=5, right=True),
    Column("done", 7, lambda w, _: (f"{w.done:,}", "muted"), rank=6, right=True),
    Column(
        "failed",
        6,
        lambda w, _: (f"{w.failed:,}", "warn" if w.failed else "muted"),
        rank=7,
        right=True,
    ),
    Column("seen", 5, _seen, rank=8, right=True),
    HOST,
    Column("pid", 7, lambda w, _: (str(w.pid), "muted"), rank=10, right=True),
)


def worker_columns(workers: Iterable[Worker]) -> tuple[Column[Worker], ...]:
    """The columns for these workers: where they are matters when they are on several hosts, and
    which queues they serve when these are not the same ones."""
    workers = list(workers)
    columns = list(WORKERS)
    if len({worker.queues for worker in workers}) > 1:
        columns.insert(columns.index(FOR) + 1, QUEUES)
    if len({worker.host for worker in workers}) > 1:
        columns.remove(HOST)
        columns.insert(1, replace(HOST, rank=2))
    return tuple(columns)


GROUPS: tuple[Column[DeadGroup], ...] = (
    Column("jobs", 7, lambda g, _: (f"{g.count:,}", "bad"), right=True),
    Column("reason", 28, lambda g, _: (short(g.reason), "text"), flex=1),
    Column(
        "last",
        6,
        lambda g, now: ("" if g.last_at is None else ago(now - g.last_at), "muted"),
        rank=1,
        right=True,
    ),
)


def _took(attempt: Attempt, now: float) -> Cell:
    end = now if attempt.finished_at is None else attempt.finished_at
    took = max(0.0, end - attempt.started_at)
    return (lasting(took) if attempt.finished_at is None else format_duration(took)), "text"


def _ended(attempt: Attempt, now: float) -> Cell:
    word = outcome_word(attempt)
    return word, STATE_STYLE.get(word, "text")


def _code(attempt: Attempt, now: float) -> Cell:
    if attempt.signal is not None:
        return f"sig {attempt.signal}", "warn"
    return ("" if attempt.exit_code is None else str(attempt.exit_code)), "text"


ATTEMPTS: tuple[Column[Attempt], ...] = (
    Column("#", 3, lambda a, _: (str(a.number), "strong"), right=True),
    Column("outcome", 11, _ended, rank=1),
    Column("started", 8, lambda a, now: (ago(now - a.started_at), "muted"), rank=3, right=True),
    Column("took", 7, _took, rank=2, right=True),
    Column("exit", 6, _code, rank=4, right=True),
    Column("why", 12, lambda a, _: (short(a.reason), "warn"), rank=5, flex=1),
    Column(
        "peak",
        6,
        lambda a, _: ("" if a.peak_memory is None else format_bytes(a.peak_memory), "muted"),
        rank=7,
        right=True,
    ),
    Column(
        "cpu",
        6,
        lambda a, _: ("" if a.cpu_seconds is None else format_duration(a.cpu_seconds), "muted"),
        rank=8,
        right=True,
    ),
    Column("output", 6, lambda a, _: (format_bytes(a.output_bytes), "muted"), rank=9, right=True),
    Column("worker", 9, lambda a, _: (short(a.worker, 64), "muted"), rank=6),
)


@dataclass(slots=True)
class JobPages:
    """Jobs that match a filter, read over the console's link."""

    connections: Connections
    where: Filter = field(default_factory=Filter)
    column: str = ARRIVAL
    """What they are sorted by: :data:`ARRIVAL`, or a field."""
    descending: bool = True
    _sorted: list[Job] = field(default_factory=list)

    @property
    def view(self) -> JobView:
        """The same, asked of the connection there is now."""
        return JobView(self.connections.reader, self.where, oldest_first=not self.descending)

    def key(self, row: Job) -> Hashable:
        return row.seq

    async def first(self, limit: int) -> list[Job]:
        if self.column == ARRIVAL:
            return await self.view.first(limit)
        self._sorted = await self.view.sorted_by(self.column, descending=self.descending)
        return self._sorted[:limit]

    async def last(self, limit: int) -> list[Job]:
        if self.column == ARRIVAL:
            return await self.view.last(limit)
        await self.first(0)
        return self._sorted[-limit:]

    async def after(self, row: Job, limit: int, *, inclusive: bool = False) -> list[Job]:
        if self.column == ARRIVAL:
            return await self.view.after(row.seq, limit, inclusive=inclusive)
        if inclusive:
            await self.first(0)
        at = self.place(row)
        return self._sorted[at + (not inclusive) :][:limit]

    async def before(self, row: Job, limit: int) -> list[Job]:
        if self.column == ARRIVAL:
            return await self.view.before(row.seq, limit)
        at = self.place(row)
        return self._sorted[max(0, at - limit) : at]

    async def still(self, rows: Sequence[Job]) -> list[Job]:
        where = self.where._replace(seqs=tuple(job.seq for job in rows))
        return await self.connections.reader.scan(where, len(rows))

    def place(self, row: Job) -> int:
        """Where ``row`` is; the beginning when it is gone."""
        return next((at for at, job in enumerate(self._sorted) if job.seq == row.seq), 0)
