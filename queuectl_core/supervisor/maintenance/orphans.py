"""Output files on this host of jobs that were removed from another one: removed here too.

Whoever prunes or removes a job deletes the files it finds on its own host. Where hosts share the
store, each has a supervisor look through what it keeps, a folder at a time, all of it over hours.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from ...operations.orphans import age, orphans_in, output_folders
from ...store.protocol import Store
from ...system.clocks import monotonic

EVERY = 10.0
"""Seconds between two folders: each is one directory and one read of a thousand keys."""
SPARED = 86_400.0
"""Seconds a file stays after its last output. A server that failed over to a replica which has not
heard of its job, or was restored from a backup, must not cost what was written last."""


@dataclass(slots=True)
class Orphans:
    """One supervisor's looks."""

    store: Store
    _looked: float = field(default_factory=monotonic)
    _left: list[Path] = field(default_factory=list)

    async def turn(self) -> None:
        """Look into the next folder if it is time to; to be called often. StoreError when the
        store cannot be read."""
        if not self.store.shared_by_hosts or monotonic() - self._looked < EVERY:
            return
        self._looked = monotonic()
        if not self._left:
            self._left = await asyncio.to_thread(output_folders, self.store)
        if not self._left:
            return
        with contextlib.suppress(OSError):  # a folder that is gone, or can't be read
            found = await orphans_in(self._left.pop(), self.store)
            await asyncio.to_thread(_remove_old, found)


def _remove_old(paths: list[Path]) -> None:
    for path in paths:
        if age(path) > SPARED:
            path.unlink(missing_ok=True)
