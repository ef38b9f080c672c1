"""Errors as answers: problem JSON (RFC 9457) for the API, a page for people.

The messages are those of the command line.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from queuectl_core.domain.errors import (
    BatchRejected,
    Conflict,
    HostShort,
    InvalidInput,
    NotFound,
    QueueError,
    StoreError,
    StoreReadOnly,
    TimedOut,
)

from .links import local_path
from .rendering import page

API = "/api/"
METRICS = "/metrics"

STATUS: tuple[tuple[type[QueueError], int], ...] = (
    (InvalidInput, 400),
    (NotFound, 404),
    (Conflict, 409),
    (StoreReadOnly, 403),
    (StoreError, 503),
    (HostShort, 503),
    (TimedOut, 504),
)

TITLES = {
    400: "Bad input",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    409: "Conflict",
    413: "Too large",
    414: "Address too long",
    415: "Not JSON",
    431: "Headers too long",
    500: "Internal error",
    503: "Not available",
    504: "Timed out",
}


class BadRequest(Exception):
    """A request that cannot be served. ``hint`` says what to do."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint


def is_for_programs(path: str) -> bool:
    """Whether programs ask for it, which get errors as JSON."""
    return path.startswith(API) or path == METRICS


def status_of(error: QueueError) -> int:
    """The HTTP status for an error of the queue."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 503)


def problem(status: int, message: str, hint: str = "", **more: Any) -> dict[str, Any]:
    """A problem document. ``type`` is about:blank: the status says what kind it is."""
    document = {"type": "about:blank", "title": TITLES.get(status, "Error"), "status": status}
    return document | {"detail": f"{message}; {hint}" if hint else message} | more


def refuse(scope: Scope, error: BadRequest | QueueError) -> Response:
    """The answer for an error: JSON for programs, a page for people."""
    more: dict[str, Any] = {}
    if isinstance(error, QueueError):
        status = status_of(error)
        more["exit_code"] = error.exit_code
        if isinstance(error, BatchRejected):
            more["problems"] = [{"line": n, "detail": text} for n, text in error.problems]
    else:
        status = error.status
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    if status == 503:
        headers["retry-after"] = "2"
    if is_for_programs(scope["path"]):
        document = problem(status, error.message, error.hint, **more)
        return JSONResponse(document, status, headers, media_type="application/problem+json")
    return page(
        Request(scope),
        "problem.html",
        where="",
        retry=status == 503 and scope["method"] == "GET",
        again=local_path(scope["path"]) if scope["method"] == "GET" else "/",
        status=status,
        headers=headers,
        title=TITLES.get(status, "Error"),
        message=error.message,
        hint=error.hint,
    )
