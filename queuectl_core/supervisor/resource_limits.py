"""Resource limits of a shim and of its supervisor. Any job may lower them (``prlimit --pid
$PPID``). Then no job could be started any more, or every later job would have them."""

from __future__ import annotations

import math
import resource
import sys
from operator import lt

KINDS = (
    resource.RLIMIT_AS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_NPROC,
    resource.RLIMIT_STACK,
)
"""Without which a shim, its jobs or a supervisor cannot work."""


class ResourceLimits:
    """The limits of this process now, which one that it starts gets."""

    def __init__(self) -> None:
        self._given = {kind: resource.getrlimit(kind) for kind in KINDS}
        self._lowered = False
        """At the last look."""

    def restore(self, pid: int) -> bool:
        """Undo what lowered the limits of process ``pid``. True when they were lowered since the
        last look, which found them right: who does it again and again is told of once.
        PermissionError when only root may raise them again."""
        if sys.platform != "linux":
            return False  # nobody can set those of another process there
        before = self._lowered
        lowered = [kind for kind in KINDS if self._is_lowered(kind, pid)]
        for kind in lowered:
            resource.prlimit(pid, kind, self._given[kind])
        self._lowered = bool(lowered)
        return self._lowered and not before

    def _is_lowered(self, kind: int, pid: int) -> bool:
        try:
            found = resource.prlimit(pid, kind)
        except OSError:  # it is gone, or a sandbox does not let us look
            return False
        return any(map(lt, map(_number, found), map(_number, self._given[kind])))


def _number(limit: int) -> float:
    return math.inf if limit == resource.RLIM_INFINITY else limit
