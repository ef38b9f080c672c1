"""The console's app: its screens, its connection to the store, one way to do each action."""

from __future__ import annotations

import asyncio
import shlex
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from queuectl_core.errors import QueueError
from queuectl_core.host import hostname
from queuectl_core.model import Filter, Job, State
from queuectl_core.text import clean_line

from . import actions
from .actions import Action
from .format import cli, command_text
from .messages import StoreRead
from .monitor import Monitor, Overview
from .screens.base import ConsoleBase
from .screens.main import MainScreen
from .theme import ANSI, DARK, LIGHT
from .widgets.bars import Notice
from .widgets.drawing import Cell

POLL = 0.2
"""Seconds between looks whether anything changed: one PRAGMA, 4 ms of CPU a minute."""

SLOWEST, FASTEST = 30.0, 0.25
"""Seconds between two readings of the store."""

EDITABLE = 4_000
"""Characters of a command that fit an edit line."""

RETRY = 1.0
"""Seconds between attempts to reach a store that is lost."""

PATIENCE = 1.5
"""Seconds a reading may take before the console says that it waits."""

WIDTHS = [(0, "-narrow"), (78, "-normal"), (150, "-wide")]
HEIGHTS = [(0, "-short"), (20, "-low"), (34, "-tall"), (50, "-high")]
"""Where the screens are rearranged: columns and lines."""


class Console(App[int]):
    """The app: the connection to the store, and one way to do each action."""

    TITLE = "queuectl"
    CSS_PATH = "console.tcss"
    DEFAULT_CSS = "SearchIcon { display: none; }"
    ENABLE_COMMAND_PALETTE = True
    AUTO_FOCUS = None
    HORIZONTAL_BREAKPOINTS = WIDTHS
    VERTICAL_BREAKPOINTS = HEIGHTS

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "pause", show=False),
        Binding("plus", "slower", "slower", key_display="+", show=False),
        Binding("minus", "faster", "faster", key_display="-", show=False),
        Binding("ctrl+r", "now", "read now", key_display="^r", show=False),
        Binding("colon,ctrl+p", "command_palette", "commands", key_display=":"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(
        self,
        monitor: Monitor,
        overview: Overview,
        *,
        refresh: float = 1.0,
        host: str | None = None,
    ) -> None:
        few = few_colors(monitor.link.env)
        super().__init__(ansi_color=True if few else None)
        self.link = monitor.link
        self.clock = self.link.clock
        self.host = clean_line(host or hostname(), 60)
        self.every = min(max(refresh, FASTEST), SLOWEST)
        self.monitor = monitor
        self.overview = overview
        self.trouble: str | None = None
        """Why the store cannot be read; None: it can."""
        self.paused = False
        self.last_message = ""
        self._wake = asyncio.Event()
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        if few:
            self.theme = ANSI
        else:  # without its watcher, which would parse the style sheet a second time
            self.set_reactive(App.theme, DARK.name)

    def get_default_screen(self) -> Screen[Any]:
        return MainScreen(id="main")

    @property
    def main(self) -> MainScreen:
        """The main screen, whatever is on top of it."""
        found = self.screen_stack[0]
        if not isinstance(found, MainScreen):
            raise TypeError("the main screen is always at the bottom")
        return found

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, lambda _: self._restyle())
        self.run_worker(self._watch(), group="watch", exit_on_error=False)
        loop = asyncio.get_running_loop()
        if not self.is_headless:
            for name in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(name, self.exit, 128 + name)

    def _restyle(self) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, ConsoleBase):
                screen.restyle()

    # -- keeping up with the store --------------------------------------------------------

    async def _watch(self) -> None:
        read_at = 0.0
        dirty = True
        while True:
            forced = self._wake.is_set()
            self._wake.clear()
            try:
                if not self.link.connected:
                    await self.link.connect()
                    dirty = True
                dirty |= await self._patiently(self.monitor.changed())
                due = time.monotonic() - read_at >= self.every
                if forced or (due and not self.paused):
                    changed = dirty or forced
                    if changed:
                        self.overview = await self._patiently(self.monitor.overview())
                    else:
                        self.overview = await self._patiently(self.monitor.moved_on(self.overview))
                    dirty = False
                    read_at = time.monotonic()
                    self._found(None)
                    self._tell(StoreRead(self.overview, changed=changed))
            except QueueError as error:
                self.lost(error)
                await self.link.drop()
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
        """What ``reading`` gives; says so when that takes long."""
        task = asyncio.ensure_future(reading)
        try:
            done, _ = await asyncio.wait({task}, timeout=PATIENCE)
            if not done:
                self._found("the store does not answer: another process may hold it; waiting")
            return await task
        finally:
            task.cancel()

    def lost(self, error: QueueError) -> None:
        """The store could not be read."""
        self._found(f"{error.message}; trying again")

    def _found(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._tell(StoreRead(self.overview, changed=trouble is None))

    def _tell(self, message: StoreRead) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, ConsoleBase):
                screen.post_message(StoreRead(message.overview, changed=message.changed))

    def heading(self) -> tuple[list[Cell], list[Cell]]:
        """The title bar: which store, where, and how it is looked at."""
        store = home_as_tilde(self.link.reader.url, self.link.env) if self.link.connected else "-"
        left = [
            (" queuectl ", "title"),
            (f" {clean_line(store, 200)} ", "text"),
            (f" {self.host} ", "muted"),
        ]
        right: list[Cell] = []
        if self.link.read_only:
            right.append((" read-only ", "accent"))
        if self.trouble:
            right.append((" ▲ lost ", "bad"))
        elif self.paused:
            right.append((" ‖ paused ", "warn"))
        else:
            right.append((f" ● live {self.every:g}s ", "good"))
        return left, right

    # -- saying ---------------------------------------------------------------------------

    def say(self, text: str, style: str = "text") -> None:
        """Put a line on the message bar of the screen on top that has one."""
        self.last_message = text
        for screen in reversed(self.screen_stack):
            bars = screen.query("#message")
            if bars:
                bars.only_one(Notice).say([(f" {clean_line(text, 1000)}", style)])
                return

    # -- doing ----------------------------------------------------------------------------

    def perform(self, action: Action) -> None:
        """Do it, asking first if it says so."""
        if action.question is None:
            self._do(action)
            return
        from .screens.dialogs import Confirm

        def answered(yes: bool | None) -> None:
            if yes:
                self._do(action)
            else:
                self.say("nothing was changed", "muted")

        self.push_screen(Confirm(action), answered)

    def perform_counted(
        self, where: Filter, allowed: tuple[State, ...], make: Callable[[Filter, int], Action]
    ) -> None:
        """Count what matches ``where`` in an ``allowed`` state, then ask and do."""

        async def count() -> None:
            states = where.narrowed(allowed)
            found = await self.link.reader.count(states) if states.states else 0
            if found:
                self.perform(make(where, found))
            else:
                self.say("no job that matches is in a state for that", "warn")

        self._spawn(count(), "counting")

    def _do(self, action: Action) -> None:
        self._spawn(self.carry_out(action), f"$ {action.command}")

    async def carry_out(self, action: Action) -> None:
        """Do it and say what came of it. Raises QueueError when it could not be done."""
        self.say(f"… $ {action.command}", "muted")
        queue = await self.link.writer()
        came = await action.run(queue)
        self.say(f"✓ {came}  $ {action.command}", "good")
        self._wake.set()

    def watch_for(self, jobs: Sequence[Job]) -> None:
        """Say when these jobs have come to an end."""
        seqs = [job.seq for job in jobs]
        names = " ".join(job.id for job in jobs[:3]) + (" …" if len(jobs) > 3 else "")

        async def wait() -> None:
            self.say(f"waiting for {names}  $ {cli('wait', *(job.id for job in jobs))}", "muted")
            state = await self.link.reader.wait_state(seqs)
            while not state.finished:
                await asyncio.sleep(self.every)
                state = await self.link.reader.wait_state(seqs)
            style = "bad" if state.bad else "good"
            self.say(f"{names}: done, {state.bad} of {state.total} dead or cancelled", style)

        self._spawn(wait(), "")

    def _spawn(self, work: Coroutine[Any, Any, None], what: str) -> None:
        async def guarded() -> None:
            try:
                await work
            except QueueError as error:
                self.say(f"✗ {error}  {what}", "bad")
                self._wake.set()

        self.run_worker(guarded(), group="actions", exit_on_error=False)

    def with_job(self, job_id: str, then: Callable[[Job], None]) -> None:
        """Look a job up by its id, then go on with it."""

        async def find() -> None:
            then(await self.link.reader.find(job_id))

        self._spawn(find(), "")

    def ask_workers(self) -> None:
        """Ask how many workers to start."""
        from .screens.dialogs import Ask, worker_count

        def answered(text: str | None) -> None:
            if text is not None:
                self._do(actions.start_workers(worker_count(text)))

        question = "Start how many workers, in the background, on this host?"
        self.push_screen(Ask(question, "1", worker_count), answered)

    # -- keys -----------------------------------------------------------------------------

    def action_pause(self) -> None:
        self.paused = not self.paused
        self._shown_again("paused: p goes on" if self.paused else "live again")

    def action_slower(self) -> None:
        self.every = min(SLOWEST, self.every * 2)
        self._shown_again(f"reading every {self.every:g} s")

    def action_faster(self) -> None:
        self.every = max(FASTEST, self.every / 2)
        self._shown_again(f"reading every {self.every:g} s")

    def _shown_again(self, text: str) -> None:
        self.say(text)
        self._tell(StoreRead(self.overview, changed=False))

    def action_now(self) -> None:
        self._wake.set()
        self.say("read now")

    async def action_quit(self) -> None:
        self.exit(0)

    # -- other screens --------------------------------------------------------------------

    def open_job(self, job: Job) -> None:
        """All about one job."""
        from .screens.detail import DetailScreen

        self.push_screen(DetailScreen(job))

    def open_output(self, job: Job, number: int | None = None) -> None:
        """What an attempt of a job wrote; None: the latest."""
        from .screens.output import OutputScreen

        self.push_screen(OutputScreen(job, number))

    def open_form(self) -> None:
        """The form for a new job."""
        from .screens.enqueue import EnqueueScreen

        async def open_it() -> None:
            self.push_screen(EnqueueScreen(await self.link.reader.defaults()))

        self._spawn(open_it(), "")

    def edit_job(self, job: Job) -> None:
        """Ask for another command for a job, then run it again with it, or a copy."""
        from .screens.enqueue import EditScreen

        text = command_text(job.command)
        if clean_line(text) != text or len(text) > EDITABLE:
            self.say("this command holds what cannot be edited on one line: see show", "warn")
            return

        def answered(answer: tuple[str, bool] | None) -> None:
            if answer is not None:
                typed, copied = answer
                as_argv = isinstance(job.command, tuple)
                command = tuple(shlex.split(typed)) if as_argv else typed
                self._do(actions.copy(job, command) if copied else actions.edit(job, command))

        async def open_it() -> None:
            defaults = await self.link.reader.defaults()
            argv = isinstance(job.command, tuple)
            self.push_screen(EditScreen(job.id, text, defaults, argv=argv), answered)

        self._spawn(open_it(), "")

    def ask_config(self) -> None:
        """Ask for a setting and its value."""
        self._ask_config("Which setting, and its value?", actions.config_set)

    def ask_config_unset(self) -> None:
        """Ask for a setting to go back to its default."""
        self._ask_config("Which setting goes back to its default?", actions.config_unset)

    def _ask_config(self, question: str, make: Callable[[str], Action]) -> None:
        from .screens.dialogs import Ask

        def answered(text: str | None) -> None:
            if text is not None:
                self._do(make(text))

        self.push_screen(Ask(question, "", make), answered)

    def action_help(self) -> None:
        from .screens.help import HelpScreen

        self.push_screen(HelpScreen(self.screen))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        from .verbs import commands

        yield from commands(self)


def few_colors(env: Mapping[str, str]) -> bool:
    """Whether the terminal has sixteen colours at most, as far as it says, or shall have none."""
    if "NO_COLOR" in env:
        return True
    term = env.get("TERM", "")
    plain = term in ("", "linux", "ansi", "screen", "xterm", "rxvt") or term.startswith("vt")
    return plain and not env.get("COLORTERM")


def home_as_tilde(path: str, env: Mapping[str, str]) -> str:
    """``path`` with the home directory as ``~``."""
    home = env.get("HOME", "")
    return "~" + path[len(home) :] if home and path.startswith(home + "/") else path
