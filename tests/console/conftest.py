"""A store with jobs for each test, and the console on it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from .scenes import seed


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store of the scenes. Tests copy it and never change it."""
    folder = tmp_path_factory.mktemp("seeded")
    asyncio.run(seed(folder))
    return folder


@pytest.fixture
def home(seeded: Path, tmp_path: Path) -> Path:
    """A home directory with a copy of this store."""
    folder = tmp_path / "home"
    shutil.copytree(seeded, folder)
    return folder
