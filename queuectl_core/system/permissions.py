"""Files and directories that only this user may use, in places where other users may write.

We trust their content: the store says what to run, journals say how jobs ended, and output is
written there. So nobody else must be able to put files there.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from ..domain.errors import StoreUnreachable


def make_private(folder: Path) -> None:
    """Make ``folder`` and its missing parents with mode 0700, whatever the umask is."""
    if not folder.parent.exists():
        make_private(folder.parent)
    try:
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # a umask may have removed our own rights
    except FileExistsError:
        pass


def try_lock(fd: int) -> bool:
    """Take the lock of an open file for this process. False: another process has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def own_directory(folder: Path) -> None:
    """Make ``folder`` if it is missing. Otherwise check that only we can use it.

    Raises StoreUnreachable if it, or a symlink in its place, belongs to another user, who could
    replace its content. If others may write to it, their rights are removed, and files that they
    have put there are refused.
    """
    make_private(folder)
    link, found = folder.lstat(), folder.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise StoreUnreachable(f"{folder} is not a directory", "move it away")
    for owner in (link.st_uid, found.st_uid):
        if owner != os.geteuid():
            raise StoreUnreachable(
                f"{folder} belongs to another user (uid {owner})", "use a store of your own"
            )
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
    with os.scandir(folder) as entries:
        for entry in entries:
            _check_entry(folder, entry)


def _check_entry(folder: Path, entry: os.DirEntry[str]) -> None:
    """Refuse a file that another user put into ``folder``."""
    try:
        found = entry.stat(follow_symlinks=False)
        if found.st_uid != os.geteuid():
            raise StoreUnreachable(
                f"{folder / entry.name} belongs to another user (uid {found.st_uid})",
                "look at it and remove it",
            )
        if stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o022:
            os.chmod(entry.path, 0o700)
    except FileNotFoundError:
        pass  # gone meanwhile


def own_store(path: Path) -> None:
    """Raise StoreUnreachable if the store belongs to another user, because our workers would run
    the commands of that user. (Reading it, or adding jobs, is allowed.)"""
    try:
        owner = path.stat().st_uid
    except OSError as error:
        raise StoreUnreachable(f"store {path}: {error.strerror}", "check the path") from error
    if owner != os.geteuid():
        raise StoreUnreachable(
            f"store {path} belongs to another user (uid {owner}), whose jobs would run as you",
            "run its workers as that user, or chown it",
        )
