"""PostgreSQL's server and the way to it: crashes, restarts, and a network that damages traffic."""

from __future__ import annotations

import signal
from typing import ClassVar

from tests.pgserver import Server

from ..book import Book
from ..plant import Plant, until
from ..proxy import Proxy
from . import Actor


class Network(Actor):
    """Cuts, stalls and drops what passes between queuectl and the server."""

    name: ClassVar[str] = "network"
    stores: ClassVar[tuple[str, ...]] = ("postgres",)
    pause: ClassVar[float] = 8.0

    def __init__(self, plant: Plant, book: Book, seed: int, proxy: Proxy) -> None:
        super().__init__(plant, book, seed)
        self._proxy = proxy

    def act(self) -> None:
        self._proxy.act(self.rng)

    def finish(self) -> None:
        self._proxy.mend()
        self.figures.update({f"network: {what}": n for what, n in self._proxy.figures.items()})


class Crashes(Actor):
    """Ends the server in PostgreSQL's three ways, and by kill -9 of its first process."""

    name: ClassVar[str] = "server"
    stores: ClassVar[tuple[str, ...]] = ("postgres",)
    pause: ClassVar[float] = 12.0

    def __init__(self, plant: Plant, book: Book, seed: int, server: Server) -> None:
        super().__init__(plant, book, seed)
        self._server = server

    def act(self) -> None:
        self.rest(self.rng.uniform(2.0, 6.0))
        if self.stopping:
            return
        how = self.rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGQUIT, signal.SIGINT))
        self._server.stop(how)
        self.figures[f"server ended by {how.name}"] += 1
        self.rest(self.rng.choice((0.0, 0.3, 2.0)))
        # Processes of a server that was killed may hold its memory for a moment.
        if not until(self._server.serve, 60.0, every=0.2):
            self.broken.append("the server does not come back: the harness's own fault")
