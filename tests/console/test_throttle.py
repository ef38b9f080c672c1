"""A call that is asked for too early comes later, and is never dropped."""

from __future__ import annotations

import time

from textual.app import App
from textual.widget import Widget

from queuectl_tui.console.widgets.throttle import Throttle


async def test_too_early_is_late_but_not_never() -> None:
    calls: list[float] = []
    async with App[None]().run_test() as pilot:
        widget = Widget()
        await pilot.app.mount(widget)
        later = Throttle(widget, lambda: calls.append(time.monotonic()))
        later.ask(0.0)
        assert len(calls) == 1, "called at once, because it is not too early"
        moment = time.monotonic() + 0.2
        later.ask(moment)
        later.ask(moment)
        assert len(calls) == 1
        while len(calls) < 2:
            await pilot.pause(0.01)
        assert calls[1] >= moment - 0.02
        later.ask(0.0)
        assert len(calls) == 3, "asked twice too early, called once"
