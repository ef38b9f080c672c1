"""Live output on the whole screen, and in the pager."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from typing import ClassVar

from textual import on
from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType

from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.model import Job
from queuectl_core.operations.attempt_output import AttemptOutput

from ...presentation.format import cli, command_line
from ..action_runner import StoreRead
from ..background import run_in_background
from ..widgets.output import NOT_READ, OutputPane
from ..widgets.status_bars import Bar, KeyBar, Notice, Stopped
from .detail import OneJobScreen


class OutputScreen(OneJobScreen):
    """The output of a job's latest attempt, or of the given one."""

    DEFAULT_CSS = """
    OutputScreen #output { height: 1fr; }
    OutputScreen.full Bar, OutputScreen.full KeyBar { display: none; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "follow", "follow"),
        Binding("w", "wrap", "wrap"),
        Binding("f", "full", "full screen"),
        Binding("v", "pager", "$PAGER"),
        Binding("escape,l", "back", "back", key_display="esc"),
    ]

    def __init__(self, job: Job, number: int | None = None) -> None:
        super().__init__(job)
        self._number = number

    def compose(self) -> ComposeResult:
        yield Bar(id="head", filled=True)
        yield Stopped()
        yield OutputPane()
        yield Notice(id="message", passing=True)
        yield KeyBar(id="keys")

    async def on_mount(self) -> None:
        self.query_one(OutputPane).focus()
        await self._read()
        attempt = [] if self._number is None else ["--attempt", str(self._number)]
        self.console.say(f"$ {cli('logs', '--follow', *attempt, self.job.id)}", "muted")

    def on_store_read(self, message: StoreRead) -> None:
        if message.changed:
            run_in_background(self, self._read, "output", exclusive=True)

    async def _read(self) -> None:
        try:
            queue = self.console.connections.reader
            found = await queue.get(self.job.seq)
            self._deleted = found is None
            self.job = found or self.job
            if found is not None:
                self.query_one(OutputPane).show(await queue.output(found, self._number))
        except QueueError as error:
            self.console.say(f"✗ {error}", "bad")
        self.query_one("#head", Bar).say(
            [
                (f" {self.job.id} ", "title"),
                self.state_cell(),
                (f" {command_line(self.job.command)}", "text"),
            ]
        )
        self.refresh_bindings()

    def describe(self, action: str) -> str | None:
        if action == "follow" and self.query_one(OutputPane).follow:
            return "stay here"
        return super().describe(action)

    @on(OutputPane.Turned)
    def _turned(self) -> None:
        self.refresh_bindings()

    def action_full(self) -> None:
        self.toggle_class("full")

    def action_back(self) -> None:
        if self.has_class("full"):
            self.remove_class("full")
        else:
            self.dismiss()

    async def action_pager(self) -> None:
        output = self.query_one(OutputPane).viewport.output
        if output is NOT_READ:
            return
        words = self.console.connections.env.get("PAGER", "") or "less"
        try:
            with as_file(output) as path:
                async with self.console.lend():
                    argv = [*shlex.split(words), path]
                    await asyncio.to_thread(subprocess.run, argv, check=False)
        except (OSError, ValueError, SuspendNotSupported) as error:
            self.console.say(f"✗ cannot run the pager '{words}': {error}", "bad")
        self.refresh(layout=True)


@contextlib.contextmanager
def as_file(output: AttemptOutput) -> Iterator[str]:
    """The path of a file with this output: its own file, or a temporary one with the stored end."""
    if output.path is not None and output.path.exists():
        yield str(output.path)
        return
    fd, path = tempfile.mkstemp(prefix="queuectl-", suffix=".log")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(output.tail)
        yield path
    finally:
        os.unlink(path)
