"""Rollups in PostgreSQL: written with the endings they count, read by ``stats``, thinned with age.

Each supervisor adds up what it ends in rows of its own, so that none waits for another. When they
are thinned they become part of rows of nobody's.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...model import Ending
from ...rollup import MINUTE, Rollup, by_minute, floor, merged, pack, thinning, unpack
from .link import Session

THINNING = 0x7468696E
"""The advisory lock of whoever thins."""


async def record(session: Session, owner: str, endings: Sequence[Ending], now: float) -> None:
    """Count attempts that were just written down, in the transaction that did it."""
    minutes = by_minute(endings)
    if not minutes:
        return
    rows = await session.rows("rollups_mine", span=MINUTE, moments=list(minutes), source=owner)
    there = {row["at"]: unpack(row["data"]) for row in rows}
    for at, ended in minutes.items():
        there.setdefault(at, Rollup()).add(ended)
    datas = [pack(rollup) for rollup in there.values()]
    await session.run("rollups_put", span=MINUTE, moments=list(there), source=owner, datas=datas)
    if len(rows) < len(minutes):
        await thin(session, now)


async def thin(session: Session, now: float) -> None:
    """Make the oldest rollups of each span part of one of the next, once they are old enough;
    unless somebody is at it. One of the next at a time, as often as a minute is new."""
    if not await session.value("fold_turn", key=THINNING):
        return
    for span, longer, before in thinning(now):
        oldest = await session.value("rollup_oldest", span=span, before=before)
        if oldest is None:
            continue
        first = floor(oldest, longer or span)
        end = first + (longer or span)
        taken = await session.rows("rollups_taken", span=span, first=first, end=end)
        if longer is None:
            continue
        there = await session.rows("rollups_mine", span=longer, moments=[first], source="")
        whole = merged(unpack(row["data"]) for row in (*taken, *there))
        await session.run(
            "rollups_put", span=longer, moments=[first], source="", datas=[pack(whole)]
        )


async def rollup(session: Session, since: float) -> Rollup:
    """All that ended from ``since`` on; see the protocol."""
    return merged(unpack(row["data"]) for row in await session.rows("rollups_since", since=since))
