"""Each test here runs once for every store in ``stores.PLACES``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queuectl_core.store.protocol import Store

from .stores import PLACES, Place


@pytest.fixture(params=sorted(PLACES))
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """A new, empty database."""
    made = PLACES[request.param](tmp_path)
    yield made
    await made.clear()


@pytest.fixture
async def store(place: Place) -> Store:
    """A store on the new database."""
    return await place.open()


@pytest.fixture
async def other(place: Place, store: Store) -> Store:
    """A second connection to the same database, as another process would have."""
    return await place.open()
