"""What is asked of a supervisor: its bell, and its orders in the store."""

from __future__ import annotations

from ..domain.config import settings
from ..domain.events import Event, Kind
from .attempt import Why
from .context import Context
from .dispatcher import Pump
from .heartbeat import Heartbeat


class Orders:
    """Reads what is asked of one supervisor, and does it."""

    def __init__(self, context: Context, heartbeat: Heartbeat, pump: Pump) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._pump = pump
        self._waiting = self._obeying = False

    def rung(self) -> None:
        """The bell has rung."""
        context, bell = self._context, self._context.bell
        more = bell is not None and bell.clear()
        self._pump.look()
        if bell is not None and bell.stop is not None and context.stopping != "now":
            now, bell.stop = bell.stop, None
            if now or context.stopping is None:
                context.tell(Event(Kind.TROUBLE, "told to stop, while nothing can be written"))
                self._pump.stop(now=now)
        if not more:
            return  # new jobs: nothing is asked of us
        self._waiting = True
        if not self._obeying:
            context.beside.run(self._obey_all())

    async def _obey_all(self) -> None:
        """One reading of the orders serves all rings that came before it."""
        self._obeying = True
        try:
            while self._waiting:
                self._waiting = False
                await self.obey()
        finally:
            self._obeying = False

    async def obey(self) -> None:
        """Read what is asked of us, and do it. StoreError when it cannot be read."""
        context, reserve = self._context, self._pump.reserve
        orders = await context.store.orders(context.id)
        context.hands.settings = settings(await context.store.config(), context.env)
        if not orders.known:
            self._heartbeat.lost = True
            context.wake()
            return
        context.cancels = orders.cancels
        fresh = [order for order in orders.workers if not order.up]
        for order in fresh:
            if order.id not in context.slots:
                context.slots[order.id] = context.new_slot(order.queues, order.id)
                context.hands.use(context.slots[order.id])
        if fresh:
            await context.store.workers_up([order.id for order in fresh])
        for order in orders.workers:
            slot = context.slots.get(order.id)
            if slot is not None and order.stop not in (None, slot.stop):
                slot.ask_to_stop(order.stop)
                reserve.give_back([slot.id])
        for running in list(context.hands.running.values()):
            if running.job.seq in orders.cancels:
                running.terminate(Why.CANCEL)
        if any(job.seq in orders.cancels for _, job in reserve.held.values()):
            reserve.give_back()  # which cancels what is to be cancelled
        context.wake()
