"""What a shim leaves behind: its journal, and the lock that says that it lives."""

import fcntl
import json
import os
from collections import deque
from typing import Any

from . import OWN_FILE, REVOKED

COMPACT_AT = 1 << 20
"""Bytes of journal after which ended jobs are dropped from it."""
KEEP_ENDED = 4096
"""Ended jobs that survive: far more than a supervisor has workers, so none it has not seen."""


class Ledger:
    """The journal of the shim ``name`` in the run directory ``run``, and who may start jobs."""

    def __init__(self, run: str, name: str) -> None:
        self.path = f"{run}/{name}"
        self.revoked = False
        self.unwritten = b""  # journal lines a full disk refused
        self.started: dict[str, bytes] = {}  # token -> its S line, while it runs
        self.ended: deque[bytes] = deque(maxlen=KEEP_ENDED)
        self.alive = self._open_alive()
        # Revoked before we began, if our supervisor died while we were being started.
        self.journal = self._open_journal()
        fcntl.flock(self.journal, fcntl.LOCK_UN)

    def _open_alive(self) -> int:
        """The file whose lock says that we live."""
        fd = os.open(f"{self.path}.alive", OWN_FILE, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return fd

    def _open_journal(self) -> int:
        """The journal, with its lock held; it may say already that we are revoked."""
        fd = os.open(f"{self.path}.journal", os.O_APPEND | OWN_FILE, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        self.written = os.fstat(fd).st_size
        content = os.pread(fd, self.written, 0)
        self.revoked = self.revoked or REVOKED in content or b"\0" in content
        return fd

    def record(self, event: list[Any]) -> bytes:
        """An event as a line, to be written with the next ``flush``."""
        line = json.dumps(event).encode() + b"\n"
        self.unwritten += line
        if event[0] == "S":
            self.started[event[1]] = line
        elif event[0] in ("X", "F"):
            self.started.pop(event[1], None)
            self.ended.append(line)
        return line

    def begin(self, tokens: list[str]) -> None:
        """Say that these are about to be started, before they are."""
        self.unwritten += json.dumps(["B", *tokens]).encode() + b"\n"
        self.flush()

    def lock(self) -> bool:
        """Keep everybody from revoking us; False: somebody has. ``unlock`` follows."""
        self.renew()
        fcntl.flock(self.journal, fcntl.LOCK_EX)
        self.flush()
        if os.fstat(self.journal).st_size != self.written:
            self.revoked = True
        return not self.revoked

    def unlock(self) -> None:
        """Write what happened since ``lock``, and let others in."""
        try:
            self.flush()
            if self.written > COMPACT_AT and not self.revoked:
                self._compact()
        finally:
            fcntl.flock(self.journal, fcntl.LOCK_UN)

    def flush(self) -> None:
        """Write the journal; what a full disk refuses is kept and tried again."""
        while self.unwritten:
            try:
                count = os.write(self.journal, self.unwritten)
            except OSError:
                return
            self.written += count
            # A line that went in by half is ended, and written again as a whole: somebody
            # else may have appended theirs before there was space for the rest.
            whole = self.unwritten.rfind(b"\n", 0, count) + 1
            self.unwritten = (b"\n" if whole < count else b"") + self.unwritten[whole:]

    def renew(self) -> None:
        """Should somebody have cleared the run directory, be there again for whoever comes.
        Where that can't be written we go on with the files nobody else sees."""
        try:
            if not os.fstat(self.alive).st_nlink:
                os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
                os.dup2(fd := self._open_alive(), self.alive, inheritable=False)
                os.close(fd)
            if not os.fstat(self.journal).st_nlink:
                os.dup2(fd := self._open_journal(), self.journal, inheritable=False)
                os.close(fd)
                fcntl.flock(self.journal, fcntl.LOCK_UN)
                self.unwritten = self._essence()
        except OSError:
            pass

    def _compact(self) -> None:
        """Start the journal anew with the jobs that run and those that ended last."""
        os.ftruncate(self.journal, 0)
        self.written = 0
        self.unwritten = self._essence()
        self.flush()

    def _essence(self) -> bytes:
        """What whoever takes over must know."""
        head = json.dumps(["H", os.getpid()]).encode() + b"\n"
        return head + b"".join(self.started.values()) + b"".join(self.ended)
