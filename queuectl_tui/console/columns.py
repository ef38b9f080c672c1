"""The columns of the console's tables with their widths, and where rows of jobs come from."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from queuectl_core.domain.figures import DeadGroup
from queuectl_core.domain.model import Attempt, Filter, Job, State, Worker
from queuectl_core.operations.queries import JobView

from ..presentation import attempts, dead_groups, jobs, workers
from ..presentation.columns import STATE_ROLES, Cell, Column
from ..presentation.connections import Connections
from .widgets.strips import TableColumn


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
    role = STATE_ROLES.get(row.name, "strong")
    return row.name, role if row.count or row.state is None else "muted"


def _state_count(row: StateRow, now: float) -> Cell:
    alarming = row.state is State.DEAD and row.count
    return f"{row.count:,}", "bad" if alarming else ("strong" if row.count else "muted")


STATES: tuple[TableColumn[StateRow], ...] = (
    TableColumn(Column("state", _state), 11),
    TableColumn(Column("jobs", _state_count, right=True), 9, flex=1),
)

JOBS: tuple[TableColumn[Job], ...] = (
    TableColumn(jobs.ID, 10, flex=1),
    TableColumn(jobs.STATE, 10, rank=2),
    TableColumn(jobs.TRIES, 5, rank=4),
    TableColumn(jobs.WHEN, 7, rank=3),
    TableColumn(jobs.COMMAND, 14, flex=4),
    TableColumn(jobs.EXIT, 4, rank=6),
    TableColumn(jobs.ERROR, 18, rank=5, flex=3),
    TableColumn(jobs.PRIORITY, 4, rank=8),
    TableColumn(jobs.QUEUE, 9, rank=7),
)

ARRIVAL = "arrival"
"""The order in which jobs are stored: the only one in which a million of them can be read from
both ends."""

WORKERS: tuple[TableColumn[Worker], ...] = (
    TableColumn(workers.ID, 8, flex=1),
    TableColumn(workers.STATE_SINCE, 8, rank=1),
    TableColumn(workers.JOB, 10, flex=2, rank=2),
    TableColumn(workers.FOR, 6, rank=3),
    TableColumn(workers.CPU, 5, rank=4),
    TableColumn(workers.MEMORY, 5, rank=5),
    TableColumn(workers.DONE, 7, rank=6),
    TableColumn(workers.FAILED, 6, rank=7),
    TableColumn(workers.SEEN, 5, rank=8),
    TableColumn(workers.HOST, 10, rank=9, flex=1),
    TableColumn(workers.PID, 7, rank=10),
)


def worker_columns(rows: Iterable[Worker]) -> tuple[TableColumn[Worker], ...]:
    """The columns for these workers. Their hosts matter when there are several, and the queues they
    serve when these differ."""
    rows = list(rows)
    columns = list(WORKERS)
    names = [column.name for column in columns]
    if len({worker.queues for worker in rows}) > 1:
        columns.insert(names.index("for") + 1, TableColumn(workers.QUEUE, 8, rank=3))
    if len({worker.host for worker in rows}) > 1:
        columns = [column for column in columns if column.name != "host"]
        columns.insert(1, TableColumn(workers.HOST, 10, rank=2, flex=1))
    return tuple(columns)


GROUPS: tuple[TableColumn[DeadGroup], ...] = (
    TableColumn(dead_groups.COUNT, 7),
    TableColumn(dead_groups.REASON, 28, flex=1),
    TableColumn(dead_groups.LAST, 6, rank=1),
)

ATTEMPTS: tuple[TableColumn[Attempt], ...] = (
    TableColumn(attempts.NUMBER, 3),
    TableColumn(attempts.OUTCOME, 11, rank=1),
    TableColumn(attempts.STARTED, 8, rank=3),
    TableColumn(attempts.TOOK, 7, rank=2),
    TableColumn(attempts.EXIT, 6, rank=4),
    TableColumn(attempts.WHY, 12, rank=5, flex=1),
    TableColumn(attempts.PEAK, 6, rank=7),
    TableColumn(attempts.CPU, 6, rank=8),
    TableColumn(attempts.OUTPUT, 6, rank=9),
    TableColumn(attempts.WORKER, 9, rank=6),
)


@dataclass(slots=True)
class JobPages:
    """Jobs that match a filter, read with the console's connection."""

    connections: Connections
    where: Filter = field(default_factory=Filter)
    column: str = ARRIVAL
    """The order: :data:`ARRIVAL`, or the name of a field."""
    descending: bool = True
    _sorted: list[Job] = field(default_factory=list)

    @property
    def view(self) -> JobView:
        """The jobs, read with the current connection."""
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
        """The position of ``row``; 0 when it is gone."""
        return next((at for at, job in enumerate(self._sorted) if job.seq == row.seq), 0)
