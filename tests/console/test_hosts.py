"""Workers on several hosts, and output on another host."""

from __future__ import annotations

from pathlib import Path

from queuectl_core.operations.attempt_output import AttemptOutput
from queuectl_core.queue import Queue
from queuectl_tui.console.widgets.output import OutputPane

from .scenes import NOW, SUPERVISOR, opened, settled, until

NARROW = (80, 24)


async def test_hosts_are_named_when_there_are_several(home: Path) -> None:
    async with opened(home, NARROW) as (console, pilot):
        text = await settled(console, pilot)
        assert "alpha" not in text.partition("2 workers")[2]  # there is only one host
    async with Queue.open(str(home / "queue.db"), env={"HOME": str(home)}) as queue:
        other = SUPERVISOR._replace(id="zz99", host="beta")
        await queue.store.register(other, [("zz99-1", ())], NOW)
    async with opened(home, NARROW) as (console, pilot):
        text = await until(console, pilot, "zz99-1")
        workers = text.partition("2 workers")[2]
        assert "alpha" in workers
        assert "beta" in workers


async def test_what_is_missing_of_an_output_is_said(home: Path) -> None:
    async with opened(home, (120, 40)) as (console, pilot):
        await pilot.press("slash", *"report", "enter", "l")
        await until(console, pilot, "page 60")
        pane = console.screen.query_one(OutputPane)
        pane.show(AttemptOutput(1, None, b"the end\n", False, 1 << 20, "beta"))
        text = await until(console, pilot, "the end")
        assert "last 8B as stored; the whole output is on host beta" in text
        pane.show(AttemptOutput(1, None, b"", True, 0, "beta"))
        await until(console, pilot, "it runs on host beta")
