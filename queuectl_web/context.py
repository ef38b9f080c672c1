"""What all requests share: the connections to the store, the sessions and the live view."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from starlette.requests import Request

from queuectl_core.domain.config import MAX_SECONDS
from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.jobspec import MAX_KEY, check_queue, check_text
from queuectl_core.domain.model import Filter, State
from queuectl_core.domain.times import format_duration, parse_duration
from queuectl_core.queue import Queue, check_states
from queuectl_tui.presentation.connections import Connections

from .live import Live
from .problems import BadRequest
from .sessions import Session, Sessions

if TYPE_CHECKING:
    from queuectl_core.operations.doctor import Finding

LONGEST_PERIOD = 366 * 86400.0
"""Seconds."""

LONGEST_REASON = 300
"""Characters of a reason that are kept."""

T = TypeVar("T")


class Shared(Generic[T]):
    """A value that takes long to find. All who ask at the same time, or shortly after, get the same
    one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._found: tuple[float, T] | None = None

    async def get(self, find: Callable[[], Awaitable[T]]) -> T:
        """The value; ``find`` is called if it is older than ``seconds``."""
        async with self._lock:
            if self._found is None or time.monotonic() - self._found[0] > self._seconds:
                self._found = (time.monotonic(), await find())
            return self._found[1]


@dataclass(frozen=True, slots=True)
class Context:
    """What all requests share."""

    connections: Connections
    sessions: Sessions
    live: Live
    cookie: str
    """The name of the cookie."""
    title: str
    """Names the store and the host."""
    on_sign_in: Callable[[], None] = lambda: None
    """Called when the one-time link was used."""
    findings: Shared[list[Finding]] = field(default_factory=lambda: Shared(10.0))
    """Those of ``doctor``, which reads the whole store."""
    metrics: Shared[bytes] = field(default_factory=lambda: Shared(1.0))
    """The answer of ``/metrics``."""

    async def reader(self) -> Queue:
        """The connection for reading. Raises StoreError while the store is lost."""
        return await self.live.reader()

    async def writer(self) -> Queue:
        """The connection for changes. Raises StoreError while the store is lost."""
        await self.live.reader()  # not to a store that was moved away
        return await self.connections.writer()


def context(request: Request) -> Context:
    """The context of the application."""
    found: Context = request.app.state.context
    return found


def session_of(request: Request) -> Session | None:
    """The session of the browser; None: a program with the bearer token."""
    found: Session | None = request.scope["state"]["session"]
    return found


def form_of(request: Request) -> dict[str, str]:
    """The fields of a form. A field that was given several times has its last value."""
    return dict(request.scope["state"]["form"])


def all_of(request: Request, name: str) -> list[str]:
    """All values of a field of a form."""
    return [value for field, value in request.scope["state"]["form"] if field == name]


def reason_of(request: Request) -> str | None:
    """The reason in a form, on one line; None: there is none. InvalidInput if it is too long."""
    reason = " ".join(check_text("reason", form_of(request).get("reason", "")).split())
    if len(reason) > LONGEST_REASON:
        raise InvalidInput(f"the reason is longer than {LONGEST_REASON} characters")
    return reason or None


def filter_of(items: Sequence[tuple[str, str]]) -> Filter:
    """The filter in a query or a form, with the names of the command line's options. Raises
    InvalidInput."""
    found: dict[str, list[str]] = {}
    for name, value in items:
        if value:
            found.setdefault(name.replace("-", "_"), []).append(value)
    states: tuple[State, ...] = check_states(
        [word for text in found.get("state", []) for word in text.split(",") if word.strip()]
    )
    codes: list[int] = []
    for text in found.get("exit_code", []):
        if not re.fullmatch(r"-?[0-9]{1,9}", text.strip()):
            raise InvalidInput("exit_code: not a number", "give a number from 0 to 255")
        codes.append(int(text))
    names = ",".join(found["queue"]).split(",") if "queue" in found else []
    queues = [check_queue(name.strip()) for name in names]
    return Filter(
        states=tuple(dict.fromkeys(states)),
        queues=tuple(dict.fromkeys(queues)),
        search=found["search"][-1] if "search" in found else None,
        exit_codes=tuple(dict.fromkeys(codes)),
        reasons=tuple(dict.fromkeys(found.get("reason", []))),
        keys=tuple(dict.fromkeys(check_text("key", key, MAX_KEY) for key in found.get("key", []))),
    )


def query_of(where: Filter) -> list[tuple[str, str]]:
    """The opposite of :func:`filter_of`."""
    items = [("state", state.value) for state in where.states]
    items += [("queue", name) for name in where.queues]
    items += [("key", key) for key in where.keys]
    if where.search is not None:
        items.append(("search", where.search))
    items += [("exit_code", str(code)) for code in where.exit_codes]
    return items + [("reason", reason) for reason in where.reasons]


def number_of(request: Request, name: str, *, least: int = 0, most: int = 2**53) -> int | None:
    """A number in the query; None: not given. Raises BadRequest if it is none, or out of range."""
    text = request.query_params.get(name)
    if text is None or text == "":
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or not least <= int(text) <= most:
        raise BadRequest(400, f"{name}: not a number from {least} to {most}")
    return int(text)


def period_of(text: str) -> float:
    """Seconds to look back, for statistics. Raises InvalidInput."""
    seconds = parse_duration(text)
    if not 0 < seconds <= LONGEST_PERIOD:
        raise InvalidInput("since: give a time up to 366d", "for example 1h or 7d")
    return seconds


def pause_of(value: Any) -> float:
    """How long a pause lasts, from a number of seconds or a text like ``10m``. Raises
    InvalidInput."""
    seconds = parse_duration(value) if isinstance(value, str) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidInput("for: give a time like 10m")
    if not 0 < seconds <= MAX_SECONDS:
        raise InvalidInput(f"for: give a time up to {format_duration(MAX_SECONDS)}", "such as 10m")
    return float(seconds)
