"""The shims of a supervisor: one for all its jobs, and one for each suspect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from ..domain.model import OWN_SHIM, Job
from ..domain.notices import Notice, NoticeKind
from ..runner.events import NotStarted, RunnerEvent
from ..runner.journal_reader import JournalReader, make_first
from ..system.clocks import monotonic
from .attempt import ActiveAttempt, is_suspect, journal_name
from .context import Context
from .deadline import DeadlineWriter
from .shim_client import ShimClient
from .workers import Slot

SHIM_PAUSE = 1.0
"""Seconds between two starts of a shim, at least."""
OWN_SHIMS_AT_MOST = 32
"""Suspects that run at the same time: each has a shim, which takes some 5 MB."""


class Shims:
    """Starts shims, chooses one for each attempt, and replaces those that die.

    ``on_event`` hears what they tell. ``on_death`` hears that the shared shim died, or that the
    shim of this suspect did.
    """

    def __init__(
        self,
        context: Context,
        on_event: Callable[[RunnerEvent], None],
        on_death: Callable[[Job | None], None],
    ) -> None:
        self._context = context
        self._on_event = on_event
        self._on_death = on_death
        self._name = ""
        self._shared: ShimClient | None = None
        self._informed: ShimClient | None = None
        """The shared shim, after it has been sent the idle workers. Before that it is sent none."""
        self._started_at = 0.0
        """When the shared shim was started (monotonic)."""
        self._own: dict[str, ShimClient] = {}
        """By the name of its journal: the shim of a suspect."""
        self._leaving: set[asyncio.Task[None]] = set()
        """Shims of suspects that were told to leave."""
        self._adopted: frozenset[str] = frozenset()
        """Other supervisors' shims whose jobs we adopted."""

    # -- life -------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """There is a shared shim."""
        return self._shared is not None

    @property
    def shared(self) -> ShimClient:
        """The shim of all jobs but suspects. ``open`` comes first."""
        if self._shared is None:
            raise RuntimeError("open() comes first")
        return self._shared

    async def open(self, name: str) -> None:
        """Start the shared shim with a new journal called ``name``."""
        context = self._context
        self._name = name
        context.deadline = (
            DeadlineWriter(context.run_directory, context.settings.lease)
            if context.store.shared_by_hosts
            else None
        )
        self.look_after(())
        self._shared = shim = self._new_shim(None)
        try:
            await asyncio.to_thread(self._make_journal, name)
            await self._start_shared(shim)
        except BaseException:
            self._shared = None
            raise

    def replace_shared(self) -> None:
        """The shared shim died: start another. Requests that come meanwhile wait for it."""
        self._shared = shim = self._new_shim(None)
        self._context.background.start(self._start_shared(shim, patient=True))

    async def close(self) -> None:
        """End all shims, which must run nothing, and remove their files."""
        if self._shared is None:
            return  # never opened, or left to somebody else
        for name in list(self._own):
            self._release(name)
        await asyncio.gather(self._close(self._shared, self._name), *self._leaving)

    def abandon(self) -> None:
        """Leave all shims to somebody else, with what they run."""
        for shim in (self._shared, *self._own.values()):
            if shim is not None:
                shim.abandon()
        self._shared = None
        self._own.clear()

    def look(self, *, urgent: bool) -> None:
        """See to it that the shims run, or are replaced. To be called once a second. ``urgent``:
        somebody waits for the workers to be gone."""
        for shim in (self._shared, *self._own.values()):
            if shim is not None:
                shim.look(urgent=urgent)

    def look_after(self, adopted: Iterable[str]) -> None:
        """The jobs of these shims and of ours may run while our lease lasts. The shims hear of it
        with the next ``deadline.write``; a new one knows when it starts."""
        self._adopted = frozenset(adopted)
        self._keep()

    def _keep(self) -> None:
        if self._context.deadline is not None:
            self._context.deadline.keep({self._name, *self._own, *self._adopted})

    def _new_shim(self, suspect: Job | None) -> ShimClient:
        background = self._context.background
        return ShimClient(self._on_event, lambda: self._on_death(suspect), background.fail)

    async def _start_shared(self, shim: ShimClient, *, patient: bool = False) -> None:
        """Start the new shared shim. ``patient``: try again when the host lacks what a process
        needs."""
        context = self._context
        if monotonic() - self._started_at < SHIM_PAUSE:
            await asyncio.sleep(SHIM_PAUSE)  # one that dies at once must not keep us busy
        while True:
            self._started_at = monotonic()
            try:
                await self._start(shim, self._name)
                break
            except OSError as error:
                if not patient:
                    raise
                context.tell(Notice(NoticeKind.TROUBLE, f"cannot start a shim: {error.strerror}"))
                await asyncio.sleep(SHIM_PAUSE)
        self._informed = shim
        for slot in context.slots.values():
            if slot.idle:
                shim.use(slot.id, slot.queue_names)

    async def _start(self, shim: ShimClient, name: str) -> None:
        context = self._context
        words = [] if context.deadline is None else context.deadline.words
        await shim.start(context.run_directory, name, context.job_env, words)

    def _make_journal(self, name: str) -> None:
        # We make it, and only once. If it is gone later, somebody deleted it.
        path = self._context.run_directory / f"{name}.journal"
        try:
            make_first(path)
        except OSError:  # it may be there without its first line, on a full disk
            if not path.exists():
                raise  # a shim that finds none starts nothing

    async def _close(self, shim: ShimClient, name: str) -> None:
        if await shim.close():
            await asyncio.to_thread(self._remove_files, name)

    def _remove_files(self, name: str) -> None:
        run = self._context.run_directory
        with contextlib.suppress(OSError):  # the next supervisor tries again
            JournalReader(run, name).remove()
            # A heartbeat may have written one of these while its shim was leaving.
            for path in run.glob(f"{name}{OWN_SHIM}*.lease"):
                path.unlink(missing_ok=True)

    # -- requests ---------------------------------------------------------------------

    def use(self, slot: Slot) -> None:
        """A worker is new, or is idle although its last job was not on the shared shim."""
        if self.shared is self._informed:  # else it hears of all that are idle when it has started
            self.shared.use(slot.id, slot.queue_names)

    def shim_of(self, attempt: ActiveAttempt) -> ShimClient:
        """The shim to start this attempt on: a new one for a suspect, else the shared one. A new
        one is started in the background."""
        if not is_suspect(attempt.job):
            return self.shared
        name = journal_name(attempt.job, self._name)
        self._own[name] = shim = self._new_shim(attempt.job)
        self._keep()
        self._context.background.start(self._start_own(shim, name, attempt.token))
        return shim

    def recall(self, workers: list[str]) -> None:
        """The shared shim is to give back what it holds, and to use these workers no more."""
        self.shared.recall(workers)

    def forget(self, token: str, job: Job | None = None) -> None:
        """The shim need not keep how this attempt ended: the store knows, or does not want to.
        ``job``: whose attempt it is, if that is known."""
        name = self._name if job is None else journal_name(job, self._name)
        if name in self._own:
            self._release(name)
        elif self._shared is not None:
            self._shared.settled(token)

    # -- suspects ---------------------------------------------------------------------

    @property
    def room_for_suspects(self) -> int:
        """How many more suspects may be started now."""
        return max(0, OWN_SHIMS_AT_MOST - len(self._own))

    async def _start_own(self, shim: ShimClient, name: str, token: str) -> None:
        try:
            await asyncio.to_thread(self._make_journal, name)
            await self._start(shim, name)
        except OSError as error:
            if self._own.get(name) is shim:  # else the job has another owner by now
                self._on_event(NotStarted(token, f"cannot start a shim: {error.strerror}"))

    def release_own(self, job: Job) -> None:
        """The attempt of this job was not started: it needs no shim of its own. (The shared shim
        is not told: the next attempt may have the same token.)"""
        self._release(journal_name(job, self._name))

    def _release(self, name: str) -> None:
        shim = self._own.pop(name, None)
        if shim is not None:
            self._keep()
            task = self._context.background.start(self._close(shim, name))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
