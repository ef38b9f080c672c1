"""Commands for a supervisor: its notifier says that there are some, the store has them."""

from __future__ import annotations

from ..domain.config import settings
from ..domain.events import Event, Kind
from .attempt import StopReason
from .attempt_states import AttemptState
from .context import Context
from .dispatcher import Dispatcher
from .executor import Executor
from .heartbeat import Heartbeat


class CommandReader:
    """Reads the commands for one supervisor, and applies them."""

    def __init__(
        self, context: Context, heartbeat: Heartbeat, executor: Executor, dispatcher: Dispatcher
    ) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._executor = executor
        self._dispatcher = dispatcher
        self._waiting = self._applying = False

    def notified(self) -> None:
        """The notifier was used: there are jobs, or commands."""
        context, notifier = self._context, self._context.notifier
        more = notifier is not None and notifier.clear()
        context.look()
        if notifier is not None and notifier.stop is not None and context.stopping != "now":
            now, notifier.stop = notifier.stop, None
            if now or context.stopping is None:
                context.tell(Event(Kind.TROUBLE, "told to stop, while nothing can be written"))
                self._dispatcher.stop(now=now)
        if not more:
            return  # there are jobs, but no commands
        self._waiting = True
        if not self._applying:
            context.background.run(self._apply_all())

    async def _apply_all(self) -> None:
        """Read the commands once for all notifications that came before."""
        self._applying = True
        try:
            while self._waiting:
                self._waiting = False
                await self.apply()
        finally:
            self._applying = False

    async def apply(self) -> None:
        """Read the commands and apply them. StoreError when they cannot be read."""
        context, executor = self._context, self._executor
        commands = await context.store.commands(context.id)
        context.settings = settings(await context.store.config(), context.env)
        if not commands.known:
            self._heartbeat.lost = True
            context.wake()
            return
        context.cancels = commands.cancels
        new = [worker for worker in commands.workers if not worker.up]
        for worker in new:
            if worker.id not in context.slots:
                context.slots[worker.id] = context.new_slot(worker.queues, worker.id)
                executor.shims.use(context.slots[worker.id])
        if new:
            await context.store.workers_up([worker.id for worker in new])
        for worker in commands.workers:
            slot = context.slots.get(worker.id)
            if slot is not None and worker.stop not in (None, slot.stop):
                slot.ask_to_stop(worker.stop)
                executor.prefetch.give_back([slot.id])
        cancelled = [one for one in executor.attempts if one.job.seq in commands.cancels]
        for attempt in cancelled:
            if attempt.runs or attempt.state is AttemptState.EXITED:
                attempt.terminate(StopReason.CANCEL)
        if any(attempt.state is AttemptState.PREFETCHED for attempt in cancelled):
            executor.prefetch.give_back()  # the store cancels them when it has them back
        context.wake()
