"""Rollups in PostgreSQL: written with the endings they count, read by ``stats``, thinned with age.

Each supervisor adds up what it ends in rows of its own, so that none waits for another. When they
are thinned they become part of rows of nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...domain.claims import AttemptResult
from ...domain.rollup import MINUTE, Rollup, by_minute, floor, merged, pack, thinning, unpack
from .session import Session

THINNING = 0x7468696E
"""The advisory lock of whoever thins."""


async def record(
    session: Session,
    owner: str,
    results: Sequence[AttemptResult],
    now: float,
    there: Mapping[int, bytes],
) -> None:
    """Count attempts that were just written down, in the transaction that did it. ``there`` is
    what the owner's rollups of their minutes were before."""
    minutes = by_minute(results)
    if not minutes:
        return
    sums = {at: unpack(there[at]) if at in there else Rollup() for at in minutes}
    for at, ended in minutes.items():
        sums[at].add(ended)
    datas = [pack(rollup) for rollup in sums.values()]
    await session.run("rollups_put", span=MINUTE, moments=list(sums), source=owner, datas=datas)
    if not minutes.keys() <= there.keys():
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
