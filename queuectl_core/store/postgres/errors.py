"""Errors of the driver as errors of queuectl. They never show what may hold a password."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from ...domain.errors import (
    InvalidInput,
    QueueError,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreUnreachable,
)
from ...domain.text import clean_line

CHECK_URL = "check the URL and its options"
TRY_AGAIN = "try again; if it stays, look at the server"


class Lost(StoreUnreachable):
    """The connection broke. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class CommitInDoubt:
    """A transaction whose commit was not answered."""

    mark: UUID
    """The mark that it leaves in the database if it is committed."""
    pid: int
    started: datetime | None
    """When the server's process was started. With its pid it identifies the process."""


class CommitUnknown(StoreUnreachable):
    """The answer to a commit was lost, and we cannot find out now whether it was done.

    ``doubt`` identifies the transaction, for a later look. ``result`` is its result if it was done.
    """

    def __init__(self, shown: str, doubt: CommitInDoubt, result: Any) -> None:
        super().__init__(
            f"store {shown}: the connection broke before the commit was confirmed: it may or may "
            "not have been done",
            "look before you do it again",
        )
        self.doubt = doubt
        self.result = result


BROKEN = (
    OSError,  # refused, reset, unknown host; TimeoutError too
    EOFError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # the server was shut down, our session was ended
    asyncpg.exceptions.InternalClientError,
)


def is_broken(error: BaseException) -> bool:
    """Whether the connection is broken."""
    if isinstance(error, asyncpg.QueryCanceledError):
        return False
    if isinstance(error, asyncpg.InterfaceError):
        # "connection is closed", "was closed in the middle of operation". A ValueError is about a
        # bad value.
        return not isinstance(error, ValueError) and "clos" in str(error)
    return isinstance(error, BROKEN)


def is_conflict(error: BaseException) -> bool:
    """Whether the server undid a transaction because of another one. It must be done again."""
    return isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError)


def explain(shown: str, error: BaseException) -> QueueError:
    """What went wrong with the store ``shown``, in one line."""
    if isinstance(error, QueueError):
        return error
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        why, *_ = str(error).splitlines()  # the other lines are hints for users of the driver
        return InvalidInput(f"store {shown}: {clean_line(why)}", CHECK_URL)
    if isinstance(error, ssl.SSLError):  # some of them are a ValueError too
        return _insecure(shown, error)
    if isinstance(error, asyncpg.DataError | ValueError):  # the driver's own errors are both
        return _bad_value(error)
    if isinstance(error, asyncpg.PostgresError):
        return _from_server(shown, error)
    if isinstance(error, asyncio.TimeoutError | TimeoutError):
        return Lost(f"store {shown} does not answer", "check the address and the network")
    if isinstance(error, OSError):
        return Lost(f"store {shown}: {_why(error)}", "is the server up, and is it this one?")
    if is_broken(error):
        return Lost(f"store {shown}: the connection broke", TRY_AGAIN)
    return StoreError(f"store {shown}: {type(error).__name__}", TRY_AGAIN)


def _insecure(shown: str, error: ssl.SSLError) -> QueueError:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted: {error.verify_message}"
    else:
        why = str(error.reason or error)
    why = clean_line(why, 160).rstrip(".")
    return StoreUnreachable(
        f"store {shown}: no secure connection: {why}", "check sslmode and sslrootcert"
    )


def _why(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return clean_line(str(error.strerror), 100).lower()
    if error.errno:
        return os.strerror(error.errno).lower()
    if "SSL" in str(error):
        return "the server does not speak TLS (sslmode)"
    return "the connection broke"


def _bad_value(error: BaseException) -> QueueError:
    """A value that no column can hold. The driver or the server refused it."""
    cause: BaseException | None = error.__cause__ or error.__context__ or error
    if isinstance(cause, UnicodeEncodeError):
        return InvalidInput(f"'{clean_line(cause.object, 60)}' is not valid UTF-8 text")
    if isinstance(
        error, asyncpg.CharacterNotInRepertoireError | asyncpg.UntranslatableCharacterError
    ):
        return InvalidInput("a text holds a character no store can keep (NUL?)")
    if "range" in str(error) or isinstance(error, asyncpg.NumericValueOutOfRangeError):
        return InvalidInput("a number is larger than any store can hold")
    return InvalidInput(f"the store cannot keep this: {clean_line(str(error), 120)}")


UNREACHABLE = {
    "28": "check the user and the password (PGPASSWORD, PGPASSFILE, ~/.pgpass)",
    "3D": "create the database first, or check its name",
    "53300": "the server has too many connections: raise max_connections, or run fewer workers",
    "57": "try again when the server is up",
    "08": TRY_AGAIN,
}


DAMAGE = ("XX001", "XX002")
"""data_corrupted and index_corrupted. An internal error (XX000) or a violated constraint (class 23)
is a fault of a program. The data is not damaged."""


def _from_server(shown: str, error: asyncpg.PostgresError) -> QueueError:
    state = error.sqlstate or ""
    said = clean_line(error.args[0] if error.args else "", 160)
    line = f"store {shown}: {said}"
    if state in ("55P03", "57014"):
        return StoreLocked(f"store {shown} has been locked or busy for too long", TRY_AGAIN)
    if state[:2] == "40":
        return StoreLocked(f"store {shown}: others were quicker, again and again", TRY_AGAIN)
    if state[:2] == "57" or state[:2] == "08":
        return Lost(line, UNREACHABLE[state[:2]])
    for known in (state, state[:2]):
        if known in UNREACHABLE:
            return StoreUnreachable(line, UNREACHABLE[known])
    if state == "25006":
        return StoreReadOnly(f"store {shown} is read-only", "open the primary, in read-write mode")
    if state == "42501":
        return StoreReadOnly(line, "grant this user its rights on the schema and its tables")
    if state[:2] == "53":
        return StoreFull(f"the server of store {shown} is out of space or memory", "free some")
    if state in ("42P01", "3F000"):
        return StoreUnreachable(f"store {shown}: its tables are gone", "restore a backup")
    if state in DAMAGE:
        return damaged(shown, said)
    return StoreError(line, "run: queuectl doctor")


def damaged(shown: str, said: str) -> StoreDamaged:
    """The error for what no program of ours has written."""
    return StoreDamaged(f"store {shown} is damaged: {said}", "restore a backup")
