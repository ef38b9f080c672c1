"""How the console runs actions and reports their results, and what its screens may use of it."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from textual.app import SuspendNotSupported
from textual.message import Message
from textual.message_pump import MessagePump

from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.model import Filter, Job, State
from queuectl_core.domain.text import clean_line
from queuectl_core.system.postcommit import report_to

from ..presentation.actions import Action, MatchingJobs, count_matching
from ..presentation.columns import Cell
from ..presentation.connections import Connections
from ..presentation.format import cli
from ..presentation.monitor import Monitor, Overview
from .background import run_in_background
from .inputs import OPENING
from .minimum_size import MinimumSize
from .terminal import PacedDisplay
from .widgets.status_bars import Notice

OnEnd = Callable[[Exception | None], None]
"""Called when an action has ended, with the error or None."""


@dataclass
class StoreRead(Message):
    """The store was read again; ``changed``: something in it is different."""

    overview: Overview
    changed: bool


class ActionRunner(MinimumSize, PacedDisplay):
    """The part of the app that runs actions, and the interface that screens use."""

    connections: Connections
    monitor: Monitor
    overview: Overview
    """The store as it was last read."""
    trouble: str | None
    """Why the store cannot be read; None: it can."""
    every: float
    """Seconds between readings of the store."""
    last_message = ""
    messages: deque[tuple[float, str, str]]
    """Messages: time, text and role. The latest is the last one."""
    drafts: dict[str, dict[str, str]]
    """What was typed into forms that were closed, by the name of the form."""
    in_progress: dict[str, list[OnEnd]]
    """Actions that are running, by their command line: what to call when they end."""

    # -- methods of Console ---------------------------------------------------------

    read_soon: Callable[[], None]
    """Read the store again, now."""
    clock: Callable[[], float]
    """The moment that the screen shows, by the queue's clock: now, unless it is not live."""
    lost: Callable[[QueueError], None]
    """The store could not be read."""
    heading: Callable[[], tuple[list[Cell], list[Cell]]]
    """The title bar: which store, where, and how it is looked at."""
    stopped: Callable[[], Cell]
    """Why the screens do not show the store as it is now; empty: they do."""
    action_pause: Callable[[], None]

    # -- methods of Navigation ------------------------------------------------------

    confirm: Callable[[Action], None]
    """Ask the question of an action, then run it."""
    ask_workers: Callable[[], None]
    open_job: Callable[[Job], None]
    open_output: Callable[..., None]
    """Open the output of an attempt of a job, by its number; without: of the latest."""
    open_form: Callable[[], None]
    open_why: Callable[[Job], None]
    """Show why a job does not run."""
    open_queues: Callable[[], None]
    open_schedules: Callable[[], None]
    open_events: Callable[[], None]
    open_hooks: Callable[[], None]
    open_page: Callable[[str], None]
    """Show ``queues``, ``schedules``, ``events`` or ``hooks`` instead of the page that is open."""
    show_queue: Callable[[str], None]
    """Show the jobs of a queue on the main screen."""
    ask_remove: Callable[[Job], None]
    """Ask, then remove a job, and the jobs that wait for it if there are any."""
    ask_pause: Callable[[str], None]
    """Ask, then pause or resume a queue."""
    edit_fields: Callable[[Job], None]
    """Open the form with the fields of a job that can be changed."""
    edit_job: Callable[[Job], None]
    """Ask for another command for a job, then run it again with it, or a copy."""

    def say(self, text: str, style: str = "text") -> None:
        """Show a message on the top screen that has a message bar."""
        self.last_message = text
        self.messages.append((time.time(), clean_line(text, 1000), style))
        for screen in reversed(self.screen_stack):
            bars = screen.query("#message")
            if bars:
                bars.only_one(Notice).say([(f" {clean_line(text, 1000)}", style)])
                return

    def take_back(self, text: str) -> None:
        """Remove a message that is no longer true from the screens that still show it."""
        for screen in self.screen_stack:
            for bar in screen.query("#message").results(Notice):
                if bar.text.strip() == text:
                    bar.say(())

    def perform_counted(
        self,
        wheres: Sequence[Filter],
        allowed: tuple[State, ...],
        make: Callable[[Sequence[MatchingJobs]], Action],
    ) -> None:
        """Count what matches ``wheres`` in each ``allowed`` state, then ask and do."""

        async def count() -> None:
            queue = self.connections.reader
            found = [await count_matching(queue, where, allowed) for where in wheres]
            found = [one for one in found if one.total]
            if found:
                self.perform(make(found))
            else:
                self.say("no job that matches is in a state for that", "warn")

        self._spawn(count, "", OPENING)

    def perform(self, action: Action) -> None:
        """Run an action, after a question if it has one."""
        if action.question is None:
            self.do(action)
        else:
            self.confirm(action)

    def do(self, action: Action, ended: OnEnd = lambda error: None) -> None:
        """Run an action once, also if the screen that asked for it is closed; then call ``ended``.

        If the same action is running already, ``ended`` is called when that one ends.
        """
        if action.command in self.in_progress:
            self.in_progress[action.command].append(ended)
            self.say(f"this is being done already: it waits for the store  $ {action.command}")
            return
        self.in_progress[action.command] = [ended]

        async def work() -> None:
            try:
                await self.carry_out(action)
            except Exception as error:
                self._tell_ended(action, error)
                raise
            self._tell_ended(action, None)

        self._spawn(work, f"$ {action.command}")

    def _tell_ended(self, action: Action, error: Exception | None) -> None:
        for ended in self.in_progress.pop(action.command):
            ended(error)

    async def carry_out(self, action: Action) -> None:
        """Run an action and show its result. Raises QueueError when it fails."""
        self.say(f"… $ {action.command}", "muted")
        queue = await self.connections.writer()
        notes: list[str] = []
        report_to(notes.append)
        came = await action.run(queue)
        said = "; ".join([came, *notes])
        self.say(f"✓ {said}  $ {action.command}", "warn" if notes else "good")
        self.read_soon()

    def watch_for(self, jobs: Sequence[Job]) -> None:
        seqs = [job.seq for job in jobs]
        names = " ".join(job.id for job in jobs[:3]) + (" …" if len(jobs) > 3 else "")

        async def wait() -> None:
            self.say(f"waiting for {names}  $ {cli('wait', *(job.id for job in jobs))}", "muted")
            state = await self.connections.reader.wait_state(seqs)
            while not state.finished:
                await asyncio.sleep(self.every)
                state = await self.connections.reader.wait_state(seqs)
            style = "bad" if state.bad else "good"
            self.say(f"{names}: done, {state.bad} of {state.total} dead or cancelled", style)

        self._spawn(wait, "", "waiting")

    def _spawn(
        self, work: Callable[[], Awaitable[None]], what: str, group: str = "actions"
    ) -> None:
        async def guarded() -> None:
            try:
                await work()
            except QueueError as error:
                self.say(f"✗ {error}  {what}", "bad")
                self.read_soon()
            except Exception as error:  # a bug
                self.say(f"✗ failed ({type(error).__name__}: {error})  {what}", "bad")
                raise

        run_in_background(self, guarded, group)

    def with_job(self, job_id: str, then: Callable[[Job], None]) -> None:
        async def find() -> None:
            then(await self.connections.reader.find(job_id))

        self._spawn(find, "", OPENING)

    def with_jobs(self, job_ids: Sequence[str], make: Callable[[list[Job]], Action]) -> None:
        async def find() -> None:
            jobs = [await self.connections.reader.find(job_id) for job_id in job_ids]
            if jobs:
                self.perform(make(jobs))

        self._spawn(find, "", OPENING)

    async def edit_text(self, text: str) -> str | None:
        """``text`` after editing with $VISUAL or $EDITOR; None when that failed."""
        env = self.connections.env
        words = env.get("VISUAL") or env.get("EDITOR") or "vi"
        fd, path = tempfile.mkstemp(prefix="queuectl-", suffix=".sh")
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(text)
            argv = [*shlex.split(words), path]
            async with self.lend():
                done = await asyncio.to_thread(subprocess.run, argv, check=False)
            if done.returncode:
                self.say(f"✗ '{words}' failed with exit code {done.returncode}", "bad")
                return None
            return Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError, SuspendNotSupported) as error:
            self.say(f"✗ cannot edit with '{words}': {error}", "bad")
            return None
        finally:
            os.unlink(path)
            self.action_draw_again()


class ConsolePart(MessagePump):
    """A screen or a widget that uses the console as a whole."""

    @property
    def console(self) -> ActionRunner:
        return cast(ActionRunner, self.app)
