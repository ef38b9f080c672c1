"""The outside world of a supervisor process: signals in, systemd readiness out."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Mapping
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


NOTIFY = "NOTIFY_SOCKET"


def notify_systemd(env: Mapping[str, str], state: str) -> None:
    """Tell systemd (Type=notify) how we are, as sd_notify(3) does; nothing without it."""
    address = env.get(NOTIFY)
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), address)
    except OSError:
        pass  # readiness is a courtesy; the work goes on


def without_notify(env: Mapping[str, str]) -> dict[str, str]:
    """The environment for jobs: they must not speak to systemd in our name."""
    return {name: value for name, value in env.items() if name != NOTIFY}
