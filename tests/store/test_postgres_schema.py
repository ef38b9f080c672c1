"""PostgreSQL: opening, migrating, and what URLs say."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from queuectl_core.domain.errors import (
    InvalidInput,
    StoreDamaged,
    StoreReadOnly,
    StoreTooNew,
    StoreUnreachable,
)
from queuectl_core.domain.model import State
from queuectl_core.store.open import open_store
from queuectl_core.store.postgres import migrate
from queuectl_core.store.postgres.dsn import parse

from ..pgserver import server_url
from ..support import NOW, Cli, marked, spec
from .stores import PostgresPlace
from .test_concurrency import race


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    await made.clear()


async def run(place: PostgresPlace, *statements: str) -> None:
    """Run statements in the place's schema, as somebody else."""
    connection = await asyncpg.connect(server_url())
    try:
        await connection.execute(f"SET search_path = {place.schema}")
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


# -- migrating ------------------------------------------------------------------------


def test_the_latest_schema_is_the_last_file() -> None:
    assert [number for number, _ in migrate.steps()] == list(range(1, migrate.LATEST + 1))


async def test_processes_that_open_a_new_database_together(place: PostgresPlace) -> None:
    add = "done = [job.id for job in await store.enqueue([spec(id=me)], NOW)]"
    reports = await asyncio.to_thread(race, place.url, [add] * 8)
    assert sorted(reports) == [[f"p{n}"] for n in range(8)]
    store = await place.open()
    assert await store.counts() == {(State.PENDING, "default"): 8}


async def test_a_newer_schema_is_refused(place: PostgresPlace) -> None:
    await place.open()
    await run(place, "UPDATE schema_version SET version = 99")
    for create in (True, False):
        with pytest.raises(StoreTooNew, match="schema 99") as caught:
            await open_store(place.url, {}, create=create)
        assert caught.value.exit_code == 5


async def test_an_older_schema_is_brought_up_to_date(
    place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await place.open()
    await store.enqueue([spec(id="kept")], NOW)
    folder = tmp_path / "migrations"
    shutil.copytree(migrate.FOLDER, folder)
    later = migrate.LATEST + 1
    (folder / f"{later:04d}_more.sql").write_text(
        "ALTER TABLE config ADD COLUMN note text; COMMENT ON TABLE config IS 'later';"
    )
    monkeypatch.setattr(migrate, "FOLDER", folder)
    monkeypatch.setattr(migrate, "LATEST", later)
    upgraded = await place.open()
    assert len(await upgraded.by_id("kept")) == 1
    await run(place, "SELECT note FROM config")
    await place.open()


async def test_a_migration_that_fails_leaves_nothing(
    place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(migrate.FOLDER, folder)
    latest = migrate.LATEST
    broken = folder / f"{latest + 1:04}_broken.sql"
    broken.write_text("CREATE TABLE half (n int); SELECT 1/0;")
    monkeypatch.setattr(migrate, "FOLDER", folder)
    monkeypatch.setattr(migrate, "LATEST", latest + 1)
    with pytest.raises(InvalidInput):
        await place.open()
    with pytest.raises(StoreUnreachable, match="not there yet"):
        await open_store(place.url, {}, create=False)
    broken.unlink()
    monkeypatch.setattr(migrate, "LATEST", latest)
    assert await (await place.open()).counts() == {}


async def test_tables_of_another_program_are_left_alone(place: PostgresPlace) -> None:
    await run(place, f"CREATE SCHEMA {place.schema}", f"CREATE TABLE {place.schema}.jobs (n int)")
    with pytest.raises(StoreDamaged, match="some other program"):
        await place.open()


async def test_a_store_is_not_made_when_it_is_not_to_be(place: PostgresPlace) -> None:
    with pytest.raises(StoreUnreachable, match="not there yet"):
        await open_store(place.url, {}, create=False)
    with pytest.raises(asyncpg.InvalidSchemaNameError):
        await run(place, f"CREATE TABLE {place.schema}.t (n int)")


async def test_read_only_changes_nothing(place: PostgresPlace) -> None:
    await place.open()
    store = await open_store(place.url, {}, read_only=True)
    try:
        assert await store.counts() == {}
        with pytest.raises(StoreReadOnly):
            await store.enqueue([spec()], NOW)
        with pytest.raises(StoreReadOnly):
            async with store.batch():
                pass
    finally:
        await store.close()


async def test_tables_that_vanish_are_one_clear_line(place: PostgresPlace) -> None:
    store = await place.open()
    await run(place, f"DROP SCHEMA {place.schema} CASCADE")
    with pytest.raises(StoreUnreachable, match="tables are gone"):
        await store.changed()


async def test_a_store_has_one_directory_however_it_is_reached(
    place: PostgresPlace, tmp_path: Path
) -> None:
    env = {"HOME": str(tmp_path)}
    one = await open_store(place.url, env)
    two = await open_store(place.url.replace("127.0.0.1", "localhost"), env)
    other = PostgresPlace(tmp_path)
    three = await open_store(other.url, env)
    try:
        assert one.directory == two.directory != three.directory
        assert one.directory.is_relative_to(tmp_path)
        one.notifier("sup").close()
        for folder in (one.directory, one.directory / "run", one.directory.parent):
            assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        for store in (one, two, three):
            await store.close()
        await other.clear()


# -- errors on opening ------------------------------------------------------------------


def with_password(password: str) -> str:
    head, _, tail = server_url().partition("@")
    return f"{head.rpartition(':')[0]}:{password}@{tail}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (with_password, "password"),
        (lambda _: server_url().replace("/postgres", "/nowhere"), "does not exist"),
        (lambda _: "postgresql://me:s3cret@127.0.0.1:1/db", "refused"),
        (lambda _: server_url() + "?sslmode=require", "TLS"),
    ],
)
async def test_what_keeps_a_store_from_opening_is_one_line(url: object, said: str) -> None:
    assert callable(url)
    with pytest.raises(StoreUnreachable, match=said) as caught:
        await open_store(url("s3cret"), {})
    text = str(caught.value)
    assert "\n" not in text
    assert "s3cret" not in text
    assert server_url().split(":")[2].split("@")[0] not in text


# -- URLs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgres://me:pw@host:5433/db", "postgresql://me@host:5433/db"),
        ("postgresql://me:p%40%2Fw@host", "postgresql://me@host"),
        ("postgresql://me:p@w@host/db", "postgresql://me@host/db"),
        ("postgresql://a:1,b:2/db", "postgresql://a:1,b:2/db"),
        ("postgresql://me@[::1]:5432/db", "postgresql://me@[::1]:5432/db"),
        ("postgresql:///db?host=/run/pg&password=pw", "postgresql:///db?host=/run/pg"),
        ("postgresql://host/db?sslmode=verify-full&sslpassword=pw", "postgresql://host/db"),
        ("postgresql://host/db?schema=team", "postgresql://host/db?schema=team"),
        ("postgresql://?service=main", "postgresql://?service=main"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    found = parse(url)
    assert found.shown == shown
    assert "pw" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3/cret@host/db",
        "postgresql://me:s3cret@host:port/db",
        "postgresql://me:s3?cret@host/db",
        "postgresql://me:s3#cret@host/db",
        "postgresql://me:s3 cret@host/db",
        "postgresql://host/db?s3cret",
        "postgresql://host:99999/db",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be read") as caught:
        parse(url)
    assert "s3" not in str(caught.value)


def test_options_are_those_of_libpq() -> None:
    with pytest.raises(InvalidInput, match="did you mean sslmode"):
        parse("postgresql://host/db?sslmod=require")
    assert (
        "sslmode=verify-full" in parse("postgresql://h/db?sslmode=verify-full&schema=s").driver_url
    )
    assert "schema" not in parse("postgresql://h/db?sslmode=verify-full&schema=s").driver_url
    assert parse("postgresql://h/db?connect_timeout=3").patience == 3
    assert parse("postgresql://me:p@w@h/db").driver_url == "postgresql://me:p%40w@h/db"


# -- processes --------------------------------------------------------------------------


def test_detached_workers_get_the_password_without_showing_it(
    cli: Cli, place: PostgresPlace
) -> None:
    password = server_url().split(":")[2].split("@")[0]
    env = {"QUEUECTL_STORE": place.url}
    [worker] = cli("worker", "start", "-d", env=env).out.split()
    started = marked(cli.token)
    assert started
    assert not [one for one in started if any(password in word for word in one.cmdline())]
    cli("enqueue", "true", "--id", "a", env=env)
    cli("wait", "a", env=env)
    asked = cli(
        "worker", "list", env={**env, "QUEUECTL_STORE": without(password, place.url)}, code=5
    )
    assert "password" in asked.err
    given = {"QUEUECTL_STORE": without(password, place.url), "PGPASSWORD": password}
    assert worker in cli("worker", "list", env=given).out
    told = [cli(*words, env=env) for words in (("status",), ("doctor",), ("worker", "stop"))]
    assert not [one.args for one in told if password in one.out + one.err]


def without(password: str, url: str) -> str:
    return url.replace(f":{password}@", "@")


def test_without_the_driver_it_says_how_to_get_it(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "asyncpg.py").write_text("raise ModuleNotFoundError(name='asyncpg')\n")
    url = "postgresql://me:s3cret@127.0.0.1:1/db"
    said = cli("list", env={"QUEUECTL_STORE": url, "PYTHONPATH": str(tmp_path)}, code=5)
    assert "pip install '.[postgres]'" in said.err
    assert "s3cret" not in said.err


async def test_a_schema_that_one_may_not_look_into(place: PostgresPlace) -> None:
    store = await place.open()
    await place.close(store)
    role = f"r{place.schema}"
    await run(place, f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    at = server_url().partition("@")[2]
    url = f"postgresql://{role}:secret@{at}?schema={place.schema}"
    try:
        with pytest.raises(StoreUnreachable, match=r"permission denied for schema .*; grant"):
            await open_store(url, {"HOME": str(place.folder)})
        every = f"IN SCHEMA {place.schema} TO {role}"
        await run(
            place,
            f"GRANT USAGE ON SCHEMA {place.schema} TO {role}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES {every}",
            f"GRANT SELECT, UPDATE ON ALL SEQUENCES {every}",
        )
        store = await open_store(url, {"HOME": str(place.folder)})
        assert len(await store.enqueue([spec()], NOW)) == 1
        async with store.batch() as batch:
            await batch.add([(1, spec())])
            await batch.commit(NOW)
        await store.close()
    finally:
        await run(place, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
