"""Rollups in PostgreSQL: written with the results that they count, and merged as they grow old.

Each supervisor has its own rows, so that no supervisor waits for another. Merged rows belong to no
supervisor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...domain.claims import AttemptResult
from ...domain.rollup import (
    FOREVER,
    MINUTE,
    Rollup,
    by_minute,
    floor,
    merged,
    pack,
    thinning,
    unpack,
)
from .session import Session

THINNING = 0x7468696E
"""The advisory lock for merging."""


async def record(
    session: Session,
    owner: str,
    results: Sequence[AttemptResult],
    now: float,
    there: Mapping[int, bytes],
) -> None:
    """Add results to the owner's rollups, in the transaction that writes the results. ``there``:
    the rollups of these minutes that the owner already has."""
    minutes = by_minute(results)
    if not minutes:
        return
    sums = {at: unpack(there[at]) if at in there else Rollup() for at in minutes}
    for at, by_queue in minutes.items():
        for queue, ended in by_queue.items():
            sums[at].add(ended, queue)
    datas = [pack(rollup) for rollup in sums.values()]
    await session.execute("rollups_put", span=MINUTE, moments=list(sums), source=owner, datas=datas)
    if not minutes.keys() <= there.keys():
        await thin(session, now)


async def thin(session: Session, now: float) -> None:
    """Merge the oldest rollups of each span into one of the next longer span, when they are old
    enough. Does nothing if somebody else is merging. It is called for each new minute, and makes at
    most one rollup of each longer span."""
    if not await session.value("fold_turn", key=THINNING):
        return
    for span, longer, before in thinning(now):
        after = FOREVER if longer is None else -1
        oldest = await session.value("rollup_oldest", span=span, after=after, before=before)
        if oldest is None:
            continue
        first = floor(oldest, longer or span)
        end = first + (longer or span)
        taken = await session.rows("rollups_taken", span=span, first=first, end=end)
        place = {"span": longer or span, "moments": [first if longer else FOREVER], "source": ""}
        there = await session.rows("rollups_mine", **place)
        # The oldest first, so that queues stay in the order in which they came.
        taken = sorted(taken, key=lambda row: (row["at"], row["source"]))
        whole = merged(unpack(row["data"]) for row in (*there, *taken))
        await session.execute("rollups_put", **place, datas=[pack(whole)])


async def rollup(session: Session, since: float) -> Rollup:
    """All attempts that ended from ``since`` on; see the protocol."""
    return merged(unpack(row["data"]) for row in await session.rows("rollups_since", since=since))
