"""What signals do to a supervisor."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol


class Stop(Protocol):
    """What signals call."""

    def __call__(self, *, now: bool) -> None:
        """Stop: after the jobs in hand, or at once."""


NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def stop_on_signals(stop: Stop) -> Iterator[None]:
    """While entered: SIGTERM, SIGHUP and the first SIGINT stop gracefully, the second SIGINT
    stops at once. SIGHUP and SIGINT that are ignored stay ignored: ``nohup`` asks for the first, a
    shell without job control for both of ``command &``. Handlers that were there before are put
    back, unless a signal came: then the process is about to end, and nothing interrupts what is
    left of it."""
    loop = asyncio.get_running_loop()
    before: dict[int, Callable[..., object] | int | None] = {}
    came: list[int] = []

    def on_signal(number: int) -> None:
        came.append(number)
        stop(now=came.count(signal.SIGINT) > 1)

    for number in NUMBERS:
        handler = signal.getsignal(number)
        if handler is signal.SIG_IGN and number != signal.SIGTERM:
            continue
        with suppress(ValueError, RuntimeError):  # not the main thread: somebody else's signals
            loop.add_signal_handler(number, on_signal, number)
            before[number] = handler
    try:
        yield
    finally:
        for taken, handler in before.items():
            loop.remove_signal_handler(taken)
            after = signal.SIG_IGN if came else handler
            signal.signal(taken, after if after is not None else signal.SIG_DFL)
