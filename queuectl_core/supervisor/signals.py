"""What signals do to a supervisor."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Protocol


class Stop(Protocol):
    """What signals call."""

    def __call__(self, *, now: bool) -> None:
        """Stop: after the jobs in hand, or at once."""


class Signals:
    """While entered: SIGTERM, SIGHUP and the first SIGINT stop gracefully, the second SIGINT
    stops at once. SIGHUP and SIGINT that are ignored stay ignored: ``nohup`` asks for the first, a
    shell without job control for both of ``command &``. Handlers that were there before are put
    back, unless one was heard: then the process is about to end, and nothing interrupts what is
    left of it."""

    NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._interrupts = 0
        self._any = False
        self._before: dict[int, Callable[..., object] | int | None] = {}

    def __enter__(self) -> Signals:
        loop = asyncio.get_running_loop()
        for number in self.NUMBERS:
            try:
                before = signal.getsignal(number)
                if before is signal.SIG_IGN and number != signal.SIGTERM:
                    continue
                self._before[number] = before
                loop.add_signal_handler(number, self._heard, number)
            except (ValueError, RuntimeError):  # not the main thread: somebody else's signals
                self._before.pop(number, None)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number, handler in self._before.items():
            loop.remove_signal_handler(number)
            after = signal.SIG_IGN if self._any else handler
            signal.signal(number, after if after is not None else signal.SIG_DFL)

    def _heard(self, number: int) -> None:
        self._any = True
        if number == signal.SIGINT:
            self._interrupts += 1
        self._stop(now=self._interrupts > 1)
