"""Each test here runs once for every store in ``stores.PLACES``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queuectl_core.store.protocol import Store

from .stores import PLACES, Place


@pytest.fixture(params=sorted(PLACES))
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """An empty database. Tests change no table of it."""
    made = PLACES[request.param].take(tmp_path)
    yield made
    await made.give_back()


@pytest.fixture
async def store(place: Place) -> Store:
    """A store on the new database."""
    return await place.open()


@pytest.fixture
async def other(place: Place, store: Store) -> Store:
    """A second connection to the same database, as another process would have."""
    return await place.open()
