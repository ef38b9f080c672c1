"""The Copying protocol: what a store can do towards being copied into another, whatever either is.

Values go as they are kept, a page at a time, in the order of their keys. A store that is being
copied into is marked from the first moment to the last: it opens for nobody else, and workers do
not register, so that nothing runs there that may still change, or run, where it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..domain.errors import Conflict
from ..domain.model import Attempt, Job
from ..domain.rollup import Rollup

Piece = tuple[int, int, Rollup]
"""What ended in one span of time: its length and its beginning, in seconds."""


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """An attempt with what belongs to it in a store."""

    seq: int
    made_dead: bool
    attempt: Attempt

    @property
    def key(self) -> tuple[int, int]:
        """What they are ordered by."""
        return self.seq, self.attempt.number


@dataclass(frozen=True, slots=True)
class Tail:
    """The stored end of an attempt's output."""

    seq: int
    number: int
    tail: bytes

    @property
    def key(self) -> tuple[int, int]:
        """What they are ordered by."""
        return self.seq, self.number


@dataclass(frozen=True, slots=True)
class CopyBatch:
    """Part of a store on its way into another."""

    jobs: Sequence[Job] = ()
    attempts: Sequence[AttemptRow] = ()
    tails: Sequence[Tail] = ()
    emptied: tuple[int, int] | None = None
    """Forget what is there with seqs from the first to the second before anything is added."""


class Copying(Protocol):
    """Made by :meth:`queuectl_core.store.protocol.Store.copying`. Each verb is one transaction."""

    # -- of the store that is copied -----------------------------------------------------

    async def highest(self) -> int:
        """The highest seq ever given to a job; 0: none was."""

    async def attempts(self, after: tuple[int, int], last: int, limit: int) -> list[AttemptRow]:
        """Up to ``limit`` attempts that ended, with keys (seq, number) above ``after``, of jobs
        with seqs up to ``last``."""

    async def tails(self, after: tuple[int, int], last: int, limit: int) -> list[Tail]:
        """Up to ``limit`` tails likewise; each has up to 64 KiB."""

    async def pieces(self, now: float) -> list[Piece]:
        """All that ever ended, added up, one for each span; a store that holds attempts from
        before it kept rollups adds those up here."""

    async def totals(self) -> tuple[int, int]:
        """How many attempts and tails there are; reads all of their keys."""

    # -- of the store that is copied into ------------------------------------------------

    async def mark(self) -> str | None:
        """The mark; None when the store is whole."""

    async def begin(self, mark: str, above: int) -> bool:
        """Mark a store that holds no job, no setting and no statistics; False: it holds some.

        Should somebody who had it open before enqueue meanwhile, the jobs get seqs above
        ``above``.
        """

    async def receive(self, batch: CopyBatch, old: str, new: str, now: float) -> None:
        """Take a batch in, and change the mark from ``old`` to ``new``.

        Raises Conflict when the mark is not ``old``, or when an id is taken.
        """

    async def finish(
        self, mark: str, config: Mapping[str, str], pieces: Sequence[Piece], highest: int
    ) -> None:
        """Set configuration and statistics, have seqs go on above ``highest``, take the mark away.

        Raises Conflict when the mark is not ``mark``.
        """


def half_copied(url: str, mark: str) -> Conflict:
    """The refusal of a store that is marked."""
    source = read_mark(mark).get("shown", "another store")
    return Conflict(
        f"store {url} is half a copy of {source}",
        "go on with: queuectl store copy, as it was begun; or remove it",
    )


def read_mark(mark: str) -> dict[str, Any]:
    """What a mark says; nothing when it is none of ours."""
    try:
        found = json.loads(mark)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def lost_mark(url: str) -> Conflict:
    """The refusal of a batch from a copier that is not the latest."""
    return Conflict(f"somebody else is copying into store {url}", "let one of them finish")


def taken(url: str) -> Conflict:
    """The refusal of a batch with an id that somebody used meanwhile."""
    return Conflict(
        f"an id that is being copied is taken in store {url}: somebody used it meanwhile",
        "remove that store and copy again",
    )
