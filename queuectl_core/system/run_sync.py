"""A question asked once: run from start to end on the thread that asks, without an event loop.

Everything in a queue is a coroutine, for the supervisor's and the console's sake. A verb that
opens a store, asks and closes it waits for nobody meanwhile; for it an event loop, and a thread for
SQLite, are only time to load: a third of the whole process.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def run_sync(question: Coroutine[Any, Any, T]) -> T:
    """The answer of a coroutine that waits in :func:`sleep` only. RuntimeError if elsewhere."""
    try:
        question.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    question.close()
    raise RuntimeError("something waited that was to answer at once")


def loop_runs() -> bool:
    """Whether this thread runs an event loop; asyncio is not imported to find out."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


async def sleep(seconds: float) -> None:
    """Wait, without an event loop too."""
    if not loop_runs():
        time.sleep(seconds)  # noqa: ASYNC251 - there is no loop that it could hold up
        return
    import asyncio

    await asyncio.sleep(seconds)


async def off_loop(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do what may block: in a thread if an event loop runs here, else at once."""
    if not loop_runs():
        return work(*args, **kwargs)
    import asyncio

    return await asyncio.to_thread(work, *args, **kwargs)
