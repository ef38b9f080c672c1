"""The rules of a job's life, as pure functions without I/O, clock or random numbers.

The supervisor asks :func:`settle` for the new state of a job when an attempt ends. The stores ask
which states allow an action. The CHECK constraints of the stores repeat the invariants.
"""

from typing import TYPE_CHECKING, NamedTuple

from .model import Outcome, State

if TYPE_CHECKING:
    from .claims import Transition

WAITING = (State.PENDING, State.FAILED)
"""States in which a due job may be claimed."""
NOT_STARTED = (State.PENDING, State.WAITING, State.FAILED)
"""States of a job that has not ended and does not run."""
FINAL = (State.COMPLETED, State.DEAD, State.CANCELLED)
CANCELLABLE = (*NOT_STARTED, State.PROCESSING)
RETRYABLE = (State.FAILED, State.DEAD, State.CANCELLED, State.COMPLETED)
REMOVABLE = (*NOT_STARTED, *FINAL)
"""All states except that of a running job."""
HOLDABLE = NOT_STARTED
RELEASABLE = (State.WAITING,)
EDITABLE = REMOVABLE

COUNTED = (Outcome.COMPLETED, Outcome.FAILED, Outcome.TIMEOUT)
"""Outcomes that count in ``attempts``: the attempt ended by itself, or by its timeout."""


class Policy(NamedTuple):
    """The settings that apply when an attempt ends."""

    backoff_max: float
    """The longest wait before a retry, in seconds."""
    backoff_jitter: float
    """0 to 1: the wait grows by up to this fraction of itself."""
    max_crashes: int


def backoff(base: float, attempts: int, maximum: float) -> float:
    """Seconds to wait after failed attempt number ``attempts`` (1, 2 …): ``base ** attempts``.

    This is exponential backoff (2, 4, 8 … for base 2), limited to ``maximum``.
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
) -> "Transition":
    """The change of a processing job whose attempt ended with ``outcome`` at ``now``.

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
    """How many of ``found`` jobs to prefetch, after one for each idle worker.

    If there are enough jobs: as many as are ``wanted``. If not: half of the remaining jobs, so that
    others can claim the other half.
    """
    left = max(0, found - workers)
    return wanted if left >= wanted else left // 2
