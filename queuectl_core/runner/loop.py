"""The shim's loop: requests in, jobs started and waited for, events out.

Memory may be short at any moment, and a step of the loop may fail for it. Nothing is lost then:
what was read, asked for, started or reaped stays in its place until the step is done, and the next
turn does the step again. So the order within a step matters. A request, a job or an exit is taken
out of its place after everything that may fail, by an assignment or ``del``, which cannot fail. A
step that is done twice must do no harm.
"""

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
from typing import Any, ParamSpec

from . import (
    FENCED,
    FORMAT,
    FUNCTION,
    SIGNALLED,
    UNSIGNALLED,
    host_clock,
    lease_clock,
    signal_group,
)
from .deadline import Deadline
from .journal import JournalWriter
from .output import Folders, Output
from .protocol import LineBuffer, MalformedRequest, parse
from .spawn import (
    LACKING,
    RESET,
    CannotStart,
    Program,
    Shortage,
    Spawner,
    opened_input,
    prepare_output,
)

P = ParamSpec("P")

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
PAUSE = 0.01
"""Seconds after an error of its own: until there is memory again, the same may fail at once."""


class Child:
    """A job, the worker that it occupies, how it is started, and how far its start has come."""

    __slots__ = ("after", "how", "output", "pid", "pipe", "queues", "token", "worker")

    def __init__(self, token: str, worker: str, queues: str, how: list[Any]) -> None:
        self.token = token
        self.worker = worker
        self.queues = queues
        self.how = how
        self.output: Output | None = None
        self.after = 0.0  # when its start began
        self.pid = 0  # it runs
        self.pipe: int | None = None  # one that was forked tells there why it cannot run


class Shim:
    """The loop and what it knows; see the top of the package."""

    def __init__(self, run: str, name: str, term: str = "", kill: str = "") -> None:
        self.journal = JournalWriter(run, name)
        self.deadline = Deadline(f"{run}/{name}.lease", float(term), float(kill)) if term else None
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
        self.idle: dict[str, list[str]] = {}  # queues -> workers
        self.held: dict[str, deque[list[Any]]] = {}  # queues -> [token, HOW]
        self.retired: set[str] = set()  # workers that are busy, and not to be used again
        self.lines = LineBuffer()
        self.received = b""  # what was read, until it is in that buffer
        self.request: bytearray | None = None  # the request that is being applied
        self.starts: deque[Child] = deque()  # jobs that have a worker, not yet answered
        self.starting: Child | None = None  # the one of them that is being started
        self.in_round = False  # of starts: the journal may be locked, and we may not be in "/"
        self.locked_out = False
        self.exit: tuple[int, int, Any] | None = None  # what wait4 said, until it is told
        self.exit_lost = False  # wait4 failed: it may have reaped a child nevertheless
        self.leaving: Child | None = None  # it was answered, and its worker is not yet free
        self.pipes: dict[int, int] = {}  # of forked children: the pipe that tells of failure -> pid
        self.failures: dict[int, bytes] = {}  # pid -> why its program was not run
        self.error: Exception | None = None  # in this turn
        self.orphaned = False
        self.woken = False  # by a signal: of a child that ended, or of who misses our files
        self.left = False  # there is nothing more to do but to read what daemons of jobs write
        self.let_go = False
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
        self.journal.record(["H", os.getpid(), FORMAT])
        self.poller = poller
        self.wake = wake
        while True:
            try:
                if self.left:
                    if not self.linger():
                        return
                elif self.is_done():
                    self.left = True
                else:
                    self.turn()
            except Exception as error:
                self.error = error

    def is_done(self) -> bool:
        """The supervisor is gone, no job is left, and the journal says all that matters."""
        return (
            self.orphaned
            and not (self.children or self.starts or self.starting or self.received)
            and not (self.journal.unwritten and self.journal.unsettled)
            and self.request is None
            and self.error is None
        )

    def turn(self) -> None:
        """One turn of the loop. A step that failed is done again in the next one."""
        failed, self.error = self.error, None
        if failed is not None:
            self.contained(self.report, failed)
        for fd, _ in self.poller.poll(0 if failed is not None else self.patience()):
            self.contained(self.look_at, fd)
        self.contained(self.apply_all)
        self.contained(self.watch_outputs)
        self.contained(self.enforce_deadline)
        self.contained(self.reap)
        if self.in_round or self.journal.locked:
            self.contained(self.end_round)
        if self.starting or self.starts or self.may_start_held():
            self.contained(self.start_all)
        else:
            self.locked_out = False  # nothing waits for the journal any more
            if self.journal.unwritten or self.woken or self.orphaned:
                self.contained(self.journal.renew)
                self.contained(self.journal.flush)
                self.woken = False
        self.contained(self.send)

    def contained(self, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do ``step``. An error in it is kept, to be reported, and we go on: there are jobs whose
        end only we can see."""
        try:
            step(*args, **kwargs)
        except Exception as error:
            self.error = error

    def report(self, error: Exception) -> None:
        """Tell of an error of our own, each once."""
        time.sleep(PAUSE)
        text = f"error in the shim: {type(error).__name__}: {error}"
        if text not in self.reported and len(self.reported) < REPORT_AT_MOST:
            self.reported.add(text)
            self.emit(["T", None, text])

    def look_at(self, fd: int) -> None:
        """There is something to read."""
        if fd == self.wake:
            drain(fd)
            self.woken = True
        elif fd == 0:
            self.receive()
        elif fd in self.outputs:
            self.drain_output(fd)
        elif fd in self.pipes:
            self.read_failure(fd)
        elif fd != 1:  # there was no memory to unregister it
            self.unregister(fd)

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
        if self.deadline and self.children:
            return self.deadline.patience()
        # Somebody may delete the files of an orphan, which its jobs' next owner needs.
        return 1000 if self.journal.unwritten or self.orphaned else None

    def gathering(self) -> bool:
        """There are held jobs enough to go on with: the supervisor need not hear of us yet."""
        return sum(map(len, self.held.values())) > self.refill_at

    # -- requests ---------------------------------------------------------------------

    def receive(self) -> None:
        """Read what the supervisor sent, or that it is gone."""
        if self.received:
            return
        try:
            self.received = os.read(0, 1 << 16)
        except OSError as error:
            if error.errno in LACKING:
                raise
        if self.received:
            return
        if not self.orphaned:
            self.journal.record(["E"])
            self.orphaned = True
        self.held.clear()
        self.unsent.clear()
        self.poller.unregister(0)

    def apply_all(self) -> None:
        """Apply the requests that have arrived as a whole."""
        if self.received:
            self.lines.feed(self.received)
            self.received = b""
        applied = False
        while True:
            if self.request is None:
                self.request = self.lines.take()
            if self.request is None:
                break
            self.apply_line(self.request)
            self.request, applied = None, True
        if applied:
            self.refill_at = sum(map(len, self.held.values())) // 2

    def apply_line(self, line: bytearray) -> None:
        """Apply one request, or refuse it."""
        try:
            self.apply(parse(line))
        except (MemoryError, OSError):
            raise  # it is applied in the next turn
        except Exception as error:
            if not isinstance(error, MalformedRequest):  # a fault of ours
                error = MalformedRequest(line, repr(error))
            self.emit(["T", error.token, str(error)])
            if error.token is not None:  # otherwise its supervisor would wait forever
                self.record(["F", error.token, None, str(error), lease_clock(), ""])

    def apply(self, request: list[Any]) -> None:
        """Apply one request."""
        match request:
            case ["start", token, worker, queues, *how]:
                if worker in self.idle.get(queues, ()):
                    self.idle[queues].remove(worker)
                self.starts.append(Child(token, worker, queues, how))
            case ["hold", token, queues, *how]:
                self.held.setdefault(queues, deque()).append([token, *how])
            case ["use", worker, queues]:
                self.idle.setdefault(queues, []).append(worker)
            case ["recall", workers]:
                self.recall(workers)
            case ["settled", tokens]:
                self.journal.settled(tokens)
            case ["kill", token, number]:
                for pid, child in self.children.items():
                    if child.token == token:
                        self.signal(pid, child, number)
            case ["ping"]:
                self.emit(["P", None])

    def recall(self, workers: list[str]) -> None:
        """Give back what is held, and use these workers no more."""
        busy = {child.worker for child in self.children.values()}
        busy |= {child.worker for child in self.starts}
        if self.starting is not None:
            busy.add(self.starting.worker)
        for worker in workers:
            for idle in self.idle.values():
                if worker in idle:
                    idle.remove(worker)
            if worker in busy:
                self.retired.add(worker)
        self.emit(["W", [token for jobs in self.held.values() for token, *_ in jobs]])
        self.held = {}

    def signal(self, pid: int, child: Child, number: int) -> None:
        """Signal a job's group; that we may not is told once."""
        try:
            os.killpg(pid, number)
            self.signalled.add(child.token)
        except PermissionError:
            if child.token not in self.unsignalled:
                self.emit(["T", child.token, "cannot signal it: it runs as another user"])
                self.unsignalled.add(child.token)
        except ProcessLookupError:
            self.signalled.add(child.token)  # it is about to be reaped

    def enforce_deadline(self) -> None:
        """End what runs once the lease has run out."""
        number = self.deadline.passed() if self.deadline and self.children else 0
        if not number:
            return
        for pid, child in self.children.items():
            if number == signal.SIGKILL or child.token not in self.fenced:
                self.signal(pid, child, number)
                self.fenced.add(child.token)

    # -- starts -----------------------------------------------------------------------

    def may_start_held(self) -> bool:
        """Whether there is an idle worker for a job that we hold."""
        return any(self.held[queues] and self.idle.get(queues) for queues in self.held)

    def start_all(self) -> None:
        """One round: what was asked for, and of what is held as much as there are workers for."""
        lacking = ""
        self.locked_out = False
        self.in_round = True
        try:
            allowed = self.journal.lock()
        except BlockingIOError:
            self.locked_out, self.in_round = True, False
            return
        except OSError as error:
            allowed, lacking = True, f"cannot lock the journal: {error.strerror}"
        try:
            self.start_round(allowed, lacking)
        finally:
            self.end_round()

    def end_round(self) -> None:
        """Let others use the journal, and leave the last job's directory: or its file system could
        not be unmounted."""
        try:
            self.journal.unlock()
        finally:
            os.chdir("/")
        self.in_round = False

    def start_round(self, allowed: bool, lacking: str) -> None:
        """Start jobs until no worker is free or no job is left. ``allowed``: nobody has revoked us;
        ``lacking``: what the host is short of."""
        if self.starting is not None and self.starting.pid:
            self.complete_start(self.starting)
        while True:
            self.take_held(allowed)
            tokens = [child.token for child in self.starts]
            if self.starting is not None:
                tokens.append(self.starting.token)
            if not tokens:
                return
            if allowed and not lacking and not self.journal.begin(tokens):
                lacking = "cannot write the journal"
            while self.starting is not None or self.starts:
                lacking = self.start_next(allowed, lacking)
            if lacking:
                self.put_back_held(lacking)
            # One that could not be started has left its worker to the next.

    def take_held(self, allowed: bool) -> None:
        """Give held jobs to idle workers; all held jobs are taken if they are to be refused."""
        for queues, jobs in self.held.items():
            idle = self.idle.get(queues, [])
            while jobs and (idle or not allowed):
                token, *how = jobs[0]
                self.starts.append(Child(token, idle[-1] if idle else "", queues, how))
                del jobs[0]
                if idle:
                    del idle[-1]

    def start_next(self, allowed: bool, lacking: str) -> str:
        """Start the next job, or say why not. Returns what the host lacks: then no other job can be
        started either."""
        if self.starting is None:
            self.starting = self.starts[0]
            del self.starts[0]
        child = self.starting
        if not allowed:
            self.drop_output(child)
            self.emit(["R", child.token])
            self.starting = None
            return lacking
        lacking = lacking or self.start(child)
        if lacking:
            self.put_back(child, lacking)
        return lacking

    def start(self, child: Child) -> str:
        """Start a job, or say why it cannot be started. Returns what the host lacks."""
        argv, plain, cwd, env, out, limits, *files = child.how
        input_file, secrets = files[0] if files else (None, None)
        if self.deadline and self.deadline.passed():
            self.refuse(child, None, FENCED)
            return ""
        try:
            if child.output is None:
                child.output = prepare_output(self.folders, *out)
            environ = self.environ | {os.fsencode(k): os.fsencode(v) for k, v in env.items()}
            environ[b"QUEUECTL_WORKER"] = os.fsencode(child.worker)
            if limits or self.shell_only:
                plain = None
            output = child.output.write_end
            program = Program(argv, plain, cwd, environ, output, limits, secrets=secrets or None)
            child.after = host_clock()
            if input_file is None:
                child.pid, child.pipe = self.spawner.start(program)
            else:
                with opened_input(input_file) as fd:
                    program = program._replace(input=fd)
                    child.pid, child.pipe = self.spawner.start(program)
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
        self.complete_start(child)
        return ""

    def complete_start(self, child: Child) -> None:
        """The process of the job that is being started runs: look after it, and tell of it."""
        output, pid, before = child.output, child.pid, host_clock()
        if output is None:
            return
        output.started()
        drop_input(child)
        self.children[pid] = child
        if child.pipe is not None:
            self.poller.register(child.pipe, select.POLLIN)
            self.pipes[child.pipe] = pid
            child.pipe = None
        if not self.fresh or self.fresh[-1][1] is not output:
            self.fresh.append((time.monotonic() + SHORT, output))
        self.record(["S", child.token, pid, child.after, before, lease_clock(), child.worker])
        self.starting = None

    def read_failure(self, pipe: int) -> None:
        """A forked child runs its program now, or has said why it cannot."""
        pid = self.pipes[pipe]
        try:
            said = os.read(pipe, 100)
        except BlockingIOError:
            said = b""
            if pid in self.children:
                return
        if said:
            self.failures[pid] = said
        self.unregister(pipe)
        os.close(pipe)
        del self.pipes[pipe]

    def put_back(self, child: Child, lacking: str, pid: int = 0) -> None:
        """The host lacks something: the job is as if it had never been claimed."""
        self.answer(child, ["N", child.token, lacking, lease_clock(), child.worker], pid)

    def put_back_held(self, lacking: str) -> None:
        """The same for all that is held: it would fare no better."""
        for jobs in self.held.values():
            while jobs:
                self.record(["N", jobs[0][0], lacking, lease_clock(), ""])
                del jobs[0]
        self.held.clear()

    def refuse(self, child: Child, code: int | None, reason: str, pid: int = 0) -> None:
        """The job itself is why it cannot be started, or nobody will know how it ended."""
        self.answer(child, ["F", child.token, code, reason, lease_clock(), child.worker], pid)

    def drop_output(self, child: Child) -> None:
        """It will not be started."""
        drop_input(child)
        output, child.output = child.output, None
        if output is not None:
            output.close()

    def answer(self, child: Child, event: list[Any], pid: int = 0) -> None:
        """The last event of a job; its worker is free then. ``pid``: its process has ended; 0: it
        is the one that is being started."""
        if not pid:
            self.drop_output(child)
        self.free_worker()
        self.record(event)
        self.leaving = child
        if pid:
            del self.children[pid]
            if pid in self.failures:
                del self.failures[pid]
        else:
            self.starting = None
        self.free_worker()

    def free_worker(self) -> None:
        """The worker of the job that was answered has nothing to do any more."""
        child = self.leaving
        if child is None:
            return
        for tokens in (self.fenced, self.signalled, self.unsignalled):
            tokens.discard(child.token)
        if child.worker in self.retired:
            self.retired.remove(child.worker)
        else:
            self.idle.setdefault(child.queues, []).append(child.worker)
        self.leaving = None

    # -- output -----------------------------------------------------------------------

    def watch_outputs(self) -> None:
        """Have the poller look at the pipes whose time has come."""
        for waiting in (self.fresh, self.resting):
            while waiting and waiting[0][0] <= time.monotonic():
                _, output = waiting[0]
                # One that rests, and was fresh before, is in both.
                if output.fd >= 0 and output.ended == (waiting is self.resting):
                    if output.ended:
                        output.rested()
                    self.outputs[output.fd] = output
                    self.poller.register(output.fd, select.POLLIN)
                del waiting[0]

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
        # In this order: one that is in ``outputs`` and not in the poller would keep us for ever.
        if output.fd in self.outputs:
            del self.outputs[output.fd]
            self.unregister(output.fd)

    def finish_output(self, output: Output) -> None:
        """A job has ended: all that it wrote is in the file when that is told."""
        if output.fd < 0:
            return
        if not output.ended:
            try:
                closed = output.finish()
            except OSError as error:  # of the disk: the job has ended all the same
                self.error = error
                return
            if closed:
                self.close_output(output)
                return
        self.unwatch(output)  # processes that it left running may write more
        if not self.resting or self.resting[-1][1] is not output:
            self.resting.append((time.monotonic() + REST, output))

    def linger(self) -> bool:
        """Go on reading what processes write that jobs left running, though there is nothing else
        to do: without a reader they would be killed. One turn; False: nobody writes any more."""
        failed, self.error = self.error, None
        if failed is not None:
            time.sleep(PAUSE)
        patience = self.patience_for_outputs()
        if patience is None and not self.outputs:
            return False
        if not self.let_go:
            self.let_others_go_on()
            self.let_go = True
        for fd, _ in self.poller.poll(0 if failed is not None else patience):
            self.contained(self.drain_output if fd in self.outputs else self.unregister, fd)
        self.watch_outputs()
        return True

    def let_others_go_on(self) -> None:
        """Nobody must wait for us any more, or take us for a shim that looks after jobs."""
        self.journal.close()
        for number in (0, 1):  # our supervisor waits for the end of our output
            os.dup2(self.spawner.null, number)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # there is nobody to wait for
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.unregister(self.wake)

    def unregister(self, fd: int) -> None:
        """The poller need not look at this descriptor. It may have been told so before."""
        with contextlib.suppress(KeyError):
            self.poller.unregister(fd)

    # -- exits ------------------------------------------------------------------------

    def reap(self) -> None:
        """Tell of each child that has ended."""
        if self.starting is not None and self.starting.pid:
            self.complete_start(self.starting)  # or its end would be told before its start
        self.free_worker()
        if self.exit_lost:
            self.find_lost_exits()
        while True:
            if self.exit is None:
                try:
                    self.exit = os.wait4(-1, os.WNOHANG)
                except ChildProcessError:
                    return
                except MemoryError:
                    self.exit_lost = True
                    raise
            pid, status, usage = self.exit
            if pid in self.children:  # else a job made it our child (clone with CLONE_PARENT)
                try:
                    self.exited(pid, status, usage)
                except (MemoryError, OSError):
                    raise  # it is told in the next turn
                except Exception as error:  # a fault of ours: it must not hide how others end
                    self.error = error
                    self.refuse(self.children[pid], None, f"error in the shim: {error}", pid)
            self.exit = None
            if not pid:
                return

    def find_lost_exits(self) -> None:
        """There was no memory for what ``wait4`` had to say, after it reaped a child."""
        for pid, child in list(self.children.items()):
            try:
                os.kill(pid, 0)
            except PermissionError:
                pass
            except ProcessLookupError:
                if child.output is not None:
                    self.finish_output(child.output)
                self.refuse(child, None, "how it ended was lost: not enough memory", pid)
        self.exit_lost = False

    def exited(self, pid: int, status: int, usage: Any) -> None:
        """A job's leader has ended."""
        for pipe in [pipe for pipe, owner in self.pipes.items() if owner == pid]:
            self.read_failure(pipe)
        child = self.children[pid]
        if child.output is not None:
            self.finish_output(child.output)
        code = os.waitstatus_to_exitcode(status)
        try:
            os.killpg(pid, 0)
            leftover = True
        except OSError as error:
            leftover = error.errno != errno.ESRCH  # there is something, of another user
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
                signal_group(pid, signal.SIGKILL)  # nobody may come to look
        if child.token in self.signalled:
            event.append(SIGNALLED)
        if child.token in self.unsignalled:
            event.append(UNSIGNALLED)
        if pid in self.failures:
            self.failed(pid, child)
        else:
            self.answer(child, event, pid)

    def failed(self, pid: int, child: Child) -> None:
        """A forked child could not run its program."""
        step, number = self.failures[pid].split()
        argv, _, cwd, _, _, limits, *files = child.how
        program = Program(argv, None, cwd, {}, -1, limits, secrets=files[0][1] if files else None)
        error = program.failure(step.decode(), int(number))
        if isinstance(error, Shortage):
            self.put_back(child, str(error), pid)
            self.put_back_held(str(error))
        else:
            self.refuse(child, error.code, str(error), pid)

    # -- events -----------------------------------------------------------------------

    def record(self, event: list[Any]) -> None:
        """An event for the journal and the supervisor."""
        self.unsent += self.journal.record(event)

    def emit(self, event: list[Any]) -> None:
        """An event for the supervisor only."""
        self.unsent += json.dumps(event).encode() + b"\n"

    def send(self) -> None:
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
                self.poller.register(1, select.POLLOUT)
                return
            except BrokenPipeError:
                self.unsent.clear()  # nobody reads; standard input will say so
                break
            del self.unsent[:count]
        self.unregister(1)


def drop_input(child: Child) -> None:
    """The job has its standard input, or does not need it."""
    path = child.how[6][0] if len(child.how) > 6 else None
    if path is not None:
        with contextlib.suppress(OSError):
            os.unlink(os.fsencode(path))


def drain(fd: int) -> None:
    """Empty a pipe that only wakes."""
    try:
        while len(os.read(fd, 4096)) == 4096:
            pass
    except BlockingIOError:
        pass


def ignore_signals() -> None:
    """Ignore every signal: a job can send any of them to its parent. SIGKILL and SIGSTOP
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
