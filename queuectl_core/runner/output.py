"""The output of one attempt: a pipe that the job writes to, drained into a file.

Standard output and error are one pipe, so their order is kept. A job that opens ``/dev/stderr``
anew gets the pipe again, so nothing is truncated, as in cron. The shim holds the reading end. It
moves bytes with ``splice`` where the system has it: after the first block they do not pass through
Python.

The file holds the stream from its beginning. Once it is larger than the limit, the middle becomes a
hole in the file, and a mark stands before the hole. Offsets in the file stay those of the stream,
so whoever follows the file can go on reading. On a file system without holes the end is moved to
the front instead. When the attempt has ended, its supervisor writes the file anew, within the limit
(``supervisor/maintenance/output_limit.py``).

When bytes came is kept beside the file. The form of both is in ``output_file.py``.
"""

import contextlib
import errno
import fcntl
import functools
import os
import stat
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from . import lease_clock
from .output_file import HEADER, MARK_ROOM, STAMP, dropped_mark, lost_mark, times_path

BLOCK = 1 << 16
"""Bytes: holes begin and end at multiples of it. It is also the usual capacity of a pipe."""
TURN = 1 << 20
"""Bytes taken from one pipe before others have their turn; also the largest capacity of a pipe."""
STEP = 0.01
"""Seconds between two moments that are kept, at least."""
STEPS = 10_000
"""Later moments may lie further apart: this part of the time since the beginning."""
MOST_FILES = 128
"""Files kept open, so that 512 jobs need fewer than 1,024 descriptors, the usual limit."""

_PUNCH_HOLE_KEEP_SIZE = 0x01 | 0x02
_F_PUNCHHOLE = 99  # macOS
_SPLICE = getattr(os, "splice", None)
_NONBLOCK = getattr(os, "SPLICE_F_NONBLOCK", 0)


class Output:
    """The output of one attempt. ``limit``: bytes to keep. OSError when there can be no pipe.

    ``write_end`` is for the job; whoever started it closes it with :meth:`started`.
    """

    open_files = 0
    """Of all outputs together."""

    def __init__(self, path: str, limit: int) -> None:
        remove_old(path)
        self.path = path
        self.limit = limit
        self.fd, self.write_end = os.pipe()
        try:
            os.set_blocking(self.fd, False)
        except BaseException:
            os.close(self.fd)
            os.close(self.write_end)
            raise
        self.began = lease_clock()
        self.received = 0  # bytes, those dropped included
        self.ended = False  # the job's leader has: what still comes is from processes it left
        self.file = -1
        self.made = False
        self.position = 0  # where the next byte goes in the file
        self.holes = True  # the file system can make them, as far as we know
        self.punched = 0  # a hole reaches up to here
        self.marked = False
        self.lost = 0  # bytes that could not be written, and are not marked yet
        self.late = 0  # bytes written after the end
        self.identity: tuple[int, ...] | None = None  # of the file, for what comes after the end
        self.stamps: list[bytes] = []  # to be written
        self.stamped = 0.0  # the newest moment
        self.stamps_made = False

    def started(self) -> None:
        """The job has its end of the pipe, or never will."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def close(self) -> None:
        """Nobody writes any more, or nobody is to be listened to."""
        self.started()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self._close_file()

    def drain(self, most: int = TURN) -> bool:
        """Take what is in the pipe, up to ``most`` bytes; True when nobody can write any more."""
        closed = False
        if self.file >= 0 and not os.fstat(self.file).st_nlink:
            self._begin_again()
        try:
            while most > 0:
                count = self._late() if self.ended else self._move()
                if not count:
                    closed = True
                    break
                most -= count
        except BlockingIOError:
            pass
        if not self.ended:
            try:
                self._keep_within_limit()
            except Exception:  # noqa: S110 - no holes and no space, or no memory: it stays larger
                pass
            self._write_stamps()
            if Output.open_files > MOST_FILES:
                self._close_file()
        return closed

    def finish(self) -> bool:
        """The job has ended: take what it has written. True when nobody can write any more.

        What comes from now on is added to the file by :meth:`drain`, up to the limit once more.
        """
        closed = self.drain()
        try:
            self._mark_end()
        finally:
            self._close_file()
            self.ended = True
        return closed

    def _mark_end(self) -> None:
        """Say in the file what is missing at its end."""
        # The first try may only have made the folder.
        marked = not self.lost or self._mark_loss() or self._mark_loss()
        if not marked and self.position > MARK_ROOM:
            # The disk is full, so the mark takes the place of the last bytes.
            self.position -= MARK_ROOM
            self.lost += MARK_ROOM
            if self._mark_loss():
                os.ftruncate(self.file, self.position)

    # -- while the job runs -----------------------------------------------------------

    def _move(self) -> int:
        """Take some bytes from the pipe; 0 when nobody can write any more."""
        if _SPLICE is None or not self.made or self.lost:
            return self._copy()
        if self.file < 0 and not self._open():
            return self._copy()
        self._stamp()
        try:
            count: int = _SPLICE(
                self.fd, self.file, TURN, offset_dst=self.position, flags=_NONBLOCK
            )
        except BlockingIOError:
            raise
        except OSError:  # a full disk, or a file system that cannot splice
            return self._copy()
        self.position += count
        self.received += count
        return count

    def _copy(self) -> int:
        """The same through our memory: the first block, so that no file is made when there is
        nothing, and where a write fails, since the job must never wait for our disk."""
        data = os.read(self.fd, BLOCK)
        if not data:
            return 0
        self.received += len(data)
        written = 0
        try:
            if self.file < 0:
                self._open()
            if self.file >= 0 and (not self.lost or self._mark_loss()):
                self._stamp()
                written = self._write(data)
        finally:
            self.position += written
            self.lost += len(data) - written
        return len(data)

    def _write(self, data: bytes) -> int:
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self.file, data[written:], self.position + written)
        except OSError:
            pass
        return written

    def _mark_loss(self) -> bool:
        """Say in the file what is missing there."""
        if self.file < 0 and not self._open():
            return False
        mark = lost_mark(self.lost)
        written = self._write(mark)
        if written < len(mark):
            return False
        self.position += written
        self.lost = 0
        return True

    def _open(self) -> bool:
        """Open the file, made when there is none yet."""
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # should it be a FIFO
        if not self.made:
            flags |= os.O_CREAT | os.O_EXCL
        try:
            self.file = os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            if self.made:
                self._begin_again()
            with contextlib.suppress(OSError):  # its data directory is gone, too
                make_folders(os.path.dirname(self.path))
            return False
        except OSError:
            return False
        self.made = True
        Output.open_files += 1
        return True

    def _begin_again(self) -> None:
        """Somebody has removed the file: what was in it is lost, what comes goes into a new one."""
        self._close_file()
        self.lost += self.position
        self.position = self.punched = 0
        self.made = self.marked = self.stamps_made = False
        self.stamps.clear()

    def _close_file(self) -> None:
        if self.file >= 0:
            # Whatever close says (a quota, NFS), the number is free, and another file may get it.
            fd, self.file = self.file, -1
            Output.open_files -= 1
            with contextlib.suppress(OSError):
                os.close(fd)

    # -- the limit --------------------------------------------------------------------

    def _keep_within_limit(self) -> None:
        """Give the middle of a file that grew past its limit back to the file system. Without holes
        half of the limit is copied each time, so that is done less often."""
        slack = BLOCK if self.holes else max(BLOCK, self.limit // 8)
        if self.file < 0 or self.position <= self.limit + slack:
            return
        half = self.limit // 2
        head = -(-half // BLOCK) * BLOCK
        begin = max(head, self.punched)
        end = (self.position - half) // BLOCK * BLOCK
        if end - begin < slack:
            return
        if self.holes and punch(self.file, begin, end - begin):
            self.punched = end
        else:
            self.holes, self.punched = False, 0
            self._move_end(head, half)
        if not self.marked:
            mark = dropped_mark(self.limit)
            try:
                os.pwrite(self.file, mark, head - len(mark))
                self.marked = True
            except OSError:
                pass

    def _move_end(self, head: int, half: int) -> None:
        """Without holes: have the end follow the head, and cut the file there."""
        source, target = self.position - half, head
        with open(self.path, "rb", buffering=0) as old:
            while source < self.position:
                # Never more than lies between the two, or it would write over what it must read.
                data = os.pread(old.fileno(), min(TURN, source - target, half), source)
                if not data:
                    break
                os.pwrite(self.file, data, target)
                source, target = source + len(data), target + len(data)
        os.ftruncate(self.file, target)
        self.position = target

    # -- when bytes came --------------------------------------------------------------

    def _stamp(self) -> None:
        now = lease_clock()
        if now - self.stamped >= max(STEP, (now - self.began) / STEPS):
            self.stamped = now
            self.stamps.append(STAMP.pack(self.position, now))

    def _write_stamps(self) -> None:
        """Keep the moments. The first waits for a second one: most output comes all at once."""
        if len(self.stamps) < (1 if self.stamps_made else 2):
            return
        data = b"".join(self.stamps)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        if not self.stamps_made:
            flags |= os.O_CREAT | os.O_TRUNC
            data = HEADER.pack(self.began) + data
        self.stamps.clear()
        self.stamps_made = True
        with contextlib.suppress(OSError):
            fd = os.open(times_path(self.path), flags, 0o600)
            with open(fd, "ab", buffering=0) as file:
                file.write(data)

    # -- after the job ----------------------------------------------------------------

    def rested(self) -> None:
        """The supervisor has written the file anew by now, if that was necessary. What still comes
        goes into this file only: later, another job may have a file of that name."""
        with contextlib.suppress(OSError):
            self.identity = identity(os.lstat(self.path))

    def _late(self) -> int:
        """Take what processes write that the job left running, and add it to the file: as much as
        the limit allows a second time."""
        data = os.read(self.fd, BLOCK)
        if not data or self.late > self.limit:
            return len(data)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        if not self.made:
            flags |= os.O_CREAT | os.O_EXCL
        try:
            fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EEXIST):  # nobody will ever read it
                self.late = self.limit + 1
            return len(data)
        if self.made and self.identity != identity(os.fstat(fd)):
            os.close(fd)
            self.late = self.limit + 1
            return len(data)
        self.made = True
        text = data[: self.limit - self.late]
        self.late += len(data)
        if self.late > self.limit:
            text += dropped_mark(self.limit)
        try:
            os.write(fd, text)
        except OSError:
            pass
        finally:
            self.identity = identity(os.fstat(fd))
            os.close(fd)
        return len(data)


def identity(found: os.stat_result) -> tuple[int, ...]:
    """Tells a file that only we write from any other. A file system gives the number of a removed
    file to the next one at once, so the number alone does not."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def remove_old(path: str) -> None:
    """Remove what an attempt of the same number left, before a store was deleted or restored. Each
    attempt begins with a file of its own. OSError when that cannot be done."""
    for old in (path, times_path(path)):
        try:
            found = os.lstat(old)
        except FileNotFoundError:
            continue
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            raise FileExistsError(errno.EEXIST, "there is something else than a file")
        os.unlink(old)


class Folders:
    """Whether output can be written, asked before a job starts: then it can wait instead."""

    REMEMBER = 1.0
    """Seconds that an answer holds."""
    MOST = 100
    """Answers that are kept: jobs that are retried write into older folders."""

    def __init__(self) -> None:
        self._ready: dict[str, float] = {}
        # Another host that shares the folder may have a process of our number.
        self._probe = f".{os.getpid()}.{os.urandom(4).hex()}.tmp"

    def prepare(self, path: str) -> None:
        """Make sure that ``path`` can be written, with its folders. OSError says why not."""
        folder = os.path.dirname(path)
        now = time.monotonic()
        if now < self._ready.get(folder, 0.0):
            return
        if len(self._ready) >= self.MOST:
            self._ready.clear()
        probe = f"{folder}/{self._probe}"
        try:
            fd = self._open(probe)
        except FileNotFoundError:
            make_folders(folder)
            fd = self._open(probe)
        try:
            os.write(fd, b"\0" * 512)
        finally:
            os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(probe)
        self._ready[folder] = now + self.REMEMBER

    @staticmethod
    def _open(probe: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(probe, flags, 0o600)


def make_folders(folder: str) -> None:
    """Make a folder and the one above it, for their user only, whatever the umask."""
    for part in (os.path.dirname(folder), folder):
        try:
            os.mkdir(part, 0o700)
            os.chmod(part, 0o700)
        except FileExistsError:
            pass


def punch(fd: int, offset: int, length: int) -> bool:
    """Make a hole; False where the file system cannot."""
    if sys.platform == "darwin":
        request = struct.pack("=IIqq", 0, 0, offset, length)
        try:
            fcntl.fcntl(fd, _F_PUNCHHOLE, request)
        except OSError:
            return False
        return True
    fallocate = _fallocate()
    if fallocate is None:
        return False
    return bool(fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, offset, length) == 0)


@functools.cache
def _fallocate() -> Callable[..., Any] | None:
    """The system's function of that name; None where there is none."""
    import ctypes  # 1 MB that most shims never need

    try:
        found = ctypes.CDLL(None, use_errno=True).fallocate
    except AttributeError:
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return found
