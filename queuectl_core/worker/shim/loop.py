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

from . import FENCED, FORMAT, FUNCTION, SIGNALLED, UNSIGNALLED, host_clock, lease_clock
from .fence import Fence
from .ledger import Ledger
from .output import Folders, Output
from .requests import LineBuffer, MalformedRequest, parse
from .spawning import RESET, CannotStart, Program, Shortage, Spawner, prepare_output

P = ParamSpec("P")
T = TypeVar("T")

GATHER = 0.025
"""Seconds between two writes to the supervisor while there are held jobs to go on with: each
wakes it, and it can settle many as cheaply as one. It is told at once when half of what it gave
us to hold has gone."""


LOCK_PAUSE = 0.005
"""Seconds between attempts to lock the journal while somebody else has it."""
SHORT = 0.005
"""Seconds a job may run before its pipe is looked at: most short jobs need no wake-up for it."""
REST = 1.0
"""Seconds after the end of a job in which processes that it left running are not listened to: its
supervisor may be writing the output file anew."""
REPORT_AT_MOST = 100
"""Different errors of its own that a shim tells of."""


class Child(NamedTuple):
    """A job, the worker it occupies, and while it runs its output and how it was started."""

    token: str
    worker: str
    lane: str
    output: Output | None = None
    how: list[Any] = []  # noqa: RUF012 - never changed


class Shim:
    """The loop and what it knows; see the top of the package."""

    def __init__(self, run: str, name: str, term: str = "", kill: str = "") -> None:
        self.ledger = Ledger(run, name)
        self.fence = Fence(f"{run}/{name}.lease", float(term), float(kill)) if term else None
        self.fenced: set[str] = set()  # jobs that were told to end because the lease ran out
        self.signalled: set[str] = set()  # jobs that were sent a signal
        self.unsignalled: set[str] = set()  # jobs that could not be sent one
        self.spawner = Spawner()
        self.folders = Folders()
        self.outputs: dict[int, Output] = {}  # by the pipe: those that the poller watches
        self.fresh: deque[tuple[float, Output]] = deque()  # not yet watched, and from when on
        self.resting: deque[tuple[float, Output]] = deque()  # the same, of jobs that have ended
        self.environ = dict(os.environb)
        self.shell_only = any(name.startswith(FUNCTION) for name in os.environ)
        self.children: dict[int, Child] = {}
        self.idle: dict[str, list[str]] = {}  # lane -> workers
        self.held: dict[str, deque[list[Any]]] = {}  # lane -> [token, HOW]
        self.forgotten: set[str] = set()  # workers that are busy, and not to be used again
        self.postponed: list[list[Any]] = []  # starts, until the journal's lock is free
        self.locked_out = False
        self.pipes: dict[int, int] = {}  # of forked children: the pipe that tells of failure -> pid
        self.failures: dict[int, tuple[str, int]] = {}  # pid -> why its program was not run
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
        self.ledger.record(["H", os.getpid(), FORMAT])
        self.poller = poller
        while not (self.orphaned and not self.children and not self.ledger.unwritten):
            starts, self.postponed = self.postponed, []
            for fd, _ in poller.poll(self.patience()):
                if fd == wake:
                    drain(wake)
                elif fd == 0:
                    data = self.read()
                    if not data:
                        poller.unregister(0)
                    self.contained(self.receive, data, starts)
                elif fd in self.outputs:
                    self.contained(self.drain_output, fd)
                elif fd in self.pipes:
                    self.contained(self.read_failure, fd)
            self.watch_outputs()
            self.contained(self.heed_fence)
            self.contained(self.reap)
            if starts or any(self.held[lane] and self.idle.get(lane) for lane in self.held):
                self.contained(self.start_all, starts)
            elif self.ledger.unwritten:
                self.contained(self.ledger.renew)
                self.contained(self.ledger.flush)
            self.contained(self.send, poller)
        poller.unregister(wake)
        if self.outputs or self.resting:
            self.linger()

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
        found = [self.patience_for_jobs(), self.patience_for_outputs()]
        return min((one for one in found if one is not None), default=None)

    def patience_for_outputs(self) -> float | None:
        """The same, until a pipe is to be watched."""
        found = []
        for waiting in (self.fresh, self.resting):
            while waiting and waiting[0][1].fd < 0:  # closed meanwhile
                waiting.popleft()
            if waiting:  # rounded up: poll would come back too early, again and again
                found.append(max(0.0, waiting[0][0] - time.monotonic()) * 1000 + 1)
        return min(found, default=None)

    def patience_for_jobs(self) -> float | None:
        """The same, but for outputs."""
        if self.locked_out:
            return LOCK_PAUSE * 1000
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
            self.unsent.clear()
            self.ledger.record(["E"])
            return
        for line in self.lines.feed(data):
            try:
                request = parse(line)
            except MalformedRequest as error:
                self.emit(["T", error.token, str(error)])
                if error.token is not None:  # or its supervisor would wait for it for ever
                    self.record(["F", error.token, None, str(error), lease_clock(), ""])
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
        elif kind == "settled":
            self.ledger.settled(rest[0])
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
                self.signal(pid, child, number)

    def signal(self, pid: int, child: Child, number: int) -> None:
        """Signal a job's group; that we may not is told once."""
        try:
            os.killpg(pid, number)
            self.signalled.add(child.token)
        except PermissionError:
            if child.token not in self.unsignalled:
                self.unsignalled.add(child.token)
                self.emit(["T", child.token, "cannot signal it: it runs as another user"])
        except OSError:
            self.signalled.add(child.token)  # it is about to be reaped

    def heed_fence(self) -> None:
        """End what runs once the lease has run out."""
        number = self.fence.passed() if self.fence and self.children else 0
        if not number:
            return
        for pid, child in self.children.items():
            if number == signal.SIGKILL or child.token not in self.fenced:
                self.fenced.add(child.token)
                self.signal(pid, child, number)

    # -- starts -----------------------------------------------------------------------

    def start_all(self, starts: list[list[Any]]) -> None:
        """One round: what was asked for, and of what is held as much as there are workers for."""
        lacking, locked = "", True
        self.locked_out = False
        try:
            allowed = self.ledger.lock()
        except BlockingIOError:
            self.locked_out = True
            self.postponed = starts
            return
        except OSError as error:
            locked, allowed, lacking = False, True, f"cannot lock the journal: {error.strerror}"
        try:
            jobs = [(Child(token, worker, lane), how) for token, worker, lane, *how in starts]
            while jobs := jobs + self.take_held(allowed):
                if allowed and not lacking and not self.ledger.begin([c.token for c, _ in jobs]):
                    lacking = "cannot write the journal"
                for child, how in jobs:
                    if not allowed:
                        self.emit(["R", child.token])
                    else:
                        lacking = lacking or self.start(child, how)
                        if lacking:
                            self.put_back(child, lacking)
                jobs = []  # one that could not be started has left its worker to the next
                if lacking:
                    self.put_back_held(lacking)
        finally:
            if locked:
                self.ledger.unlock()
            os.chdir("/")  # or the last job's file system could not be unmounted

    def take_held(self, allowed: bool) -> list[tuple[Child, list[Any]]]:
        """Held jobs, each with its worker; all of them if they are to be refused."""
        taken = []
        for lane, jobs in self.held.items():
            idle = self.idle.get(lane, [])
            while jobs and (idle or not allowed):
                token, *how = jobs.popleft()
                taken.append((Child(token, idle.pop() if idle else "", lane), how))
        return taken

    def start(self, child: Child, how: list[Any]) -> str:
        """Start a job, or say why it cannot be started. Returns what the host lacks: then no other
        job can be started either."""
        argv, plain, cwd, env, out, limits = how
        if self.fence and self.fence.passed():
            self.refuse(child, None, FENCED)
            return ""
        output = None
        pid = 0
        try:
            output = prepare_output(self.folders, *out)
            environ = self.environ | {os.fsencode(k): os.fsencode(v) for k, v in env.items()}
            environ[b"QUEUECTL_WORKER"] = os.fsencode(child.worker)
            if limits or self.shell_only:
                plain = None
            after = host_clock()
            program = Program(argv, plain, cwd, environ, output.write_end, limits)
            pid, pipe = self.spawner.start(program)
            before = host_clock()
        except Shortage as error:
            return str(error)
        except MemoryError:
            return "cannot start a process: not enough memory"
        except CannotStart as error:
            self.refuse(child, error.code, str(error))
            return ""
        except Exception as error:  # a NUL byte, text that is no UTF-8
            self.refuse(child, None, f"cannot start: {error}")
            return ""
        finally:
            if output is not None and pid:
                output.started()
            elif output is not None:
                output.close()
        self.fresh.append((time.monotonic() + SHORT, output))
        self.children[pid] = child._replace(output=output, how=how)
        self.record(["S", child.token, pid, after, before, lease_clock(), child.worker])
        if pipe is not None:
            self.pipes[pipe] = pid
            self.poller.register(pipe, select.POLLIN)
        return ""

    def read_failure(self, pipe: int) -> None:
        """A forked child runs its program now, or has said why it cannot."""
        try:
            said = os.read(pipe, 100).split()
        except BlockingIOError:
            said = []
            if self.pipes[pipe] in self.children:
                return
        pid = self.pipes.pop(pipe)
        self.poller.unregister(pipe)
        os.close(pipe)
        if said:
            self.failures[pid] = (said[0].decode(), int(said[1]))

    def put_back(self, child: Child, lacking: str) -> None:
        """The host lacks something: the job is as if it had never been claimed."""
        self.record(["N", child.token, lacking, lease_clock(), child.worker])
        self.release(child)

    def put_back_held(self, lacking: str) -> None:
        """The same for all that is held: it would fare no better."""
        for jobs in self.held.values():
            for token, *_ in jobs:
                self.record(["N", token, lacking, lease_clock(), ""])
        self.held.clear()

    def refuse(self, child: Child, code: int | None, reason: str) -> None:
        self.record(["F", child.token, code, reason, lease_clock(), child.worker])
        self.release(child)

    def release(self, child: Child) -> None:
        """Its worker has nothing to do any more."""
        if child.worker in self.forgotten:
            self.forgotten.remove(child.worker)
        else:
            self.idle.setdefault(child.lane, []).append(child.worker)

    # -- output -----------------------------------------------------------------------

    def watch_outputs(self) -> None:
        """Have the poller look at the pipes whose time has come."""
        for waiting in (self.fresh, self.resting):
            while waiting and waiting[0][0] <= time.monotonic():
                _, output = waiting.popleft()
                # One that rests, and was fresh before, is in both.
                if output.fd >= 0 and output.ended == (waiting is self.resting):
                    if output.ended:
                        output.rested()
                    self.outputs[output.fd] = output
                    self.poller.register(output.fd, select.POLLIN)

    def drain_output(self, pipe: int) -> None:
        """Take what a job has written."""
        output = self.outputs[pipe]
        if output.drain():
            self.close_output(output)

    def close_output(self, output: Output) -> None:
        """Nobody writes any more."""
        self.unwatch(output)
        output.close()

    def unwatch(self, output: Output) -> None:
        """The poller need not look at this pipe."""
        if self.outputs.pop(output.fd, None) is not None:
            self.poller.unregister(output.fd)

    def finish_output(self, output: Output) -> None:
        """A job has ended: all that it wrote is in the file when that is told."""
        if output.fd < 0:
            return
        if output.finish():
            self.close_output(output)
        else:  # processes that it left running may write more
            self.unwatch(output)
            self.resting.append((time.monotonic() + REST, output))

    def linger(self) -> None:
        """Go on reading what processes write that jobs left running, though there is nothing else
        to do: without a reader they would be killed. Nobody waits for us any more."""
        self.ledger.close()
        for number in (0, 1):  # our supervisor waits for the end of our output
            os.dup2(self.spawner.null, number)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # there is nobody to wait for
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while (patience := self.patience_for_outputs()) is not None or self.outputs:
            for fd, _ in self.poller.poll(patience):
                if fd in self.outputs:
                    self.contained(self.drain_output, fd)
            self.contained(self.watch_outputs)

    # -- exits ------------------------------------------------------------------------

    def reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self.children:  # else a job made it our child (clone with CLONE_PARENT)
                self.contained(self.ended, pid, status, usage)

    def ended(self, pid: int, status: int, usage: Any) -> None:
        """A job's leader has ended."""
        for pipe in [pipe for pipe, owner in self.pipes.items() if owner == pid]:
            self.read_failure(pipe)
        child = self.children.pop(pid)
        if child.output is not None:
            self.contained(self.finish_output, child.output)
        code = os.waitstatus_to_exitcode(status)
        try:
            os.killpg(pid, 0)
            leftover = True
        except OSError as error:
            leftover = error.errno == errno.EPERM  # there is something, of another user
        event = [
            "X",
            child.token,
            code if code >= 0 else None,
            -code if code < 0 else None,
            round(usage.ru_utime + usage.ru_stime, 6),
            usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            lease_clock(),
            leftover,
            0 if child.output is None else child.output.received,
        ]
        if child.token in self.fenced:
            event.append(FENCED)
            if leftover:
                end_group(pid, signal.SIGKILL)  # nobody may come to look
        if child.token in self.signalled:
            event.append(SIGNALLED)
        if child.token in self.unsignalled:
            event.append(UNSIGNALLED)
        for tokens in (self.fenced, self.signalled, self.unsignalled):
            tokens.discard(child.token)
        if pid in self.failures:
            self.failed(child, *self.failures.pop(pid))
        else:
            self.record(event)
            self.release(child)

    def failed(self, child: Child, step: str, number: int) -> None:
        """A forked child could not run its program."""
        argv, _, cwd, _, _, limits = child.how
        error = Program(argv, None, cwd, {}, -1, limits).failure(step, number)
        if isinstance(error, Shortage):
            self.put_back(child, str(error))
            self.put_back_held(str(error))
        else:
            self.refuse(child, error.code, str(error))

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
