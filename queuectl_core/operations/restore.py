"""``queuectl restore``: a backup replaces the content of an SQLite store.

Copying a backup over a store with ``cp`` is not safe, because SQLite would mix an old write-ahead
log (``-wal``) into the backup. Here SQLite replaces the content in one transaction, while nobody
else has the store open. If the process is killed, the old content is complete.

No job runs after a restore. A job that is running in the backup becomes pending, because its
supervisor, its shim and their journals do not exist any more. No job may run when a restore begins,
because it could later run a second time at the same time. This includes running jobs of the old
content, and workers and jobs of a store that was removed from this path. Those are found by the
store's run directory, by the command lines of shims, and by the environment of jobs.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..domain.errors import (
    Conflict,
    InvalidInput,
    StoreDamaged,
    StoreError,
    StoreForeign,
    StoreTooNew,
    StoreUnreachable,
)
from ..domain.model import Job, supervisor_of
from ..store.open import chosen, on_server
from ..store.sqlite.database_file import prepare_file
from ..store.sqlite.errors import explain_os
from ..store.sqlite.notifier import is_heard
from ..store.sqlite.readers import users_of
from ..store.sqlite.restore import ExclusiveStore, check_backup, copy_backup, in_use, move_aside
from ..system.host import host_key
from ..system.permissions import make_private
from ..system.postcommit import after_commit, committing
from .doctor import store_path
from .maintenance import ENDS, cannot_write, draft_beside, named_file, publish, sync

Progress = Callable[[int, int], None]
Confirm = Callable[[str, int | None, int], bool]
"""Called with the store, its number of jobs (None: it cannot be read) and the number of jobs in the
backup. Returns whether to continue."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore."""

    store: str
    file: str
    jobs: int
    kept: str | None
    """The file with the old content; None: there was none, or it was not wanted."""


def restore(
    url: str | None,
    env: Mapping[str, str],
    name: str,
    *,
    keep: bool,
    confirm: Confirm,
    progress: Progress,
) -> Restored | None:
    """Replace the content of the store that ``url`` names by the backup ``name``. The store need
    not exist.

    ``keep``: first copy the old content into a file beside the store. Returns None if ``confirm``
    returned False; then nothing was changed. It blocks, so it must not run on an event loop.

    Raises InvalidInput if ``name`` is no undamaged backup, Conflict while somebody uses the store,
    and the StoreError family.
    """
    host_key()  # HostShort if we cannot see which processes run
    address = chosen(url, env)
    if address is not None and on_server(address):
        raise InvalidInput(
            "restore is for SQLite files, and this store is on a PostgreSQL server",
            "restore a dump with pg_restore or psql",
        )
    backup, path = Path(os.path.realpath(named_file(name))), store_path(url, env)
    try:
        return _restore(backup, path, keep, confirm, progress, create_parent=address is None)
    except Conflict as error:
        job = _around_us(path)
        if job is None:
            raise
        raise Conflict(
            f"restore cannot run inside a job of this store: job '{job}' started it",
            "run it from a shell that no job of this store started",
        ) from error


def _around_us(path: Path) -> str | None:
    """The job of the store ``path`` that started this process; None: no job did."""
    import psutil

    from ..supervisor.processes import in_our_namespace, mark_of

    try:
        us = psutil.Process()
        around = [us, *us.parents()]
    except (psutil.Error, OSError):
        return None
    for process in around:
        mark = mark_of(process)
        if mark is not None and mark.store == str(path) and in_our_namespace(process.pid):
            return mark.job
    return None


def _restore(
    backup: Path,
    path: Path,
    keep: bool,
    confirm: Confirm,
    progress: Progress,
    *,
    create_parent: bool,
) -> Restored | None:
    jobs = _checked(backup, path)
    there = _prepare(path, create_parent=create_parent)
    if not there:
        _check_still(path, None)
    elif not _confirmed(path, jobs, confirm):
        return None
    with draft_beside(path) as draft:
        copy_backup(backup, draft, progress)
        kept = None
        if not there:
            _create(path, draft)
        else:
            try:
                kept = _replace_content(path, draft, keep=keep)
            except StoreDamaged as error:  # SQLite cannot replace its content
                _check_unused(path, error)
                kept = _kept_path(path) if keep else None
                _replace_file(path, draft, kept)
    return Restored(str(path), str(backup), jobs, None if kept is None else str(kept))


def _checked(backup: Path, path: Path) -> int:
    """How many jobs the backup holds. InvalidInput if it is no backup."""
    if path.exists() and backup.exists() and backup.samefile(path):
        raise InvalidInput(f"{backup} is the store itself", "give a backup of it")
    try:
        prepare_file(backup, False, create=False, read_only=True)
        return check_backup(backup)
    except StoreTooNew:
        raise
    except (StoreDamaged, StoreUnreachable) as error:
        said = error.message.removeprefix("store ")
        raise InvalidInput(f"cannot restore: {said}", "give a file that backup made") from error


def _prepare(path: Path, *, create_parent: bool) -> bool:
    """Whether there is a store. Its directory exists afterwards."""
    try:
        if create_parent:
            make_private(path.parent)
        if not os.path.lexists(path):
            if not path.parent.is_dir():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return False
    except OSError as error:
        raise explain_os(path, error) from error
    prepare_file(path, False, create=False)
    return True


def _confirmed(path: Path, jobs: int, confirm: Confirm) -> bool:
    """Check that nobody uses the store, and ask for confirmation."""
    count: int | None = None
    try:
        held = ExclusiveStore(path)
        try:
            _check_still(path, held.running())
            if held.is_empty():
                return True
            count = held.count()
        finally:
            held.close()
    except StoreDamaged as error:
        _check_unused(path, error)
    return confirm(str(path), count, jobs)


def _replace_content(path: Path, draft: Path, *, keep: bool) -> Path | None:
    """Replace the content of the store in one transaction. Returns the file with the old content.
    Raises StoreDamaged if the store is no database."""
    held = ExclusiveStore(path)
    try:
        _check_still(path, held.running())
        kept = None
        if keep and not held.is_empty():
            with draft_beside(path) as copy:
                held.keep(copy)
                kept = _publish(copy, path)
        try:
            with committing():
                held.replace(draft)
        except StoreError:
            if kept is not None:
                kept.unlink(missing_ok=True)
            raise
        with after_commit("tidying up"):
            held.finish()
        return kept
    finally:
        with after_commit("closing the store"):
            held.close()


def _replace_file(path: Path, draft: Path, kept: Path | None) -> None:
    """Replace a file that is no database by the draft."""
    try:
        sync(draft)
        move_aside(path, kept)
        with committing():
            draft.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    with after_commit("putting its name on the disk"):
        sync(path.parent)


def _create(path: Path, draft: Path) -> None:
    """Give the draft the name of a store that does not exist. Old logs are removed."""
    try:
        sync(draft)
        if not os.path.lexists(path):
            move_aside(path, None)
        with committing():
            publish(draft, path, force=False)
    except Conflict:
        raise Conflict(f"store {path} was created meanwhile", "run it again") from None
    except OSError as error:
        raise cannot_write(path, error) from None
    with after_commit("putting its name on the disk"):
        sync(path.parent)


def _check_still(path: Path, running: Sequence[Job] | None) -> None:
    """Conflict if jobs or workers of this store may still run, though nobody has the file open.
    ``running``: the processing jobs of the store; None: there is no store, or it cannot be read."""
    run_directory = path.with_name(path.name + ".d") / "run"
    shims = _living_shims(run_directory)
    if running:
        _check_running(path, running, shims)
    # An earlier store at this path may have workers that are not in the present content.
    if shims:
        raise Conflict(
            f"jobs of store {path} may still run: their shim {min(shims)} is alive",
            "wait until they have ended, or end them",
        )
    if is_heard(str(run_directory)):
        raise Conflict(
            f"workers of store {path} are still up, though the file they opened is gone",
            "wait until they have ended, or end them",
        )
    if running is None:
        _check_left(path, {supervisor_of(one.stem) for one in run_directory.glob("*.journal")})


def _living_shims(run_directory: Path) -> set[str]:
    from ..runner.journal_reader import JournalReader
    from ..supervisor.processes import ProcessTable, shim_processes

    seen = {one.stem for one in run_directory.glob("*.alive")}
    living = {name for name in seen if JournalReader(run_directory, name).may_be_alive()}
    # The run directory may have been deleted. A shim that still has jobs is their parent process.
    hidden = {name: one for name, one in shim_processes(run_directory).items() if name not in seen}
    if hidden:
        table = ProcessTable()
        living |= {name for name, one in hidden.items() if table.descendants(one.pid)}
    return living


def _check_running(path: Path, running: Sequence[Job], shims: set[str]) -> None:
    """Conflict if one of these jobs still runs."""
    from ..supervisor.attempt import journal_name
    from ..supervisor.processes import marked_by_attempt

    marked = marked_by_attempt()
    for job in running:
        supervisor = job.shim or job.owner or ""
        found = marked.get((job.id, str(job.runs), supervisor), [])
        # If the environment of a process cannot be read (sudo, env -i), its shim shows that it
        # runs. A suspect has its own shim.
        if found or not shims.isdisjoint((supervisor, journal_name(job, supervisor))):
            pid = f" (pid {found[0].pid})" if found else ""
            raise Conflict(
                f"job '{job.id}' of store {path} still runs{pid}, though its supervisor is gone",
                "queuectl worker start takes it over; then worker stop",
            )


def _check_left(path: Path, supervisors: set[str]) -> None:
    """Conflict if a process runs that one of these supervisors started, although their shims are
    dead. Also if a process has the mark of this store: its run directory may have been deleted."""
    from ..supervisor.processes import in_our_namespace, marked_processes

    for process, mark in marked_processes():
        ours = mark.store == str(path) and in_our_namespace(process.pid)
        if ours or mark.supervisor in supervisors:
            raise Conflict(
                f"job '{mark.job}' of store {path} may still run (pid {process.pid})",
                "wait until it has ended, or end it",
            )


def _check_unused(path: Path, error: StoreDamaged) -> None:
    """The same for a file that is no database. SQLite's locks do not show who uses it."""
    if isinstance(error, StoreForeign):
        raise error
    if users_of(path):
        raise in_use(path)
    _check_still(path, None)


def _kept_path(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    plain = path.with_name(f"{path.name}.before-restore-{stamp}")
    if any(os.path.lexists(f"{plain}{end}") for end in ENDS):
        return plain.with_name(f"{plain.name}-{secrets.token_hex(2)}")
    return plain


def _publish(draft: Path, path: Path) -> Path:
    """Give a copy of the old content of ``path`` a name that no other restore uses."""
    while True:
        kept = _kept_path(path)
        try:
            sync(draft)
            publish(draft, kept, force=False)
        except Conflict:
            continue  # the name was taken just now
        except OSError as error:
            raise cannot_write(kept, error) from None
        try:
            sync(kept.parent)
        except OSError as error:  # without a safe copy nothing is replaced
            with suppress(OSError):
                kept.unlink()
            raise cannot_write(kept, error) from None
        return kept
