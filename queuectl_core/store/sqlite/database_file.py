"""The database file and the files beside it. They are checked and created without opening them.

Only SQLite opens these files. When a process closes any descriptor of a file, POSIX drops all
locks that this process holds on the file, also those of SQLite's connections
(sqlite.org/howtocorrupt.html, 2.2). Other processes then believe that nobody else uses the
database, and delete the write-ahead log (WAL) that a connection still writes to. So checks here
use ``stat``, and a new file gets its name only after its descriptor was closed.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from ...domain.errors import StoreError, StoreGone, StoreUnreachable
from .errors import FileName, explain_os

LOGS = ("-journal", "-wal", "-shm")
"""SQLite reads committed changes from these files beside a database."""

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
"""Errors of ``link`` on a file system without hard links."""


class DatabaseFile:
    """The file of a store, as it was when the store was opened."""

    def __init__(self, path: FileName, found: os.stat_result | None) -> None:
        """``found``: the file; None: there is none."""
        self.path = os.fspath(path)
        self.run_directory = f"{self.path}.d/run"
        self._identity = None if found is None else (found.st_dev, found.st_ino)

    def check(self) -> None:
        """Raises StoreUnreachable if the file is no longer where it was."""
        try:
            found = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            if self._identity is None:
                return
            raise StoreGone(
                f"store {self.path} was removed or moved away", "put it back, or start a new one"
            ) from None
        except OSError as error:
            raise StoreUnreachable(
                f"store {self.path} cannot be reached: {error.strerror}", "check its directory"
            ) from None
        if self._identity is None:
            raise StoreGone(f"store {self.path} was created meanwhile", "open it again")
        if (found.st_dev, found.st_ino) != self._identity:
            raise StoreGone(f"store {self.path} was replaced by another file", "open it anew")

    def check_writable(self) -> None:
        """The same. Also raises StoreUnreachable if there was no file."""
        if self._identity is None:
            raise StoreUnreachable(
                f"store {self.path} is not there", "the first enqueue creates it"
            )
        self.check()

    def is_gone(self) -> bool:
        """Whether :meth:`check` fails."""
        try:
            self.check()
        except StoreUnreachable:
            return True
        return False


def real_path(path: FileName) -> str:
    """The path without symlinks, so that every name leads to the same files beside the store.

    Raises StoreUnreachable for a relative path when the current directory is gone, and for a
    symlink that another user may have put there.
    """
    try:
        _check_link(path)
        return os.path.realpath(path)
    except FileNotFoundError as error:
        raise StoreUnreachable(
            f"store {path}: the current directory is gone", "give a full path"
        ) from error


def _check_link(path: FileName) -> None:
    """Refuse another user's symlink in a directory like /tmp. Linux does so itself if
    ``protected_symlinks`` is set, but we read the link instead of following it."""
    try:
        link = os.lstat(path)
    except OSError:
        return
    if not stat.S_ISLNK(link.st_mode):
        return
    folder = os.stat(_folder(path))
    shared = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
    if shared and link.st_uid not in (os.geteuid(), folder.st_uid):
        raise StoreUnreachable(
            f"store {path} is a symlink that another user made (uid {link.st_uid})",
            "give the path of the store itself",
        )


def prepare_file(
    path: FileName, create_parent: bool, *, create: bool = True, read_only: bool = False
) -> DatabaseFile:
    """Make sure that ``path`` is a database file that we may use. Create it with mode 0600.

    ``create_parent``: also create the directory (mode 0700), for the default store.
    ``create`` False: create nothing. ``read_only``: it need not be writable.
    Raises StoreUnreachable or StoreReadOnly.
    """
    try:
        if create_parent and not os.path.isdir(_folder(path)):
            from pathlib import Path

            from ...system.permissions import make_private

            make_private(Path(_folder(path)))
        try:
            found = os.stat(path)
        except FileNotFoundError:
            if not create:
                raise
            _create(path)
            found = os.stat(path)
    except OSError as error:
        raise explain_os(path, error) from error
    _check_kind(path, found)
    if found.st_nlink > 1:
        _check_names(path, found)
    if not _may(path, os.R_OK if read_only else os.R_OK | os.W_OK):
        unwritable = os.statvfs(path).f_flag & os.ST_RDONLY and not read_only
        why = errno.EROFS if unwritable else errno.EACCES
        raise explain_os(path, OSError(why, os.strerror(why)))
    return DatabaseFile(path, found)


def is_writable(path: FileName) -> bool:
    """Whether the database may be written to, and files created beside it, as SQLite must."""
    return _may(path, os.W_OK) and _may(_folder(path), os.W_OK | os.X_OK)


def _folder(path: FileName) -> str:
    return os.path.dirname(path) or "."


def _may(path: FileName, how: int) -> bool:
    return os.access(path, how, effective_ids=os.access in os.supports_effective_ids)


def hold_logs(path: FileName) -> int | None:
    """If other users can create files beside the database, create its logs as empty files of our
    own, unless they exist. Returns a descriptor of the WAL, which must be closed when the database
    is open. None if only we can create files.

    A check after SQLite has opened a log would be too late. SQLite first applies a rollback journal
    to the database, and if root runs it, root becomes the owner of every log. SQLite ignores empty
    logs. (Connections have no locks on a WAL, so it may be opened and closed.)
    """
    try:
        folder = os.stat(_folder(path))
        if not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or owner_of(path) != os.geteuid():
            return None
        for end in ("-journal", "-shm"):
            _hold(f"{path}{end}")
        flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(f"{path}-wal", flags, 0o600)
    except OSError as error:
        raise explain_os(path, error) from error


def _hold(log: FileName) -> None:
    """Make an empty log, unless there is one. Its owner is checked later. Connections have locks on
    the shared memory, so its descriptor is closed before the file gets its name."""
    if not os.path.lexists(log):
        _create(log)


def is_held(path: FileName, wal: int | None) -> bool:
    """Whether the WAL is still the one that :func:`hold_logs` found. If not, another process closed
    the database before we opened it, and anybody may have made a new WAL."""
    try:
        return wal is None or os.path.samestat(os.fstat(wal), os.lstat(f"{path}-wal"))
    except FileNotFoundError:
        return False


def _check_kind(path: FileName, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise explain_os(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if not stat.S_ISREG(found.st_mode):
        raise StoreUnreachable(f"store {path} is not a regular file", "give a file's path")


def _create(path: FileName) -> None:
    """Make an empty file that only its user may read, unless the file is there already."""
    name = f"{_draft_start(path)}{os.urandom(8).hex()}"
    draft = os.path.join(_folder(path), name)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(draft, flags, 0o600)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _create_in_place(path)
    try:
        os.fchmod(descriptor, 0o600)  # a umask may have removed our own rights
        os.close(descriptor)  # before the file has the name that others connect to
        os.link(draft, path)
    except FileExistsError:
        pass  # another process or thread was faster
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _create_in_place(path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft)


def _create_in_place(path: FileName) -> None:
    """Make the file on a file system without hard links. Never close its descriptor, because
    another thread may already be connected."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.fchmod(os.open(path, flags, 0o600), 0o600)
    except FileExistsError:
        pass


def _draft_start(path: FileName) -> str:
    return f".{os.path.basename(path)}.new-"


def _check_names(path: FileName, found: os.stat_result) -> None:
    """Refuse a file with several names (hard links). SQLite names the WAL after the database, so
    processes that use different names write to different logs of one database."""
    for name in os.listdir(_folder(path)):
        # A process was killed while it created the file, or is creating it now.
        if name.startswith(_draft_start(path)):
            draft = os.path.join(_folder(path), name)
            with suppress(FileNotFoundError):
                if os.lstat(draft).st_ino == found.st_ino:
                    os.unlink(draft)
    names = os.stat(path).st_nlink
    if names > 1:
        raise StoreUnreachable(
            f"store {path} has {names} names (hard links), which would damage it",
            f"remove the others; to find them: find DIRECTORY -samefile {path}",
        )


def check_logs(path: FileName, *, opened: bool = False) -> None:
    """Raise StoreUnreachable if another user may have put a log beside the database. Somebody who
    writes SQLite's log also writes the database, and so decides what our workers run.

    ``opened``: a connection has the WAL open, so the WAL must be there.
    """
    database: os.stat_result | None = None
    for end in LOGS:
        log = f"{path}{end}"
        try:
            found = os.lstat(log)
        except FileNotFoundError:
            if opened and end != "-journal":
                raise _planted(log, "was removed while the store was opened") from None
            continue
        except OSError as error:
            raise explain_os(path, error) from error
        if database is None:
            database = _stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise _planted(log, "is not a file that SQLite made")
        if not _may_write(found, database):
            raise _planted(log, f"belongs to another user (uid {found.st_uid}) than the store")


def _may_write(log: os.stat_result, database: os.stat_result) -> bool:
    """Whether the owner of ``log`` may write to the database anyway."""
    if log.st_uid in (database.st_uid, 0):
        return True
    group = database.st_mode & stat.S_IWGRP and log.st_gid == database.st_gid
    return bool(group or database.st_mode & stat.S_IWOTH)


def owner_of(path: FileName) -> int:
    """The user id of the file's owner."""
    return _stat(path).st_uid


def _stat(path: FileName) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise explain_os(path, error) from error


def _planted(log: FileName, why: str) -> StoreError:
    return StoreUnreachable(
        f"{log} {why}; with it somebody may change the store",
        "remove that file if it is not yours, and keep the store in a directory of your own",
    )
