"""``queuectl doctor --repair``: repairs what can be repaired without losing anything."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from ..domain.errors import InvalidInput, QueueError
from ..queue import Queue
from ..runner.journal_reader import abandoned, sweep
from ..store.open import chosen, on_server
from ..supervisor.maintenance.services import used_names
from ..supervisor.reports import attempt_files, remove_files, unneeded
from ..system.clocks import monotonic
from ..system.host import is_gone
from ..system.permissions import make_private
from .doctor import Finding, store_path
from .maintenance import remove_drafts
from .orphans import orphaned_files


async def repair(url: str | None, env: Mapping[str, str]) -> list[Finding]:
    """Repair what can be repaired. Returns a finding, ``fixed`` or ``bad``, for each kind of fault.

    Raises InvalidInput if ``url`` names no store.
    """
    address = chosen(url, env)
    if address is not None and on_server(address):
        return await _repair_database(url, env)
    path = store_path(url, env)
    if not path.exists():
        return []
    # First the modes, by path: a store with wrong modes may not open.
    beside = [path.with_name(path.name + end) for end in ("", "-wal", "-shm", ".d")]
    found = _modes([*beside, *(beside[-1] / name for name in ("logs", "run", "supervisor.log"))])
    return found + await _repair_database(url, env)


async def _repair_database(url: str | None, env: Mapping[str, str]) -> list[Finding]:
    found: list[Finding] = []
    try:
        async with Queue.open(url, env=env, create=False, via="cli") as queue:
            async for finding in _repair_store(queue):
                found.append(finding)  # kept even if a later step fails
    except InvalidInput:
        raise
    except QueueError as error:
        found.append(Finding("store", "bad", error.message, error.hint))
    except OSError as error:
        found.append(Finding("litter", "bad", f"cannot put files right: {error}"))
    return found


def _fixed(check: str, count: int, done: str) -> Finding:
    """``done`` describes one repair: ``stale run file removed``."""
    return Finding(check, "fixed", done if count == 1 else f"{done} ({count:,} of them)")


def _modes(paths: list[Path]) -> list[Finding]:
    """Remove the rights of other users on our files. A symlink is not followed."""
    changed = 0
    for path in paths:
        try:
            found = path.lstat()
        except OSError:
            continue
        folder = stat.S_ISDIR(found.st_mode)
        if not (folder or stat.S_ISREG(found.st_mode)):
            continue
        if os.geteuid() not in (0, found.st_uid):
            continue
        wanted = 0o700 if folder else 0o600
        if stat.S_IMODE(found.st_mode) != wanted:
            try:
                path.chmod(wanted)
            except OSError:
                continue  # ``doctor`` reports it
            changed += 1
    return [_fixed("modes", changed, "file mode set right")] if changed else []


async def _repair_store(queue: Queue) -> AsyncIterator[Finding]:
    store = queue.store
    if off := await store.miscounted():
        await store.recount()
        yield _fixed("counters", off, "counter set right")
    if off := await store.misadmitted():
        await store.readmit(queue.clock())
        yield _fixed("admission", off, "waiting job or key looked at again")
    now, mono = queue.clock(), monotonic()
    rows = await store.supervisors()
    host = store.host_identity()
    gone = [row for row in rows if is_gone(row, now, mono, host)]
    if forgotten := [row for row in gone if await store.dismiss(row)]:
        yield _fixed("workers", len(forgotten), "lost supervisor without a job forgotten")
    run_directory = store.directory / "run"
    if any(row.host_key == host for row in rows if row not in gone) and not run_directory.exists():
        make_private(run_directory)
        yield _fixed("litter", 1, "missing directory made")
    found = abandoned(run_directory)
    if removed := sweep(found, await used_names(store)):
        yield _fixed("litter", removed, "stale run file removed")
    of_attempts = await unneeded(store, attempt_files(run_directory))
    if removed := remove_files(of_attempts.values()):
        yield _fixed("litter", removed, "file of an ended attempt removed")
    if store.can_backup and (removed := remove_drafts(Path(store.url).parent)):
        yield _fixed("litter", removed, "unfinished backup removed")
    removed = 0
    async for path in orphaned_files(store):
        path.unlink(missing_ok=True)
        removed += 1
    if removed:
        yield _fixed("litter", removed, "orphaned output file removed")
