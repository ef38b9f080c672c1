"""What the screens share: acting on jobs, and keys that are there only when they do something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual.binding import Binding, BindingType
from textual.screen import Screen

from queuectl_core.lifecycle import CANCELLABLE, REMOVABLE, RETRYABLE
from queuectl_core.model import Job

from .. import actions
from ..messages import StoreRead
from ..widgets.painted import Painted
from ..widgets.sparing import SparingCompositor

if TYPE_CHECKING:
    from ..console import Console

T = TypeVar("T")

CHANGING = frozenset(
    ("enqueue", "retry", "retry_all", "cancel", "remove", "start", "stop", "edit_job")
)
"""Actions a read-only console does not have."""


class ConsoleBase(Screen[T]):
    """A screen of this console."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._compositor = SparingCompositor()

    @property
    def owner(self) -> Console:
        """The app."""
        return cast("Console", self.app)

    def on_store_read(self, message: StoreRead) -> None:
        """The store was read again."""

    def restyle(self) -> None:
        """The theme has changed."""
        for widget in self.query(Painted):
            widget.restyle()


class JobScreen(ConsoleBase[None]):
    """A screen with one or more jobs to act on; subclasses say which (:meth:`targets`)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "retry", "retry"),
        Binding("c", "cancel", "cancel"),
        Binding("D", "remove", "delete"),
        Binding("l", "output", "output"),
        Binding("y", "copy_id", "copy the id", show=False),
    ]

    def targets(self) -> list[Job]:
        """The jobs an action is for, as they are on the screen now."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in CHANGING and self.owner.link.read_only:
            return False
        allowed = {"retry": RETRYABLE, "cancel": CANCELLABLE, "remove": REMOVABLE}.get(action)
        if allowed is not None:
            return True if any(job.state in allowed for job in self.targets()) else None
        if action in ("output", "copy_id"):
            return True if self.targets() else None
        return True

    def action_retry(self) -> None:
        self._act(actions.retry, RETRYABLE)

    def action_cancel(self) -> None:
        self._act(actions.cancel, CANCELLABLE)

    def action_remove(self) -> None:
        self._act(actions.remove, REMOVABLE)

    def _act(self, make: Any, allowed: tuple[Any, ...]) -> None:
        jobs = [job for job in self.targets() if job.state in allowed]
        if jobs:
            self.owner.perform(make(jobs))

    def action_output(self) -> None:
        jobs = self.targets()
        if jobs:
            self.owner.open_output(jobs[0])

    def action_copy_id(self) -> None:
        self.copy_ids([job.id for job in self.targets()])

    def copy_ids(self, ids: list[str]) -> None:
        """Put ids on the clipboard (of the terminal: it works over SSH)."""
        if ids:
            self.app.copy_to_clipboard(" ".join(ids))
            more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
            self.owner.say(f"copied {ids[0]}{more}", "good")
