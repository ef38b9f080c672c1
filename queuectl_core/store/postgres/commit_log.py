"""Turns whose commit was never answered, and what a supervisor must make of them later.

A supervisor hands in endings and claims jobs in one commit. When the connection breaks in that
commit and the server cannot be asked what came of it, the supervisor keeps its endings and tries
again later. By then the commit may turn out to have been done: those endings are in, which is not
a lease lost; and the jobs it claimed are held by a supervisor that was never told. They were not
started, so they are put back, in the same commit as the next turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...domain.claims import AttemptResult, ClaimResult, ClaimSlot, PrefetchStarted
from ...domain.model import Job
from .claims import Key, settle_and_claim, waiting
from .connections import Connections
from .errors import CommitInDoubt, CommitUnknown


@dataclass(slots=True)
class _Unanswered:
    owner: str
    doubt: CommitInDoubt
    keys: frozenset[Key]
    result: ClaimResult
    committed: bool | None = None


@dataclass(slots=True)
class CommitLog:
    """The exchanges of one process, in order."""

    connections: Connections
    _unanswered: list[_Unanswered] = field(default_factory=list)

    async def settle_and_claim(
        self,
        owner: str,
        results: Sequence[AttemptResult],
        slots: Sequence[ClaimSlot],
        now: float,
        *,
        started: Sequence[PrefetchStarted],
        released: Sequence[Job],
        suspects: bool,
    ) -> ClaimResult:
        """One turn; see the protocol. CommitUnknown: try again with the same endings."""
        known, refused, unacknowledged = await self._outcomes(owner)
        fresh = [one for one in results if (one.seq, one.run) not in known]
        keys = frozenset((one.seq, one.run) for one in fresh)
        back = [*released, *unacknowledged]
        only_claims = slots and not (fresh or started or back)
        result = await self.connections.read(waiting, slots, now) if only_claims else None
        try:
            if result is None:
                result = await self.connections.write(
                    settle_and_claim,
                    owner,
                    fresh,
                    slots,
                    now,
                    started=started,
                    released=back,
                    suspects=suspects,
                )
        except CommitUnknown as error:
            self._unanswered.append(_Unanswered(owner, error.doubt, keys, error.result))
            raise
        self._unanswered = [one for one in self._unanswered if one.owner != owner]
        return result._replace(refused=result.refused | refused) if refused else result

    async def _outcomes(self, owner: str) -> tuple[set[Key], set[Key], tuple[Job, ...]]:
        """Endings that are in or were refused, those refused, and jobs claimed unknown to us."""
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
                )  # what one before it had claimed it has put back
        return known, refused, unacknowledged
