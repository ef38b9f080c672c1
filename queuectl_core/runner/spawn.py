"""Starting one job: its directory, its environment, its program, its limits.

There are two ways. The quick one: the shim itself changes to the job's directory and calls
posix_spawn, which returns when the program runs. The careful one: the shim forks, and the child
does all that may take long (a directory or a program on a network mount) or that posix_spawn cannot
do (limits). The shim never waits for it: a pipe says later why its program could not be run.
"""

import contextlib
import errno
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from .mounts import Mounts
from .output import Folders, Output

T = TypeVar("T")

CPU_GRACE = 5
"""Seconds of CPU time from SIGXCPU to SIGKILL for a job with a CPU limit."""

REMEMBER = 1.0
"""Seconds a program's place on PATH is remembered, and what PWD should be: looking costs a tenth
of a start."""

RESET = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""Back to default in jobs: we ignore nearly all of them, and exec would pass that on."""

LACKING = frozenset((errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE))
"""Errors that say that the host is short of something, whatever the job is."""
OUTPUT_LACKING = LACKING | {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
}
"""The same for the output: it is no job's fault that a disk is full or a folder is read-only."""

MOST_INTERPRETERS = 5
"""Scripts that the kernel follows: one may name another as its interpreter."""


MAX_VARIABLE = 131_071
"""Bytes of a variable with its name; execve takes no longer one."""
NOT_A_FILE, TOO_LARGE, HAS_NUL = -1, -2, -3
BAD_SECRETS = {
    NOT_A_FILE: "it is not a regular file",
    TOO_LARGE: "it is too large for a variable",
    HAS_NUL: "it holds a NUL byte",
}
"""Why the content of a file cannot be the value of a variable, by numbers like those of errors."""


class BadSecret(OSError):
    """``step``: which secret, for :meth:`Program.failure`."""

    def __init__(self, place: int, number: int) -> None:
        super().__init__(number, "")
        self.step = f"secret:{place}"


class CannotStart(Exception):
    """The job itself is why it cannot be started. ``code``: the exit code a shell would give."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Shortage(Exception):
    """The host lacks something: no job could be started now."""


class Program(NamedTuple):
    """What to run. ``plain``: words to try before ``argv``, as a shell would run them."""

    argv: list[str]
    plain: list[str] | None
    cwd: str
    environ: dict[bytes, bytes]
    output: int
    limits: list[int] | None
    input: int | None = None
    """Its standard input; None: /dev/null."""
    secrets: dict[str, str] | None = None
    """Files with the values of variables."""

    def failure(self, step: str, number: int) -> CannotStart | Shortage:
        """What the error ``number`` in ``step`` (cwd, limits, secret:PLACE, start, exec) means."""
        words = BAD_SECRETS.get(number) or os.strerror(number)
        own = number == errno.ENOMEM and bool(self.limits and self.limits[1])
        if number in LACKING and not own:
            return Shortage(f"cannot start a process: {words}")
        if step == "cwd":
            return CannotStart(None, f"cannot use cwd {self.cwd}: {words}")
        if step.startswith("secret:") and self.secrets:
            name, path = list(self.secrets.items())[int(step[7:])]
            return CannotStart(None, f"cannot read the secret {name} from {path}: {words}")
        if step == "exec" and number == errno.ENOENT:
            return CannotStart(127, f"command not found: {self.argv[0]}")
        if step == "exec" and number in (errno.EACCES, errno.ENOEXEC, errno.EISDIR):
            return CannotStart(126, f"cannot execute {self.argv[0]}: {words}")
        return CannotStart(None, f"cannot start: {words}")


def candidates(name: bytes, environ: dict[bytes, bytes]) -> Iterator[bytes]:
    """Where ``name`` may be, on the job's own PATH."""
    if b"/" in name:
        yield name
        return
    for folder in environ.get(b"PATH", os.fsencode(os.defpath)).split(b":"):
        yield os.path.join(folder or b".", name)


def search(name: str, environ: dict[bytes, bytes], start: Callable[[bytes], T]) -> T:
    """``start(path)`` for the ``name`` that is found on the job's own PATH."""
    refused: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in candidates(os.fsencode(name), environ):
        try:
            return start(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            refused = error  # as a shell does: go on looking, and say so if that was all
    raise refused


def prepare_output(folders: Folders, path: str, limit: int) -> Output:
    """The pipe of an attempt, whose output can be written to ``path``. CannotStart or Shortage."""
    try:
        folders.prepare(path)
        return Output(path, limit)
    except OSError as error:
        text = f"cannot write output file: {error.strerror}"
        if error.errno in OUTPUT_LACKING:
            raise Shortage(text) from None
        raise CannotStart(None, text) from None


@contextlib.contextmanager
def opened_input(path: str) -> Iterator[int]:
    """The standard input of an attempt, open while it is started. CannotStart or Shortage."""
    try:
        fd = os.open(os.fsencode(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        text = f"cannot open its standard input: {error.strerror}"
        if error.errno in OUTPUT_LACKING:
            raise Shortage(text) from None
        raise CannotStart(None, text) from None
    try:
        yield fd
    finally:
        os.close(fd)


def read_secrets(secrets: dict[str, str], environ: dict[bytes, bytes]) -> None:
    """Set the variables whose values are in files. Only the child that becomes the job calls it: a
    network mount may let it wait for ever. BadSecret if one cannot be read.

    What it reads must not get into a core file of ours. (A core file of the job is its own.)
    """
    import resource

    dumps = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, dumps[1]))
    for place, (name, path) in enumerate(secrets.items()):
        key = os.fsencode(name)
        try:
            environ[key] = read_secret(os.fsencode(path), MAX_VARIABLE - len(key) - 1)
        except OSError as error:
            raise BadSecret(place, error.errno or errno.EIO) from None
    resource.setrlimit(resource.RLIMIT_CORE, dumps)


def read_secret(path: bytes, most: int) -> bytes:
    """The content of a file without one newline at its end. It waits for no FIFO and no device.
    OSError with a number of :data:`BAD_SECRETS` if it cannot be the value of a variable."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # before open, which may do something to a device
        raise OSError(NOT_A_FILE, "")
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(NOT_A_FILE, "")
        value = b""
        while len(value) <= most + 1 and (block := os.read(fd, most + 2 - len(value))):
            value += block
    finally:
        os.close(fd)
    value = value.removesuffix(b"\n")
    if len(value) > most:
        raise OSError(TOO_LARGE, "")
    if b"\0" in value:
        raise OSError(HAS_NUL, "")
    return value


class Spawner:
    """Starts programs, each in a process group of its own."""

    def __init__(self, mounts: Mounts | None = None) -> None:
        self.mounts = mounts or Mounts()
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._places: dict[tuple[bytes, bytes], bytes | None] = {}
        self._directories: dict[tuple[str, bytes], bytes] = {}
        self._remember_until = 0.0

    def start(self, program: Program) -> tuple[int, int | None]:
        """Start ``program``; its pid, and for one that was forked the pipe that tells why its
        program could not be run (empty: it runs). CannotStart or Shortage."""
        cwd = os.fsencode(program.cwd)
        step = "start"
        try:
            careful = program.limits is not None or program.secrets is not None
            if careful or not self.mounts.is_local(cwd):
                return self._fork(program)
            step = "cwd"
            os.chdir(cwd)
            step = "exec"
            if program.plain and (pid := self._start_plain(program, program.plain)) is not None:
                return pid, None
            if self._touches_foreign(os.fsencode(program.argv[0]), program):
                return self._fork(program)
            argv, environ = program.argv, program.environ
            return search(argv[0], environ, lambda path: self._spawn(path, argv, program)), None
        except OSError as error:
            raise program.failure(step, error.errno or 0) from None

    def _start_plain(self, program: Program, words: list[str]) -> int | None:
        """Start ``words`` as a shell would, in the current directory; None: the shell itself must
        deal with them."""
        now = time.monotonic()
        if now > self._remember_until:
            self._places.clear()
            self._directories.clear()
            self._remember_until = now + REMEMBER
        name = os.fsencode(words[0])
        if self._touches_foreign(name, program):
            return None  # looking for it may take long: the shell may wait, we may not
        path = self._place(name, program.environ)
        if path is None:
            return None
        told = program.environ.get(b"PWD", b"")
        program.environ[b"PWD"] = self._directory(program.cwd, told)
        try:
            return self._spawn(path, words, program)
        except OSError as error:
            if error.errno in LACKING:
                raise
            return None  # a script without #!, a file that was replaced: a shell knows what to do

    def _place(self, name: bytes, environ: dict[bytes, bytes]) -> bytes | None:
        """The program a shell would find; None when there is none, or it can't be run."""
        if b"/" in name:
            return name  # from the current directory: not to be remembered
        key = (name, environ.get(b"PATH", b""))
        if key not in self._places:
            found = (path for path in candidates(name, environ) if is_program(path))
            place = next(found, None)
            if place is not None and not place.startswith(b"/"):
                return place
            self._places[key] = place
        return self._places[key]

    def _directory(self, cwd: str, told: bytes) -> bytes:
        """PWD as a shell that starts in ``cwd`` sets it."""
        key = (cwd, told)
        if key not in self._directories:
            known = told if self.mounts.is_local(told) else b""
            self._directories[key] = working_directory(known)
        return self._directories[key]

    def _touches_foreign(self, name: bytes, program: Program) -> bool:
        """Whether looking for the program ``name`` and running it may take long."""
        if not self.mounts.foreign:
            return False
        cwd = os.fsencode(program.cwd)
        for candidate in candidates(name, program.environ):
            path = os.path.join(cwd, candidate)
            if not self.mounts.is_local(path):
                return True
            if is_program(path):
                return self._interpreter_is_foreign(path)
        return False

    def _interpreter_is_foreign(self, path: bytes) -> bool:
        for _ in range(MOST_INTERPRETERS):
            found = interpreter(path)
            if not found:
                return False
            if not self.mounts.is_local(found):
                return True
            path = found
        return False

    def _spawn(self, path: bytes, argv: list[str], program: Program) -> int:
        return os.posix_spawn(
            path,
            argv,
            program.environ,
            file_actions=(
                (os.POSIX_SPAWN_DUP2, self.null if program.input is None else program.input, 0),
                (os.POSIX_SPAWN_DUP2, program.output, 1),
                (os.POSIX_SPAWN_DUP2, program.output, 2),
            ),
            setpgroup=0,
            setsigmask=(),
            setsigdef=RESET,
        )

    def _fork(self, program: Program) -> tuple[int, int]:
        """Fork, and have the child do the rest."""
        import resource  # noqa: F401 - before the fork: the child needs it

        told, tell = os.pipe()
        try:
            os.set_blocking(told, False)
            # The child ignores signals as we do until it has reset them. One that is blocked
            # meanwhile waits for that; else a SIGTERM that comes at once would be lost.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            pid = os.fork()
        except Exception:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.close(told)
            os.close(tell)
            raise
        if pid:
            try:  # it runs: nothing must keep us from telling that
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                os.close(tell)
                os.setpgid(pid, pid)  # it does so itself, too: one of us is first
            except Exception:  # noqa: S110
                pass
            return pid, told
        step = "start"
        try:  # the child: it must never return to the loop
            os.setpgid(0, 0)
            for number in RESET:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for descriptor, standard in (
                (self.null if program.input is None else program.input, 0),
                (program.output, 1),
                (program.output, 2),
            ):
                os.dup2(descriptor, standard)
            # It may stay here for ever, and must not hold our locks and others' pipes then.
            os.closerange(3, tell)
            os.closerange(tell + 1, os.sysconf("SC_OPEN_MAX"))
            step = "cwd"
            os.chdir(os.fsencode(program.cwd))
            if program.secrets:
                read_secrets(program.secrets, program.environ)
            step = "limits"
            if program.limits is not None:
                set_limits(program.limits)
            step = "exec"
            argv, environ = program.argv, program.environ
            search(argv[0], environ, lambda path: os.execve(path, argv, environ))  # noqa: S606
        except OSError as error:
            os.write(tell, f"{getattr(error, 'step', step)} {error.errno}".encode())
        except MemoryError:
            os.write(tell, f"{step} {errno.ENOMEM}".encode())
        except BaseException:  # a NUL byte, or text that is no UTF-8
            os.write(tell, f"{step} {errno.EINVAL}".encode())
        finally:
            os._exit(127)


def set_limits(limits: list[int]) -> None:
    """Set ``limits`` ([nice, memory, CPU seconds]) for this process and what it starts."""
    import resource

    nice, memory, cpu = limits
    os.nice(nice)
    bounds = []
    if memory:
        bounds.append((resource.RLIMIT_AS, memory, memory))
    if cpu:  # SIGXCPU at the first, which a job may handle; SIGKILL at the second
        bounds.append((resource.RLIMIT_CPU, cpu, cpu + CPU_GRACE))
    for kind, *bound in bounds:
        most = resource.getrlimit(kind)[1]  # our own limit, which a job may not exceed
        free = most == resource.RLIM_INFINITY
        soft, hard = (one if free else min(one, most) for one in bound)
        resource.setrlimit(kind, (soft, hard))


def interpreter(path: bytes) -> bytes:
    """What a script's first line names; empty for another program."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        with open(os.open(path, flags), "rb", buffering=0) as file:
            words = (file.read(256) or b"").partition(b"\n")[0]
    except OSError:
        return b""
    return next(iter(words[2:].split()), b"") if words.startswith(b"#!") else b""


def is_program(path: bytes) -> bool:
    """Whether a shell would run the file at ``path`` if it came upon it on PATH."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and os.access(path, os.X_OK)
    except OSError:
        return False


def working_directory(told: bytes) -> bytes:
    """``told`` if it names the current directory, else the directory's real name."""
    try:
        if told.startswith(b"/") and os.path.samestat(os.stat(told), os.stat(b".")):
            return told
        return os.getcwdb()
    except OSError:
        return told
