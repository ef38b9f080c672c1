"""The supervisor's end of the shim: start it, send it requests, hear its events.

The shim is started with Popen and not as an asyncio subprocess, because asyncio kills a child
when its transport is closed, and a shim must never be killed because its supervisor leaves.

No signal may end the shim, also while it starts: it begins with all signals blocked, and unblocks
them when it ignores them. The C library keeps two signals (32 and 33) to itself, and Python cannot
ignore them. posix_spawn leaves them ignored in what it starts. Popen uses it when it is asked for
nothing else: the shim itself closes files it does not need, and makes its own session.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..domain.model import Job
from ..domain.times import format_time
from ..runner.direct_exec import plain_words
from ..runner.events import RunnerEvent, Trouble, parse_event
from ..system.host import process_state
from .attempt import ActiveAttempt
from .children import reap_later
from .maintenance.liveness import Liveness
from .maintenance.output_limit import Capture
from .reports import INPUT, PROGRESS, RESULT
from .resource_limits import ResourceLimits
from .workers import Slot

LEAVING_PATIENCE = 5.0
"""Seconds a shim that runs no job may take to leave."""
WOKEN_PATIENCE = 2.0
"""Seconds to wait for one that was stopped, after it was told to continue."""
KILLED_PATIENCE = 2.0
"""Seconds to wait for one that was killed: it may hang in the kernel."""
DYING_PATIENCE = 0.5
"""Seconds that a shim may take to die once it has closed its output."""
LINGERING_AFTER = 0.05
"""Seconds a shim may take to exit once it has closed its output; one that takes longer stays."""
EXIT_POLL = 0.002
"""Seconds between looks whether a shim has exited."""
LOWERED = "resource limits of the shim were lowered, by a job perhaps; "
FORGET_AT_ONCE = 256
"""Settled attempts of which the shim is told without anything else to tell it."""
SHIM = Path(__file__).parents[1] / "runner" / "__main__.py"


def command_line(run: Path, name: str, deadline: Sequence[str] = ()) -> list[str]:
    """How to start a shim; see :meth:`ShimClient.start`."""
    return [sys.executable, "-I", "-S", "-X", "utf8", str(SHIM), str(run), name, *deadline]


def launch_spec(job: Job, shell: str, capture: Capture, files: str = "") -> list[Any]:
    """How to start ``job``: argv, plain, cwd, env, output, limits, files (see the package
    ``runner``). ``files``: how the paths of the attempt's files begin.

    A command that is no argv list is for the shell. ``plain`` says that it needs none."""
    if isinstance(job.command, tuple):
        argv, plain = list(job.command), None
    else:
        argv, plain = [shell, "-c", job.command], plain_words(job.command, shell, job.env)
    files = as_utf8(files)
    environment = {
        **job.env,
        "QUEUECTL_JOB_ID": job.id,
        "QUEUECTL_ATTEMPT": str(job.runs),
        "QUEUECTL_QUEUE": job.queue,
        "QUEUECTL_PROGRESS": f"{files}.{PROGRESS}",
        "QUEUECTL_RESULT": f"{files}.{RESULT}",
    }
    if job.scheduled_at is not None:
        environment["QUEUECTL_SCHEDULED_AT"] = format_time(job.scheduled_at) or ""
    output = as_utf8(capture.path)
    limits = (job.nice, job.memory_limit, job.cpu_seconds)
    how: list[Any] = [argv, plain, job.cwd, environment, (output, capture.limit)]
    how.append(limits if any(limits) else None)
    if job.has_stdin or job.secrets:
        secrets = {name: path.removeprefix("file:") for name, path in job.secrets.items()}
        how.append([f"{files}.{INPUT}" if job.has_stdin else None, secrets])
    return how


def as_utf8(path: str | Path) -> str:
    """A path for the shim. It gets the same bytes, read as UTF-8."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


class ShimClient(asyncio.Protocol):
    """A running shim. ``on_event`` gets each event. ``on_death`` is called once if it ends while it
    is still needed. ``on_error`` gets an error of ours in ``on_event``."""

    def __init__(
        self,
        on_event: Callable[[RunnerEvent], None],
        on_death: Callable[[], object],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._on_event = on_event
        self._on_death = on_death
        self._on_error = on_error
        self._process: subprocess.Popen[bytes] | None = None
        self._limits: ResourceLimits | None = None
        self._liveness = Liveness(self._tell)
        self._reader: asyncio.ReadTransport | None = None
        self._writer: asyncio.WriteTransport | None = None
        self._received = b""
        self._requests: list[bytes] = []
        self._settled: list[str] = []
        self._closing = False
        self._ended = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._reaping = False

    async def start(
        self, run: Path, name: str, env: Mapping[str, str], deadline: Sequence[str] = ()
    ) -> None:
        """Start it with its journal in ``run``; jobs get ``env``. ``deadline``: when they end."""
        if self._closing:
            return  # let go of before it began
        loop = asyncio.get_running_loop()
        words = command_line(run, name, deadline)
        self._limits = ResourceLimits()
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a vfork, done in a millisecond
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                close_fds=False,
                env=dict(env),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        self._reaping = False
        output, requests = self._process.stdout, self._process.stdin
        try:
            self._reader, _ = await loop.connect_read_pipe(lambda: self, output)
            self._writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, requests)
        except asyncio.CancelledError:  # it leaves when its input is closed
            self.abandon()
            for pipe in (output, requests):
                if pipe is not None:
                    pipe.close()
            raise
        self._started()

    def _started(self) -> None:
        self._flush()
        if self._closing:  # let go of meanwhile, or it died
            self.abandon()

    def use(self, worker: str, queues: str) -> None:
        """A worker of ``queues`` is idle; held jobs of these queues may go to it."""
        self._send(["use", worker, queues])

    def launch(self, attempt: ActiveAttempt, slot: Slot, shell: str) -> None:
        """Start an attempt on an idle worker; an ``S``, ``F``, ``N`` or ``R`` event answers."""
        attempt.kill = partial(self._kill, attempt.token)
        how = launch_spec(attempt.job, shell, attempt.capture, attempt.files)
        self._send(["start", attempt.token, slot.id, slot.queue_names, *how])

    def hold(self, attempt: ActiveAttempt, shell: str) -> None:
        """Start an attempt on the next idle worker of ``attempt.queues``; answered as a launch is,
        or by ``W`` if it is recalled first."""
        attempt.kill = partial(self._kill, attempt.token)
        how = launch_spec(attempt.job, shell, attempt.capture, attempt.files)
        self._send(["hold", attempt.token, attempt.queues, *how])

    def recall(self, workers: list[str]) -> None:
        """Hold nothing any more, and use ``workers`` no more; a ``W`` event answers."""
        self._send(["recall", workers])

    def _kill(self, token: str, number: int) -> None:
        """Signal a job's process group, if its leader has not been reaped."""
        self._send(["kill", token, number])

    def settled(self, token: str) -> None:
        """The store knows how an attempt ended. The shim is told with what it is sent next, so
        that it is not woken for that alone; or when it could forget many."""
        self._settled.append(token)
        if len(self._settled) >= FORGET_AT_ONCE and not self._requests:
            tokens, self._settled = self._settled, []
            self._send(["settled", tokens])

    def look(self, *, urgent: bool) -> None:
        """See to it that it runs, or that it is replaced. To be called once a second. ``urgent``:
        somebody waits for the workers to be gone."""
        process = self._process
        if process is None or self._closing or self._ending is not None:
            return
        if process.poll() is not None:
            return  # its output is about to be closed
        try:
            state = process_state(process.pid)
        except OSError:
            return  # we may have too many open files: that says nothing about the shim
        number = self._liveness.look(state, urgent=urgent)
        if number == signal.SIGKILL or not self._keeps_limits(process.pid):
            self._ending = asyncio.get_running_loop().create_task(self._give_up(process))
            return
        if number:
            process.send_signal(number)
        if self._liveness.ping_is_due:
            self._send(["ping"])

    def _keeps_limits(self, pid: int) -> bool:
        """Whether it has the limits that it was started with, now at least."""
        try:
            if self._limits is not None and self._limits.restore(pid):
                self._tell(LOWERED + "they are restored")
        except PermissionError:
            self._tell(LOWERED + "killing it")
            return False
        except OSError:
            pass  # it is gone
        return True

    def _tell(self, text: str) -> None:
        self._on_event(Trouble(None, text))

    def _send(self, request: list[Any]) -> None:
        # One write for all that is asked in one turn of the loop: each wakes the shim.
        if not self._requests:
            asyncio.get_running_loop().call_soon(self._flush)
        self._requests.append(json.dumps(request).encode() + b"\n")

    def _flush(self) -> None:
        if self._writer is None:
            return  # they are sent as soon as it has been started
        if self._settled and self._requests:
            self._requests.append(json.dumps(["settled", self._settled]).encode() + b"\n")
            self._settled = []
        requests, self._requests = self._requests, []
        if not self._closing and self._ending is None:
            self._writer.write(b"".join(requests))

    def abandon(self) -> None:
        """Let go: the shim stays with what it runs and leaves after its last job. The loop may end
        before that: a program that goes on without it must keep no pipe and no zombie."""
        self._let_go()
        if self._reader is not None:
            self._reader.close()
        self._reap()

    def _let_go(self) -> None:
        self._closing = True
        if self._writer is not None:
            self._writer.close()

    def _reap(self) -> None:
        if self._process is not None and not self._reaping:
            self._reaping = True
            reap_later(self._process)

    async def close(self) -> bool:
        """Let go of a shim that runs no job, and wait until it has left us; False: it has not.

        It is not killed: it may still read what processes write that jobs left running, and
        without a reader they would die. One whose disk is full has not written its journal, and
        leaves when it can."""
        self._let_go()
        if self._process is None:
            return True
        for patience in (LEAVING_PATIENCE, WOKEN_PATIENCE):
            self._process.send_signal(signal.SIGCONT)  # a job may have stopped it
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._ended.wait()
                return True
        self._reap()
        return False

    async def _see_end(self, process: subprocess.Popen[bytes]) -> None:
        """Its output is closed. Wait until it has exited, which takes microseconds if it was
        killed. One that we let go of may stay: it reads what processes write that jobs left
        running. Any other is killed: we could not read it, and it may run jobs still."""
        if self._closing:
            if not await _exited(process, LINGERING_AFTER):
                self._reap()
        elif not await _exited(process, DYING_PATIENCE):
            await self._give_up(process)
        self._end()

    async def _give_up(self, process: subprocess.Popen[bytes]) -> None:
        """Kill it: it is of no use, and must do nothing more."""
        process.kill()
        if not await _exited(process, KILLED_PATIENCE):
            self._reap()  # it hangs in the kernel, and will do nothing more
        self._end()

    def _end(self) -> None:
        self._ended.set()
        if not self._closing:
            self._closing = True
            if self._writer is not None and not self._writer.is_closing():  # or it ends twice
                self._writer.abort()
            self._on_death()

    # -- asyncio.Protocol -------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        *lines, self._received = (self._received + data).split(b"\n")
        self._liveness.heard()
        if lines and not self._closing:
            for event in json.loads(b"[" + b",".join(lines) + b"]"):
                try:
                    self._on_event(parse_event(event))
                except Exception as error:  # a fault of ours: the lines after it are still heard
                    self._on_error(error)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._process is None or self._reaping or self._process.poll() is not None:
            self._end()
        elif self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._see_end(self._process))


async def _exited(process: subprocess.Popen[bytes], patience: float) -> bool:
    """Wait until it has exited, but no longer than ``patience`` seconds; whether it has. Nothing
    that blocks: other jobs' events and the heartbeat go on."""
    deadline = time.monotonic() + patience
    while process.poll() is None:
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(EXIT_POLL)
    return True
