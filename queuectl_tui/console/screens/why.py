"""Why a job does not run: every reason, with the command that removes it."""

from __future__ import annotations

from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.model import Job

from ...presentation.format import cli
from ...presentation.why import why_lines
from ..action_runner import StoreRead
from ..background import run_in_background
from .text_screen import TextScreen


class WhyScreen(TextScreen):
    """The reasons, read again while the screen is open."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"why {job.id}")
        self.job = job

    def on_mount(self) -> None:
        run_in_background(self, self._read, "why")
        self.console.say(f"$ {cli('why', self.job.id)}", "muted")

    def on_store_read(self, message: StoreRead) -> None:
        # Also when nothing was changed: jobs become due, and workers are lost.
        run_in_background(self, self._read, "why", exclusive=True)

    async def _read(self) -> None:
        try:
            queue = self.console.connections.reader
            found = await queue.get(self.job.seq)
            if found is None:
                self.show([[(f"{self.job.id} was deleted", "warn")]])
                return
            self.job = found
            why = await queue.why(found)
        except QueueError as error:
            self.console.say(f"✗ {error}", "bad")
            return
        self.show(why_lines(why, self.console.clock()))
