"""Starting one job: its output file, its environment, its program, its limits."""

import errno
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

CPU_GRACE = 5
"""Seconds of CPU time from SIGXCPU to SIGKILL for a job with a CPU limit."""

REMEMBER = 1.0
"""Seconds a program's place on PATH is remembered, and what PWD should be: looking costs a tenth
of a start."""

RESET = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""Back to default in jobs: we ignore nearly all of them, and exec would pass that on."""


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


def open_output(path: str) -> int:
    """An attempt's output file, made with its folders; OSError when it can't be."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        folder = os.path.dirname(path)
        for part in (os.path.dirname(folder), folder):  # makedirs' mode is for the last only
            os.makedirs(part, 0o700, exist_ok=True)
        return os.open(path, flags, 0o600)


class Spawner:
    """Starts programs in the current directory, each in a process group of its own."""

    def __init__(self) -> None:
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._places: dict[tuple[bytes, bytes], bytes | None] = {}
        self._directories: dict[tuple[str, bytes], bytes] = {}
        self._remember_until = 0.0

    def plain(
        self, words: list[str], cwd: str, environ: dict[bytes, bytes], output: int
    ) -> int | None:
        """Start ``words`` as a shell would, in ``cwd``, which is the current directory; None: the
        shell itself must deal with them."""
        now = time.monotonic()
        if now > self._remember_until:
            self._places.clear()
            self._directories.clear()
            self._remember_until = now + REMEMBER
        path = self._place(os.fsencode(words[0]), environ)
        if path is None:
            return None
        environ[b"PWD"] = self._directory(cwd, environ.get(b"PWD", b""))
        try:
            return self._spawn(path, words, environ, output)
        except OSError:  # a script without #!, a file that was replaced: a shell knows what to do
            return None

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
            self._directories[key] = working_directory(told)
        return self._directories[key]

    def start(
        self,
        argv: list[str],
        environ: dict[bytes, bytes],
        output: int,
        limits: list[int] | None,
    ) -> int:
        """Start ``argv``, found on the job's own PATH; FileNotFoundError when it is not."""
        if limits is None:
            return search(argv[0], environ, lambda path: self._spawn(path, argv, environ, output))
        return self._start_limited(argv, environ, output, limits)

    def _spawn(self, path: bytes, argv: list[str], environ: dict[bytes, bytes], output: int) -> int:
        return os.posix_spawn(
            path,
            argv,
            environ,
            file_actions=(
                (os.POSIX_SPAWN_DUP2, self._null, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ),
            setpgroup=0,
            setsigmask=(),
            setsigdef=RESET,
        )

    def _start_limited(
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
            for descriptor, standard in ((self._null, 0), (output, 1), (output, 2)):
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
        except Exception:  # a NUL byte, or text that is no UTF-8
            os.write(tell, str(int(errno.EINVAL)).encode())
        finally:
            os._exit(127)


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
