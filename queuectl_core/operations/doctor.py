"""``queuectl doctor``: checks a store and its host."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..domain.errors import HostShort, InvalidInput, QueueError
from ..domain.hooks import GONE_REASON
from ..domain.hooks import QUEUE as HOOKS
from ..domain.model import State, Worker
from ..domain.times import format_bytes, format_duration, format_time
from ..queue import Queue
from ..store.open import chosen, data_directory, on_server, sqlite_path
from ..store.protocol import Store
from ..store.sqlite.database_file import real_path
from ..store.sqlite.errors import explain_os
from ..system.file_systems import DOUBTFUL, NETWORK, file_system_of
from ..system.host import host_key
from .orphans import orphaned_files, orphaned_processes

BAD_SPACE = 64 << 20
LOW_SPACE = 1 << 30
SKEW = 5.0
"""Seconds by which a timestamp may be ahead of this host's clock."""
EARLIEST = 1_735_689_600.0
"""2025-01-01. An earlier time means that the clock was never set."""
SLOW_READ = 1.0
MANY_DEAD = 10
"""Dead deliveries of hooks that are worth a warning."""

REPAIR = "run: queuectl doctor --repair"
ORDER = (
    *("store", "integrity", "schema", "counters", "admission", "log", "sqlite", "modes"),
    *("file system", "disk", "workers", "schedules", "hooks", "leftovers", "litter", "clock"),
)
"""The checks, in the order of the report."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``level`` is ``ok``, ``warn``, ``bad``, or ``fixed`` after a
    repair."""

    check: str
    level: str
    message: str
    hint: str = ""


async def examine(url: str | None, env: Mapping[str, str]) -> list[Finding]:
    """Check the store, SQLite, file modes, file system, disk, workers and clock, in order.

    It creates and changes nothing. Raises InvalidInput if ``url`` names no store.
    """
    findings: list[Finding] = []
    address = chosen(url, env)
    if address is not None and on_server(address):
        return await _examine_server(url, env)
    path = store_path(url, env)
    if path.exists():
        try:
            async with Queue.open(url, env=env, read_only=True) as queue:
                findings += [finding async for finding in _examine_store(queue)]
                findings.append(schema(path))
        except QueueError as error:
            findings.append(Finding("store", "bad", error.message, error.hint))
    elif address is not None:  # the error that every other verb gives
        missing = explain_os(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        findings.append(Finding("store", "bad", missing.message, missing.hint))
    else:
        message = f"{path} does not exist yet"
        findings.append(Finding("store", "ok", message, "the first enqueue creates it"))
    place = path.parent
    while not place.exists():
        place = place.parent
    findings += [sqlite_version(sqlite3.sqlite_version_info), file_system(place), disk(place)]
    if path.exists():
        findings.append(await write_ahead_log(path))
    if not any(finding.check == "clock" for finding in findings):
        findings.append(clock([], time.time()))
    return sorted(findings, key=lambda finding: ORDER.index(finding.check))


async def _examine_server(url: str | None, env: Mapping[str, str]) -> list[Finding]:
    findings: list[Finding] = []
    place = Path(data_directory(env))
    try:
        async with Queue.open(url, env=env, read_only=True, create=False) as queue:
            place = queue.directory
            findings += [finding async for finding in _examine_store(queue)]
    except InvalidInput:
        raise
    except QueueError as error:
        findings.append(Finding("store", "bad", error.message, error.hint))
    while not place.exists():
        place = place.parent
    findings.append(disk(place))
    return sorted(findings, key=lambda finding: ORDER.index(finding.check))


def store_path(url: str | None, env: Mapping[str, str]) -> Path:
    """The file of the store, which may not exist, without symlinks in its path."""
    address = chosen(url, env)
    path = (
        os.path.join(data_directory(env), "queue.db") if address is None else sqlite_path(address)
    )
    return Path(real_path(path))


async def _examine_store(queue: Queue) -> AsyncIterator[Finding]:
    began = time.monotonic()
    status = await queue.status()
    took = time.monotonic() - began
    total = sum(status.counts.values())
    jobs = f"{total:,} job{'s' if total != 1 else ''}"
    if took > SLOW_READ:
        slow = f"{queue.url}: {jobs}, but reading the counts took {format_duration(took)}"
        yield Finding("store", "warn", slow, "is the disk slow, or the machine overloaded?")
    else:
        yield Finding("store", "ok", f"{queue.url}: {jobs}")
    faults = await queue.store.faults()
    if faults:
        hint = "use a backup" if queue.store.shared_by_hosts else "run: queuectl restore BACKUP"
        yield Finding("integrity", "bad", f"the database is damaged: {faults[0]}", hint)
    else:
        how = "every running job has an owner" if queue.store.shared_by_hosts else "quick_check"
        yield Finding("integrity", "ok", f"the database is sound ({how})")
    for finding in await _derived(queue.store):
        yield finding
    yield modes(queue.store.files())
    yield await orphaned_output(queue)
    yield await orphans(queue)
    workers = await queue.workers()
    lost = [worker for worker in workers if worker.state == "lost"]
    live = len(workers) - len(lost)
    held = sorted({worker.job for worker in lost if worker.job})
    gone = f"{len(lost)} lost{_on_hosts(lost) if queue.store.shared_by_hosts else ''}"
    if held and not live:
        stuck = f"{gone}, still holding {', '.join(held[:3])}; nobody takes over"
        yield Finding("workers", "bad", stuck, "run: queuectl worker start")
    elif lost:
        why = "no heartbeat came" if queue.store.shared_by_hosts else "their process is gone"
        message = f"{live} live, {gone} ({why})"
        yield Finding("workers", "warn", message, "the next worker to start clears them away")
    elif live and (unserved := status.unserved()):
        message = f"{live} live, but none serves queue {', '.join(unserved[:3])}, where jobs wait"
        yield Finding("workers", "warn", message, "run: queuectl worker start --queue NAME")
    else:
        yield Finding("workers", "ok", f"{live} live, none lost")
    for finding in (*await hooks(queue), *await schedules(queue, live)):
        yield finding
    stamps = [worker.heartbeat_at for worker in workers]
    stamps += [job.updated_at for job in await queue.scan(limit=100)]
    now = queue.clock()  # only here: the checks of a large store take seconds
    apart = abs(time.time() - now)
    if apart > SKEW:
        message = f"this host's clock and the server's are {format_duration(apart)} apart"
        yield Finding("clock", "warn", message, "set it; queuectl goes by the server's")
    else:
        yield clock(stamps, now)


async def schedules(queue: Queue, live: int) -> list[Finding]:
    """Schedules that are overdue, that never fire, or whose time zone this host does not know.
    Empty: there are none. ``live``: workers that are up."""
    from ..domain.schedule import LATE
    from .schedules import next_times

    infos = [info.schedule for info in await queue.schedules()]
    now = queue.clock()
    found = []
    unknown = {one.name: said for one in infos if (said := next_times(one, now, 1)[1])}
    for name, said in list(unknown.items())[:3]:
        message = f"schedule {name} cannot fire on this host: {said}"
        found.append(Finding("schedules", "bad", message, "install tzdata, or edit the schedule"))
    active = [one for one in infos if not one.paused and one.name not in unknown]
    overdue = [one for one in active if one.due_at is not None and one.due_at < now - LATE]
    if overdue:
        since = format_duration(now - min(one.due_at or now for one in overdue))
        names = ", ".join(one.name for one in overdue[:3])
        message = f"{len(overdue)} overdue for {since}: {names}"
        if live:
            hint = "see the log of the workers; restart them if they are older than the schedules"
            found.append(Finding("schedules", "bad", f"{message}, although workers are up", hint))
        else:
            message = f"{message}: no worker is up to fire them"
            found.append(Finding("schedules", "bad", message, "run: queuectl worker start"))
    elif active and not live:
        message = f"{len(active)} active, but no worker is up to fire them"
        found.append(Finding("schedules", "warn", message, "run: queuectl worker start"))
    never = [one.name for one in active if one.next_at is None]
    if never:
        message = f"never fires again: {', '.join(never[:3])}"
        found.append(Finding("schedules", "warn", message, "edit or remove it"))
    if infos and not found:
        found.append(Finding("schedules", "ok", f"{len(infos)}, none overdue"))
    return found


async def _derived(store: Store) -> list[Finding]:
    """Whether what the store derives from the jobs is right."""
    found = [Finding("counters", "ok", "the counts are those of the jobs")]
    if off := await store.miscounted():
        found = [Finding("counters", "bad", f"counts of jobs are off ({off} of them)", REPAIR)]
    if off := await store.misadmitted():
        message = f"{off:,} jobs or keys wait although nothing blocks them"
        found.append(Finding("admission", "bad", message, REPAIR))
    else:
        message = "jobs wait only for parents, holds and keys that block them"
        found.append(Finding("admission", "ok", message))
    return found


def _on_hosts(workers: list[Worker]) -> str:
    """``: 4 on web-1 (last heard of 2026-01-01T00:00:00Z), 1 on web-2 (…)``."""
    hosts: dict[str, list[float]] = {}
    for worker in workers:
        hosts.setdefault(worker.host, []).append(worker.heartbeat_at)
    found = (
        f"{len(beats)} on {host} (last heard of {format_time(max(beats))})"
        for host, beats in sorted(hosts.items())
    )
    return ": " + ", ".join(found)


async def hooks(queue: Queue) -> list[Finding]:
    """What is wrong with hooks; nothing if there are none."""
    found: list[Finding] = []
    there = [info.hook for info in await queue.hooks()]
    for hook in there:
        if hook.paused_reason == GONE_REASON:
            message = f"hook {hook.name} is paused: {hook.paused_reason}"
            found.append(Finding("hooks", "warn", message, f"queuectl hook resume {hook.name}"))
        if hook.secret_file is not None and (trouble := _secret_trouble(hook.secret_file)):
            message = f"hook {hook.name}: {hook.secret_file} {trouble}"
            found.append(
                Finding("hooks", "warn", message, "workers of this host need it: mode 600")
            )
    if there:
        dead = (await queue.store.counts()).get((State.DEAD, HOOKS), 0)
        if dead >= MANY_DEAD:
            message = f"{dead:,} deliveries of hooks are dead"
            found.append(Finding("hooks", "warn", message, f"queuectl dlq list --queue {HOOKS}"))
        count = f"{len(there)} hook{'s' * (len(there) != 1)}"
        found = found or [Finding("hooks", "ok", f"{count}, few deliveries are dead")]
    return found


def _secret_trouble(path: str) -> str:
    """What is wrong with a secret file; empty: nothing."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not os.access(path, os.R_OK):
        return "cannot be read: permission denied"
    return "can be read by other users" if mode & (stat.S_IRGRP | stat.S_IROTH) else ""


async def orphaned_output(queue: Queue) -> Finding:
    """Whether there are output files of jobs that are gone."""
    size = count = 0
    async for path in orphaned_files(queue.store):
        try:
            size += path.stat().st_size
        except OSError:
            continue  # removed meanwhile
        count += 1
    if count:
        message = f"{count:,} output files of jobs that are gone, {format_bytes(size)}"
        return Finding("litter", "warn", message, REPAIR)
    from ..supervisor.reports import attempt_files, unneeded

    store = queue.store
    found = await unneeded(store, attempt_files(store.directory / "run"))
    if number := sum(map(len, found.values())):
        message = f"{number:,} files of attempts that have ended"
        return Finding("litter", "warn", message, REPAIR)
    return Finding("litter", "ok", "no output files without a job")


async def orphans(queue: Queue) -> Finding:
    """Whether processes of jobs that ended still run."""
    try:
        host_key()
    except HostShort as error:
        return Finding("leftovers", "bad", error.message, error.hint)
    found = await orphaned_processes(queue.store)
    if not found:
        return Finding("leftovers", "ok", "no processes of jobs that ended")
    shown = ", ".join(f"pid {one.pid} of {one.job}" for one in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    hint = "a job may start a daemon; if it was not to, end them with: kill PID"
    return Finding("leftovers", "warn", f"of jobs that ended still run: {shown}{more}", hint)


def schema(path: Path) -> Finding:
    """Whether all tables, indexes and triggers are ours."""
    from ..store.sqlite.connection import with_patience
    from ..store.sqlite.migrate import odd_object
    from ..store.sqlite.read_only import open_file

    with closing(open_file(path).driver) as conn:
        odd = with_patience(path, lambda: odd_object(conn))
    if odd is None:
        return Finding("schema", "ok", "tables, indexes and triggers are queuectl's")
    hint = "nothing but queuectl may change it; store copy takes the jobs into a sound store"
    return Finding("schema", "bad", odd, hint)


async def write_ahead_log(path: Path) -> Finding:
    """Whether a reader prevents SQLite from starting its write-ahead log anew."""
    from ..store.sqlite.checkpoint import WAL_LIMIT, wal_size
    from ..store.sqlite.readers import long_readers

    size = wal_size(path)
    message = f"the write-ahead log is {format_bytes(size)}"
    if size <= 4 * WAL_LIMIT:
        return Finding("log", "ok", message)
    readers = await long_readers(path)
    if not readers:
        return Finding("log", "ok", f"{message}; it is cut when it is next written to")
    pids = ", ".join(map(str, readers))
    which = f"process{'es' if len(readers) > 1 else ''} {pids}"
    message += f" and grows: {which} went on reading an old state of the store"
    return Finding("log", "warn", message, "let it finish, or end it")


def sqlite_version(version: tuple[int, ...]) -> Finding:
    """Whether this SQLite has the WAL-reset bug (sqlite.org/wal.html#walresetbug)."""
    name = "SQLite " + ".".join(map(str, version))
    fixed = version >= (3, 51, 3) or any(
        first <= version < last for first, last in (((3, 50, 7), (3, 51)), ((3, 44, 6), (3, 45)))
    )
    if fixed:
        return Finding("sqlite", "ok", name)
    return Finding(
        "sqlite",
        "warn",
        f"{name} has the WAL-reset bug; queuectl works around it",
        "let no other program write to the store, or use SQLite 3.51.3 or newer",
    )


def modes(paths: list[Path]) -> Finding:
    """Whether other users can read jobs, their environment or their output."""
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            continue
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            wanted = "700" if stat.S_ISDIR(found.st_mode) else "600"
            message = f"{path} has mode {mode:04o}: others may read or change it"
            return Finding("modes", "bad", message, f"{REPAIR} (chmod {wanted})")
        if found.st_uid != os.geteuid() and os.geteuid() != 0:
            return Finding("modes", "bad", f"{path} belongs to another user", "run: ls -l")
    return Finding("modes", "ok", "files 0600, directories 0700")


def file_system(place: Path) -> Finding:
    """Whether the store is on a local disk."""
    kind = file_system_of(place)
    if kind in NETWORK:
        message = f"{place} is on a network file system ({kind}): SQLite's WAL is not safe there"
        return Finding("file system", "bad", message, "use a local disk: --store PATH")
    if kind in DOUBTFUL:
        message = f"{place} is shared with another system ({kind})"
        return Finding("file system", "warn", message, "use the store from one side only")
    return Finding("file system", "ok", f"local ({kind})" if kind else "local, as far as known")


def disk(place: Path) -> Finding:
    """Whether there is space for the store and for output."""
    usage = shutil.disk_usage(place)
    message = f"{format_bytes(usage.free)} free of {format_bytes(usage.total)}"
    if usage.free < BAD_SPACE:
        return Finding("disk", "bad", message, "free some space: enqueue and output will fail")
    if usage.free < LOW_SPACE:
        return Finding("disk", "warn", message, "free some space soon")
    return Finding("disk", "ok", message)


def clock(stamps: list[float], now: float) -> Finding:
    """Whether this host's clock can be right, compared with times in the store."""
    if now < EARLIEST:
        shown = format_time(now)
        return Finding("clock", "bad", f"this host thinks it is {shown}", "set the clock")
    ahead = max(stamps, default=now) - now
    if ahead > SKEW:
        message = f"the store holds times {format_duration(ahead)} in the future"
        return Finding("clock", "bad", message, "a clock was set back, or differs between hosts")
    return Finding("clock", "ok", f"{format_time(now)}, nothing in the future")
