"""Running a coroutine on the calling thread, without an event loop.

All verbs are coroutines, because the supervisor and the console need that. A short verb opens a
store, asks one question and closes the store. It does not need an event loop, nor a thread for
SQLite: loading them would take a third of its time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def run_sync(question: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits only in :func:`sleep`. RuntimeError if it waits elsewhere."""
    try:
        question.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    question.close()
    raise RuntimeError("something waited that was to answer at once")


def loop_runs() -> bool:
    """Whether this thread runs an event loop. This does not import asyncio."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


async def sleep(seconds: float) -> None:
    """Wait, with or without an event loop."""
    if not loop_runs():
        time.sleep(seconds)  # noqa: ASYNC251 - there is no loop that it could block
        return
    import asyncio

    await asyncio.sleep(seconds)


async def off_loop(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do work that may block: in a thread if an event loop runs here, otherwise directly."""
    if not loop_runs():
        return work(*args, **kwargs)
    import asyncio

    return await asyncio.to_thread(work, *args, **kwargs)
