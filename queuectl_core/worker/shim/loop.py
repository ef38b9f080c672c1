"""The shim's loop: requests in, jobs started and waited for, events out."""

import contextlib
import errno
import json
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

from . import FENCED, FUNCTION, SIGNALLED, SPARE, host_clock
from .fence import Fence
from .ledger import Ledger
from .requests import LineBuffer, MalformedRequest, parse
from .spares import Spares
from .spawning import RESET, Spawner, open_output

P = ParamSpec("P")
T = TypeVar("T")

GATHER = 0.025
"""Seconds between two writes to the supervisor while there are held jobs to go on with: each
wakes it, and it can settle many as cheaply as one. It is told at once when half of what it gave
us to hold has gone."""


REPORT_AT_MOST = 100
"""Different errors of its own that a shim tells of."""


class Child(NamedTuple):
    """A job, the worker it occupies, and while it runs its output file."""

    token: str
    worker: str
    lane: str
    output: str = ""


class Shim:
    """The loop and what it knows; see the top of the package."""

    def __init__(self, run: str, name: str, term: str = "", kill: str = "") -> None:
        self.ledger = Ledger(run, name)
        self.fence = Fence(f"{run}/{name}.lease", float(term), float(kill)) if term else None
        self.fenced: set[str] = set()  # jobs that were told to end because the lease ran out
        self.signalled: set[str] = set()  # jobs that were sent a signal
        self.spawner = Spawner()
        self.spares = Spares()
        self.environ = dict(os.environb)
        self.shell_only = any(name.startswith(FUNCTION) for name in os.environ)
        self.children: dict[int, Child] = {}
        self.idle: dict[str, list[str]] = {}  # lane -> workers
        self.held: dict[str, deque[list[Any]]] = {}  # lane -> [token, HOW]
        self.forgotten: set[str] = set()  # workers that are busy, and not to be used again
        self.orphaned = False
        self.lines = LineBuffer()
        self.unsent = bytearray()  # events the supervisor has not read yet
        self.reported: set[str] = set()  # errors of our own that were told
        self.sent_at = 0.0
        self.refill_at = 0  # held jobs: with as few as that we ask for more, by telling what ended

    def run(self) -> None:
        wake, waker = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        os.set_blocking(1, False)
        poller = select.poll()
        poller.register(0, select.POLLIN)
        poller.register(wake, select.POLLIN)
        self.ledger.record(["H", os.getpid()])
        while not (self.orphaned and not self.children and not self.ledger.unwritten):
            starts: list[list[Any]] = []
            for fd, _ in poller.poll(self.patience()):
                if fd == wake:
                    drain(wake)
                elif fd == 0:
                    data = self.read()
                    if not data:
                        poller.unregister(0)
                    self.contained(self.receive, data, starts)
            self.contained(self.heed_fence)
            self.contained(self.reap)
            if starts or any(self.held[lane] and self.idle.get(lane) for lane in self.held):
                self.contained(self.start_all, starts)
            elif self.ledger.unwritten:
                self.contained(self.ledger.renew)
                self.contained(self.ledger.flush)
            self.contained(self.send, poller)

    def contained(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Do ``step``. An error in it, which is a fault of ours, is reported, and we go on:
        there are jobs whose end only we can see."""
        try:
            return step(*args, **kwargs)
        except Exception as error:
            text = f"error in the shim: {type(error).__name__}: {error}"
            if text not in self.reported and len(self.reported) < REPORT_AT_MOST:
                self.reported.add(text)
                self.emit(["T", None, text])
            if isinstance(error, MemoryError):
                time.sleep(0.01)  # until there is memory again, the same may fail at once
            return None

    def patience(self) -> float | None:
        """Milliseconds until there is something to do by ourselves; None: for ever."""
        if self.unsent and self.gathering():
            return max(0.0, self.sent_at + GATHER - time.monotonic()) * 1000
        if self.fence and self.children:
            return self.fence.patience()
        return 1000 if self.ledger.unwritten else None

    def gathering(self) -> bool:
        """There are held jobs enough to go on with: the supervisor need not hear of us yet."""
        return sum(map(len, self.held.values())) > self.refill_at

    # -- requests ---------------------------------------------------------------------

    def read(self) -> bytes:
        """What the supervisor sent; empty when it is gone."""
        try:
            return os.read(0, 1 << 20)
        except OSError:
            return b""

    def receive(self, data: bytes, starts: list[list[Any]]) -> None:
        """Take requests; adds [token, worker, lane, HOW] of the jobs to start now to ``starts``."""
        if not data:
            self.orphaned = True
            self.held.clear()
            self.spares.clear()
            self.unsent.clear()
            self.ledger.record(["E"])
            return
        for line in self.lines.feed(data):
            try:
                request = parse(line)
            except MalformedRequest as error:
                self.emit(["T", error.token, str(error)])
                if error.token is not None:  # or its supervisor would wait for it for ever
                    self.record(["F", error.token, None, str(error), time.time(), ""])
            else:
                self.contained(self.obey, request, starts)
        self.refill_at = sum(map(len, self.held.values())) // 2

    def obey(self, request: list[Any], starts: list[list[Any]]) -> None:
        """Do what one request asks for; a job to start now is added to ``starts``."""
        kind, *rest = request
        if kind == "start":
            _, worker, lane, *_ = rest
            if worker in self.idle.get(lane, ()):
                self.idle[lane].remove(worker)
            starts.append(rest)
        elif kind == "hold":
            token, lane, *how = rest
            self.held.setdefault(lane, deque()).append([token, *how])
        elif kind == "use":
            worker, lane = rest
            self.idle.setdefault(lane, []).append(worker)
        elif kind == "withdraw":
            self.withdraw(rest[0], starts)
        else:
            self.kill(*rest)

    def withdraw(self, workers: list[str], starts: list[list[Any]]) -> None:
        """Give back what is held, and use these workers no more. ``starts``: what is about to be
        started, on workers that are busy already."""
        busy = {child.worker for child in self.children.values()}
        busy |= {worker for _, worker, *_ in starts}
        for worker in workers:
            for idle in self.idle.values():
                if worker in idle:
                    idle.remove(worker)
            if worker in busy:
                self.forgotten.add(worker)
        tokens = [token for jobs in self.held.values() for token, *_ in jobs]
        self.held.clear()
        self.emit(["W", tokens])

    def kill(self, token: str, number: int) -> None:
        for pid, child in self.children.items():
            if child.token == token:
                self.signalled.add(token)
                end_group(pid, number)

    def heed_fence(self) -> None:
        """End what runs once the lease has run out."""
        number = self.fence.passed() if self.fence and self.children else 0
        if not number:
            return
        for pid, child in self.children.items():
            if number == signal.SIGKILL or child.token not in self.fenced:
                self.fenced.add(child.token)
                end_group(pid, number)

    # -- starts -----------------------------------------------------------------------

    def start_all(self, starts: list[list[Any]]) -> None:
        """One round: what was asked for, and of what is held as much as there are workers for."""
        allowed = self.ledger.lock()
        try:
            jobs = [(Child(token, worker, lane), how) for token, worker, lane, *how in starts]
            while jobs := jobs + self.take_held(allowed):
                if allowed:
                    self.ledger.begin([child.token for child, _ in jobs])
                for child, how in jobs:
                    if allowed:
                        self.start(child, how)
                    else:
                        self.emit(["R", child.token])
                jobs = []  # one that could not be started has left its worker to the next
        finally:
            self.ledger.unlock()

    def take_held(self, allowed: bool) -> list[tuple[Child, list[Any]]]:
        """Held jobs, each with its worker; all of them if they are to be refused."""
        taken = []
        for lane, jobs in self.held.items():
            idle = self.idle.get(lane, [])
            while jobs and (idle or not allowed):
                token, *how = jobs.popleft()
                taken.append((Child(token, idle.pop() if idle else "", lane), how))
        return taken

    def start(self, child: Child, how: list[Any]) -> None:
        argv, plain, cwd, env, out, limits = how
        if self.fence and self.fence.passed():
            self.refuse(child, None, FENCED)
            return
        try:
            os.chdir(cwd)
        except OSError as error:
            self.refuse(child, None, f"cannot use cwd {cwd}: {error.strerror}")
            return
        self.spares.give(out)
        try:
            fd = open_output(out)
        except OSError as error:
            self.refuse(child, None, f"cannot write output file: {error.strerror}")
            return
        try:
            environ = self.environ | {os.fsencode(k): os.fsencode(v) for k, v in env.items()}
            environ[b"QUEUECTL_WORKER"] = os.fsencode(child.worker)
            after = host_clock()
            pid = None
            if plain and not limits and not self.shell_only:
                pid = self.spawner.plain(plain, cwd, environ, fd)
            if pid is None:
                pid = self.spawner.start(argv, environ, fd, limits)
            before = host_clock()
        except OSError as error:
            if error.errno == errno.ENOENT:
                self.refuse(child, 127, f"command not found: {argv[0]}")
            elif error.errno in (errno.EACCES, errno.ENOEXEC, errno.EISDIR):
                self.refuse(child, 126, f"cannot execute {argv[0]}: {error.strerror}")
            else:
                self.refuse(child, None, f"cannot start: {error.strerror}")
            return
        except ValueError as error:  # a NUL byte, or text that is no UTF-8
            self.refuse(child, None, f"cannot start: {error}")
            return
        finally:
            os.close(fd)
        self.children[pid] = child._replace(output=out)
        self.record(["S", child.token, pid, after, before, time.time(), child.worker])

    def refuse(self, child: Child, code: int | None, reason: str) -> None:
        self.record(["F", child.token, code, reason, time.time(), child.worker])
        self.release(child)

    def release(self, child: Child) -> None:
        """Its worker has nothing to do any more."""
        if child.worker in self.forgotten:
            self.forgotten.remove(child.worker)
        else:
            self.idle.setdefault(child.lane, []).append(child.worker)

    # -- exits ------------------------------------------------------------------------

    def reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = self.children.pop(pid, None)
            if child is None:
                continue  # a job made it our child (clone with CLONE_PARENT), not we
            code = os.waitstatus_to_exitcode(status)
            try:
                os.killpg(pid, 0)
                leftover = True
            except OSError:
                leftover = False
            event = [
                "X",
                child.token,
                code if code >= 0 else None,
                -code if code < 0 else None,
                round(usage.ru_utime + usage.ru_stime, 6),
                usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
                time.time(),
                leftover,
            ]
            if child.token in self.fenced:
                self.fenced.remove(child.token)
                event.append(FENCED)
                if leftover:
                    end_group(pid, signal.SIGKILL)  # nobody may come to look
            if child.token in self.signalled:
                self.signalled.remove(child.token)
                event.append(SIGNALLED)
            if not (leftover or self.orphaned) and self.spares.keep(child.output):
                event.append(SPARE)
            self.record(event)
            self.release(child)

    # -- events -----------------------------------------------------------------------

    def record(self, event: list[Any]) -> None:
        """An event for the journal and the supervisor."""
        self.unsent += self.ledger.record(event)

    def emit(self, event: list[Any]) -> None:
        """An event for the supervisor only."""
        self.unsent += json.dumps(event).encode() + b"\n"

    def send(self, poller: select.poll) -> None:
        """Write to the supervisor; what its full pipe refuses waits for it to read."""
        if self.orphaned:
            self.unsent.clear()
        now = time.monotonic()
        if self.gathering() and now < self.sent_at + GATHER:
            return
        self.sent_at = now
        self.refill_at //= 2  # until it has answered, no word from us at each single exit
        while self.unsent:
            try:
                count = os.write(1, self.unsent)
            except BlockingIOError:
                poller.register(1, select.POLLOUT)
                return
            except OSError:
                self.unsent.clear()  # nobody reads; standard input will say so
                break
            del self.unsent[:count]
        try:
            poller.unregister(1)
        except KeyError:
            pass


def end_group(pid: int, number: int) -> None:
    """Signal a job's group; one that is gone is passed over."""
    try:
        os.killpg(pid, number)
    except OSError:
        pass


def drain(fd: int) -> None:
    """Empty a pipe that only wakes."""
    try:
        while len(os.read(fd, 4096)) == 4096:
            pass
    except BlockingIOError:
        pass


def ignore_signals() -> None:
    """Be deaf to every signal: a job can send any of them to its parent. SIGKILL and SIGSTOP
    cannot be ignored, and SIGCHLD is of use to us."""
    for number in RESET:
        if number != signal.SIGCHLD:
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def main() -> None:
    """Serve until there is nothing left to do."""
    ignore_signals()
    with contextlib.suppress(PermissionError):  # we are in a session of our own already
        os.setsid()  # no signal that is meant for the supervisor's terminal reaches us
    os.chdir("/")
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # files that our supervisor was started with
    Shim(*sys.argv[1:]).run()
    os._exit(0)  # everything is written; a supervisor waits for us
