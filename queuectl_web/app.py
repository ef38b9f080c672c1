"""The application: routes, errors, and what starts and ends with it."""

from __future__ import annotations

import logging
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from queuectl_core.domain.errors import QueueError, StoreError

from . import api, changes, editing, events, hooks, pages, queues, schedules
from .context import Context, context, form_of, session_of
from .guard import Guard, Hosts
from .metrics import metrics
from .problems import METRICS, BadRequest, refuse
from .rendering import page

STATIC = Path(__file__).parent / "static"

LONGEST_TOKEN = 4096

log = logging.getLogger("queuectl.web")


async def healthz(request: Request) -> Response:
    """The process lives."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """The store can be read."""
    try:
        await context(request).live.fresh()
    except QueueError as error:
        log.info("not ready: %s", error)
        return PlainTextResponse("the store cannot be read\n", 503)
    return PlainTextResponse("ready\n")


async def login(request: Request) -> Response:
    """The link that was printed, or the form with a token.

    A browser that loads the link ahead gets a page with a button, and does not use the link up.
    """
    found = context(request)
    if request.method == "POST":
        token = form_of(request).get("token", "")
    else:
        token = request.query_params.get("token", "")[:LONGEST_TOKEN]
        ahead = request.method == "HEAD" or "prefetch" in request.headers.get("sec-purpose", "")
        if ahead or not token:
            return page(request, "login.html", where=found.title, error="", token=token)
    cookie = found.sessions.sign_in(token.strip(), once=request.method == "GET")
    if cookie is None:
        error = "this token is wrong, or its link was used before"
        return page(request, "login.html", status=401, where=found.title, error=error, token="")
    if request.headers.get("sec-fetch-site") == "cross-site":
        # After a redirect the browser would not send the cookie: it is SameSite=Strict, and the
        # link is on another site.
        response: Response = page(request, "signed_in.html", where=found.title)
    else:
        response = RedirectResponse("/", 303)
    secure = request.headers.get("x-forwarded-proto") == "https"
    response.set_cookie(
        found.cookie, cookie, max_age=30 * 86400, httponly=True, samesite="strict", secure=secure
    )
    if found.sessions.link_used and not found.sessions.has_token:
        found.on_sign_in()
    return response


async def logout(request: Request) -> Response:
    """End the session of this browser."""
    found = context(request)
    session = session_of(request)
    if session is not None:
        found.sessions.sign_out(session)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(found.cookie, httponly=True, samesite="strict")
    return response


async def on_bad_request(request: Request, error: Exception) -> Response:
    """A request that cannot be served."""
    assert isinstance(error, BadRequest)  # noqa: S101 # registered for this class only
    return refuse(request.scope, error)


async def on_queue_error(request: Request, error: Exception) -> Response:
    """An error of the queue, in its own words."""
    assert isinstance(error, QueueError)  # noqa: S101 # registered for this class only
    if isinstance(error, StoreError):
        await context(request).live.doubt()
    return refuse(request.scope, error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """No such page, or a method that it does not have."""
    assert isinstance(error, HTTPException)  # noqa: S101 # registered for this class only
    words = {404: "no such page", 405: "this method is not allowed here"}
    problem = BadRequest(error.status_code, words.get(error.status_code, error.detail))
    response = refuse(request.scope, problem)
    response.headers.update(error.headers or {})
    return response


def describe(error: Exception) -> str:
    """An error of ours on one line, with the place where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" ({trace.tb_frame.f_code.co_name}:{trace.tb_lineno})"
    return f"{type(error).__name__}: {error}{where}"


async def on_internal_error(request: Request, error: Exception) -> Response:
    """A fault of ours. The traceback goes to the log only."""
    log.error("internal error: %s", describe(error), exc_info=error)
    return refuse(request.scope, BadRequest(500, "internal error", "the log says more"))


def make_app(found: Context, hosts: Hosts, *, read_only: bool) -> Guard:
    """The application. Serve this."""
    app = Starlette(
        routes=[
            Route("/", pages.overview),
            Route("/jobs", pages.jobs),
            Route("/jobs/{id}", pages.job),
            Route("/jobs/{id}/output", pages.output),
            Route("/jobs/{id}/edit", editing.show, methods=["GET"]),
            Route("/jobs/{id}/edit", editing.save, methods=["POST"]),
            Route("/schedules", schedules.schedules),
            Route("/schedules/{name}", schedules.show),
            Route("/queues", queues.queues),
            Route("/queues/{name}", queues.show),
            Route("/hooks", hooks.hooks),
            Route("/dlq", pages.dlq),
            Route("/events", events.events),
            Route("/workers", pages.workers),
            Route("/enqueue", pages.enqueue, methods=["GET"]),
            Route("/enqueue", changes.enqueue, methods=["POST"]),
            Route("/stats", pages.stats),
            Route("/settings", pages.settings),
            Route("/doctor", pages.doctor),
            Route("/act", changes.act, methods=["POST"]),
            Route("/answer", changes.answer, methods=["POST"]),
            Route("/login", login, methods=["GET", "POST"]),
            Route("/logout", logout, methods=["POST"]),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route(METRICS, metrics),
            *api.routes(),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={
            BadRequest: on_bad_request,
            QueueError: on_queue_error,
            HTTPException: on_http_error,
            Exception: on_internal_error,
        },
    )
    app.state.context = found
    return Guard(
        app, sessions=found.sessions, hosts=hosts, cookie=found.cookie, read_only=read_only
    )
