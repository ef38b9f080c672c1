"""The console's app: it reads the store again and again, and tells its screens."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, ClassVar

from textual import events, on
from textual.actions import ActionParseResult
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Size
from textual.screen import Screen

from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.text import clean_line
from queuectl_core.system.host import hostname

from ..presentation.columns import Cell
from ..presentation.format import ago, clock_time
from ..presentation.monitor import Monitor, Overview
from . import hangup
from .action_runner import StoreRead
from .background import run_in_background
from .inputs import InputQueue
from .navigation import Navigation
from .screens.base import ConsoleScreen
from .screens.main import MainScreen
from .terminal_input import NotUtf8, Suspension
from .theme import ANSI, DARK, LIGHT

POLL = 0.2
"""Seconds between checks for a change: one PRAGMA, 4 ms of CPU a minute."""

SLOWEST, FASTEST = 30.0, 0.25
"""Seconds between two readings of the store."""

RETRY = 1.0
"""Seconds between attempts to reach a store that cannot be read."""

PATIENCE = 1.5
"""Seconds that reading may take before the console says that it waits."""

KEYS_WAIT = "still reading the store: keys wait, esc drops them"

MESSAGES = 200
"""Messages that are kept."""

WIDTHS = [(0, "-narrow"), (78, "-normal"), (150, "-wide")]
HEIGHTS = [(0, "-short"), (20, "-low"), (34, "-tall"), (50, "-high")]
"""Numbers of columns and lines at which the layout of the screens changes."""


class Console(Navigation):
    """The app: reads the store, and has the keys that work on every screen."""

    TITLE = "queuectl"
    CSS_PATH = "console.tcss"
    DEFAULT_CSS = "SearchIcon { display: none; }"
    ENABLE_COMMAND_PALETTE = True
    AUTO_FOCUS = None
    HORIZONTAL_BREAKPOINTS = WIDTHS
    VERTICAL_BREAKPOINTS = HEIGHTS

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "pause", show=False),
        Binding("plus", "change_pace(2)", "slower", key_display="+", show=False),
        Binding("minus", "change_pace(0.5)", "faster", key_display="-", show=False),
        Binding("ctrl+r", "now", "read now", key_display="^r", show=False),
        Binding("colon,ctrl+p", "command_palette", "commands", key_display=":"),
        Binding("ctrl+l", "draw_again", "draw again", key_display="^l", show=False, priority=True),
        Binding(
            "ctrl+z",
            "leave",
            "to the shell (fg: back)",
            key_display="^z",
            show=False,
            priority=True,
        ),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("m", "messages", "messages", show=False),
        Binding("q", "quit", "quit"),
        Binding("ctrl+q", "quit", "quit", show=False, priority=True),  # Textual's says "Quit"
    ]

    def __init__(
        self, monitor: Monitor, overview: Overview, *, refresh: float = 1.0, host: str | None = None
    ) -> None:
        few = few_colors(monitor.connections.env)
        super().__init__(ansi_color=True if few else None)
        self.connections = monitor.connections
        self.host = clean_line(host or hostname(self.connections.env), 60)
        self.every = min(max(refresh, FASTEST), SLOWEST)
        self.monitor = monitor
        self.overview = overview
        self.drafts = {}
        self.in_progress = {}
        self.trouble = None
        self.paused = False
        self.messages = deque(maxlen=MESSAGES)
        self._store = "-"
        self._wake = asyncio.Event()
        self.inputs = InputQueue(self, self._input_waits)
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        if few:
            self.theme = ANSI
        else:  # without its watcher, which would parse the style sheet again
            self.set_reactive(App.theme, DARK.name)
            self.stylesheet.set_variables(self.get_css_variables())

    def get_default_screen(self) -> Screen[Any]:
        # With the classes for its size from the start. Textual adds them only after a first layout,
        # and then needs a second one.
        screen = MainScreen(id="main")
        screen.add_class(*arrangement(self.size), update=False)
        return screen

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, lambda _: self._restyle())
        run_in_background(self, self._watch, "watch")
        self.set_interval(1.0, self._age)
        loop = asyncio.get_running_loop()
        if not self.is_headless:
            for name in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(name, self.exit, 128 + name)
            if sys.__stdin__ is not None:
                hangup.watch(sys.__stdin__.fileno(), lambda: self.exit(128 + signal.SIGHUP))
            if isinstance(self._driver, LinuxDriver):
                leaving = Suspension(self._driver, self._back, self._not_left)
                loop.add_signal_handler(signal.SIGTSTP, leaving.stop)
                loop.add_signal_handler(signal.SIGCONT, leaving.go_on)

    def _back(self) -> None:
        self.action_draw_again()
        self.read_soon()

    def _not_left(self) -> None:
        self.say("✗ not left: no shell is here that could continue the console; q quits", "warn")

    def action_leave(self) -> None:
        os.kill(os.getpid(), signal.SIGTSTP)

    @on(NotUtf8)
    def _not_text(self) -> None:
        self.say("✗ a key was left out: it is not UTF-8. Set the terminal to UTF-8", "bad")

    def _restyle(self) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, ConsoleScreen):
                screen.restyle()

    async def _watch(self) -> None:
        # The screen shows what was read a moment ago. Reading again now would only delay the first
        # frame.
        read_at = time.monotonic()
        dirty = False
        await self._pause(POLL)
        while True:
            forced = self._wake.is_set()
            self._wake.clear()
            try:
                if not self.connections.connected:
                    await self._patiently(self.connections.connect())
                    dirty = True
                dirty |= await self._patiently(self.monitor.changed())
                if not dirty and not self.paused:
                    self.monitor.saw()
                due = time.monotonic() - read_at >= self.every
                if forced or (due and not self.paused):
                    changed = dirty or forced
                    if changed:
                        self.overview = await self._patiently(self.monitor.overview())
                    else:
                        self.overview = await self._patiently(self.monitor.moved_on(self.overview))
                    dirty = False
                    read_at = time.monotonic()
                    self.monitor.saw()
                    self._found(None)
                    self._tell(StoreRead(self.overview, changed=changed))
            except QueueError as error:
                self._lost(error)
                await self.connections.drop()
                await self._pause(RETRY)
            except Exception as error:  # a bug: show it, and go on reading
                self._found(f"reading failed ({type(error).__name__}: {error}); trying again")
                await self._pause(RETRY)
            else:
                await self._pause(POLL)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _patiently(self, reading: Awaitable[Any]) -> Any:
        """The result of ``reading``. Shows a message when it takes long."""
        task = asyncio.ensure_future(reading)
        try:
            done, _ = await asyncio.wait({task}, timeout=PATIENCE)
            if not done:
                self._found("the store does not answer: another process may hold it; waiting")
            return await task
        finally:
            task.cancel()

    def lost(self, error: QueueError) -> None:
        # Otherwise the reason is known, and this error only says that there is no connection.
        if self.connections.connected or not self.trouble:
            self._lost(error)

    def _lost(self, error: QueueError) -> None:
        self._found(f"{error.message}; trying again")

    def _found(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble and clean_line(trouble, 500)
            self._tell(StoreRead(self.overview, changed=trouble is None))

    def _tell(self, message: StoreRead) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, ConsoleScreen):
                screen.post_message(StoreRead(message.overview, changed=message.changed))

    @property
    def live(self) -> bool:
        """Whether the screen is up to date, except for the time between two readings."""
        limit = self.every + PATIENCE + POLL
        return not self.paused and self.trouble is None and self.monitor.unseen_for < limit

    def clock(self) -> float:
        return self.connections.clock() if self.live else self.monitor.seen_at

    def _age(self) -> None:
        if not self.live and not self.paused:
            self._tell(StoreRead(self.overview, changed=False))

    def stopped(self) -> Cell:
        if self.trouble:
            return f" ▲ {self.trouble}", "bad"
        return (" ‖ paused: p goes on" if self.paused else ""), "warn"

    def heading(self) -> tuple[list[Cell], list[Cell]]:
        if self.connections.connected:  # otherwise the last known name is shown
            self._store = clean_line(
                home_as_tilde(self.connections.reader.url, self.connections.env), 200
            )
        left = [(" queuectl ", "title"), (f" {self._store} ", "text"), (f" {self.host} ", "muted")]
        right: list[Cell] = []
        if self.connections.read_only:
            right.append((" read-only ", "accent"))
        if self.paused and not self.trouble:
            since = clock_time(self.monitor.seen_at, self.connections.clock())
            right.append((f" ‖ paused {since} ", "warn"))
        elif self.live:
            right.append((f" ● live {self.every:g}s ", "good"))
        else:
            old = ago(self.monitor.unseen_for).replace("now", "")
            word = "▲ lost" if self.trouble else "▲ old"
            right.append((f" {word} {old}".rstrip() + " ", "bad"))
        return left, right

    async def on_event(self, event: events.Event) -> None:
        is_input = isinstance(event, (events.InputEvent, events.Paste)) and not event.is_forwarded
        if is_input and not self.inputs.is_delivered(event):
            if not self.is_left_out(event):
                self.inputs.put(event)
        elif not is_input or self.screen_stack:  # no screen: the app is ending
            await super().on_event(event)

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Run an action, or say why its key does nothing now."""
        done = await super().run_action(action, default_namespace, namespaces)
        screen = default_namespace
        if not done and isinstance(screen, ConsoleScreen) and isinstance(action, str):
            # None, not False: the key is there, but not for what is selected.
            reason = screen.refusal(action) if screen.check_action(action, ()) is None else None
            if reason is not None:
                self.say(reason, "warn")
        return done

    def _input_waits(self, waits: bool) -> None:
        if waits:
            self.say(KEYS_WAIT, "warn")
        else:
            self.take_back(KEYS_WAIT)

    def action_pause(self) -> None:
        self.paused = not self.paused
        self._shown_again("paused: p goes on" if self.paused else "live again")

    def action_change_pace(self, factor: float) -> None:
        self.every = min(SLOWEST, max(FASTEST, self.every * factor))
        self._shown_again(f"reading every {self.every:g} s")

    def _shown_again(self, text: str) -> None:
        self.say(text)
        self._tell(StoreRead(self.overview, changed=False))

    def read_soon(self) -> None:
        self._wake.set()

    def action_now(self) -> None:
        self.read_soon()
        self.say("read now")

    async def action_quit(self) -> None:
        self.exit(0)

    def action_command_palette(self) -> None:
        from .palette import Palette

        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        from .palette import commands

        yield from commands(self, screen)


def arrangement(size: Size) -> list[str]:
    sides = ((WIDTHS, size.width), (HEIGHTS, size.height))
    return [max(step for step in steps if step[0] <= side)[1] for steps, side in sides]


def few_colors(env: Mapping[str, str]) -> bool:
    """Whether the terminal has at most sixteen colours, or the user wants none."""
    if env.get("NO_COLOR"):
        return True
    term = env.get("TERM", "")
    plain = term in ("", "dumb", "linux", "ansi", "screen", "xterm", "rxvt") or term.startswith(
        "vt"
    )
    return plain and not env.get("COLORTERM")


def home_as_tilde(path: str, env: Mapping[str, str]) -> str:
    home = env.get("HOME", "")
    return "~" + path[len(home) :] if home and path.startswith(home + "/") else path
