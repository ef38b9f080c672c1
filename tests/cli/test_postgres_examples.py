"""The PostgreSQL examples of ``docs/operations.md`` work, with another host and password."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from ..pgserver import own_server
from ..support import Cli
from .test_readme import OPERATIONS, blocks, run, there

__all__ = ["there"]

SECTION = OPERATIONS.read_text("utf-8").split("\n## PostgreSQL\n")[1].split("\n## ")[0]
PASSWORD = "a secret"


def typed() -> list[str]:
    """What is typed at a prompt. A line that ends with a backslash continues on the next line."""
    text = re.findall(r"^```\n(\$ .*?)^```$", SECTION, re.DOTALL | re.MULTILINE)[0]
    return [line.removeprefix("$ ") for line in text.replace("\\\n", " ").splitlines()]


def statements(line: str) -> list[str]:
    """The SQL in a command line that calls ``psql``."""
    words = shlex.split(line)
    assert words[:3] == ["psql", "-U", "postgres"]
    assert set(words[3::2]) == {"-c"}
    return words[4::2]


def execute(url: str, wanted: Sequence[str]) -> None:
    async def main() -> None:
        conn = await asyncpg.connect(url)
        try:
            for statement in wanted:
                await conn.execute(statement)
        finally:
            await conn.close()

    asyncio.run(main())


def grants() -> list[str]:
    (block,) = [block for block in blocks(OPERATIONS) if block.startswith("GRANT")]
    return block.splitlines()


def test_the_move_to_postgresql(
    cli: Cli, there: dict[str, str], tmp_path: Path, isolated: Path
) -> None:
    create, copy, start = typed()
    cli("enqueue", "true", "--id", "moved")
    with own_server() as (_, url):
        execute(url, [one.replace("…", PASSWORD) for one in statements(create)])
        server = f"127.0.0.1:{urlsplit(url).port}"
        entry = isolated / ".pgpass"
        entry.touch(0o600)
        entry.write_text(f"{server}:queue:queue:{PASSWORD}\n")
        run(copy.replace("dbhost", server), there, tmp_path)
        run(start.replace("dbhost", server), there, tmp_path)
        (place,) = re.findall(r"--to '([^']*)'", copy.replace("dbhost", server))
        run(f"queuectl --store '{place}' wait --all --timeout 60", there, tmp_path)
        assert "completed" in run(f"queuectl --store '{place}' show moved", there, tmp_path)
        run(f"queuectl --store '{place}' worker stop", there, tmp_path)


def test_the_rights_of_further_roles(there: dict[str, str], tmp_path: Path, isolated: Path) -> None:
    (schema,) = re.findall(r"`(CREATE SCHEMA [^`]*)`", SECTION)
    assert len(grants()) == 3
    with own_server() as (_, url):
        roles = [f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'" for name in ("queue", "other")]
        execute(url, [*roles, schema])
        server = urlsplit(url)
        entry = isolated / ".pgpass"
        entry.touch(0o600)
        entry.write_text(f"*:*:*:*:{PASSWORD}\n")
        place = f"127.0.0.1:{server.port}/{server.path[1:]}"
        enqueue = "queuectl --store 'postgresql://{}@" + place + "' enqueue true"
        run(enqueue.format("queue"), there, tmp_path)
        execute(url, grants())
        run(enqueue.format("other"), there, tmp_path)
