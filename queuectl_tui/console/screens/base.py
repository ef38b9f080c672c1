"""What all screens have: actions for jobs, and keys that are shown only when they do something."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from textual.binding import Binding, BindingType
from textual.screen import Screen

from queuectl_core.domain.lifecycle import (
    CANCELLABLE,
    EDITABLE,
    HOLDABLE,
    REMOVABLE,
    RETRYABLE,
)
from queuectl_core.domain.model import Filter, Job, State

from ...presentation import actions, admission_actions
from ..action_runner import ConsolePart, StoreRead
from ..widgets.compositor import CroppingCompositor
from ..widgets.line_widget import LineWidget
from ..widgets.status_bars import Stopped

T = TypeVar("T")

CHANGING = frozenset(
    (
        *("enqueue", "retry", "retry_all", "cancel", "remove", "start", "stop", "edit_job"),
        *("hold", "edit_fields", "pause_queue"),
    )
)
"""Actions that a read-only console does not have."""

ALLOWED = {
    "retry": RETRYABLE,
    "cancel": CANCELLABLE,
    "remove": REMOVABLE,
    "hold": HOLDABLE,
    "edit_fields": EDITABLE,
}
"""The states in which a job can be changed by an action."""

WORDS = {"retry": "retry", "cancel": "cancel", "remove": "delete"}
"""The name of an action on the key bar."""

REFUSED = {
    "retry": "retried",
    "cancel": "cancelled",
    "remove": "deleted",
    "hold": "held or released",
    "edit_fields": "edited",
    "edit_job": "run again with another command",
}
"""What is not done with a job in another state than :data:`ALLOWED`."""


class ConsoleScreen(ConsolePart, Screen[T]):
    """A screen of this console."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._compositor = CroppingCompositor()

    def on_store_read(self, message: StoreRead) -> None:
        """The store was read again, or could not be read. Textual calls it after that of a
        subclass."""
        for bar in self.query(Stopped):
            bar.tell(self.console.stopped())

    def describe(self, action: str) -> str | None:
        """What the key of this action would do now, for the key bar. None: the text of its binding.
        Empty: the key is not shown."""
        return None

    def refusal(self, action: str) -> str | None:
        """Why the key of this action does nothing now. None: there is nothing to say."""
        return None

    def action_back(self) -> None:
        self.dismiss()

    def action_page(self, name: str) -> None:
        """Show another page instead of this one."""
        self.console.open_page(name)

    def restyle(self) -> None:
        for widget in self.query(LineWidget):
            widget.restyle()


class JobScreen(ConsoleScreen[None]):
    """A screen with jobs that actions can change; subclasses define :meth:`targets`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "retry", "retry"),
        Binding("c", "cancel", "cancel"),
        Binding("D", "remove", "delete"),
        Binding("l", "output", "output"),
        Binding("y", "copy_id", "copy the id", show=False),
    ]

    def targets(self) -> list[Job]:
        """The jobs that an action is for, as they are on the screen now."""
        raise NotImplementedError

    def current_job(self) -> Job | None:
        """The job under the cursor, also when others are marked."""
        jobs = self.targets()
        return jobs[0] if jobs else None

    def edit_job(self) -> None:
        """Ask for another command for the current job, to run it again."""
        job = self.current_job()
        if job is not None and job.state in RETRYABLE:
            self.console.edit_job(job)
        else:
            self.console.say("no job that can be run again is selected", "warn")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in CHANGING and self.console.connections.read_only:
            return False
        if action in ("edit_fields", "why", "pause_queue"):
            job = self.current_job()
            return True if job and job.state in ALLOWED.get(action, State) else None
        allowed = ALLOWED.get(action)
        if allowed is not None:
            return True if any(job.state in allowed for job in self.targets()) else None
        if action == "copy_id":
            return True if self.targets() else None
        if action == "output":
            return True if self.current_job() else None
        return True

    def describe(self, action: str) -> str | None:
        if action == "hold":
            word, jobs = self._to_hold()
            return f"{word} {len(jobs)} marked" if len(jobs) > 1 else word
        allowed = ALLOWED.get(action) if action in WORDS else None
        count = sum(job.state in allowed for job in self.targets()) if allowed else 0
        return f"{WORDS[action]} {count} marked" if count > 1 else None

    def refusal(self, action: str) -> str | None:
        if action not in REFUSED and action not in ("why", "pause_queue", "output", "copy_id"):
            return None
        jobs = self.targets()
        if not jobs or action not in REFUSED:
            return "no job is selected"
        if len(jobs) > 1:
            return f"none of these {len(jobs)} jobs can be {REFUSED[action]} now"
        return f"{jobs[0].id} is {jobs[0].state}: it cannot be {REFUSED[action]}"

    def wait_for(self) -> None:
        if jobs := self.targets():
            self.console.watch_for(jobs)

    def target_filters(self) -> list[Filter] | None:
        """The filters that an action is for, where each row stands for many jobs; else None."""
        return None

    def action_retry(self) -> None:
        self._act(RETRYABLE, actions.retry, actions.retry_matching)

    def action_cancel(self) -> None:
        self._act(CANCELLABLE, actions.cancel)

    def action_remove(self) -> None:
        jobs = self.targets()
        if self.target_filters() is None and len(jobs) == 1 and jobs[0].state in REMOVABLE:
            self.console.ask_remove(jobs[0])
        else:
            self._act(REMOVABLE, actions.remove, actions.remove_matching)

    def _to_hold(self) -> tuple[str, list[Job]]:
        """What ``h`` does, and with which jobs: release them if all of them are held."""
        jobs = [job for job in self.targets() if job.state in HOLDABLE]
        free = [job for job in jobs if not job.held]
        return ("hold", free) if free else ("release", jobs)

    def action_hold(self) -> None:
        word, jobs = self._to_hold()
        make = admission_actions.hold if word == "hold" else admission_actions.release
        if jobs:
            self.console.perform(make(jobs))
        else:
            self.console.say("no job here is in a state for that", "warn")

    def release(self) -> None:
        """Release the held ones of these jobs."""
        if jobs := [job for job in self.targets() if job.held]:
            self.console.perform(admission_actions.release(jobs))
        else:
            self.console.say("no job here is held", "warn")

    def action_why(self) -> None:
        if job := self.current_job():
            self.console.open_why(job)
        else:
            self.console.say("no job is selected", "warn")

    def action_edit_fields(self) -> None:
        job = self.current_job()
        if job is not None and job.state in EDITABLE:
            self.console.edit_fields(job)
        else:
            self.console.say("no job that can be edited is selected", "warn")

    def action_pause_queue(self) -> None:
        if job := self.current_job():
            self.console.ask_pause(job.queue)
        else:
            self.console.say("no job is selected", "warn")

    def _act(self, allowed: tuple[State, ...], make: Any, make_matching: Any = None) -> None:
        wheres = self.target_filters() if make_matching else None
        if wheres is not None:
            if wheres:
                self.console.perform_counted(wheres, allowed, make_matching)
            return
        jobs = [job for job in self.targets() if job.state in allowed]
        if jobs:
            self.console.perform(make(jobs))
        else:
            self.console.say("no job here is in a state for that", "warn")

    def action_output(self) -> None:
        if job := self.current_job():
            self.console.open_output(job)

    def action_copy_id(self) -> None:
        self.copy_ids([job.id for job in self.targets()])

    def copy_ids(self, ids: list[str]) -> None:
        """Copy ids to the clipboard of the terminal, also over SSH."""
        if ids:
            self.app.copy_to_clipboard(" ".join(ids))
            more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
            self.console.say(f"copied {ids[0]}{more}", "good")
