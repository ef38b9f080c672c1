"""A connection with its own thread, for programs with an event loop. A busy database or a slow disk
must not block the loop."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

import aiosqlite

from ...domain.errors import StoreUnreachable
from ..signature import Signature
from .connection import Connection, Driver, Opener, keep_open
from .database_file import DatabaseFile

T = TypeVar("T")


class ThreadedConnection(Connection):
    """Runs each transaction in one call on aiosqlite's thread."""

    def __init__(
        self, file: DatabaseFile, opener: Opener, signature: Signature | None = None
    ) -> None:
        super().__init__(file, opener, signature)
        self._thread = aiosqlite.Connection(self._connect, iter_chunk_size=64)
        self._thread._thread = Thread(target=self._serve, args=(self._thread._thread.run,))
        self._keep = False

    def _serve(self, run: Callable[[], None]) -> None:
        try:
            run()
        except RuntimeError:
            # The event loop has closed, because of a second interrupt, so nobody waits for the
            # answer. aiosqlite cannot deliver it and would print a traceback.
            if self._driver is not None and not self._keep:
                with suppress(sqlite3.Error):
                    self._driver.close()
            self._thread._connection = None

    def _connect(self) -> Driver:
        return self._open().driver

    async def open(self) -> None:
        """Start the thread and connect there."""
        try:
            await self._thread
        except BaseException:
            # Wait until the thread has ended. aiosqlite has not asked it to, if a signal came while
            # it was being started.
            self._thread.stop()
            if self._thread._thread.ident is not None:  # None: the system refused to start it
                self._thread._thread.join()
            if self._driver is not None:  # we were cancelled, and aiosqlite does not know it
                self._driver.close()
            raise

    async def close(self) -> None:
        """Close the file and end the thread; see :meth:`Connection.close`."""
        keep = self.file.is_gone()
        if keep or self._forked:
            self._keep = True
            if self._driver is not None:
                keep_open(self._driver)
            self._thread._connection = None
        if self._forked:  # the thread is the parent's
            return
        if not keep:
            await self._thread.close()
        elif (ended := self._thread.stop()) is not None:
            await ended

    async def _run(self, begin: str | None, body: Callable[[Driver], T]) -> T:
        self._check_process()
        if self._thread._connection is None:  # somebody else has found out that the store is lost
            raise StoreUnreachable(f"store {self.path} was closed meanwhile", "try again")
        # Each method of aiosqlite is one call of _execute. This is one more such method.
        execute: Callable[..., Awaitable[T]] = self._thread._execute
        return await execute(self._there, begin, body)

    def _there(self, begin: str | None, body: Callable[[Driver], T]) -> T:
        try:
            return self._transact(begin, body)
        finally:
            if self._thread._connection is not None:
                self._thread._connection = self._driver  # it may have been opened again
