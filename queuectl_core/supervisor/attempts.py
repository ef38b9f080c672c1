"""The attempts that a supervisor is responsible for: one table, one state for each attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..domain.claims import AttemptResult
from ..domain.model import Job
from .attempt import ActiveAttempt, token_of
from .attempt_states import TRANSITIONS, AttemptEvent, AttemptState

Trace = Callable[[ActiveAttempt, AttemptEvent, AttemptState], None]
"""Hears of each change of state: the attempt in its new state, the event, the old state."""


class AttemptTable:
    """Attempts by their token, from the claim until the store knows their result.

    ``prefetched`` and ``returned`` are those of its attempts that are in these states.
    """

    def __init__(self) -> None:
        self._attempts: dict[str, ActiveAttempt] = {}
        self.prefetched: dict[str, ActiveAttempt] = {}
        self.returned: dict[str, ActiveAttempt] = {}
        self.unannounced: dict[str, ActiveAttempt] = {}
        """Those that have started, and the store does not know it: on which worker, or when."""
        self.results: list[AttemptResult] = []
        """Of those that are cleaned, and not in a commit that is under way."""
        self.trace: Trace | None = None

    def __iter__(self) -> Iterator[ActiveAttempt]:
        return iter(list(self._attempts.values()))

    def get(self, token: str) -> ActiveAttempt | None:
        """The attempt of that token; None: it is not ours, or not any more."""
        return self._attempts.get(token)

    def of(self, job: Job) -> ActiveAttempt | None:
        """The attempt of ``job`` that the store gave us."""
        return self._attempts.get(token_of(job))

    def add(self, attempt: ActiveAttempt) -> ActiveAttempt:
        """An attempt that was claimed or taken over."""
        self._attempts[attempt.token] = attempt
        return attempt

    def move(self, attempt: ActiveAttempt, event: AttemptEvent) -> bool:
        """Move an attempt to its next state. False: the event comes too late, or the attempt is
        not ours any more; nothing has changed."""
        before, token = attempt.state, attempt.token
        after = TRANSITIONS[before].get(event)
        if after is None or self._attempts.get(token) is not attempt:
            return False
        attempt.state = after
        if before is AttemptState.PREFETCHED:
            del self.prefetched[token]
        if after is AttemptState.PREFETCHED:
            self.prefetched[token] = attempt
        elif after is AttemptState.RETURNED:
            self.returned[token] = attempt
        elif after is AttemptState.SETTLED:
            del self._attempts[token]
            self.returned.pop(token, None)
        if after in (AttemptState.CLEANED, AttemptState.RETURNED, AttemptState.SETTLED):
            self.unannounced.pop(token, None)  # its result says on which worker it ran
        if self.trace is not None:
            self.trace(attempt, event, before)
        return True

    def finish(self, attempt: ActiveAttempt, result: AttemptResult) -> bool:
        """The result of an attempt is known. False: it is not ours any more."""
        if not self.move(attempt, AttemptEvent.CLEANED):
            return False
        self.results.append(result)
        return True

    def clear(self) -> None:
        """Forget all: they have another owner."""
        for attempt in self._attempts.values():
            attempt.disarm()
        for index in (self._attempts, self.prefetched, self.returned, self.unannounced):
            index.clear()
        self.results.clear()
