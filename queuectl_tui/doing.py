"""How the console does things: asks, acts, says what came of it, opens screens."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from textual.app import App

from queuectl_core.errors import QueueError
from queuectl_core.lifecycle import RETRYABLE
from queuectl_core.model import Filter, Job, State
from queuectl_core.postcommit import report_to
from queuectl_core.queue import Queue
from queuectl_core.text import clean_line
from queuectl_core.views import JobView

from . import actions
from .actions import Action, Found
from .beside import beside
from .format import cli, command_text, on_one_line
from .inputs import OPENING
from .link import Link
from .widgets.bars import Notice

Ended = Callable[[Exception | None], None]
"""Told how an action has ended: the error, or None."""

EDITABLE = 4_000
"""Characters of a command that fit an edit line."""

UNASKED = (State.COMPLETED, State.CANCELLED)
"""States whose jobs a retry of all that match takes only when the filter asks for the state."""

REMEMBERED = 20_000
"""Jobs whose keys are kept from a question to its answer. More are found by the filter alone."""


async def count_matching(queue: Queue, where: Filter, allowed: tuple[State, ...]) -> Found:
    """The jobs that match ``where`` in an ``allowed`` state, by state, and which ones they are."""
    unasked: tuple[State, ...] = ()
    if allowed == RETRYABLE and not where.states and not where.reasons:
        unasked = UNASKED
        allowed = tuple(state for state in allowed if state not in UNASKED)
    narrowed = where.narrowed(allowed)
    counts: dict[State, int] = {}
    seqs: list[int] | None = []
    for state in narrowed.states:
        here = narrowed._replace(states=(state,))
        if seqs is not None:
            keys = await queue.matching(here, REMEMBERED + 1 - len(seqs))
            seqs = [*seqs, *keys] if len(seqs) + len(keys) <= REMEMBERED else None
            counts[state] = len(keys)
        if seqs is None:
            counts[state] = await queue.count(here)
    others = {}
    if not JobView(queue, where).slow:  # to count by text takes long, and it is only a remark
        others = {state: await queue.count(where._replace(states=(state,))) for state in unasked}
    exactly = narrowed if seqs is None else narrowed._replace(seqs=tuple(seqs))
    return Found(exactly, counts, others)


class Doing(App[int]):
    """The half of the app that acts; its other half keeps up with the store."""

    link: Link
    every: float
    """Seconds between readings of the store."""
    last_message = ""
    messages: deque[tuple[float, str, str]]
    """What was said: when, what, in which style. The latest is the last one."""
    drafts: dict[str, dict[str, str]]
    """What was typed into forms that were left, by the name of the form."""
    in_progress: dict[str, list[Ended]]
    """What is being done now, by its command line: whom to tell when it has ended."""

    def read_soon(self) -> None:
        """Read the store again, now."""
        raise NotImplementedError

    # -- saying ---------------------------------------------------------------------------

    def say(self, text: str, style: str = "text") -> None:
        """Put a line on the message bar of the screen on top that has one."""
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
        self,
        wheres: Sequence[Filter],
        allowed: tuple[State, ...],
        make: Callable[[Sequence[Found]], Action],
    ) -> None:
        """Count what matches ``wheres`` in each ``allowed`` state, then ask and do."""

        async def count() -> None:
            queue = self.link.reader
            found = [await count_matching(queue, where, allowed) for where in wheres]
            found = [one for one in found if one.total]
            if found:
                self.perform(make(found))
            else:
                self.say("no job that matches is in a state for that", "warn")

        self._spawn(count, "", OPENING)

    def _do(self, action: Action) -> None:
        self.do(action, lambda error: None)

    def do(self, action: Action, ended: Ended) -> None:
        """Do it, once, whatever becomes of the screen that asked for it; then call ``ended``.

        Who asks for it again while it is being done is told how that ends.
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
        """Do it and say what came of it. Raises QueueError when it could not be done."""
        self.say(f"… $ {action.command}", "muted")
        queue = await self.link.writer()
        notes: list[str] = []
        report_to(notes.append)
        came = await action.run(queue)
        said = "; ".join([came, *notes])
        self.say(f"✓ {said}  $ {action.command}", "warn" if notes else "good")
        self.read_soon()

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
            except Exception as error:  # a fault of ours
                self.say(f"✗ failed ({type(error).__name__}: {error})  {what}", "bad")
                raise

        beside(self, guarded, group)

    def with_job(self, job_id: str, then: Callable[[Job], None]) -> None:
        """Look a job up by its id, then go on with it."""

        async def find() -> None:
            then(await self.link.reader.find(job_id))

        self._spawn(find, "", OPENING)

    def with_jobs(self, job_ids: Sequence[str], make: Callable[[list[Job]], Action]) -> None:
        """Look jobs up by their ids, then ask about them and act."""

        async def find() -> None:
            jobs = [await self.link.reader.find(job_id) for job_id in job_ids]
            if jobs:
                self.perform(make(jobs))

        self._spawn(find, "", OPENING)

    def ask_workers(self) -> None:
        """Ask how many workers to start."""
        from .screens.dialogs import AskWorkers

        def answered(answer: tuple[int, Sequence[str]] | None) -> None:
            if answer is not None:
                self._do(actions.start_workers(*answer))

        self.push_screen(AskWorkers(), answered)

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
            draft = self.drafts.setdefault("enqueue", {})
            self.push_screen(EnqueueScreen(await self.link.reader.defaults(), draft, self.do))

        self._spawn(open_it, "", OPENING)

    def edit_job(self, job: Job) -> None:
        """Ask for another command for a job, then run it again with it, or a copy."""
        from .screens.enqueue import EditScreen

        text = command_text(job.command)
        shown = on_one_line(text)
        if shown is None or len(text) > EDITABLE:
            self.say("this command holds what cannot be edited on one line: see show", "warn")
            return
        # An id may be given to another job, and the command may be changed elsewhere: a draft is
        # only for the job and the command that it was begun with.
        draft = self.drafts.setdefault(f"edit {job.seq}", {})
        if draft.get("original") != shown:
            draft.clear()
            draft["original"] = shown

        def answered(answer: tuple[str, bool] | None) -> None:
            if answer is not None:
                typed, copied = answer
                sent = dict(draft)

                def ended(error: Exception | None) -> None:
                    if error is None and draft == sent:
                        draft.clear()

                as_argv = isinstance(job.command, tuple)
                command = tuple(shlex.split(typed)) if as_argv else typed
                action = actions.copy(job, command) if copied else actions.edit(job, command)
                self.do(action, ended)

        async def open_it() -> None:
            defaults = await self.link.reader.defaults()
            argv = isinstance(job.command, tuple)
            self.push_screen(EditScreen(job.id, shown, defaults, draft, argv=argv), answered)

        self._spawn(open_it, "", OPENING)

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
