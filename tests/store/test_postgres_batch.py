"""PostgreSQL: the file in which the jobs of a bulk enqueue are gathered."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from types import SimpleNamespace
from typing import Any

import pytest

from queuectl_core.domain.errors import InvalidInput, StoreError, StoreFull
from queuectl_core.store.postgres import jobs
from queuectl_core.store.postgres.batch import PostgresBatch

from ..support import NOW, spec


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


@pytest.mark.parametrize(
    "fields",
    [
        *({"command": "a\0b"}, {"command": ("a", "\0")}, {"id": "\0"}, {"queue": "q\0"}),
        *({"cwd": "/\0"}, {"key": "\0"}, {"unique": "\0"}, {"after": ("\0",)}, {"actor": "\0"}),
        *({"after_any": ("\0",)}, {"after_failed": ("\0",)}),
    ],
    ids=str,
)
def test_the_server_cannot_keep_a_nul(fields: dict[str, Any]) -> None:
    """A program that embeds queuectl can make such a job: it is refused before anything is sent."""
    says = "a text holds a NUL, which no process can be given"
    nobody: Any = SimpleNamespace()
    with pytest.raises(InvalidInput, match=says):
        asyncio.run(jobs.enqueue(nobody, [spec(), spec(**fields)], NOW))
    batch = PostgresBatch(nobody)
    with pytest.raises(InvalidInput, match=says):
        asyncio.run(batch.add([(1, spec()), (2, spec(**fields))]))
    batch.close()
