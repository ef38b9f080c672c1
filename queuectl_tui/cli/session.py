"""One run of the command line: the global options, standard output and error, the queue."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ..interrupts import Interrupted, signals
from .diagnostics import Stderr
from .output import JsonListing, Listing, PlainListing, PrettyListing, Stdout, View

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

T = TypeVar("T")

PROGRAM = "queuectl"
COMPLETE = "_QUEUECTL_COMPLETE"
"""Set by the completion script when it asks for suggestions."""


class Session:
    """One run of the command line: the global options, standard output and error."""

    def __init__(self) -> None:
        self.out = Stdout()
        self.err = Stderr()
        self.store: str | None = None
        self.json = False
        self.verbose = False
        self.clock: Callable[[], float] = time.time
        """The clock of the queue once it is open: its times are compared with this clock."""
        self.out.color = self.err.color = not os.environ.get("NO_COLOR")

    def take(self, name: str, value: Any) -> None:
        """Keep the value of a global option. An option after the verb wins over one before it,
        which may come from a shell alias."""
        if name == "store":
            self.store = value  # an empty one is an error later, not the default store
        elif name == "no_color":
            self.out.color = self.err.color = False
        elif name in ("quiet", "debug"):
            setattr(self.err, name, value)
        else:
            setattr(self, name, value)

    @contextmanager
    def listing(self, view: View[T], *, header: bool | None = None) -> Iterator[Listing[T]]:
        kind: type[Listing[T]] = PrettyListing if self.out.terminal else PlainListing
        shown = not self.err.quiet if header is None else header
        listing = (JsonListing if self.json else kind)(self.out, view, self.clock, header=shown)
        yield listing
        listing.end()

    def show_all(self, view: View[T], rows: Iterable[T]) -> None:
        with self.listing(view) as listing:
            for row in rows:
                listing.add(row)

    def run(
        self,
        act: Callable[[Queue], Awaitable[T]],
        *,
        read_only: bool = False,
        create: bool = False,
        url: str | None = None,
        loop: bool = False,
    ) -> T:
        """Open the queue, do ``act`` with it, close it.

        ``create``: make the store if it does not exist. Otherwise a path that does not exist is an
        error, and a default store that does not exist is treated as empty.
        ``loop``: ``act`` needs an event loop. Otherwise asyncio is not loaded if the store does not
        need it; loading it takes a third of a short verb's time.
        """
        from queuectl_core.domain.text import clean_line
        from queuectl_core.queue import Queue
        from queuectl_core.system.postcommit import commits, report_to

        url = url or self.store
        commits.reset()

        async def session() -> T:
            report_to(self.err.warn)
            async with Queue.open(
                url, read_only=read_only, create=create, absent_ok=not create, via="cli"
            ) as queue:
                commits.verb_begins()
                self.clock = queue.clock
                if self.verbose:
                    where = clean_line(str(queue.directory))
                    self.err.note(f"output and logs of this store: {where}")
                gc.freeze()  # see __main__: what was imported stays; garbage is made from now on
                gc.enable()
                return await act(queue)

        if not loop and Queue.can_run_sync(url):
            from queuectl_core.system.run_sync import run_sync

            return run_sync(session())
        return run_loop(session)


def run_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The answer of ``work``, run under an event loop and stopped by signals."""
    import asyncio

    async def main() -> T:
        signals.under_loop(asyncio.current_task())
        return await work()

    try:
        with asyncio.Runner() as runner:
            # Create the loop, which is slow, before the coroutine: if a signal came in between,
            # Python would complain about a coroutine that was never awaited.
            runner.get_loop()
            return runner.run(main())
    except asyncio.CancelledError:
        raise Interrupted from None
    except RuntimeError as error:
        if "Event loop stopped before Future completed" not in str(error):
            raise
        raise Interrupted from None  # asyncio raises this after a second signal
