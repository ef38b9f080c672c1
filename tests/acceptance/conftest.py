"""Each test here runs once for every store: whoever uses queuectl need not know on which."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.stores import PLACES, PostgresPlace, SqlitePlace
from tests.support import Cli


@pytest.fixture(params=sorted(PLACES))
def cli(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cli]:
    """``queuectl`` as real processes, on a new store of each kind."""
    place = PLACES[request.param](tmp_path)
    runner = Cli(Path(place.url) if isinstance(place, SqlitePlace) else place.url, tmp_path)
    yield runner
    runner.close()
    asyncio.run(place.drop())


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """The URL of a database that hosts can share."""
    place = PostgresPlace(tmp_path)
    yield place.url
    asyncio.run(place.drop())
