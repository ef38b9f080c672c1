"""The rules of a job's life, as pure functions: no I/O, no clock, no randomness of their own.

The supervisor asks :func:`settle` what becomes of a job when an attempt ends; the stores ask
which states an action takes. The stores' CHECK constraints say the invariants again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .model import Outcome, State

if TYPE_CHECKING:
    from .claims import Transition

WAITING = (State.PENDING, State.FAILED)
"""What a worker may claim, once due."""
FINAL = (State.COMPLETED, State.DEAD, State.CANCELLED)
CANCELLABLE = (State.PENDING, State.FAILED, State.PROCESSING)
RETRYABLE = (State.FAILED, State.DEAD, State.CANCELLED, State.COMPLETED)
REMOVABLE = (State.PENDING, State.FAILED, State.COMPLETED, State.DEAD, State.CANCELLED)
"""Anything but a job that is running."""

COUNTED = (Outcome.COMPLETED, Outcome.FAILED, Outcome.TIMEOUT)
"""Outcomes that count in ``attempts``: the attempt ran to an end of its own (or its timeout)."""


class Policy(NamedTuple):
    """The settings in force when an attempt ends."""

    backoff_max: float
    """Seconds; the longest wait before a retry."""
    backoff_jitter: float
    """0 to 1: the wait grows by up to this fraction of itself."""
    max_crashes: int


def backoff(base: float, attempts: int, maximum: float) -> float:
    """Seconds to wait after failed attempt number ``attempts`` (1, 2 …): ``base ** attempts``.

    Exponential backoff as the assignment words it (2, 4, 8 … for base 2), never more than
    ``maximum``.
    """
    try:
        return min(base**attempts, maximum)
    except OverflowError:
        return maximum


def settle(
    outcome: Outcome,
    reason: str | None,
    *,
    attempts: int,
    crashes: int,
    max_retries: int,
    backoff_base: float,
    policy: Policy,
    now: float,
    jitter: float = 0.0,
) -> Transition:
    """What becomes of a processing job whose attempt ended with ``outcome`` at ``now``.

    ``jitter`` is a random number from 0 to 1. ``max_retries`` 0 and 1 both mean one attempt.
    """
    from .claims import Transition

    if outcome is Outcome.COMPLETED:
        return Transition(State.COMPLETED, attempts + 1, crashes, None, None)
    if outcome is Outcome.CANCELLED:
        return Transition(State.CANCELLED, attempts, crashes, None, reason)
    if outcome is Outcome.INTERRUPTED:
        return Transition(State.PENDING, attempts, crashes, None, reason)
    if outcome is Outcome.CRASHED:
        crashes += 1
        if crashes >= policy.max_crashes:
            times = f"crashed {crashes} times, max-crashes is {policy.max_crashes}"
            return Transition(State.DEAD, attempts, crashes, None, f"{times}: {reason}")
        return Transition(State.PENDING, attempts, crashes, None, reason)
    attempts += 1
    if attempts >= max_retries:
        return Transition(State.DEAD, attempts, crashes, None, reason)
    delay = backoff(backoff_base, attempts, policy.backoff_max)
    delay = min(delay * (1 + policy.backoff_jitter * jitter), policy.backoff_max)
    return Transition(State.FAILED, attempts, crashes, now + delay, reason)


def claimed_ahead(found: int, workers: int, wanted: int) -> int:
    """How many of ``found`` jobs to claim in advance, after one for each idle worker.

    As many as are ``wanted`` while there are plenty; when there are not, half of what is left
    stays for others to claim.
    """
    left = max(0, found - workers)
    return wanted if left >= wanted else left // 2
