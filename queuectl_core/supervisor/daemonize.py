"""Workers in the background: starting a detached supervisor, or adding to the one there is.

A detached supervisor is this package run as a program of its own (``__main__.py``): it needs
no front end, so it starts quicker and stays smaller. It reports through a pipe whether its
workers came up; its log is ``supervisor.log`` beside the store's other files.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from ..domain.errors import Conflict, HostShort, NotFound, QueueError, WorkersNotStarted
from ..domain.text import clean_line
from ..store.protocol import Store
from ..system.clocks import monotonic
from ..system.host import is_gone
from ..system.permissions import own_directory, try_lock
from ..system.postcommit import commits
from .children import reap_later

PROGRAM = Path(__file__).with_name("__main__.py")
PATIENCE = 20.0
"""Seconds to wait for workers to come up."""
START_PATIENCE = 60.0
"""Seconds to wait for a new supervisor to answer."""
LOCK_PATIENCE = 120.0
"""Seconds to wait for others that start workers."""
SHORT = "short: "
"""How the answer of a supervisor begins that could not start because the host lacks something."""
CONFLICT_PAUSE = 0.02
"""Seconds to wait, at the least, when somebody else was adding workers at the same moment; up to
twice as long, so that two that meet do not meet again."""
LOG_KEPT = 5 << 20
"""Bytes of log after which a new supervisor starts a new file, keeping one old one."""


def log_file(directory: Path) -> Path:
    """Where detached supervisors of a store write."""
    return directory / "supervisor.log"


async def start_detached(
    store: Store, env: Mapping[str, str], count: int, queues: tuple[str, ...]
) -> list[str]:
    """Start ``count`` workers in the background; returns their ids once they are up.

    Raises WorkersNotStarted with the reason when they do not come up.
    """
    async with _one_at_a_time(store.directory):
        added = await add_to_detached(store, count, queues, store.clock())
        if added is not None:
            return added
        try:
            log = _open_log(store.directory)
        except OSError as error:
            raise _not_up(f"cannot write {log_file(store.directory)}", error) from error
        try:
            process, read = _launch(store, env, log, {"count": count, "queues": queues})
        except OSError as error:
            raise _not_up("cannot start a process", error, hint="") from error
        finally:
            os.close(log)
        reap_later(process)
        try:
            answer = await _answer(read)
        except BaseException:  # ctrl-c, or it does not answer: nothing half-started stays
            process.kill()
            raise
        return _parse_answer(answer, log_file(store.directory))


@asynccontextmanager
async def _one_at_a_time(directory: Path) -> AsyncIterator[None]:
    """One start at a time on this host: the second one finds the supervisor of the first."""
    own_directory(directory)
    path = directory / "detached.lock"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        lock = os.open(path, flags, 0o600)
    except OSError as error:
        raise _not_up(f"cannot write {path}", error) from error
    try:
        deadline = monotonic() + LOCK_PATIENCE
        while not try_lock(lock):
            if monotonic() > deadline:
                raise WorkersNotStarted("another worker start does not end", f"it holds {path}")
            await asyncio.sleep(0.02)  # not in a thread: ctrl-c ends the wait
        yield
    finally:
        os.close(lock)


def _not_up(
    what: str, error: OSError, hint: str = "check the directory, its mode and the space left"
) -> QueueError:
    """The error to raise: it names the limit if the host lacks something."""
    prefix = f"workers did not come up: {what}: "
    short = HostShort.of(error, prefix)
    return short or WorkersNotStarted(f"{prefix}{error.strerror}", hint)


def _launch(
    store: Store, env: Mapping[str, str], log: int, order: dict[str, Any]
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the process and give it its order; also the pipe on which it answers."""
    # Its text is what ours is: see queuectl_tui/__main__.py.
    utf8 = ["-X", "utf8"] if sys.flags.utf8_mode else []
    read, write = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, *utf8, str(PROGRAM), store.url],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # it survives the terminal
            pass_fds=[write],
            cwd="/",
            env=dict(env),
        )
        assert process.stdin is not None  # noqa: S101 - it was asked for
        whole = json.dumps(order | {"store": store.address, "ready": write}).encode()
        with suppress(BrokenPipeError), process.stdin as stdin:  # it died: it answers, or does not
            stdin.write(whole)
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    return process, read


async def _answer(fd: int) -> bytes:
    """The supervisor's answer: one line, or nothing when it died."""
    loop = asyncio.get_running_loop()
    whole: asyncio.Future[bytes] = loop.create_future()
    found = bytearray()

    def read() -> None:
        data = os.read(fd, 65536)
        found.extend(data)
        if data.endswith(b"\n") and found.startswith(b"["):
            commits.begin()  # they are up: there is nothing left to take back
        if (not data or data.endswith(b"\n")) and not whole.done():
            whole.set_result(bytes(found))

    loop.add_reader(fd, read)
    try:
        async with asyncio.timeout(START_PATIENCE):
            return await whole
    except TimeoutError:
        raise WorkersNotStarted(
            f"workers did not come up within {START_PATIENCE:.0f} s",
            "is the host or the store overloaded?",
        ) from None
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _parse_answer(answer: bytes, log: Path) -> list[str]:
    if answer.startswith(b"["):
        ids: list[str] = json.loads(answer)
        return ids
    said = clean_line(answer.decode("utf-8", "replace").strip(), 400)
    error = HostShort if said.startswith(SHORT) else WorkersNotStarted
    why = f": {said.removeprefix(SHORT)}" if said else ""
    raise error(f"workers did not come up{why}", f"see {log}")


def _open_log(directory: Path) -> int:
    own_directory(directory)
    path = log_file(directory)
    try:
        if path.stat().st_size > LOG_KEPT:
            path.replace(path.with_suffix(".log.1"))
    except OSError:
        pass
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise WorkersNotStarted(f"cannot write {path}: {error.strerror}", "move it away") from None


async def add_to_detached(
    store: Store, count: int, queues: tuple[str, ...], now: float
) -> list[str] | None:
    """Ask this host's detached supervisor for more workers; their ids once they are up.

    None when there is none, or when it left meanwhile.
    """
    supervisor = await _find_detached(store, now)
    if supervisor is None:
        return None
    asked: list[str] = []
    try:
        if not await _insert_workers(store, supervisor, asked, (count, queues), now):
            return None
        return await _until_up(store, supervisor, list(asked))
    except (asyncio.CancelledError, KeyboardInterrupt):  # ctrl-c: what was asked for must not stay
        commits.reset()
        with suppress(QueueError):
            await store.stop_workers(asked, False)
            commits.reset()  # nothing is left of it
        raise


async def _until_up(store: Store, supervisor: str, ids: list[str]) -> list[str] | None:
    """Wait until workers of these ids are up; None: their supervisor was leaving."""
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        mine = [worker for worker, _ in await store.workers() if worker.id in ids]
        if not mine:
            return None  # it was leaving: its row and ours are gone
        if all(worker.state != "starting" for worker in mine):
            commits.begin()  # there is nothing left to take back
            return ids
        commits.goes_on()
        await asyncio.sleep(0.02)
    await store.workers_gone(ids)
    raise WorkersNotStarted(
        f"supervisor {supervisor} does not answer", "stop it with: queuectl worker stop --now"
    )


async def _find_detached(store: Store, now: float) -> str | None:
    mono = monotonic()
    staying = {
        worker.supervisor for worker, _ in await store.workers() if worker.state != "stopping"
    }
    for row in await store.supervisors():
        here = row.detached and row.host_key == store.host_identity()
        if here and row.id in staying and not is_gone(row, now, mono, store.host_identity()):
            return row.id
    return None


async def _insert_workers(
    store: Store, supervisor: str, asked: list[str], what: tuple[int, tuple[str, ...]], now: float
) -> bool:
    """Ask for workers of ``supervisor``; False: it is gone. ``asked`` gets their ids before the
    store does."""
    count, queues = what
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        used = [worker.id for worker, _ in await store.workers() if worker.supervisor == supervisor]
        first = max((int(worker.rpartition("-")[2]) for worker in used), default=0) + 1
        asked[:] = [f"{supervisor}-{first + i}" for i in range(count)]
        try:
            await store.add_workers(supervisor, [(i, queues) for i in asked], now, up=False)
        except Conflict:  # somebody else was adding too: these are theirs
            asked.clear()
            await asyncio.sleep(CONFLICT_PAUSE * (1 + random.random()))
        except NotFound:
            return False
        else:
            return True
    raise WorkersNotStarted(
        f"supervisor {supervisor} is being given other workers all the time", "try again"
    )
