"""Files and directories that belong to this user alone, in places where others may write.

What lies in them is trusted: the store says what to run, journals say how jobs ended, output is
written where it belongs. So it matters who could have put something there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..domain.errors import StoreUnreachable


def make_private(folder: Path) -> None:
    """Make ``folder``, and what is missing above it, with mode 0700, whatever the umask."""
    if not folder.parent.exists():
        make_private(folder.parent)
    try:
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # a umask may have taken even our own rights away
    except FileExistsError:
        pass


def own_directory(folder: Path) -> None:
    """Make ``folder`` if it is missing; if it is there, be sure that it is ours and only ours.

    Raises StoreUnreachable when it, or a symlink in its place, belongs to another user: who owns
    it could replace what is in it. One that others may write to is closed to them, and what they
    have put there meanwhile is refused.
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
    """Refuse what another user put into ``folder`` while it was open to others."""
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
    """Raise StoreUnreachable when the store belongs to another user: whoever runs workers on it
    runs what that user put there. (Looking at it, or adding jobs, is another matter.)"""
    try:
        owner = path.stat().st_uid
    except OSError as error:
        raise StoreUnreachable(f"store {path}: {error.strerror}", "check the path") from error
    if owner != os.geteuid():
        raise StoreUnreachable(
            f"store {path} belongs to another user (uid {owner}), whose jobs would run as you",
            "run its workers as that user, or chown it",
        )
