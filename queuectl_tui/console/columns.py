"""The columns of the console's tables, and where rows of jobs come from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

from queuectl_core.domain.admission import Reason
from queuectl_core.domain.model import Filter, Job, State
from queuectl_core.operations.queries import JobView

from ..presentation.attempts import ATTEMPT_COLUMNS
from ..presentation.columns import STATE_ROLES, Cell, Column, Place, TableColumn, table
from ..presentation.connections import Connections
from ..presentation.dead_groups import GROUP_COLUMNS
from ..presentation.events import EVENT_COLUMNS
from ..presentation.hooks import HOOK_COLUMNS
from ..presentation.jobs import JOB_COLUMNS, short_why
from ..presentation.queues import QUEUE_COLUMNS
from ..presentation.schedules import SCHEDULE_COLUMNS


@dataclass(frozen=True, slots=True)
class StateRow:
    """A line of the states pane; ``state`` None: all jobs."""

    state: State | None
    count: int

    @property
    def name(self) -> str:
        return "all" if self.state is None else self.state.value


def _state(row: StateRow, now: float) -> Cell:
    role = STATE_ROLES.get(row.name, "strong")
    return row.name, role if row.count or row.state is None else "muted"


def _state_count(row: StateRow, now: float) -> Cell:
    alarming = row.state is State.DEAD and row.count
    return f"{row.count:,}", "bad" if alarming else ("strong" if row.count else "muted")


STATES = table(
    (
        Column("state", "", _state, console=Place(11)),
        Column("jobs", "", _state_count, right=True, console=Place(9, flex=1)),
    ),
    "console",
)
JOBS = table(JOB_COLUMNS, "console")
SCHEDULES = table(SCHEDULE_COLUMNS, "console")
QUEUES = table(QUEUE_COLUMNS, "console")
EVENTS = table(EVENT_COLUMNS, "console")
HOOKS = table(HOOK_COLUMNS, "console")
GROUPS = table(GROUP_COLUMNS, "console")
JOB_PAGE = table(JOB_COLUMNS, "page")
ATTEMPTS = table(ATTEMPT_COLUMNS, "console")


def jobs_columns(reasons: Mapping[int, Reason]) -> tuple[TableColumn[Job], ...]:
    """:data:`JOBS`, in which the column ``why`` knows the first reasons of the jobs, by seq."""
    found = []
    for each in JOBS:
        column = copy(each)
        if column.name == "why":
            column.cell = lambda job, now: short_why(job, now, reasons.get(job.seq))
        found.append(column)
    return tuple(found)


ARRIVAL = "arrival"
"""The order in which jobs are stored: the only one in which a million of them can be read from
both ends."""


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
