"""The queue of the supervisor's tests, for those of the shim that need one."""

from __future__ import annotations

from ..supervisor.conftest import queue, run

__all__ = ["queue", "run"]
