"""What is asked of a supervisor: its bell, and its orders in the store."""

from __future__ import annotations

from ..domain.config import settings
from ..domain.events import Event, Kind
from .attempt import StopReason
from .context import Context
from .dispatcher import Dispatcher
from .heartbeat import Heartbeat


class CommandReader:
    """Reads what is asked of one supervisor, and does it."""

    def __init__(self, context: Context, heartbeat: Heartbeat, dispatcher: Dispatcher) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._dispatcher = dispatcher
        self._waiting = self._applying = False

    def notified(self) -> None:
        """The bell has rung."""
        context, notifier = self._context, self._context.notifier
        more = notifier is not None and notifier.clear()
        self._dispatcher.look()
        if notifier is not None and notifier.stop is not None and context.stopping != "now":
            now, notifier.stop = notifier.stop, None
            if now or context.stopping is None:
                context.tell(Event(Kind.TROUBLE, "told to stop, while nothing can be written"))
                self._dispatcher.stop(now=now)
        if not more:
            return  # new jobs: nothing is asked of us
        self._waiting = True
        if not self._applying:
            context.beside.run(self._apply_all())

    async def _apply_all(self) -> None:
        """One reading of the orders serves all rings that came before it."""
        self._applying = True
        try:
            while self._waiting:
                self._waiting = False
                await self.apply()
        finally:
            self._applying = False

    async def apply(self) -> None:
        """Read what is asked of us, and do it. StoreError when it cannot be read."""
        context, prefetch = self._context, self._dispatcher.prefetch
        commands = await context.store.commands(context.id)
        context.hands.settings = settings(await context.store.config(), context.env)
        if not commands.known:
            self._heartbeat.lost = True
            context.wake()
            return
        context.cancels = commands.cancels
        fresh = [order for order in commands.workers if not order.up]
        for order in fresh:
            if order.id not in context.slots:
                context.slots[order.id] = context.new_slot(order.queues, order.id)
                context.hands.use(context.slots[order.id])
        if fresh:
            await context.store.workers_up([order.id for order in fresh])
        for order in commands.workers:
            slot = context.slots.get(order.id)
            if slot is not None and order.stop not in (None, slot.stop):
                slot.ask_to_stop(order.stop)
                prefetch.give_back([slot.id])
        for running in list(context.hands.running.values()):
            if running.job.seq in commands.cancels:
                running.terminate(StopReason.CANCEL)
        if any(job.seq in commands.cancels for _, job in prefetch.held.values()):
            prefetch.give_back()  # which cancels what is to be cancelled
        context.wake()
