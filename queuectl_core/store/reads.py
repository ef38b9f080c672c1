"""The verbs that are one query. They are written once, for all stores.

The query has the same name, parameters and columns in each dialect.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..domain.model import Attempt, Job, Outcome, State
from .protocol import Store
from .rows import to_attempt, to_job

if TYPE_CHECKING:
    from ..domain.figures import DeadGroup, ThroughputSample
    from ..domain.rollup import Ended

T = TypeVar("T")


class Reads(Store):
    """A store that can send a named query."""

    @abstractmethod
    async def _rows(self, query: str, convert: Callable[[Any], T], **values: Any) -> list[T]:
        """The rows of a query, each converted. A ValueError of ``convert`` means that the
        database is damaged."""

    async def ids(self, first: int, count: int) -> list[str]:
        return await self._rows("ids_from", _value, first=first, end=first + count)

    async def attempts(self, seq: int) -> list[Attempt]:
        return await self._rows("attempts_of", to_attempt, seq=seq)

    async def tail(self, seq: int, number: int) -> bytes | None:
        return _first(await self._rows("tail_of", _value, seq=seq, number=number))

    async def oldest_due(self, now: float) -> float | None:
        return _first(await self._rows("oldest_due", _value, now=now))

    async def ended_since(self, since: float, limit: int) -> list[Ended]:
        return await self._rows("ended_since", to_ended, since=since, limit=limit)

    async def bounds(self) -> tuple[int, int] | None:
        [(low, high)] = await self._rows("bounds", tuple)
        return None if low is None else (low, high)

    async def dead_groups(self, limit: int) -> list[DeadGroup]:
        from ..domain.figures import DeadGroup

        def group(row: Any) -> DeadGroup:
            reason, exit_code, count, last_at, newest = row
            return DeadGroup(reason or "", exit_code, count, last_at, newest)

        return await self._rows("dead_groups", group, limit=limit)

    async def throughput(self, since: float) -> list[ThroughputSample]:
        from ..domain.figures import ThroughputSample

        return await self._rows("throughput", lambda row: ThroughputSample(*row), since=since)

    async def config(self) -> dict[str, str]:
        return dict(await self._rows("config_all", tuple))

    async def held(self, owner: str) -> list[Job]:
        return await self._rows("held", to_job, id=owner)

    async def shims(self) -> set[str]:
        return set(filter(None, await self._rows("shims", _value)))

    async def expired(self, since: float, before: float, limit: int) -> list[int]:
        return await self._rows("expired", _value, since=since, before=before, limit=limit)

    async def ended(self, state: State, before: float, after: int, limit: int) -> list[int]:
        return await self._rows(
            "ended", _value, state=state, before=before, after=after, limit=limit
        )

    async def runs(self, seqs: Sequence[int]) -> dict[int, int]:
        return dict(await self._rows("runs_of", tuple, seqs=list(seqs)))


def to_ended(row: Any) -> Ended:
    """An attempt that ended, as rollups count it."""
    outcome, dead, ran, waited = row
    return Outcome(outcome), bool(dead), ran, waited


def _value(row: Any) -> Any:
    return row[0]


def _first(values: Sequence[T]) -> T | None:
    return values[0] if values else None
