"""A supervisor's claim to be alive: its row in the store, renewed by heartbeats."""

from __future__ import annotations

import os
import secrets

from ..domain.model import SupervisorRow
from ..system.clocks import monotonic
from ..system.host import process_start

BEATS = 3
"""Heartbeats in the time of one lease: two may be lost."""

_ALPHABET = "abcdefghjkmnpqrstvwxyz23456789"


def new_supervisor_id() -> str:
    """Five characters: short to type, and unlikely to have been there before."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(5))


def make_row(
    identity: str, host: tuple[str, str], detached: bool, lease: float, now: float
) -> SupervisorRow:
    """This process as a supervisor called ``identity``, its lease beginning at ``now``; ``host``
    is its name and ``Store.host_identity()``."""
    pid = os.getpid()
    return SupervisorRow(
        id=identity,
        host=host[0],
        host_key=host[1],
        pid=pid,
        pid_start=process_start(pid) or 0.0,
        detached=detached,
        heartbeat_at=now,
        lease_until=now + lease,
        lease_mono=monotonic() + lease,
    )


def renewed(row: SupervisorRow, lease: float, now: float) -> SupervisorRow:
    """``row`` with its lease begun anew."""
    return row._replace(heartbeat_at=now, lease_until=now + lease, lease_mono=monotonic() + lease)
