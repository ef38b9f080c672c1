"""Commands for a supervisor: its notifier says that there are some, the store has them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from ..domain.config import settings
from ..domain.errors import StoreError
from .attempt import StopReason
from .attempt_states import AttemptState
from .context import Context
from .executor import Executor
from .heartbeat import Heartbeat


class CommandReader:
    """Reads the commands for one supervisor, and applies them."""

    def __init__(self, context: Context, heartbeat: Heartbeat, executor: Executor) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._executor = executor

    async def apply_all(self) -> None:
        """Apply commands whenever there are some. They are read once for all notifications that
        came before. Where they cannot be read, the tick tries again."""
        commanded = self._context.commanded
        while True:
            await commanded.wait()
            commanded.clear()
            with contextlib.suppress(StoreError):
                await self.apply()

    def _hold_back(self, no_prefetch: Mapping[str, float | None]) -> None:
        """Nothing may be prefetched from these queues, and the store must hear which of their
        attempts have started."""
        context, executor = self._context, self._executor
        context.no_prefetch = no_prefetch
        ours = [one for one in executor.attempts if one.job.queue in no_prefetch]
        if any(one.state is AttemptState.PREFETCHED for one in ours):
            executor.prefetch.give_back()  # the store keeps them until they may start
        for attempt in ours:
            attempt.rated = True
            if attempt.runs and attempt.pid is not None and attempt.since is not None:
                executor.to_announce(attempt, attempt.since)

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
        self._hold_back(commands.no_prefetch)
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
