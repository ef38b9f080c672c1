"""Verbs as processes that do not load Python and the modules each time.

Loading takes most of the time of a short verb, and the suite runs thousands of them. So a server
loads the modules once and forks a process for each verb. It is a process as any other, with its
own pipes, environment and folder. What loading itself does is tested with real starts: see
``tests/architecture/test_imports.py``, and everything that uses :meth:`Cli.start`.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

SERVED = sys.platform == "linux"  # elsewhere a fork of a process with loaded frameworks may fail
AT_START = ("PYTHON", "LC_", "LANG", "LD_")
"""Variables that begin like this are read while Python starts."""

LENGTH = struct.Struct("!Q")


def can_fork(words: tuple[str, ...], env: Mapping[str, str]) -> bool:
    """Whether a fork does the same as a new process. Workers and screens live long, and tests look
    at what the operating system says about them."""
    lives_long = words[:1] in (("tui",), ("dashboard",)) or "start" in words[:2]
    return SERVED and not lives_long and _same(env)


def _same(env: Mapping[str, str]) -> bool:
    def at_start(variables: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in variables.items() if name.startswith(AT_START)}

    return at_start(env) == at_start(_server().env)


def run(
    words: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: Path, timeout: float
) -> tuple[int, bytes, bytes]:
    """Run ``queuectl`` to its end. Returns its exit code and what it wrote to stdout and stderr.

    TimeoutExpired after ``timeout`` seconds; then it is killed.
    """
    return _server().run(words, stdin, env, cwd, timeout)


@cache
def _server() -> Server:
    return Server()


class Server:
    """The process that forks, and our end of its socket. One for each process of the tests."""

    def __init__(self) -> None:
        self.env = dict(os.environ)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
                # Pipes, as a verb has: Python makes its streams for what it finds.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.env,
                cwd=Path(__file__).parents[1],
                pass_fds=[theirs.fileno()],
            )
        self._socket = ours
        atexit.register(self.close)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.communicate()

    def run(
        self,
        words: Sequence[str],
        stdin: bytes,
        env: Mapping[str, str],
        cwd: Path,
        timeout: float,
    ) -> tuple[int, bytes, bytes]:
        call, theirs = socket.socketpair()
        into, out, err = os.pipe(), os.pipe(), os.pipe()
        with call:
            with theirs:
                ends = [theirs.fileno(), into[0], out[1], err[1]]
                socket.send_fds(self._socket, [b"\0"], ends)
            for end in ends[1:]:
                os.close(end)
            text = json.dumps([list(words), dict(env), str(cwd)]).encode(errors="surrogateescape")
            call.sendall(LENGTH.pack(len(text)) + text)
            said = _talk(call, into[1], stdin, {out[0], err[0]}, timeout, words)
            (status,) = LENGTH.unpack(said[call.fileno()][-LENGTH.size :])
        return os.waitstatus_to_exitcode(status), said[out[0]], said[err[0]]


def _talk(
    call: socket.socket,
    into: int,
    stdin: bytes,
    outs: set[int],
    timeout: float,
    words: Sequence[str],
) -> dict[int, bytes]:
    """Write ``stdin``, and read all ``outs`` and the status of ``call`` to their ends."""
    read = dict.fromkeys((*outs, call.fileno()), b"")
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as waits:
        for fd in read:
            waits.register(fd, selectors.EVENT_READ)
        if stdin:
            os.set_blocking(into, False)
            waits.register(into, selectors.EVENT_WRITE)
        else:
            os.close(into)
        while waits.get_map():
            ready = waits.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                (pid,) = LENGTH.unpack(read[call.fileno()][: LENGTH.size])
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout)
            for key, _ in ready:
                fd = key.fd
                if fd == into:
                    try:
                        stdin = stdin[os.write(fd, stdin) :]
                    except BrokenPipeError:
                        stdin = b""
                    if not stdin:
                        waits.unregister(fd)
                        os.close(fd)
                elif data := os.read(fd, 1 << 16):
                    read[fd] += data
                else:
                    waits.unregister(fd)
                    if fd in outs:
                        os.close(fd)
    return read


# -- in the server --------------------------------------------------------------------


def _load() -> None:
    """Load every module that a verb can need."""
    import pkgutil

    import queuectl_core
    import queuectl_tui.cli

    for package in (queuectl_core, queuectl_tui.cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                __import__(module.name)


def _serve(listener: socket.socket) -> list[str]:
    """Fork for each call. Returns in the new process, with the words of its command line."""
    calls: dict[int, socket.socket] = {}
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as waits:
        waits.register(listener, selectors.EVENT_READ)
        waits.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in waits.select():
                if key.fileobj is woken:
                    woken.recv(1 << 10)
                    _tell_ends(calls)
                    continue
                data, fds, _, _ = socket.recv_fds(listener, 1, 4)
                if not data:
                    os._exit(0)  # the tests have ended
                call = socket.socket(fileno=fds[0])
                pid = os.fork()
                if pid:
                    call.sendall(LENGTH.pack(pid))
                    calls[pid] = call
                    for fd in fds[1:]:
                        os.close(fd)
                    continue
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for ours in (listener, woken, wake, *calls.values()):
                    ours.close()
                for number, fd in enumerate(fds[1:]):
                    os.dup2(fd, number)
                    os.close(fd)
                return _prepare(call)


def _tell_ends(calls: dict[int, socket.socket]) -> None:
    while calls:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with calls.pop(pid) as call:
            try:
                call.sendall(LENGTH.pack(status))
            except OSError:
                pass  # nobody waits any more


def _prepare(call: socket.socket) -> list[str]:
    with call, call.makefile("rb") as stream:
        (length,) = LENGTH.unpack(stream.read(LENGTH.size))
        words, env, cwd = json.loads(stream.read(length).decode(errors="surrogateescape"))
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)
    return list(words)


def _end_soon(code: object) -> None:
    """End this process as Python does, but do not take the modules apart, which takes longer than
    most verbs. Returns if Python must do it, because output cannot be written."""
    import threading

    if not isinstance(code, int):
        return
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(code)


if __name__ == "__main__":
    _load()
    import gc
    import runpy

    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as given:
        words = _serve(given)
    sys.argv = ["queuectl", *words]
    sys.path[0] = ""
    try:
        runpy.run_module("queuectl_tui", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        _end_soon(end.code)
        raise
