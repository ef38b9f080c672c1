"""PostgreSQL: the file in which the jobs of a bulk enqueue are gathered."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import Any

import pytest

from queuectl_core.domain.errors import StoreError, StoreFull
from queuectl_core.store.postgres.batch import PostgresBatch


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.ENOSPC, StoreFull, "no space left for the jobs"),
        (errno.EDQUOT, StoreFull, "no space left for the jobs"),
        (errno.EACCES, StoreError, "cannot write: Permission denied for the jobs"),
    ],
)
async def test_a_temporary_directory_that_takes_no_file(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreError], says: str
) -> None:
    def refuse() -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    connections: Any = None  # nothing is sent
    with pytest.raises(StoreError, match=f"^{says} that are gathered in ") as caught:
        PostgresBatch(connections)
    assert type(caught.value) is kind
