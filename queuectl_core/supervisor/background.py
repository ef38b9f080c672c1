"""Background tasks of a supervisor. No error in one goes unnoticed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from ..domain.errors import StoreError


class Background:
    """Keeps tasks until they end. The dispatcher meets and reports trouble with the store. Any
    other error is a bug: it is kept for the dispatcher to raise, and ``wake`` is called."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start ``work``."""

        async def quietly() -> None:
            with contextlib.suppress(StoreError):
                await work

        task = asyncio.create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        task.add_done_callback(lambda _: work.close())  # if it was cancelled before it began
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """An error that is a bug: it ends the supervisor."""
        self._error = error
        self._wake()

    def check(self) -> None:
        """Raise what a task ended with, if one ended badly."""
        if self._error is not None:
            raise self._error
