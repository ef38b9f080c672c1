"""The shim: the small process that is the parent of a supervisor's jobs, and outlives it.

    supervisor ──requests (stdin)──► shim ──posix_spawn──► jobs, each its own process group
        ▲                             │
        └────────events (stdout)──────┼──► RUN/ID.journal   (the same lines, for whoever comes)
                                      └──► RUN/ID.alive     (locked for as long as we live)

Why it exists: an exit status is told to the parent, once. When a supervisor is killed its
jobs go on; had they been its own children, how they ended would be lost, and each would have
to be run again or forgotten. The shim keeps waiting, writes every exit to the journal, and
leaves when its last job has ended. The next supervisor on the host reads the journal.

Run as a script by ``python -I -S``: it imports little, so it starts in 15 ms and stays small
(Linux counts the parent's memory at the time of the spawn in a child's peak).

Requests, one JSON array a line:
    ["start", token, argv, cwd, env, output, limits]    env is added to our own; output is a file;
                                                limits: null, or [nice, memory, CPU seconds]
    ["kill", token, signal]                     to the job's process group

Events, one JSON array a line, first to the journal, then to standard output:
    ["H", pid]                                  a shim began (journal only)
    ["S", token, pid, after, before, wall]      started between two moments of the host's clock
    ["F", token, code, reason, wall]            could not be started
    ["X", token, code, signal, cpu, rss, wall, leftover]   ended; leftover: its group has not
    ["E"]                                       the supervisor is gone (journal only)
    ["R"]                                       revoked, by whoever took over (journal only)
    ["R", token]                                refused for that (standard output only)

Who may start: whoever takes over a supervisor's jobs appends a line to the journal under its
lock ("revokes" it). Before each round of starts the shim takes the same lock and looks whether
the journal is longer than what it wrote itself; from then on it starts nothing more. So a job
is never started by a supervisor that was stopped for a while, lost its jobs, and woke up.
On a full disk a line can't be appended, but NULs can (a hole takes no space): they say the same.
A journal that was deleted is written anew, with all that whoever comes must know.
"""

import errno
import fcntl
import json
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

LINUX = sys.platform == "linux"

COMPACT_AT = 1 << 20
"""Bytes of journal after which ended jobs are dropped from it."""
KEEP_ENDED = 4096
"""Ended jobs that survive: far more than a supervisor has workers, so none it has not seen."""

CPU_GRACE = 5
"""Seconds of CPU time from SIGXCPU to SIGKILL for a job with a CPU limit."""

OWN_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW

REVOKED = b'["R"]\n'
"""The line that takes the right to start jobs away."""

RESET = [
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGPIPE,
    signal.SIGQUIT,
    signal.SIGCHLD,
    signal.SIGXFSZ,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
]
"""Back to default in jobs: Python ignores some, we ignore more, and exec would pass that on."""


def host_clock() -> float:
    """The clock the kernel dates processes by: since boot on Linux, since the epoch elsewhere."""
    if LINUX:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time()


def search(name: str, environ: dict[bytes, bytes], start: Callable[[bytes], T]) -> T:
    """``start(path)`` for the ``name`` that is found on the job's own PATH."""
    word = os.fsencode(name)
    paths = [word]
    if b"/" not in word:
        folders = environ.get(b"PATH", os.fsencode(os.defpath)).split(b":")
        paths = [os.path.join(folder or b".", word) for folder in folders]
    refused: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in paths:
        try:
            return start(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            refused = error  # as a shell does: go on looking, and say so if that was all
    raise refused


class Shim:
    """The loop and what it knows; see the top of the file."""

    def __init__(self, run: str, name: str) -> None:
        self.path = f"{run}/{name}"
        self.revoked = False
        self.alive = self.open_alive()
        # Revoked before we began, if our supervisor died while we were being started.
        self.journal = self.open_journal()
        fcntl.flock(self.journal, fcntl.LOCK_UN)
        self.unwritten = b""  # journal lines a full disk refused
        self.unsent = b""  # events the supervisor has not read yet
        self.orphaned = False
        self.children: dict[int, str] = {}
        self.started: dict[str, bytes] = {}  # token -> its S line, while it runs
        self.ended: deque[bytes] = deque(maxlen=KEEP_ENDED)
        self.requests = b""
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.environ = dict(os.environb)

    def open_alive(self) -> int:
        """The file whose lock says that we live."""
        fd = os.open(f"{self.path}.alive", OWN_FILE, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return fd

    def open_journal(self) -> int:
        """The journal, with its lock held; it may say already that we are revoked."""
        fd = os.open(f"{self.path}.journal", os.O_APPEND | OWN_FILE, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        self.written = os.fstat(fd).st_size
        content = os.pread(fd, self.written, 0)
        self.revoked = self.revoked or REVOKED in content or b"\0" in content
        return fd

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
        self.record(["H", os.getpid()])
        while not (self.orphaned and not self.children and not self.unwritten):
            for fd, _ in poller.poll(1000 if self.unwritten else None):
                if fd == wake:
                    self.drain(wake)
                elif fd == 0 and not self.receive():
                    poller.unregister(0)
            self.reap()
            if self.unwritten:
                self.renew_files()
                self.flush()
            self.send(poller)

    @staticmethod
    def drain(fd: int) -> None:
        try:
            while os.read(fd, 4096):
                pass
        except BlockingIOError:
            pass

    # -- requests ---------------------------------------------------------------------

    def receive(self) -> bool:
        """Take what the supervisor sent; False when it is gone."""
        try:
            data = os.read(0, 1 << 20)
        except OSError:
            data = b""
        if not data:
            self.orphaned = True
            self.unsent = b""
            self.record(["E"])
            return False
        *lines, self.requests = (self.requests + data).split(b"\n")
        starts = []
        for line in lines:
            kind, token, *rest = json.loads(line)
            if kind == "start":
                starts.append((token, *rest))
            else:
                self.kill(token, rest[0])
        if starts:
            self.start_all(starts)
        return True

    def kill(self, token: str, number: int) -> None:
        for pid, owner in self.children.items():
            if owner == token:
                try:
                    os.killpg(pid, number)
                except OSError:
                    pass

    def start_all(self, starts: list[Any]) -> None:
        self.renew_files()
        fcntl.flock(self.journal, fcntl.LOCK_EX)
        try:
            self.flush()
            if os.fstat(self.journal).st_size != self.written:
                self.revoked = True
            for token, *start, limits in starts:
                if self.revoked:
                    self.emit(["R", token])
                else:
                    self.start(token, *start, limits=limits)
            self.flush()
            if self.written > COMPACT_AT and not self.revoked:
                self.compact()
        finally:
            fcntl.flock(self.journal, fcntl.LOCK_UN)

    def start(
        self,
        token: str,
        argv: list[str],
        cwd: str,
        env: dict[str, str],
        out: str,
        *,
        limits: list[int] | None,
    ) -> None:
        try:
            os.chdir(cwd)
        except OSError as error:
            self.refuse(token, None, f"cannot use cwd {cwd}: {error.strerror}")
            return
        try:
            fd = self.open_output(out)
        except OSError as error:
            self.refuse(token, None, f"cannot write output file: {error.strerror}")
            return
        environ = self.environ | {os.fsencode(k): os.fsencode(v) for k, v in env.items()}
        try:
            after = host_clock()
            if limits is None:
                pid = self.spawn(argv, environ, fd)
            else:
                pid = self.spawn_limited(argv, environ, fd, limits)
            before = host_clock()
        except OSError as error:
            if error.errno == errno.ENOENT:
                self.refuse(token, 127, f"command not found: {argv[0]}")
            elif error.errno in (errno.EACCES, errno.ENOEXEC, errno.EISDIR):
                self.refuse(token, 126, f"cannot execute {argv[0]}: {error.strerror}")
            else:
                self.refuse(token, None, f"cannot start: {error.strerror}")
            return
        finally:
            os.close(fd)
        self.children[pid] = token
        self.started[token] = self.record(["S", token, pid, after, before, time.time()])

    @staticmethod
    def open_output(path: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            folder = os.path.dirname(path)
            for part in (os.path.dirname(folder), folder):  # makedirs' mode is for the last only
                os.makedirs(part, 0o700, exist_ok=True)
            return os.open(path, flags, 0o600)

    def spawn(self, argv: list[str], environ: dict[bytes, bytes], output: int) -> int:
        """Start ``argv``, found on the job's own PATH; FileNotFoundError when it is not."""
        actions = [
            (os.POSIX_SPAWN_DUP2, self.null, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ]
        return search(
            argv[0],
            environ,
            lambda path: os.posix_spawn(
                path,
                argv,
                environ,
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=RESET,
            ),
        )

    def spawn_limited(
        self, argv: list[str], environ: dict[bytes, bytes], output: int, limits: list[int]
    ) -> int:
        """The same for a job with limits, which posix_spawn cannot set: fork, limit, exec.

        The child says through a pipe that exec closes why it could not; so an error is the same
        error as posix_spawn's.
        """
        import resource

        nice, memory, cpu = limits
        bounds = []
        if memory:
            bounds.append((resource.RLIMIT_AS, memory, memory))
        if cpu:  # SIGXCPU at the first, which a job may handle; SIGKILL at the second
            bounds.append((resource.RLIMIT_CPU, cpu, cpu + CPU_GRACE))
        told, tell = os.pipe()
        pid = os.fork()
        if pid:
            os.close(tell)
            with open(told, "rb") as pipe:
                failure = pipe.read()
            if not failure:
                return pid
            os.waitpid(pid, 0)
            raise OSError(int(failure), os.strerror(int(failure)))
        try:  # the child: it must never return to the loop
            os.setpgid(0, 0)
            for number in RESET:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for descriptor, standard in ((self.null, 0), (output, 1), (output, 2)):
                os.dup2(descriptor, standard)
            os.nice(nice)
            for kind, *limit in bounds:
                most = resource.getrlimit(kind)[1]  # our own limit, which a job may not exceed
                free = most == resource.RLIM_INFINITY
                soft, hard = (one if free else min(one, most) for one in limit)
                resource.setrlimit(kind, (soft, hard))
            search(argv[0], environ, lambda path: os.execve(path, argv, environ))  # noqa: S606
        except OSError as error:
            os.write(tell, str(error.errno).encode())
        except MemoryError:
            os.write(tell, str(int(errno.ENOMEM)).encode())
        finally:
            os._exit(127)

    def refuse(self, token: str, code: int | None, reason: str) -> None:
        self.ended.append(self.record(["F", token, code, reason, time.time()]))

    # -- exits ------------------------------------------------------------------------

    def reap(self) -> None:
        while self.children:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            token = self.children.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            try:
                os.killpg(pid, 0)
                leftover = True
            except OSError:
                leftover = False
            line = [
                "X",
                token,
                code if code >= 0 else None,
                -code if code < 0 else None,
                round(usage.ru_utime + usage.ru_stime, 6),
                usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
                time.time(),
                leftover,
            ]
            self.started.pop(token, None)
            self.ended.append(self.record(line))

    # -- events -----------------------------------------------------------------------

    def record(self, event: list[Any]) -> bytes:
        """An event for the journal and the supervisor."""
        line = json.dumps(event).encode() + b"\n"
        self.unwritten += line
        if event[0] not in ("H", "E"):
            self.unsent += line
        return line

    def emit(self, event: list[Any]) -> None:
        """An event for the supervisor only."""
        self.unsent += json.dumps(event).encode() + b"\n"

    def flush(self) -> None:
        """Write the journal; what a full disk refuses is kept and tried again."""
        while self.unwritten:
            try:
                count = os.write(self.journal, self.unwritten)
            except OSError:
                return
            self.written += count
            # A line that went in by half is ended, and written again as a whole: somebody
            # else may have appended theirs before there was space for the rest.
            whole = self.unwritten.rfind(b"\n", 0, count) + 1
            self.unwritten = (b"\n" if whole < count else b"") + self.unwritten[whole:]

    def renew_files(self) -> None:
        """Should somebody have cleared the run directory, be there again for whoever comes.
        Where that can't be written we go on with the files nobody else sees."""
        try:
            if not os.fstat(self.alive).st_nlink:
                os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
                os.dup2(fd := self.open_alive(), self.alive, inheritable=False)
                os.close(fd)
            if not os.fstat(self.journal).st_nlink:
                os.dup2(fd := self.open_journal(), self.journal, inheritable=False)
                os.close(fd)
                fcntl.flock(self.journal, fcntl.LOCK_UN)
                self.unwritten = self.essence()
        except OSError:
            pass

    def send(self, poller: select.poll) -> None:
        """Write to the supervisor; what its full pipe refuses waits for it to read."""
        if self.orphaned:
            self.unsent = b""
        while self.unsent:
            try:
                count = os.write(1, self.unsent)
            except BlockingIOError:
                poller.register(1, select.POLLOUT)
                return
            except OSError:
                self.unsent = b""  # nobody reads; standard input will say so
                break
            self.unsent = self.unsent[count:]
        try:
            poller.unregister(1)
        except KeyError:
            pass

    def compact(self) -> None:
        """Start the journal anew with the jobs that run and those that ended last."""
        os.ftruncate(self.journal, 0)
        self.written = 0
        self.unwritten = self.essence()
        self.flush()

    def essence(self) -> bytes:
        """What whoever takes over must know."""
        head = json.dumps(["H", os.getpid()]).encode() + b"\n"
        return head + b"".join(self.started.values()) + b"".join(self.ended)


def main() -> None:
    """Serve, deaf to every signal that is meant for a supervisor."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    Shim(*sys.argv[1:]).run()


if __name__ == "__main__":
    main()
