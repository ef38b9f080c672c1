"""PostgreSQL behind a pooler: the session is ours, with our settings, or it is refused."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from queuectl_core.domain.errors import StoreUnreachable
from queuectl_core.store.open import open_store
from queuectl_core.store.postgres import connections

from ..pgserver import server_url
from ..support import NOW, eventually, spec
from .stores import PostgresPlace
from .test_signals import notified

needs_pgbouncer = pytest.mark.skipif(
    shutil.which("pgbouncer") is None, reason="PgBouncer is not installed"
)


@contextmanager
def pgbouncer(mode: str, size: int = 10) -> Iterator[str]:
    """PgBouncer before the test server; its URL. As usual it leaves startup parameters out."""
    to = urlsplit(server_url())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [
        "[databases]",
        f"postgres = host={to.hostname} port={to.port} user={to.username} password={to.password}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = any",
        f"pool_mode = {mode}",
        f"default_pool_size = {size}",
        "ignore_startup_parameters = extra_float_digits,search_path",
    ]
    with tempfile.TemporaryDirectory(prefix="queuectl-pgb-") as folder:
        file = Path(folder, "pgbouncer.ini")
        file.write_text("\n".join(words))
        file.chmod(0o644)
        Path(folder).chmod(0o755)
        program = ["pgbouncer", "-q", str(file)]
        if os.geteuid() == 0:
            program[1:1] = ["-u", "nobody"]
        process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: _open(port))
            yield f"postgresql://{to.username}@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            process.wait()


def _open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture
async def places(tmp_path: Path) -> AsyncIterator[tuple[PostgresPlace, PostgresPlace]]:
    made = PostgresPlace(tmp_path), PostgresPlace(tmp_path)
    yield made
    for place in made:
        await place.clear()


async def _are_apart(url: str, places: tuple[PostgresPlace, ...], home: Path) -> None:
    """Each schema has its own jobs, and notifications arrive."""
    stores = [await open_store(f"{url}?schema={one.schema}", {"HOME": str(home)}) for one in places]
    try:
        notifier = stores[0].notifier("sup")
        await notified(notifier)
        notifier.clear()
        for number, store in enumerate(stores):
            await store.enqueue([spec(id=f"job-{number}")], NOW)
        await notified(notifier)
        notifier.close()
        for number, store in enumerate(stores):
            [job] = await store.by_id("job-")
            assert job.id == f"job-{number}"
    finally:
        for store in stores:
            await store.close()


@needs_pgbouncer
async def test_session_pooling_keeps_schemas_apart(
    places: tuple[PostgresPlace, PostgresPlace], tmp_path: Path
) -> None:
    with pgbouncer("session") as url:
        await _are_apart(url, places, tmp_path)


@needs_pgbouncer
async def test_a_pool_of_one_session_is_enough_for_a_verb(
    places: tuple[PostgresPlace, PostgresPlace], tmp_path: Path
) -> None:
    await (await places[0].open()).enqueue([spec(id="a")], NOW)
    with pgbouncer("session", 1) as url:
        store = await open_store(f"{url}?schema={places[0].schema}", {"HOME": str(tmp_path)})
        assert len(await store.by_id("a")) == 1
        await store.close()


@needs_pgbouncer
@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("size", [1, 10])
async def test_sessions_that_are_shared_are_refused(mode: str, size: int, tmp_path: Path) -> None:
    with (
        pgbouncer(mode, size) as url,
        pytest.raises(StoreUnreachable, match=r"shares sessions.*pool_mode = session"),
    ):
        await open_store(f"{url}?schema=t{uuid.uuid4().hex}", {"HOME": str(tmp_path)})


@asynccontextmanager
async def _fake_pooler(asked: set[str]) -> AsyncIterator[str]:
    """What a client sees of a pooler: it names the server's sessions by numbers of its own.
    ``asked``: the startup parameters it was given."""
    to = urlsplit(server_url())
    tasks: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        while True:
            head = await reader.readexactly(4)
            body = await reader.readexactly(struct.unpack(">I", head)[0] - 4)
            if len(body) > 4:
                break
            writer.write(b"N")  # no TLS
        asked.update(body[4:].decode().split("\0")[::2])
        there, back = await asyncio.open_connection(to.hostname, to.port)
        back.write(head + body)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, back))
                group.create_task(_copy(there, writer, renamed=True))
        except* (OSError, EOFError):
            pass
        finally:
            writer.transport.abort()
            back.transport.abort()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield to._replace(netloc=f"{to.username}:{to.password}@127.0.0.1:{port}").geturl()
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, *, renamed: bool = False
) -> None:
    while True:
        head = await source.readexactly(5)
        body = await source.readexactly(struct.unpack(">I", head[1:])[0] - 4)
        if renamed and head[:1] == b"K":
            body = struct.pack(">I", 7) + body[4:]
        target.write(head + body)
        await target.drain()


async def test_nothing_is_asked_of_a_pooler_that_it_may_refuse(
    places: tuple[PostgresPlace, PostgresPlace], tmp_path: Path
) -> None:
    asked: set[str] = set()
    async with _fake_pooler(asked) as url:
        await _are_apart(url, places, tmp_path)
    assert asked - {""} <= {"user", "database", "client_encoding"}


async def test_a_pooler_that_gives_our_session_to_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Held:
        """A second connection that got the same session as the first."""

        def __init__(self, pid: int) -> None:
            self.pid = pid

        async def fetchval(self, query: str, timeout: float) -> int:
            return self.pid

        async def close(self, timeout: float) -> None: ...

        def terminate(self) -> None: ...

    check = connections._check_pooler

    async def checked(address: object, connection: object, pid: int) -> None:
        async def held(address: object) -> Held:
            return Held(pid)

        monkeypatch.setattr(connections, "_held_session", held)
        await check(address, connection, pid)  # type: ignore[arg-type]

    monkeypatch.setattr(connections, "_check_pooler", checked)
    async with _fake_pooler(set()) as url:
        with pytest.raises(StoreUnreachable, match="shares sessions"):
            await open_store(url, {"HOME": str(tmp_path)})
