"""A borrowed connection with named queries."""

from __future__ import annotations

import os
import uuid
from typing import Any

from ..signature import Signature
from .clock import ServerClock
from .queries import query

ANYTHING, NEW_JOBS = "", "jobs"
"""What has changed. A supervisor that only hears of new jobs need not read its commands."""


class Session:
    """A connection with named queries."""

    def __init__(
        self, connection: Any, shown: str, clock: ServerClock, signature: Signature
    ) -> None:
        """``shown``: the URL of the store, for display. ``signature``: signs the events."""
        self.signature = signature
        self.raw = connection
        self.shown = shown
        self.clock = clock
        self.mark = uuid.UUID(bytes=os.urandom(16))
        """Finds its transaction if the answer to the commit is lost."""
        self.marked = False
        """Whether the transaction has already written its mark."""
        self.news = ANYTHING
        """What to tell supervisors about the transaction, if it notifies them."""

    async def rows(self, name: str, /, **values: Any) -> list[Any]:
        """All rows of a query."""
        sent = query(name)
        found: list[Any] = await self.raw.fetch(sent.text, *(values[key] for key in sent.names))
        return found

    async def row(self, name: str, /, **values: Any) -> Any:
        """The first row, or None."""
        sent = query(name)
        return await self.raw.fetchrow(sent.text, *(values[key] for key in sent.names))

    async def value(self, name: str, /, **values: Any) -> Any:
        """The first column of the first row, or None."""
        sent = query(name)
        return await self.raw.fetchval(sent.text, *(values[key] for key in sent.names))

    async def execute(self, name: str, /, **values: Any) -> int:
        """Run a statement. Returns how many rows it changed."""
        sent = query(name)
        status = await self.raw.execute(sent.text, *(values[key] for key in sent.names))
        last = status.rpartition(" ")[2]
        return int(last) if last.isdecimal() else 0
