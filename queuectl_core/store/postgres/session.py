"""A connection on loan: named queries, and what its transaction is announced as."""

from __future__ import annotations

import os
import uuid
from typing import Any

from .queries import query

ANYTHING, JOBS = "", "jobs"
"""What is announced: who hears of new jobs only need not read anything else."""


class Session:
    """A connection that speaks named queries."""

    def __init__(self, connection: Any) -> None:
        self.raw = connection
        self.mark = uuid.UUID(bytes=os.urandom(16))
        """What its transaction can be found by, if the answer to its commit is lost."""
        self.marked = False
        """The transaction has left its mark in the database already."""
        self.news = ANYTHING
        """What the transaction changes, if it is announced."""

    async def rows(self, name: str, **values: Any) -> list[Any]:
        """All rows of a query."""
        sent = query(name)
        found: list[Any] = await self.raw.fetch(sent.text, *(values[key] for key in sent.names))
        return found

    async def row(self, name: str, **values: Any) -> Any:
        """The first row, or None."""
        sent = query(name)
        return await self.raw.fetchrow(sent.text, *(values[key] for key in sent.names))

    async def value(self, name: str, **values: Any) -> Any:
        """The first column of the first row, or None."""
        sent = query(name)
        return await self.raw.fetchval(sent.text, *(values[key] for key in sent.names))

    async def run(self, name: str, **values: Any) -> int:
        """How many rows a statement changed."""
        sent = query(name)
        status = await self.raw.execute(sent.text, *(values[key] for key in sent.names))
        last = status.rpartition(" ")[2]
        return int(last) if last.isdecimal() else 0
