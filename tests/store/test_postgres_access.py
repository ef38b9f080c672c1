"""PostgreSQL: what URL and environment say of TLS and passwords, against a server that asks."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from queuectl_core.domain.errors import (
    InvalidInput,
    QueueError,
    StoreDamaged,
    StoreError,
    StoreUnreachable,
)
from queuectl_core.store.open import open_store
from queuectl_core.store.postgres.dsn import parse
from queuectl_core.store.postgres.errors import explain

from ..pgserver import server_url
from ..support import NOW, Cli, spec
from .proxy import Proxy
from .stores import PostgresPlace

TLS = Path(__file__).parent / "data" / "tls"
"""A certificate for 127.0.0.1 with its key, and who signed it; made for these tests and trusted by
nobody else (openssl, P-256, good for a hundred years)."""
CA = f"&sslrootcert={TLS / 'ca.pem'}"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    await made.open()
    yield made
    await made.clear()


@pytest.fixture
async def secure(place: PostgresPlace) -> AsyncIterator[str]:
    """The URL of a server that speaks TLS and nothing else."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem", TLS / "server.key")
    async with Proxy(place.url, context) as proxy:
        yield proxy.url


@pytest.mark.parametrize(
    "options", ["&sslmode=require", f"&sslmode=verify-ca{CA}", f"&sslmode=verify-full{CA}"]
)
async def test_a_store_works_over_tls(secure: str, tmp_path: Path, options: str) -> None:
    store = await open_store(secure + options, {"HOME": str(tmp_path)})
    try:
        (job,) = await store.enqueue([spec()], NOW)
        assert await store.by_seq(job.seq) == job
    finally:
        await store.close()


async def test_jobs_run_over_tls(secure: str, cli: Cli) -> None:
    """Verbs and workers, each a process of its own; workers listen on such a connection too."""
    cli.env["QUEUECTL_STORE"] = f"{secure}&sslmode=verify-full{CA}"

    def use() -> str:
        cli("worker", "start", "--detach")
        cli("enqueue", "echo over tls", "--id", "x")
        cli("wait", "x")
        cli("worker", "stop")
        return cli("logs", "x").out

    assert await asyncio.to_thread(use) == "over tls\n"


def by_name(url: str) -> str:
    return url.replace("127.0.0.1", "localhost")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (f"&sslmode=verify-full{CA}", True),  # the certificate is for 127.0.0.1
        (f"&sslmode=verify-full&sslrootcert={TLS / 'server.pem'}", False),  # did not sign it
        (f"&sslmode=verify-ca&sslrootcert={TLS / 'server.pem'}", False),
    ],
)
async def test_a_certificate_that_proves_nothing_is_refused(
    secure: str, tmp_path: Path, options: str, named: bool
) -> None:
    url = (by_name(secure) if named else secure) + options
    with pytest.raises(StoreUnreachable, match=r"no secure connection: .* not trusted") as caught:
        await open_store(url, {"HOME": str(tmp_path)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ("&sslmode=disable", StoreUnreachable, "closed"),
        (
            f"&sslmode=verify-full&sslrootcert={TLS / 'none.pem'}",
            StoreUnreachable,
            "rootcert: cannot read",
        ),
        (f"&sslmode=require&sslcert={TLS / 'none.pem'}", StoreUnreachable, "sslcert: cannot read"),
        (f"&sslmode=verify-full&sslrootcert={__file__}", StoreUnreachable, "no secure connection"),
        ("&sslmode=verify-full", InvalidInput, "root.crt. does not exist"),
        ("&sslmode=full", InvalidInput, "must be one of: disable"),
    ],
)
async def test_what_keeps_a_connection_from_being_secure_is_one_line(
    secure: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: str,
    kind: type[QueueError],
    said: str,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(kind, match=said) as caught:
        await open_store(secure + options, {"HOME": str(tmp_path)})
    assert "\n" not in str(caught.value)
    assert "HINT" not in str(caught.value)


async def test_a_name_is_proven_only_where_that_is_asked_for(secure: str, tmp_path: Path) -> None:
    store = await open_store(by_name(secure) + f"&sslmode=verify-ca{CA}", {"HOME": str(tmp_path)})
    await store.close()


# -- where a password comes from --------------------------------------------------------


def parts() -> tuple[str, str, str, str, str]:
    """user, password, host, port, database."""
    url = urlsplit(server_url())
    assert url.username
    assert url.password
    return url.username, url.password, str(url.hostname), str(url.port), url.path.strip("/")


async def test_a_password_comes_from_a_file(
    place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, password, host, port, database = parts()
    file = tmp_path / "passes"
    file.write_text(f"{host}:{port}:{database}:{user}:{password}\n")
    file.chmod(0o600)
    monkeypatch.delenv("PGPASSWORD", raising=False)
    url = f"postgresql://{user}@{host}:{port}/{database}?schema={place.schema}"
    with pytest.raises(StoreUnreachable, match="password"):
        await open_store(url, {"HOME": str(tmp_path)})
    await (await open_store(f"{url}&passfile={file}", {"HOME": str(tmp_path)})).close()
    monkeypatch.setenv("PGPASSFILE", str(file))
    await (await open_store(url, {"HOME": str(tmp_path)})).close()


async def test_everything_comes_from_a_service(
    place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, password, host, port, database = parts()
    file = tmp_path / "services"
    file.write_text(
        f"[queue]\nhost={host}\nport={port}\nuser={user}\npassword={password}\ndbname={database}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    env = {"HOME": str(tmp_path)}
    await (await open_store(f"postgresql://?service=queue&schema={place.schema}", env)).close()
    monkeypatch.setenv("PGSERVICE", "queue")
    await (await open_store(f"postgresql://?schema={place.schema}", env)).close()


@pytest.mark.parametrize(
    ("error", "damage"),
    [
        (asyncpg.UniqueViolationError("duplicate key value"), False),
        (asyncpg.CheckViolationError("violates check constraint"), False),
        (asyncpg.InternalServerError("tuple concurrently updated"), False),
        (asyncpg.DataCorruptedError("invalid page in block 3"), True),
        (asyncpg.IndexCorruptedError("table tid from new index tuple overlaps"), True),
    ],
)
def test_only_damage_is_called_damage(error: asyncpg.PostgresError, damage: bool) -> None:
    found = explain("here", error)
    assert isinstance(found, StoreError)
    assert isinstance(found, StoreDamaged) is damage
    assert ("restore a backup" in found.hint) is damage


async def test_a_module_of_ours_that_is_missing_is_not_taken_for_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "queuectl_core.store.postgres.store", None)
    with pytest.raises(ModuleNotFoundError):
        await open_store("postgresql://127.0.0.1:1/nowhere", {})


def test_the_schema_is_ours_unless_the_url_names_another() -> None:
    assert parse("postgresql://host/db").schema == "queuectl"
