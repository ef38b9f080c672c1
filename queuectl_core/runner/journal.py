"""What a shim leaves behind: its journal, and the lock that says that it lives."""

import fcntl
import json
import os
from typing import Any

from . import FORMAT, LOST, MADE, OWN_FILE, REVOKED
from .output import make_folders

COMPACT_AT = 1 << 20
"""Bytes of journal after which attempts that were settled are dropped from it."""
BLOCK = 1 << 20
"""Bytes of the journal that are looked at in one piece."""


class JournalWriter:
    """The journal of the shim ``name`` in the run directory ``run``, and who may start jobs."""

    def __init__(self, run: str, name: str) -> None:
        self.path = f"{run}/{name}"
        self.revoked = False
        self.locked = False
        self.unwritten = b""  # journal lines a full disk refused
        self.torn = False  # the last write may have ended within a line
        self.started: dict[str, bytes] = {}  # token -> its S line, while it runs
        self.beginning: set[str] = set()  # about to be started, or started and not yet recorded
        self.unsettled: dict[str, bytes] = {}  # token -> lines of one that has ended
        self.compact_at = COMPACT_AT
        self.alive = self._open_alive()
        self.journal = self._open_first()
        begins = os.pread(self.journal, 256, 0)
        self.first = begins == MADE  # no other shim had this journal before us
        # It was deleted before we began: what another shim of that name did is not known.
        self.lost = not begins.startswith((MADE, b'["H"')) or LOST in begins
        if self.lost:
            self.unwritten += LOST
        fcntl.flock(self.journal, fcntl.LOCK_UN)

    def close(self) -> None:
        """Everything is written, and nobody needs us for it: do not look alive."""
        for fd in (self.alive, self.journal):
            try:
                os.close(fd)
            except OSError:
                pass

    def _open_alive(self) -> int:
        """The file whose lock says that we live."""
        fd = os.open(f"{self.path}.alive", OWN_FILE, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _open_first(self) -> int:
        """The journal that our supervisor made. Should our supervisor have died while we were being
        started, it says that we are revoked; or it is gone, because who took over had no more use
        for it. Then we are revoked as well."""
        try:
            return self._open_journal(make=0)
        except FileNotFoundError:
            self.revoked = True
            return self._open_journal()

    def _open_journal(self, how: int = fcntl.LOCK_EX, make: int = os.O_CREAT) -> int:
        """The journal, with its lock held; it may say already that we are revoked."""
        fd = os.open(f"{self.path}.journal", os.O_APPEND | OWN_FILE & ~os.O_CREAT | make, 0o600)
        try:
            fcntl.flock(fd, how)
            self.written = 0
            self._read_appended(fd, os.fstat(fd).st_size)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def record(self, event: list[Any]) -> bytes:
        """An event as a line, to be written with the next ``flush``."""
        line = json.dumps(event).encode() + b"\n"
        self.unwritten += line
        kind = event[0]
        if kind in ("S", "X", "F", "N"):
            self.beginning.discard(event[1])
        if kind == "S":
            self.started[event[1]] = line
        elif kind in ("X", "F"):
            # In this order: it may be recorded again, if there was no memory to do it at once.
            earlier = self.started.get(event[1]) or self.unsettled.get(event[1], b"")
            self.unsettled[event[1]] = earlier + line
            self.started.pop(event[1], None)
        elif kind == "N":
            self.started.pop(event[1], None)
        return line

    def settled(self, tokens: list[str]) -> None:
        """The store knows how these ended."""
        for token in tokens:
            self.unsettled.pop(token, None)

    def begin(self, tokens: list[str]) -> bool:
        """Say that these are about to be started, before they are; False: that cannot be written,
        and so they must not be started."""
        self.beginning.update(tokens)
        self.unwritten += json.dumps(["B", *tokens]).encode() + b"\n"
        self.flush()
        return not self.unwritten

    def lock(self) -> bool:
        """Keep everybody from revoking us; False: somebody has. ``unlock`` follows.

        BlockingIOError: somebody is about to. We do not wait for them: they may be stopped."""
        there = self.renew(strict=True)
        fcntl.flock(self.journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.locked = True
        try:
            found = os.fstat(self.journal)
            if there and not found.st_nlink:
                raise BlockingIOError  # it was deleted since: again
            self._read_appended(self.journal, found.st_size)
            self.flush()
        except BaseException:
            self._release()
            raise
        return not self.revoked

    def unlock(self) -> None:
        """Write what happened since ``lock``, and let others in."""
        if not self.locked:
            return
        try:
            self.flush()
            if self.written > self.compact_at and not self.revoked:
                self._compact()
        finally:
            self._release()

    def _release(self) -> None:
        fcntl.flock(self.journal, fcntl.LOCK_UN)
        self.locked = False

    def flush(self) -> None:
        """Write the journal; what a full disk refuses is kept and tried again."""
        while self.unwritten:
            if self.torn:
                self.unwritten = b"\n" + self.unwritten
                self.torn = False
            try:
                count = os.write(self.journal, self.unwritten)
            except OSError:
                return
            self.torn = True  # until we know that it is not
            # A line that went in by half is ended, and written again as a whole: somebody
            # else may have appended theirs before there was space for the rest.
            whole = self.unwritten.rfind(b"\n", 0, count) + 1
            self.unwritten = (b"\n" if whole < count else b"") + self.unwritten[whole:]
            end = os.lseek(self.journal, 0, os.SEEK_CUR)
            self._read_appended(self.journal, end - count)
            self.written, self.torn = end, False

    def _read_appended(self, fd: int, end: int) -> None:
        """Look at what others wrote up to ``end``: it may say that we are revoked. Anything else is
        not ours, and is passed over by every reader."""
        if end < self.written:  # somebody cut the file: what it must say is written again
            self.unwritten += b"\n" + self._essence()
            self.written = end
        last, at = b"", self.written
        while at < end and not self.revoked:
            block = os.pread(fd, min(end - at, BLOCK), at)
            self.revoked = REVOKED in last + block or b"\0" in block
            at += len(block)
            last = (last + block)[-len(REVOKED) :]
            if not block:
                break
        if last and not last.endswith(b"\n"):
            self.unwritten = b"\n" + self.unwritten  # or our next line becomes part of theirs
        self.written = at

    def renew(self, *, strict: bool = False) -> bool:
        """Should somebody have cleared the run directory, make the files again for a successor.
        False: that can't be written, and we go on with the files nobody else sees. ``strict``:
        BlockingIOError while somebody else has the new journal, who may be about to revoke us."""
        try:
            if not os.fstat(self.alive).st_nlink:
                make_folders(os.path.dirname(self.path))
                fd = self._open_alive()
                try:
                    os.dup2(fd, self.alive, inheritable=False)
                finally:
                    os.close(fd)
            if not os.fstat(self.journal).st_nlink:
                self._open_again()
        except BlockingIOError:
            if strict:
                raise
            return False
        except OSError:
            return False
        return True

    def _open_again(self) -> None:
        """The journal was deleted: write it anew. BlockingIOError while its lock is taken."""
        written = self.written
        try:
            fd = self._open_journal(fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                self.lost = self.lost or not self.first
                essence = (b"\n" if self.written else b"") + self._essence()
                os.dup2(fd, self.journal, inheritable=False)
                self.unwritten, self.locked = essence, True
            finally:
                os.close(fd)
        except BaseException:
            if not self.locked:
                self.written = written
            raise
        self._release()

    def _compact(self) -> None:
        """Write the journal anew with what is not settled, beside the old one, which it then
        replaces. Who waits for the lock of the old one sees that, and opens the new one."""
        essence = self._essence()
        fresh = f"{self.path}.journal.new"
        try:
            fd = os.open(fresh, os.O_APPEND | os.O_TRUNC | OWN_FILE, 0o600)
        except OSError:
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.write(fd, essence) == len(essence):
                os.rename(fresh, f"{self.path}.journal")
                os.dup2(fd, self.journal, inheritable=False)
                self.unwritten = b""  # all that matters in it is in the new one
                self.written = len(essence)
                self.compact_at = max(COMPACT_AT, 2 * self.written)
            else:  # a full disk: the old one stays
                os.unlink(fresh)
        except OSError:
            pass
        finally:
            os.close(fd)

    def _essence(self) -> bytes:
        """What a successor must know."""
        head = json.dumps(["H", os.getpid(), FORMAT]).encode() + b"\n"
        head += LOST if self.lost else b""
        if self.beginning:  # they may run, and there was no memory yet to say so
            head += json.dumps(["B", *sorted(self.beginning)]).encode() + b"\n"
        return head + b"".join(self.started.values()) + b"".join(self.unsettled.values())
