"""Keeping a queue small, sound and copied: ``prune``, ``backup`` and what ``doctor`` repairs."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from .errors import Conflict, InvalidInput, QueueError, StoreFull
from .host import current_directory
from .logs import remove_all_logs
from .model import State
from .postcommit import after_commit
from .store.base import Store
from .text import clean_line

PRUNABLE = (State.COMPLETED, State.DEAD, State.CANCELLED)
BATCH = 500
"""Jobs forgotten in one transaction: some 20 ms during which nobody else writes."""

Progress = Callable[[int, int], None]


# -- forgetting -----------------------------------------------------------------------


def check_prunable(states: Sequence[State]) -> None:
    """InvalidInput unless jobs in these states have ended."""
    for state in states:
        if state not in PRUNABLE:
            known = ", ".join(PRUNABLE)
            raise InvalidInput(f"{state} jobs have not ended; cannot prune them", f"only {known}")


async def count_ended(store: Store, states: Iterable[State], before: float) -> int:
    """How many jobs in these states ended before then."""
    count = 0
    for state in states:
        after = 0
        while seqs := await store.ended(state, before, after, 20 * BATCH):
            count += len(seqs)
            after = seqs[-1]
    return count


async def prune(
    store: Store, states: Iterable[State], before: float, progress: Callable[[int], None]
) -> int:
    """Forget jobs in these states that ended before then, with history and output."""
    done = 0
    for state in states:
        after = 0
        while seqs := await store.ended(state, before, after, BATCH):
            done += await forget(store, seqs, state, before)
            progress(done)
            after = seqs[-1]
    with after_commit("tidying up"):
        await store.tidy()
    return done


async def forget(store: Store, seqs: Sequence[int], state: State, before: float) -> int:
    """Forget those of ``seqs`` that still are in ``state`` and ended before then.

    Output files go last: one whose job is gone is litter, which ``doctor`` finds; a job whose
    output is gone would be a loss.
    """
    removed = await store.prune(seqs, state, before)
    with after_commit("removing output files"):
        await asyncio.to_thread(remove_all_logs, store.directory, removed)
    return len(removed)


# -- copying --------------------------------------------------------------------------


async def backup(store: Store, name: str, *, force: bool, progress: Progress) -> Path:
    """Copy the store into the file ``name``, which appears only when it is whole.

    Conflict when it exists, unless ``force``. InvalidInput when it cannot be made there.
    """
    if not name or "\0" in name:
        raise InvalidInput("the backup has an empty name", "give a file")
    if not store.can_backup:
        await store.backup(Path(name), progress)  # which says what does
    target = Path(os.path.expanduser(name))
    if not target.is_absolute():
        if not current_directory():
            raise InvalidInput("the current directory is gone", "give the backup's full path")
        target = Path(os.path.abspath(target))
    draft = target.with_name(f".queuectl-{secrets.token_hex(8)}.tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        _check_target(store, target, force=force)
        os.close(os.open(draft, flags, 0o600))
    except (OSError, ValueError) as error:
        raise _cannot(target, error) from None
    try:
        await store.backup(draft, progress)
        try:
            _sync(draft)
            _publish(draft, target, force=force)
            _sync(target.parent)
        except OSError as error:
            raise _cannot(target, error) from None
    finally:
        for end in ("", "-journal", "-wal", "-shm"):
            draft.with_name(draft.name + end).unlink(missing_ok=True)
    return target


def _check_target(store: Store, target: Path, *, force: bool) -> None:
    shown = clean_line(str(target))
    for own in store.files():
        if own.is_file() and target.exists() and target.samefile(own):
            raise InvalidInput(f"{shown} is part of the store itself", "give another name")
    if target.is_dir() and not target.is_symlink():
        raise InvalidInput(f"{shown} is a directory", f"give a file: {shown}/queue.db")
    if target.exists() and not (target.is_file() or target.is_symlink()):
        raise InvalidInput(f"{shown} is not a file", "give a file")  # root could replace /dev/null
    # SQLite would take a log that lies beside the new file for the new file's own.
    for end in ("-wal", "-shm", "-journal"):
        if os.path.lexists(f"{target}{end}"):
            raise Conflict(f"{shown} is in use as a database ({shown}{end})", "give another name")
    if os.path.lexists(target) and not force:
        raise _taken(target)


def _publish(draft: Path, target: Path, *, force: bool) -> None:
    """Give the draft its name, in one step; a symlink of that name is never followed."""
    if force:
        draft.replace(target)
        return
    try:
        os.link(draft, target)
    except FileExistsError:
        raise _taken(target) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        draft.rename(target)  # a file system without hard links


def _taken(target: Path) -> Conflict:
    return Conflict(f"{clean_line(str(target))} exists", "give another name, or --force")


def _cannot(target: Path, error: OSError | ValueError) -> QueueError:
    shown = clean_line(str(target))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"no space left for {shown}", "free some space")
    why = getattr(error, "strerror", None) or str(error)
    return InvalidInput(f"cannot write {shown}: {why}", "give another file")


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
