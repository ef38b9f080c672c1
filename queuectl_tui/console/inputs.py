"""Keys, pastes and clicks that arrive together have the same effect as the same ones typed slowly.

A terminal may send many keys in one packet: a slow line, tmux, a macro, a paste without brackets.
Textual gives each key to whatever has the focus when the key arrives. But what a key opens (a
question, a form, the search line) gets the focus a little later, so the keys behind it would go to
the screen below, where single letters are commands.

So input waits here. One event is delivered, then we wait until it has done its work: every handler
has run, what it opened has the focus, and the rows it asked for are read. Then the next one is
delivered.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual import events
from textual.app import App
from textual.message_pump import MessagePump
from textual.widgets import Input
from textual.worker import Worker

if TYPE_CHECKING:
    from textual.dom import DOMNode
    from textual.widget import Widget

PATIENCE = 1.0
"""Seconds for which keys wait for a change of the store and for its result on the screen. Then
they are delivered: the store may be locked, and the screen must stay usable."""

PASSES = 3
"""How often we wait for each widget that a key passes. A message goes through several widgets, and
a handler sends new ones: enter in the search line takes three."""

HEAD_START = 0.02
"""Seconds that an event gets for its frame before we wait for its work. This check takes as long as
drawing the frame. More input ends this time."""

LOOK = 0.25
"""Seconds after which a wait checks that it still makes sense."""

OPENING = "opening"
"""The group of work that reads the store and then opens something. Keys always wait for it."""

_PALETTE = "--textual-command-palette-gather-commands"
_ALWAYS = (OPENING, "rows-", "mark-", _PALETTE)
_FOR_A_WHILE = ("actions", "enqueue", "job", "output")


class InputQueue:
    """Delivers input to ``app`` one event at a time. ``waits`` is called with True when events have
    to wait for long, and with False when they no longer do."""

    def __init__(self, app: App[int], waits: Callable[[bool], None]) -> None:
        self._app = app
        self._waits = waits
        self._said = False
        self._waiting: deque[events.Event] = deque()
        self._delivering: asyncio.Task[None] | None = None
        self._sent: dict[int, events.Event] = {}
        self._stuck = False
        self._since = 0.0
        self._give_up = asyncio.Event()
        self._more = asyncio.Event()
        self._focus_before: Widget | None = None
        """What had the focus when the current event was delivered."""

    def is_delivered(self, event: events.Event) -> bool:
        """Whether we have delivered ``event`` ourselves. Call it once for each event."""
        return self._sent.pop(id(event), None) is event

    def put(self, event: events.Event) -> None:
        """Deliver ``event`` when its turn comes."""
        if isinstance(event, events.Key) and self._stuck:
            if event.key in ("ctrl+q", "ctrl+c"):
                self._app.exit(0)
                return
            if event.key == "escape" and self._can_drop:
                self.drop()
                return
        if isinstance(event, events.MouseMove) and self._waiting:
            return  # only the last place of the pointer matters
        self._waiting.append(event)
        self._more.set()
        if self._delivering is None or self._delivering.done():
            self._delivering = asyncio.create_task(self._deliver())

    async def idle(self) -> None:
        """Wait until all input has done its work."""
        if self._delivering is not None:
            await asyncio.wait({self._delivering})

    def drop(self) -> None:
        """Drop all input that waits, and do not open what was to be opened."""
        self._waiting.clear()
        for worker in self._workers((OPENING,)):
            worker.cancel()
        self._give_up.set()

    @property
    def _can_drop(self) -> bool:
        """Whether esc cancels what is to be opened. When it is open already and only drawing takes
        long, esc is an ordinary key for it."""
        if self._workers((OPENING,)):
            return True
        return self._app.focused is self._focus_before and bool(self._work(_ALWAYS))

    async def _deliver(self) -> None:
        settled = True
        while self._waiting and self._app.is_running:
            event = self._waiting.popleft()
            if isinstance(event, events.MouseMove):
                self._send(event)
                continue
            is_text = self._is_text(event)
            if not settled and not is_text:
                await self._settle()
            self._more.clear()
            self._focus_before = self._app.focused
            self._send(event)
            settled = not is_text
            if not is_text:
                await self._head_start()
                await self._settle()

    async def _head_start(self) -> None:
        if self._waiting:
            return
        try:
            async with asyncio.timeout(HEAD_START):
                await self._more.wait()
        except TimeoutError:
            pass

    def _send(self, event: events.Event) -> None:
        self._sent[id(event)] = event
        self._app.post_message(event)

    def _is_text(self, event: events.Event) -> bool:
        """Whether this is a character for a text field. It opens nothing, so nothing has to
        wait."""
        field = isinstance(self._app.focused, Input)
        return field and isinstance(event, events.Key) and event.is_printable

    async def _settle(self) -> None:
        """Wait until what was delivered has done its work."""
        self._since = time.monotonic()
        self._give_up.clear()
        try:
            quiet = 0
            while quiet < 2 and self._app.is_running and not self._give_up.is_set():
                for _ in range(PASSES):
                    for pump in self._way():
                        await self._handled(pump)
                work = self._work(_ALWAYS if self._late else _ALWAYS + _FOR_A_WHILE)
                quiet = (
                    0 if work else quiet + 1
                )  # twice, because short work may start and end in between
                if not work:
                    continue
                self._say_if_late()
                await asyncio.wait(work, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stuck = False
            if self._said:
                self._said = False
                self._waits(False)

    @property
    def _late(self) -> bool:
        return time.monotonic() - self._since > PATIENCE

    def _say_if_late(self) -> None:
        self._stuck = self._late
        if self._late and self._waiting and not self._said and self._can_drop:
            self._said = True
            self._waits(True)

    async def _handled(self, pump: MessagePump) -> None:
        """Wait until ``pump`` has handled what it was sent so far, or is closed."""
        done = asyncio.Event()
        if not _runs(pump) or not pump.call_later(done.set):
            return
        while _runs(pump) and not self._give_up.is_set():
            try:
                async with asyncio.timeout(LOOK):
                    await done.wait()
                    return
            except TimeoutError:
                self._say_if_late()

    def _way(self) -> list[MessagePump]:
        """What handles a key: the app, then the widget with the focus and its parents."""
        found: list[MessagePump] = [self._app]
        if self._app.screen_stack:
            node: DOMNode | None = self._app.focused or self._app.screen
            while node is not None:
                found.append(node)
                node = node.parent if isinstance(node.parent, MessagePump) else None
        return found

    def _workers(self, groups: tuple[str, ...]) -> list[Worker[None]]:
        """The workers in these groups that have not ended. "rows-" stands for all that start so."""
        return [
            worker
            for worker in self._app.workers
            if not worker.is_finished
            and any(
                worker.group == name or (name.endswith("-") and worker.group.startswith(name))
                for name in groups
            )
        ]

    def _work(self, groups: tuple[str, ...]) -> list[asyncio.Task[None]]:
        tasks = (worker._task for worker in self._workers(groups))
        return [task for task in tasks if task is not None and not task.done()]


def _runs(pump: MessagePump) -> bool:
    """Whether it handles messages. It may stop at any time."""
    return pump.is_running
