"""What a shim tells its supervisor, as typed events. The lines are described in the package."""

from __future__ import annotations

from typing import Any, NamedTuple

from .journal_reader import Exit


class Started(NamedTuple):
    """A job's process runs."""

    token: str
    pid: int
    at: float
    """On ``lease_clock``."""
    worker: str


class Exited(NamedTuple):
    """A job's process has ended, or the job itself is why it could not be started."""

    token: str
    exit: Exit
    worker: str
    """Empty: a :class:`Started` came before."""


class NotStarted(NamedTuple):
    """A job was not started: the host lacks something."""

    token: str
    lacking: str


class Recalled(NamedTuple):
    """The shim gave these jobs back. It holds nothing any more."""

    tokens: list[str]


class Revoked(NamedTuple):
    """The shim may start nothing more: somebody took over the jobs of its supervisor."""


class Trouble(NamedTuple):
    """Something is wrong with the shim, or with one of its jobs."""

    token: str | None
    text: str


class Pong(NamedTuple):
    """The shim is able to run."""


RunnerEvent = Started | Exited | NotStarted | Recalled | Revoked | Trouble | Pong


def parse_event(event: list[Any]) -> RunnerEvent:
    """The event in one line from a shim."""
    kind, subject = event[:2]
    if kind == "S":
        return Started(subject, event[2], event[-2], event[-1])
    if kind == "X":
        return Exited(subject, Exit.of(event), "")
    if kind == "F":
        return Exited(subject, Exit.of(event), event[-1])
    if kind == "N":
        return NotStarted(subject, event[2])
    if kind == "W":
        return Recalled(subject)
    if kind == "R":
        return Revoked()
    if kind == "T":
        return Trouble(subject, event[2])
    return Pong()
