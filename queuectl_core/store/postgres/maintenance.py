"""Folding the ledger: its rows, which say how counts changed, are added to the counters."""

from __future__ import annotations

from .session import Session

LEDGER_ROWS = 1000
"""Rows of the ledger above which it is folded. Reading this many takes a millisecond."""
MARK_KEPT = 3600.0
"""Seconds for which the marks of transactions are kept. A supervisor that cannot reach the server
keeps its lease for a much shorter time."""
FOLDING = 0x666F6C64
"""The advisory lock for folding."""


async def is_long(session: Session) -> bool:
    """Whether the ledger should be folded."""
    return bool(await session.value("ledger_long", most=LEDGER_ROWS))


async def fold(session: Session) -> None:
    """Fold the ledger into the counters and remove old marks, unless somebody else does it."""
    if await session.value("fold_turn", key=FOLDING):
        await session.execute("fold")
        await session.execute("marks_expired", age=MARK_KEPT)
