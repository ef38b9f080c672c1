"""Tests of what front ends share run in one time zone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..support import local_zone


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    """Times are those of UTC."""
    with local_zone("UTC"):
        yield
