"""Commits of ``settle_and_claim`` without an answer, and how they are resolved later.

A supervisor writes results and claims jobs in one commit. If the connection breaks during this
commit, and the server cannot be asked about it, the supervisor keeps its results and tries again
later. Then we may learn that the commit was done. In this case the results are stored, so they must
not count as refused. The supervisor holds jobs that it does not know of. It has not started them,
so they are released in the next commit.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from ...domain.claims import ClaimRequest, ClaimResult
from ...domain.errors import StoreError
from ...domain.model import Job
from .claims import Key, settle_and_claim, waiting
from .connections import Connections
from .errors import CommitInDoubt, CommitUnknown
from .session import NEW_JOBS, Session


async def notify(session: Session, channel: str) -> None:
    await session.value("notify", channel=channel, news=NEW_JOBS)


@dataclass(slots=True)
class _Unanswered:
    owner: str
    doubt: CommitInDoubt
    keys: frozenset[Key]
    result: ClaimResult
    committed: bool | None = None


@dataclass(slots=True)
class CommitLog:
    """The commits of one process, in order."""

    connections: Connections
    _unanswered: list[_Unanswered] = field(default_factory=list)

    async def settle_and_claim(self, request: ClaimRequest) -> ClaimResult:
        """See the protocol. CommitUnknown: try again with the same results."""
        owner = request.owner
        known, refused, unacknowledged = await self._outcomes(owner)
        fresh = [one for one in request.results if (one.seq, one.run) not in known]
        keys = frozenset((one.seq, one.run) for one in fresh)
        request = request._replace(results=fresh, released=[*request.released, *unacknowledged])
        only_claims = request.slots and not (fresh or request.started or request.released)
        result = await self.connections.read(waiting, request) if only_claims else None
        try:
            if result is None:
                result = await self.connections.claim(settle_and_claim, request)
        except CommitUnknown as error:
            self._unanswered.append(_Unanswered(owner, error.doubt, keys, error.result))
            raise
        self._unanswered = [one for one in self._unanswered if one.owner != owner]
        if result.freed:
            # After the commit, because commits that notify wait for each other. If it is lost,
            # supervisors find the jobs when they look next.
            with suppress(StoreError):
                await self.connections.repeat(notify, self.connections.channel)
        return result._replace(refused=result.refused | refused) if refused else result

    async def _outcomes(self, owner: str) -> tuple[set[Key], set[Key], tuple[Job, ...]]:
        """(stored or refused keys, refused keys, claimed jobs that the supervisor does not know)"""
        known: set[Key] = set()
        refused: set[Key] = set()
        unacknowledged: tuple[Job, ...] = ()
        for one in self._unanswered:
            if one.owner != owner:
                continue
            if one.committed is None:
                one.committed = await self.connections.committed(one.doubt)
            if one.committed:
                known |= one.keys
                refused |= one.result.refused
                unacknowledged = (
                    one.result.claimed
                )  # each commit has released the jobs of the one before
        return known, refused, unacknowledged
