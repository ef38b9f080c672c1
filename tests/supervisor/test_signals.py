"""What signals do to a supervisor, and to the process once it has stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from queuectl_core.supervisor.signals import NUMBERS, stop_on_signals
from tests.support import eventually_async


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The suite's own are put back."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_the_second_interrupt_stops_at_once() -> None:
    stops: list[bool] = []
    with stop_on_signals(lambda *, now: stops.append(now)):
        for count, number in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGINT)):
            os.kill(os.getpid(), number)
            await eventually_async(lambda count=count: asyncio.sleep(0, len(stops) > count))  # type: ignore[misc]
    assert stops == [False, False, True]


async def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    with stop_on_signals(lambda *, now: None):
        pass
    assert [signal.getsignal(number) for number in NUMBERS] == before


async def test_once_it_was_told_to_stop_nothing_interrupts_what_is_left() -> None:
    """An impatient second ctrl-c often comes when the last job has just ended."""
    stops: list[bool] = []
    with stop_on_signals(lambda *, now: stops.append(now)):
        os.kill(os.getpid(), signal.SIGINT)
        await eventually_async(lambda: asyncio.sleep(0, bool(stops)))
    for number in NUMBERS:
        os.kill(os.getpid(), number)  # would end the suite
    assert [signal.getsignal(number) for number in NUMBERS] == [signal.SIG_IGN] * 3
