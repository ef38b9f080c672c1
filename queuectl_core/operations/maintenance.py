"""``prune``, ``backup``, and removing unfinished backups."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from ..domain.errors import Conflict, InvalidInput, QueueError, StoreError, StoreFull
from ..domain.model import State
from ..domain.text import clean_line
from ..domain.times import format_time
from ..store.protocol import Said, Store
from ..system.clocks import monotonic
from ..system.host import current_directory, known_host_key, may_be_process, process_start
from ..system.postcommit import after_commit, commits, committing
from ..system.run_sync import loop_runs, off_loop
from .attempt_output import remove_all_logs

PRUNABLE = (State.COMPLETED, State.DEAD, State.CANCELLED)
ENDS = ("", "-journal", "-wal", "-shm")
"""The ends of the names of a database file and of SQLite's files beside it."""
DRAFT = re.compile(
    r"\.queuectl-backup-(?P<host>[0-9a-f]{12})-(?P<pid>\d{1,9})-(?P<start>\d{1,12}\.\d{3})"
    r"-[0-9a-f]{8}\.tmp(?P<end>|-journal|-wal|-shm)",
    re.ASCII,
)
"""The directory of an unfinished backup, with the host, pid and start time of its writer. If
``end`` is not empty, it is a file of an older version."""
BATCH = 500
"""Jobs removed in one transaction. It takes about 20 ms, in which nobody else can write."""

TOLD_EVERY = 0.1
"""Seconds between two progress reports of a backup."""

Progress = Callable[[int, int], None]


# -- pruning --------------------------------------------------------------------------


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
    store: Store,
    states: Collection[State],
    before: float,
    now: float,
    progress: Callable[[int], None],
) -> int:
    """Remove jobs in these states that ended before then, with their history and output."""
    done = 0
    chosen = {"state": [str(state) for state in states], "ended_before": format_time(before)}
    said = Said(detail={"filter": chosen})
    try:
        for state in states:
            after, more = 0, True
            while more:
                seqs = await store.ended(state, before, after, BATCH)
                if seqs and done:
                    commits.goes_on(f"{done:,} jobs were forgotten before")
                began = monotonic()
                done += await forget(store, seqs, state, before, said=said, now=now) if seqs else 0
                progress(done)
                await store.give_way(monotonic() - began)
                more = len(seqs) == BATCH
                after = seqs[-1] if seqs else after
    except StoreError as error:
        if done:
            error.message += f"; {done:,} jobs were forgotten before"
        raise
    with after_commit("tidying up"):
        await store.checkpoint()
    return done


async def forget(
    store: Store,
    seqs: Sequence[int],
    state: State,
    before: float,
    *,
    said: Said | None = None,
    now: float | None = None,
) -> int:
    """Remove the jobs with these ``seqs`` that are still in ``state`` and ended before then.
    ``said``: the event of the verb, which this continues.

    Output files are removed last. A file without a job is only an orphan, which ``doctor`` finds. A
    job without its output would be a loss.
    """
    removed = await store.prune(seqs, state, before, said=said, now=now)
    if said is not None:
        said.event = removed.event
    with after_commit("removing output files"):
        await off_loop(remove_all_logs, store.directory, removed.done)
    return len(removed.done)


async def forget_events(store: Store, keep: float, now: float, seconds: float) -> bool:
    """Remove events from more than ``keep`` seconds before ``now`` (0: none), in small pages, for
    ``seconds`` at most. Returns whether all of them are removed."""
    before, began = now - keep, monotonic()
    if not keep:
        return True
    oldest = await store.oldest_event()
    while oldest is not None and oldest < before:
        turn = monotonic()
        if turn - began > seconds:
            return False
        if await store.forget_events(before, BATCH) < BATCH:
            return True
        await store.give_way(monotonic() - turn)
    return True


# -- backups --------------------------------------------------------------------------


async def backup(store: Store, name: str, *, force: bool, progress: Progress) -> Path:
    """Copy the store into the file ``name``, which appears only when it is complete.

    Conflict if it exists, unless ``force``. InvalidInput if it cannot be created.
    """
    target = named_file(name)
    if not store.can_backup:
        await store.backup(target, progress)  # raises an error that says what to use
    try:
        _check_target(store, target, force=force)
    except (OSError, ValueError) as error:
        raise cannot_write(target, error) from None
    with draft_beside(target) as draft:
        await _told(lambda tell: store.backup(draft, tell), progress)
        try:
            _check_target(store, target, force=force)
            sync(draft)  # the content must be on the disk before the file has its name
            with committing():
                publish(draft, target, force=force)
        except OSError as error:
            raise cannot_write(target, error) from None
        shown = clean_line(str(target))
        # Without this the file may be missing after a power failure.
        with after_commit(f"{shown} is there, but putting its name on the disk"):
            sync(target.parent)
    return target


def named_file(name: str) -> Path:
    """The full path of the backup ``name``. InvalidInput if the name cannot be used."""
    if not name or "\0" in name:
        raise InvalidInput("the backup has an empty name", "give a file")
    path = Path(os.path.expanduser(name))
    if not path.is_absolute() and not current_directory():
        raise InvalidInput("the current directory is gone", "give the backup's full path")
    return Path(os.path.abspath(path))


@contextmanager
def draft_beside(target: Path) -> Iterator[Path]:
    """An empty file on the file system of ``target``. At the end it is removed, with SQLite's files
    beside it.

    It is in a directory that only we can use. Other users may be allowed to create files in the
    directory of ``target``, and SQLite would use a log that they put beside the draft.
    """
    folder = target.with_name(draft_name())
    draft = folder / "copy"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        remove_drafts(target.parent)
        folder.mkdir(mode=0o700)
    except (OSError, ValueError) as error:
        raise cannot_write(target, error) from None
    try:
        try:
            os.close(os.open(draft, flags, 0o600))
        except OSError as error:
            raise cannot_write(target, error) from None
        yield draft
    finally:
        with after_commit("removing a temporary copy"):
            shutil.rmtree(folder)


def draft_name() -> str:
    """The name of a draft's directory. It identifies the writing process, so that others can see
    whether that process is alive."""
    start = process_start(os.getpid()) or 0.0
    return f".queuectl-backup-{_host_digest()}-{os.getpid()}-{start:.3f}-{secrets.token_hex(4)}.tmp"


def _host_digest() -> str:
    return sha256(known_host_key().encode()).hexdigest()[:12]


def remove_drafts(directory: Path) -> int:
    """Remove unfinished backups of processes of this host that were killed. Returns how many.
    Backups of other hosts stay, because we cannot see whether their processes are alive."""
    removed = 0
    if not known_host_key():
        return 0  # we cannot see whether a process is alive
    try:
        names = os.listdir(directory)
    except OSError:
        return 0
    for name in names:
        found = DRAFT.fullmatch(name)
        if found is None or found["host"] != _host_digest():
            continue
        if may_be_process(int(found["pid"]), float(found["start"])):
            continue
        path = directory / name
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:  # a file of an older version
                path.unlink()
            removed += not found["end"]
    return removed


async def _told(
    start: Callable[[Callable[[int, int], None]], Coroutine[None, None, None]],
    progress: Callable[[int, int], None],
) -> None:
    """``await start(tell)``, and pass what it tells to ``progress``.

    With an event loop the copying thread only records its progress. A terminal that nobody reads
    must not block this thread, because the WAL cannot start anew while it copies.
    """
    if not loop_runs():
        await start(progress)
        return
    far = (0, 0)

    def note(done: int, total: int) -> None:
        nonlocal far
        far = (done, total)

    task = asyncio.ensure_future(start(note))
    try:
        while not task.done():
            shown = far
            await asyncio.wait({task}, timeout=TOLD_EVERY)
            if far != shown:
                progress(*far)
        await task
    finally:
        # If we were cancelled, the thread still copies for a moment. Wait before its files are
        # removed.
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _check_target(store: Store, target: Path, *, force: bool) -> None:
    shown = clean_line(str(target))
    for own in store.files():
        if own.is_file() and target.exists() and target.samefile(own):
            raise InvalidInput(f"{shown} is part of the store itself", "give another name")
    if target.is_dir() and not target.is_symlink():
        raise InvalidInput(f"{shown} is a directory", f"give a file: {shown}/queue.db")
    if target.exists() and not (target.is_file() or target.is_symlink()):
        raise InvalidInput(
            f"{shown} is not a file", "give a file"
        )  # otherwise root could replace /dev/null
    # SQLite would use an old log that is beside the new file.
    for end in ENDS[1:]:
        if os.path.lexists(f"{target}{end}"):
            raise Conflict(f"{shown} is in use as a database ({shown}{end})", "give another name")
    if os.path.lexists(target) and not force:
        raise _taken(target)


def publish(draft: Path, target: Path, *, force: bool) -> None:
    """Give the draft its name in one step. A symlink with this name is never followed."""
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
        # A file system without hard links. Create an empty file with the name, which the draft then
        # replaces. So a file that somebody else created meanwhile is never replaced.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(target, flags, 0o600))
        except FileExistsError:
            raise _taken(target) from None
        draft.replace(target)


def _taken(target: Path) -> Conflict:
    return Conflict(f"{clean_line(str(target))} exists", "give another name, or --force")


def cannot_write(target: Path, error: OSError | ValueError) -> QueueError:
    """The error when ``target`` cannot be created."""
    shown = clean_line(str(target))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"no space left for {shown}", "free some space")
    why = getattr(error, "strerror", None) or str(error)
    return InvalidInput(f"cannot write {shown}: {why}", "give another file")


def sync(path: Path) -> None:
    """Flush a file or directory to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
