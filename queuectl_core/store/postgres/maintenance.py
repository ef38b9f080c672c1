"""Pruning, counting again and folding the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.model import State
from .session import Session

LEDGER_ROWS = 1000
"""Rows of the ledger above which it is folded. Reading this many takes a millisecond."""
MARK_KEPT = 3600.0
"""Seconds for which the marks of transactions are kept. A supervisor that cannot reach the server
keeps its lease for a much shorter time."""
FOLDING = 0x666F6C64
"""The advisory lock for folding."""


async def prune(
    session: Session, seqs: Sequence[int], state: State, before: float
) -> list[tuple[int, int]]:
    found = await session.rows("prune", seqs=list(seqs), state=state, before=before)
    return [(row["seq"], row["runs"]) for row in found]


async def miscounted(session: Session) -> int:
    return int(await session.value("miscounted"))


async def recount(session: Session) -> None:
    await session.run("recount")


async def is_long(session: Session) -> bool:
    """Whether the ledger should be folded."""
    return bool(await session.value("ledger_long", most=LEDGER_ROWS))


async def fold(session: Session) -> None:
    """Fold the ledger into the counters and remove old marks, unless somebody else does it."""
    if await session.value("fold_turn", key=FOLDING):
        await session.run("fold")
        await session.run("marks_expired", age=MARK_KEPT)


async def faults(session: Session) -> list[str]:
    strays = await session.value("stray_jobs")
    if not strays:
        return []
    return [f"{strays} processing jobs belong to no supervisor that is known"]
