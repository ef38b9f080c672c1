"""A question asked once: run from start to end on the thread that asks, without an event loop.

Everything in a queue is a coroutine, for the supervisor's and the console's sake. A verb that
opens a store, asks and closes it waits for nobody meanwhile; for it an event loop, and a thread for
SQLite, are only time to load: a third of the whole process.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def at_once(question: Coroutine[Any, Any, T]) -> T:
    """The answer of a coroutine that never waits. RuntimeError if it does."""
    try:
        question.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    question.close()
    raise RuntimeError("something waited that was to answer at once")
