"""The two connections of a front end: what they create, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuectl_core.domain.errors import StoreReadOnly, StoreUnreachable
from queuectl_tui.presentation.connections import Connections

from ..support import NOW, make_store


@pytest.mark.parametrize(
    ("read_only", "create"), [(True, True), (True, False), (False, False)], ids=str
)
async def test_a_store_that_does_not_exist_is_not_made(
    store_path: Path, read_only: bool, create: bool
) -> None:
    connections = Connections(str(store_path), read_only=read_only)
    with pytest.raises(StoreUnreachable):
        await connections.connect(create=create)
    assert not connections.connected
    assert not store_path.exists()


async def test_a_store_is_made_for_who_may_change_it(store_path: Path) -> None:
    connections = Connections(str(store_path), read_only=False, via="tui")
    await connections.connect(create=True)
    assert store_path.exists()
    assert connections.connected
    assert connections.reads_with(connections.reader)
    writer = await connections.writer()
    assert await connections.writer() is writer
    assert not connections.reads_with(writer)
    [job] = await writer.enqueue([{"command": "true"}])
    assert await connections.reader.get(job.seq) is not None
    [event] = [one async for page in writer.event_pages() for one in page]
    assert event.via == "tui"
    await connections.drop()
    assert not connections.connected
    with pytest.raises(StoreUnreachable):
        assert connections.reader


async def test_who_only_reads_gets_no_connection_for_changes(store_path: Path) -> None:
    make_store(store_path)
    connections = Connections(str(store_path), read_only=True, clock=lambda: NOW)
    await connections.connect()
    assert connections.clock() == NOW
    with pytest.raises(StoreReadOnly):
        await connections.writer()
    await connections.drop()
