"""The operator console, ``queuectl tui``: from a terminal to a running app and back.

The first frame should come soon. So the store is opened while Textual is being imported, and
Python's garbage collector is off until both are done.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from types import ModuleType

from queuectl_core.domain.errors import InvalidInput

from ..presentation.connections import Connections
from ..presentation.monitor import Monitor


def run_console(store_url: str | None, *, read_only: bool, refresh: float, mouse: bool) -> int:
    """Run the console until it is left; returns the exit code.

    Raises InvalidInput when there is no terminal, and the StoreError family when the store
    cannot be reached to begin with.
    """
    # Textual reads from the first and draws on the second.
    if not all(stream and stream.isatty() for stream in (sys.__stdin__, sys.__stderr__)):
        raise InvalidInput(
            "the console needs a terminal for input and for output",
            "for scripts there is: queuectl status --json",
        )
    gc.disable()
    if os.environ.get("NO_COLOR") == "":
        del os.environ["NO_COLOR"]  # empty means not set (no-color.org), but not for Textual
    if os.environ.get("TERM") == "dumb":
        os.environ.pop("COLORTERM", None)  # a dumb terminal has no colours
    return asyncio.run(_run(store_url, read_only=read_only, refresh=refresh, mouse=mouse))


async def _run(store_url: str | None, *, read_only: bool, refresh: float, mouse: bool) -> int:
    connections = Connections(store_url, read_only=read_only)
    monitor = Monitor(connections)
    try:
        importing = asyncio.get_running_loop().run_in_executor(None, _import)
        try:
            overview = await monitor.first()
        finally:
            console = await importing
        app = console.Console(monitor, overview, refresh=refresh)
        app.call_later(_collect)
        result = await app.run_async(mouse=mouse)
        return int(app.return_code or 0) if result is None else int(result)
    finally:
        await connections.drop()


def _import() -> ModuleType:
    from . import app as console

    return console


def _collect() -> None:
    """Keep the garbage collector away from what was imported: it stays until the end."""
    gc.freeze()
    gc.enable()
