"""The pump: the one task of a supervisor that talks to the store about work.

It hands in the attempts that ended and claims jobs for idle workers, both in one commit. While
a commit is under way more attempts end, and the next commit takes them all: that is the group
commit. Everything else (the shim's events, the bell, timers, signals) only leaves something
for the pump and wakes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..domain.claims import AttemptResult, ClaimResult, ClaimSlot
from ..domain.errors import StoreDamaged, StoreError, StoreGone, StoreTooNew
from ..domain.events import Event, Kind
from ..domain.model import Job, Outcome, State
from ..system.clocks import monotonic
from .attempt import RunningAttempt, StopReason, is_suspect, token_of
from .attempts import Slot
from .context import Context
from .heartbeat import Heartbeat
from .prefetch import Prefetch
from .shortage import Shortage
from .signals import notify_systemd

RETRY_AFTER = 0.5
"""Seconds until a store that failed is asked again; doubles up to ``RETRY_AT_MOST``."""
RETRY_AT_MOST = 5.0


class Dispatcher:
    """Moves work between the store and the supervisor's hands, a turn at a time.

    ``until_empty``: stop the workers when there is nothing left to do. ``until_idle``: also when
    what is left waits for its backoff, or runs elsewhere.
    """

    def __init__(
        self,
        context: Context,
        heartbeat: Heartbeat,
        *,
        until_empty: bool = False,
        until_idle: bool = False,
    ) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._until_empty = until_empty or until_idle
        self._until_idle = until_idle
        self._look = True  # there may be something to claim
        self._timer: asyncio.TimerHandle | None = None
        self.due_at: float | None = None
        """When the next job is due that none was yet, by the wall clock."""
        self._troubled = ""
        self._troubled_at = 0.0
        self.reports = 0
        """How often trouble with the store was told of."""
        self._delay = RETRY_AFTER
        self.prefetch = Prefetch(context.wake, self._recall)
        self.shortage = Shortage(context.tell, self.look)
        self._suspects_found = False
        """The last claim that might find suspects did: there may be more."""
        self.in_turn = False
        """Jobs may be being claimed of which we know nothing yet."""
        self.done = 0
        """Attempts that completed."""
        self.failed = 0
        """Attempts that failed."""

    def look(self) -> None:
        """There may be something to claim."""
        self._look = True
        self._context.wake()

    def free(self, running: RunningAttempt, ending: AttemptResult) -> None:
        """An attempt has ended: its worker may take another job, now or with the commit that
        says so."""
        self._leave_worker(running)
        self.shortage.tried(token_of(running.job))
        attempt = ending.attempt
        if attempt.finished_at is not None:
            self.prefetch.ran(attempt.finished_at - attempt.started_at)
        self.look()

    def _leave_worker(self, running: RunningAttempt) -> None:
        """Its worker has nothing to do any more."""
        slot = self._context.slots.get(running.worker)
        if slot is not None and slot.running is running:
            slot.running = None
            if not running.in_shared_shim and slot.stop is None:
                self._context.hands.use(slot)

    # -- what the shim holds ----------------------------------------------------------

    def _recall(self, workers: list[str]) -> None:
        self._context.hands.shim.recall(workers)

    def begin(self, token: str, worker: str, at: float) -> RunningAttempt | None:
        """The shim started a held job on ``worker``."""
        context = self._context
        job = self.prefetch.begin(token, worker, at)
        if job is None:
            return None
        running = context.hands.take(job, worker, context.hands.killer(job), at)
        slot = context.slots.get(worker)
        if slot is not None:
            slot.running = running
        if slot is None or slot.stop == "now":  # it was told to stop before we heard
            running.terminate(StopReason.NOW)
        elif job.seq in context.cancels:
            running.terminate(StopReason.CANCEL)
        context.tell(Event(Kind.STARTED, job=job, worker=worker))
        return running

    def started(self) -> None:
        """The shim started a job: there is no shortage any more."""
        self.shortage.started()

    def not_started(self, token: str, running: RunningAttempt | None, lacking: str) -> None:
        """The host lacks something: the job goes back, and nothing is claimed for a while."""
        job = self.prefetch.not_started(token) if running is None else running.job
        if job is None:
            return  # it has another owner by now
        if running is not None:
            self.prefetch.told((job.seq, job.runs))
            self._leave_worker(running)
        self.prefetch.released.append(job)
        self.shortage.met(lacking)
        self._context.wake()

    def recalled(self, tokens: Sequence[str]) -> None:
        """The shim gave held jobs back."""
        self.prefetch.recalled(tokens)

    def orphans(self) -> list[Job]:
        """The shim is gone: the jobs it held."""
        return self.prefetch.orphans()

    def knows(self, job: Job) -> bool:
        """Whether this attempt is in hand, is held by the shim, or waits to be given back."""
        token = token_of(job)
        if token in self._context.hands.running or token in self.prefetch.held:
            return True
        return any(token == token_of(one) for one in self.prefetch.released)

    def idle(self) -> list[Slot]:
        """Workers that may be given a job."""
        slots = self._context.slots.values()
        return [slot for slot in slots if slot.running is None and slot.stop is None]

    # -- life -------------------------------------------------------------------------

    def close(self) -> None:
        """No timer goes off any more."""
        self.shortage.disarm()
        self.prefetch.disarm()
        self._disarm()

    @property
    def troubled(self) -> bool:
        """The store failed, and has not worked since."""
        return bool(self._troubled)

    @property
    def finished(self) -> bool:
        """Nothing is in hand, and nothing is left to be written down."""
        return self._context.hands.empty and self.prefetch.empty

    async def step(self) -> None:
        """Take a turn if there is something to say to the store, or to claim; else wait until
        there is something to do."""
        context = self._context
        openings = self._openings()
        waiting = context.hands.endings or self.prefetch.released or self.prefetch.overdue
        if waiting or (self._look and openings):
            await self._turn(openings)
        else:
            await context.woken.wait()
            context.woken.clear()

    # -- stopping ---------------------------------------------------------------------

    def stop(self, *, now: bool) -> None:
        """Stop all workers: after the jobs in hand, or (``now``) ending them. At any moment."""
        context = self._context
        context.stopping = "now" if now or context.stopping == "now" else "drain"
        context.told.set()
        for slot in context.slots.values():
            slot.ask_to_stop(context.stopping)
        notify_systemd(context.env, "STOPPING=1")
        context.wake()
        if not self._heartbeat.registered:
            return
        self.prefetch.give_back(context.slots)
        busy = len(context.hands.running)
        if busy:
            doing = "ending" if now else "waiting for"
            context.tell(Event(Kind.STOPPING, f"{doing} {busy} running job{'s' * (busy != 1)}"))
        context.beside.run(context.store.stop_workers(list(context.slots), now))

    def store_gone(self, error: StoreGone) -> None:
        """The store's file is not there any more: take no more jobs, finish those that run, and
        end. What ended is still written to the file, which may have been moved only."""
        context = self._context
        if context.gone is None:
            context.gone = error
            message = f"{error.message}; no more jobs are taken, those that run are finished"
            context.tell(Event(Kind.TROUBLE, message))
            self.stop(now=False)

    # -- one turn ---------------------------------------------------------------------

    async def _turn(self, openings: list[ClaimSlot]) -> None:
        """Settle what ended and claim what may be claimed."""
        context = self._context
        context.woken.clear()
        try:
            if not await self._heartbeat.holds():
                return
        except StoreError as error:
            await self.trouble(error)
            return
        self._look = False
        endings, context.hands.endings = context.hands.endings, []
        # Where there is no room for more suspects, other jobs go on: suspects may run for hours.
        suspects = context.hands.room_for_suspects > 0
        try:
            turn = await self._exchange(endings, openings, suspects=suspects)
        except StoreError as error:
            context.hands.endings = endings + context.hands.endings
            await self.trouble(error)
            return
        self._untroubled()
        for ending in endings:
            self._settled(ending, refused=(ending.seq, ending.run) in turn.refused)
        # Suspects first: their workers are withdrawn from the shim before it gets jobs to hold.
        for job in sorted(turn.claimed, key=is_suspect, reverse=True):
            self._start(job)
        self._heartbeat.lost = self._heartbeat.lost or bool(turn.refused)
        if openings and suspects:
            self._suspects_found = any(map(is_suspect, turn.claimed))
        if len(turn.claimed) == len(openings):
            self._look = True  # there may be more than we had workers for
            return
        self._wake_when_due(turn.next_due)
        if not suspects:
            self._look = self._look or context.hands.room_for_suspects > 0  # one of them has ended
            return
        if self._until_empty and not turn.claimed and await self._empty():
            for slot in context.slots.values():
                slot.ask_to_stop("drain")

    def _openings(self) -> list[ClaimSlot]:
        """What there is to claim for: idle workers, and while jobs are short the reserve.

        No job is claimed for a worker on which the shim may start a held one by itself.
        """
        idle = [slot for slot in self.idle() if not self.prefetch.holds(slot.lane)]
        openings = [ClaimSlot(slot.id, slot.queues) for slot in idle]
        allowed = self.shortage.openings
        if allowed is not None:
            return openings[:allowed]
        room = self._context.hands.room_for_suspects
        if self._suspects_found and 0 < room < len(openings):
            return openings[:room]  # those that were put back would be claimed again
        return openings + self.prefetch.openings(self._context.slots.values())

    def _start(self, job: Job) -> None:
        """Run a claimed job: at once on the worker it was claimed for, or by and by."""
        context = self._context
        slot = context.slots.get(job.worker or "")
        if slot is not None and slot.running is None and slot.stop is None:
            if is_suspect(job):
                if not context.hands.room_for_suspects:
                    self.prefetch.released.append(job)
                    return
                self.prefetch.give_back(
                    [slot.id]
                )  # the shim must start nothing else on this worker
            self.shortage.tries(token_of(job))
            context.hands.launch(job, slot)
            return
        if is_suspect(job):
            # The shim may hold no suspect. With nothing held, the next worker that comes free is
            # idle, and the suspect is claimed for it.
            self.prefetch.released.append(job)
            self.prefetch.give_back()
            return
        fit = (slot for slot in context.slots.values() if slot.stop is None and slot.serves(job))
        slot = next(fit, None)
        if slot is None:  # all were told to stop while the claim was under way
            self.prefetch.released.append(job)
        else:
            self.prefetch.put(job, slot.lane)
            context.hands.hold(job, slot.lane)

    async def _exchange(
        self, endings: list[AttemptResult], openings: list[ClaimSlot], *, suspects: bool
    ) -> ClaimResult:
        """One commit with everything there is to say. ``suspects``: whether to claim any."""
        context, prefetch = self._context, self.prefetch
        for ending in endings:
            prefetch.told((ending.seq, ending.run))
        now = context.clock()
        begun, released = prefetch.untold(now), list(prefetch.released)
        prefetch.overdue = False
        asked = monotonic()
        self.in_turn = True
        try:
            turn = await context.store.settle_and_claim(
                context.id,
                endings,
                openings,
                now,
                started=begun,
                released=released,
                suspects=suspects,
            )
        finally:
            self.in_turn = False
        prefetch.took(monotonic() - asked)
        for start in begun:
            prefetch.told((start.seq, start.run))
        del prefetch.released[: len(released)]
        return turn

    def _settled(self, ending: AttemptResult, *, refused: bool) -> None:
        """The store has (or has refused) an ending."""
        token = f"{ending.seq}.{ending.run}"
        running = self._context.hands.running.pop(token, None)
        self._context.hands.forget(token, running.job if running is not None else None)
        if running is None or refused:
            return
        if ending.attempt.outcome is Outcome.COMPLETED:
            self.done += 1
        after = ending.transition
        if after.state in (State.FAILED, State.DEAD):  # not one that was put back
            self.failed += 1
        self._context.tell(
            Event(
                Kind.ENDED,
                job=running.job,
                attempt=ending.attempt,
                state=after.state,
                retry_at=after.run_at,
            )
        )

    # -- when there is little to do ---------------------------------------------------

    def retire(self) -> None:
        """Drop workers that are to stop and have nothing in hand, nor anything to be told."""
        context = self._context
        if self.prefetch.recalling:
            return  # the shim may have started a held job on one of them
        stopping = [slot.id for slot in context.slots.values() if slot.stop]
        if not stopping:
            return
        # Several attempts of one worker may be in hand: the shim goes on while we clear up.
        busy = {running.worker for running in context.hands.running.values()}
        gone = [worker for worker in stopping if worker not in busy]
        for worker in gone:
            del context.slots[worker]
        if gone and context.slots:  # the last ones go with the supervisor's row
            context.beside.run(context.store.workers_gone(gone))

    def _wake_when_due(self, due: float | None) -> None:
        self._disarm()
        self.due_at = due
        if due is not None:
            delay = min(max(0.0, due - self._context.clock()), 3600.0)
            self._timer = asyncio.get_running_loop().call_later(delay, self.look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look_if_due(self) -> None:
        """A job is due by the wall clock, whatever the timer says, which cannot know that somebody
        set the clock; to be called now and then."""
        if self.due_at is not None and self._context.clock() >= self.due_at:
            self.look()

    async def _empty(self) -> bool:
        """Nothing runs or waits for a retry anywhere in our lanes (nothing is due: we asked)."""
        if not self.finished:
            return False
        if self._until_idle:
            return True
        slots = self._context.slots.values()
        lanes = {queue for slot in slots for queue in slot.queues}
        every = any(not slot.queues for slot in slots)
        try:
            counts = await self._context.store.counts()
        except StoreError:
            return False
        return not any(
            number and state in (State.PROCESSING, State.FAILED) and (every or queue in lanes)
            for (state, queue), number in counts.items()
        )

    async def trouble(self, error: StoreError) -> None:
        """The store failed: say so once, keep everything, try again by and by. What waiting
        does not mend is for the caller: the jobs go on, and the next supervisor has them."""
        if isinstance(error, StoreDamaged | StoreTooNew):
            raise error
        if isinstance(error, StoreGone) and self._context.gone is None:
            self.store_gone(error)
            return
        if str(error) != self._troubled:
            self._troubled = str(error)
            self.reports += 1
            self._delay = RETRY_AFTER
            self._troubled_at = self._troubled_at or monotonic()
            self._context.tell(Event(Kind.TROUBLE, f"{error}; trying again"))
        self._look = True
        if self._gives_up():
            raise error
        await self._context.pause(self._delay)
        self._delay = min(self._delay * 2, RETRY_AT_MOST)

    def _gives_up(self) -> bool:
        """We are to stop, all jobs have ended, and the store cannot be told how: at once if we
        are to stop at once, else when it has failed for as long as a lease. The journal says how
        they ended, for the next supervisor."""
        context = self._context
        hands = context.hands
        if context.stopping is None or not all(one.settled for one in hands.running.values()):
            return False
        return context.stopping == "now" or monotonic() - self._troubled_at > hands.settings.lease

    def _untroubled(self) -> None:
        if self._troubled:
            self._troubled = ""
            self._troubled_at = 0.0
            self._context.tell(Event(Kind.TROUBLE, "the store works again"))
