"""The states of an attempt in a supervisor, and what leads from one to the next, as data.

    claimed ──► prefetched ──► running ──► exited ──► cleaned ──► settled
       │             │            │                                  ▲
       └─────────────┴────────────┴──► returned ─────────────────────┘

A claimed attempt may also run at once. Both may exit without having run: the job could not be
started. A prefetched attempt whose shim was killed is ``orphaned`` until triage has found what
became of it.

An attempt begins when the store gives its job to this supervisor. It ends in ``settled``, once:
the store has its result, or has the job back as it was. An event that :data:`TRANSITIONS` does not
name for a state comes too late, or twice. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class AttemptState(Enum):
    """How far an attempt has come."""

    CLAIMED = "claimed"
    """The job is ours. No shim is known to have it, or the shim was just asked to start it."""
    PREFETCHED = "prefetched"
    """The shim holds it, and starts it on the next idle worker."""
    ORPHANED = "orphaned"
    """The shim that held it was killed, and may have started it."""
    RUNNING = "running"
    """Its process runs."""
    EXITED = "exited"
    """Its process has ended, or how it ended will never be known. What is left of it is ended."""
    CLEANED = "cleaned"
    """Its result waits for the next commit."""
    RETURNED = "returned"
    """It was not started. The next commit gives the job back as it was."""
    SETTLED = "settled"
    """The store knows. The supervisor forgets it."""


class AttemptEvent(Enum):
    """What happens to an attempt: the runner, recovery or the dispatcher says so."""

    HELD = "held"
    """The shim was given it to hold."""
    ORPHANED = "orphaned"
    """The shim that held it was killed."""
    STARTED = "started"
    """The shim started its process."""
    ADOPTED = "adopted"
    """Its process runs under the shim of a supervisor that is gone."""
    EXITED = "exited"
    """Its process has ended, or the job itself is why it could not be started."""
    LOST = "lost"
    """How it ended will never be known."""
    NEVER_STARTED = "never started"
    """Recovery found that nobody started it."""
    LACKING = "lacking"
    """It was not started, or its program could not be run: the host lacks something."""
    RECALLED = "recalled"
    """The shim gave it back."""
    GIVEN_BACK = "given back"
    """No worker can run it: it is given to no shim."""
    CLEANED = "cleaned"
    """Nothing is left to be ended, and its result is known."""
    SETTLED = "settled"
    """The store has taken the result or the job, or has refused them: somebody else owns it."""


_S, _E = AttemptState, AttemptEvent

_ENDS: Mapping[AttemptEvent, AttemptState] = {
    _E.EXITED: _S.EXITED,
    _E.LOST: _S.EXITED,
    _E.LACKING: _S.RETURNED,
}
"""What ends an attempt in each state before it."""

TRANSITIONS: Mapping[AttemptState, Mapping[AttemptEvent, AttemptState]] = {
    _S.CLAIMED: {
        **_ENDS,
        _E.HELD: _S.PREFETCHED,
        _E.STARTED: _S.RUNNING,
        _E.ADOPTED: _S.RUNNING,
        _E.NEVER_STARTED: _S.EXITED,
        _E.GIVEN_BACK: _S.RETURNED,
    },
    _S.PREFETCHED: {
        **_ENDS,
        _E.STARTED: _S.RUNNING,
        _E.ORPHANED: _S.ORPHANED,
        _E.NEVER_STARTED: _S.EXITED,
        _E.RECALLED: _S.RETURNED,
    },
    _S.ORPHANED: {**_ENDS, _E.NEVER_STARTED: _S.EXITED},
    _S.RUNNING: _ENDS,
    _S.EXITED: {_E.CLEANED: _S.CLEANED},
    _S.CLEANED: {_E.SETTLED: _S.SETTLED},
    _S.RETURNED: {_E.SETTLED: _S.SETTLED},
    _S.SETTLED: {},
}

RUNS = frozenset((_S.CLAIMED, _S.ORPHANED, _S.RUNNING))
"""It runs or may run, or a shim was asked to start it."""
ENDED = frozenset((_S.EXITED, _S.CLEANED, _S.SETTLED))
"""How it ended is known, or never will be."""
