"""A program that embeds queuectl: several Queues at once in one process, also in threads.

It says on stdout what it is about to ask for, and then what came of it, a JSON object a line.
It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from .agent import put_in_seams
from .book import PLAY, Planned, name_in

put_in_seams()

from queuectl_core.domain.errors import QueueError  # noqa: E402
from queuectl_core.domain.model import Filter, Job, State  # noqa: E402
from queuectl_core.queue import Queue  # noqa: E402

THREADS = 2


class Program:
    """Its state, shared by its threads."""

    def __init__(self, name: str, seed: str) -> None:
        self.name = name
        self.seed = seed
        self.ending = threading.Event()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._jobs = itertools.count()
        self.failed = False

    def say(self, **what: Any) -> None:
        """One line, in one piece."""
        with self._lock:
            os.write(1, json.dumps(what).encode() + b"\n")

    async def ask(self, asked: dict[str, Any], do: Callable[[], Awaitable[object]]) -> None:
        """Say it, do it, say what came of it."""
        number = next(self._numbers)
        self.say(number=number, **asked)
        try:
            await do()
        except QueueError as error:
            self.say(number=number, code=error.exit_code, error=str(error))
        else:
            self.say(number=number, code=0, error="")

    # -- what it does -------------------------------------------------------------------

    async def act(self, queue: Queue, rng: Random) -> None:
        """One thing."""
        match rng.randrange(10):
            case 0 | 1 | 2:
                await self._enqueue(queue, rng)
            case 3:
                await self._change(queue, rng, "retry", (State.DEAD, State.CANCELLED), queue.retry)
            case 4:
                await self._change(
                    queue, rng, "cancel", (State.PENDING, State.PROCESSING), queue.cancel
                )
            case 5:
                await self._change(queue, rng, "remove", (State.COMPLETED,), queue.remove)
            case 6:
                where = Filter((State.CANCELLED,), (PLAY,))
                await self.ask({"what": "prune cancelled"}, lambda: queue.remove_all(where))
            case 7:
                dead = Filter((State.DEAD,), (PLAY,))
                await self.ask({"what": "retry dead"}, lambda: queue.retry_all(dead))
            case 8:
                with contextlib.suppress(QueueError):
                    await queue.status()
                    await queue.scan(Filter(), 20)
                    await queue.changed()
            case _:
                await self._backup(queue)

    async def _enqueue(self, queue: Queue, rng: Random) -> None:
        jobs = [
            Planned(f"{self.name}x{next(self._jobs)}", rng.choice((0, 0, 5)), 1, PLAY)
            for _ in range(rng.choice((1, 1, 5)))
        ]
        sources = [job.source(0.0, with_id=rng.random() < 0.5) for job in jobs]
        asked = {"what": "enqueue", "jobs": [(job.name, job.code) for job in jobs]}
        await self.ask(asked, lambda: queue.enqueue(sources))

    async def _change(
        self,
        queue: Queue,
        rng: Random,
        what: str,
        states: tuple[State, ...],
        do: Callable[[list[Job]], Awaitable[object]],
    ) -> None:
        try:
            found = await queue.scan(Filter(states, (PLAY,)), 20)
        except QueueError:
            return
        if found:
            job = rng.choice(found)
            await self.ask({"what": what, "names": [name_in(str(job.command))]}, lambda: do([job]))

    async def _backup(self, queue: Queue) -> None:
        if not queue.store.can_backup:
            return
        with (
            tempfile.TemporaryDirectory(dir=os.environ["CHAOS_PLACE"]) as folder,
            contextlib.suppress(QueueError),
        ):
            await queue.backup(str(Path(folder) / "copy.db"))

    # -- its Queues ---------------------------------------------------------------------

    async def session(self, rng: Random) -> None:
        """Open a Queue, act for a while, close it; often with another one open beside it."""
        with contextlib.suppress(QueueError):
            async with Queue.open() as one:
                for _ in range(rng.randint(1, 6)):
                    if self.ending.is_set():
                        return
                    await self.act(one, rng)
                    if rng.random() < 0.4:
                        async with Queue.open() as other:
                            await self.act(other, rng)
                    await asyncio.sleep(rng.uniform(0.0, 0.1))

    async def sessions(self, label: str) -> None:
        rng = Random(f"{self.seed}.{label}")
        while not self.ending.is_set():
            await self.session(rng)
            await asyncio.sleep(rng.uniform(0.0, 0.1))

    def thread(self, label: str) -> None:
        try:
            asyncio.run(self.sessions(label))
        except Exception:
            traceback.print_exc()
            self.failed = True

    async def main(self) -> None:
        """Two at once on this thread's loop, the others in threads with their own."""
        threads = [
            threading.Thread(target=self.thread, args=(f"thread{number}",))
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sessions("a"))
            group.create_task(self.sessions("b"))
            await asyncio.to_thread(sys.stdin.read)
            self.ending.set()
        for thread in threads:
            await asyncio.to_thread(thread.join)


def main() -> int:
    """Run until standard input ends."""
    program = Program(*sys.argv[1:])
    asyncio.run(program.main())
    return int(program.failed)


if __name__ == "__main__":
    sys.exit(main())
