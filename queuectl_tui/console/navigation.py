"""How the console opens screens, and asks before it runs an action."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence

from queuectl_core.domain.model import Dependency, Job, State

from ..presentation import actions, admission_actions
from ..presentation.actions import Action
from ..presentation.format import clock_time, command_text, on_lines, on_one_line
from ..presentation.job_form import EDITABLE, field_texts
from .action_runner import ActionRunner
from .inputs import OPENING
from .screens.main import MainScreen


class Navigation(ActionRunner):
    """The part of the app that opens screens and dialogs. They are imported when they open."""

    @property
    def main(self) -> MainScreen:
        """The main screen, whatever is on top of it."""
        found = self.screen_stack[0]
        if not isinstance(found, MainScreen):
            raise TypeError("the main screen is always at the bottom")
        return found

    def confirm(self, action: Action) -> None:
        from .screens.dialogs import Confirm

        def answered(yes: bool | None) -> None:
            if yes:
                self.do(action)
            else:
                self.say("nothing was changed", "muted")

        self.push_screen(Confirm(action), answered)

    def ask_workers(self) -> None:
        from .screens.dialogs import AskWorkers

        def answered(answer: tuple[int, Sequence[str]] | None) -> None:
            if answer is not None:
                self.do(actions.start_workers(*answer))

        self.push_screen(AskWorkers(), answered)

    def open_job(self, job: Job) -> None:
        from .screens.detail import DetailScreen

        self.push_screen(DetailScreen(job))

    def open_output(self, job: Job, number: int | None = None) -> None:
        from .screens.output import OutputScreen

        self.push_screen(OutputScreen(job, number))

    def open_why(self, job: Job) -> None:
        from .screens.why import WhyScreen

        self.push_screen(WhyScreen(job))

    def open_queues(self) -> None:
        from .screens.queues import QueuesScreen

        self.push_screen(QueuesScreen())

    def open_schedules(self) -> None:
        from .screens.schedules import SchedulesScreen

        self.push_screen(SchedulesScreen())

    def open_events(self) -> None:
        from .screens.events import EventsScreen

        self.push_screen(EventsScreen())

    def open_hooks(self) -> None:
        from .screens.hooks import HooksScreen

        self.push_screen(HooksScreen())

    def open_page(self, name: str) -> None:
        """``queues``, ``schedules``, ``events`` or ``hooks``, on top of the main screen."""
        self.back_to_main()
        pages = {
            "queues": self.open_queues,
            "schedules": self.open_schedules,
            "events": self.open_events,
            "hooks": self.open_hooks,
        }
        pages[name]()

    def show_queue(self, name: str) -> None:
        self.back_to_main()
        self.main.show_queue(name)

    def back_to_main(self) -> None:
        while self.screen is not self.main:
            self.pop_screen()

    def ask_remove(self, job: Job) -> None:
        async def look() -> None:
            tree = await self.connections.reader.tree(job)
            waiting = _waiting(job, tree.children)
            if waiting:
                make = admission_actions.remove_with_children
                self.perform(make(job, waiting, whole=tree.complete))
            else:
                self.perform(actions.remove([job]))

        self._spawn(look, "", OPENING)

    def ask_pause(self, name: str) -> None:
        async def look() -> None:
            queue = await self.connections.reader.queue(name)
            self.perform(admission_actions.pause_or_resume(queue, self.connections.clock()))

        self._spawn(look, "", OPENING)

    def open_form(self) -> None:
        from .screens.enqueue import EnqueueScreen

        async def open_it() -> None:
            draft = self.drafts.setdefault("enqueue", {})
            self.push_screen(
                EnqueueScreen(await self.connections.reader.defaults(), draft, self.do)
            )

        self._spawn(open_it, "", OPENING)

    def edit_fields(self, job: Job) -> None:
        from .screens.enqueue import EditFieldsScreen

        # As for :meth:`edit_job`: a draft is only for the job as it was when it was begun.
        now = field_texts(job)
        draft = self.drafts.setdefault(f"edit fields {job.seq}", {})
        original = repr(sorted(now.items()))
        if draft.get("original") != original:
            draft.clear()
            draft["original"] = original

        async def open_it() -> None:
            defaults = await self.connections.reader.defaults()
            self.push_screen(EditFieldsScreen(job, defaults, draft, self.do))

        self._spawn(open_it, "", OPENING)

    def edit_job(self, job: Job) -> None:
        from .screens.enqueue import EditScreen

        text = command_text(job.command)
        shown = on_one_line(text)
        if shown is None or len(text) > EDITABLE:
            self.say("this command holds what cannot be edited on one line: see show", "warn")
            return
        # Another job may get this id, and another process may change the command. So a draft is
        # only for the job and the command for which it was begun.
        draft = self.drafts.setdefault(f"edit {job.seq}", {})
        if draft.get("original") != shown:
            draft.clear()
            draft["original"] = shown

        async def open_it() -> None:
            as_argv = isinstance(job.command, tuple)
            defaults = await self.connections.reader.defaults()
            screen = EditScreen(job.id, shown, defaults, draft, argv=as_argv)

            def answered(typed: str | None) -> None:
                if typed is None:
                    return
                sent = dict(draft)

                def ended(error: Exception | None) -> None:
                    if error is None and draft == sent:
                        draft.clear()

                text = on_lines(typed)
                command = tuple(shlex.split(text)) if as_argv else text
                make = actions.copy if screen.copied else actions.edit
                self.do(make(job, command), ended)

            self.push_screen(screen, answered)

        self._spawn(open_it, "", OPENING)

    def ask_config(self, question: str, make: Callable[[str], Action]) -> None:
        from textual.widgets import Input

        from .screens.dialogs import Ask

        def answered(text: str | None) -> None:
            if text is not None:
                self.do(make(text))

        self.push_screen(Ask([(question, "strong")], Input(id="value"), make), answered)

    def action_help(self) -> None:
        from .screens.help import help_rows
        from .screens.text_screen import TextScreen

        self.push_screen(TextScreen("keys", help_rows(self.screen)))

    def action_messages(self) -> None:
        from .screens.text_screen import TextScreen

        rows = [
            [(f"{clock_time(at, time.time())}  ", "muted"), (text, style)]
            for at, text, style in reversed(self.messages)
        ]
        self.push_screen(TextScreen("messages", rows or [[("none yet", "muted")]]))


def _waiting(job: Job, children: Sequence[Dependency]) -> list[str]:
    """The ids of the jobs that wait for ``job``, directly or through others that wait."""
    edges = [one for one in children if one.child_state is State.WAITING]
    found: dict[int, str] = {}
    while True:
        more = {
            one.child_seq: one.child
            for one in edges
            if one.child_seq not in found and (one.parent_seq == job.seq or one.parent_seq in found)
        }
        if not more:
            return list(found.values())
        found |= more
