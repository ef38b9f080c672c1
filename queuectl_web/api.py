"""The HTTP API ``/api/v1``: the verbs of the command line with the same JSON.

:data:`OPERATIONS` declares each operation once. The routes and the OpenAPI description are made
from it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from queuectl_core.domain.errors import BatchRejected, InvalidInput
from queuectl_core.domain.jobspec import ON_CONFLICT, Defaults, field_name, parse_changes, parse_job
from queuectl_core.domain.json_strict import parse_json
from queuectl_core.domain.model import Filter, Job, JobSpec, QueueInfo, QueueSettings, State
from queuectl_core.domain.queues import FIELDS
from queuectl_core.domain.text import clean_block, clean_line, nearest
from queuectl_core.operations.queries import amend, dead_groups
from queuectl_core.queue import Queue, in_parts
from queuectl_tui.presentation.lookups import change_as_found
from queuectl_tui.presentation.tree import tree_json
from queuectl_tui.presentation.why import blocker_command

from . import schedules
from .context import context, filter_of, number_of, pause_of, period_of, query_of, session_of
from .events import list_events, stream_events
from .links import job_link, with_query
from .live import MAX_STREAMS, EventStream
from .openapi import STATE, TEXT, Handler, Operation, Parameter, describe
from .output import follow, raw, read_on
from .pages import read_page
from .problems import BadRequest

PREFIX = "/api/v1"
PAGE = 100
MOST = 1000
"""Jobs on a page: if not given, and at most."""

MOST_TEXT = 8 << 20
"""Characters of standard inputs and results on a page, about."""
MOST_AT_ONCE = 5000
"""Jobs in one request. Their check takes about half a second, in which nobody else is served."""


def whole(least: int, most: int) -> dict[str, Any]:
    """The schema of a whole number."""
    return {"type": "integer", "minimum": least, "maximum": most}


FILTERS = (
    Parameter("state", "Only jobs in this state.", STATE, many=True),
    Parameter("queue", "Only jobs of this queue.", TEXT, many=True),
    Parameter("key", "Only jobs with this key.", TEXT, many=True),
    Parameter("search", "Only with this text in id, command or last error.", TEXT),
    Parameter("exit_code", "Only with this exit code.", whole(-999, 999), many=True),
    Parameter("reason", "Only dead jobs of this cause, as in dlq/groups.", TEXT, many=True),
)


def _query(request: Request) -> list[tuple[str, str]]:
    try:
        text = request.scope["query_string"].decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError:
        raise BadRequest(400, "the query is not UTF-8 text") from None


def _where(request: Request, *others: str) -> Filter:
    """The filter in the query, which may have these other parameters. InvalidInput for an unknown
    one: a misspelt filter would select everything."""
    known = (*(parameter.name for parameter in FILTERS), *others)
    items = _query(request)
    for name, value in items:
        if name.replace("-", "_") not in known:
            raise InvalidInput(f"unknown parameter '{clean_line(name, 40)}'", nearest(name, known))
        if not value and name not in others:
            raise InvalidInput(f"{name}: it is empty", "leave it out")
    return filter_of(items)


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false").lower()
    if text not in ("true", "false", "1", "0", ""):
        raise BadRequest(400, f"{name}: give true or false")
    return text in ("true", "1")


def _body(request: Request) -> Any:
    content = request.scope["state"]["content"]
    if content != "application/json":
        raise BadRequest(415, "the body must be JSON", "send content-type: application/json")
    try:
        text = request.scope["state"]["body"].decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest(400, "the body is not UTF-8 text") from None
    return parse_json(text, "the body")


def _object(request: Request, *known: str) -> dict[str, Any]:
    """The body as an object with only these fields; no body: an empty one."""
    if not request.scope["state"]["body"]:
        return {}
    found = _body(request)
    if not isinstance(found, dict):
        raise InvalidInput("the body is not a JSON object")
    for name in found:
        if name not in known:
            hint = f"use {', '.join(known)}" if known else "send none"
            raise InvalidInput(f"unknown field '{str(name)[:40]}'", hint)
    return found


# -- jobs -----------------------------------------------------------------------------------


async def list_jobs(request: Request) -> Response:
    """Jobs, newest first, by pages. A page with large texts may have fewer jobs than asked for."""
    where = _where(request, "limit", "before", "show_env")
    limit = number_of(request, "limit", least=1, most=MOST) or PAGE
    before = number_of(request, "before", least=1)
    queue = await context(request).reader()
    found, reached = await read_page(queue, where, limit, before)
    jobs: list[Job] = []
    size = 0
    for part in in_parts(found):
        read = await queue.with_texts(part)
        jobs += read
        size += sum(len(job.stdin or "") + len(job.result or "") for job in read)
        if size > MOST_TEXT and len(jobs) < len(found):
            reached = jobs[-1].seq
            break
    headers = {}
    if reached:
        items = [*query_of(where), ("limit", str(limit)), ("before", str(reached))]
        headers["link"] = f'<{with_query(f"{PREFIX}/jobs", items)}>; rel="next"'
    show_env = _flag(request, "show_env")
    return JSONResponse([job.to_json(show_env=show_env) for job in jobs], headers=headers)


REMEMBERED = 86400.0
"""Seconds for which a value of the header ``Idempotency-Key`` is remembered. With ``unique_until``
a job that ends before the request is sent again would be enqueued twice."""


async def enqueue(request: Request) -> Response:
    """Enqueue a job (object or command string), or several (array), all or none."""
    given = _body(request)
    sources = given if isinstance(given, list) else [given]
    if len(sources) > MOST_AT_ONCE:
        raise BadRequest(413, f"more than {MOST_AT_ONCE} jobs", "send them in parts")
    key = _idempotency_key(request)
    if key is not None:
        sources = [_with_unique(given, key)]
    if not sources:
        return JSONResponse([], 201)
    queue = await context(request).writer()
    defaults = await queue.defaults()
    specs, problems = [], []
    for number, source in enumerate(sources, 1):
        try:
            specs.append(_spec(source, defaults))
        except InvalidInput as error:
            if not isinstance(given, list):
                raise
            problems.append((number, str(error)))
    if problems:
        raise BatchRejected(problems[:100], len(problems))
    jobs = await queue.enqueue_specs(specs)
    made = [job.to_json() for job in await queue.with_texts(jobs)]
    status = 200 if all(job.existing for job in jobs) else 201
    if isinstance(given, list):
        return JSONResponse(made, status)
    return JSONResponse(made[0], status, {"location": PREFIX + job_link(made[0]["id"])})


def _spec(source: Any, defaults: Defaults) -> JobSpec:
    """The job that ``source`` describes. In an object ``on_conflict`` is one more field."""
    if not isinstance(source, dict):
        return parse_job(source, defaults)[0]
    spellings = ("on_conflict", "on-conflict", "onConflict")
    given = [source[name] for name in spellings if source.get(name) is not None]
    rest = {name: value for name, value in source.items() if name not in spellings}
    spec = parse_job(rest, defaults)[0]
    if not given:
        return spec
    if len(given) > 1 or given[0] not in ON_CONFLICT:
        raise InvalidInput(f"on_conflict: give one of {', '.join(ON_CONFLICT)}")
    return spec._replace(on_conflict=given[0])


def _idempotency_key(request: Request) -> str | None:
    """The header ``Idempotency-Key``, also in quotes; None: it is not there."""
    found = request.headers.getlist("idempotency-key")
    if not found:
        return None
    text = found[0].strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if len(found) > 1 or not text or not (text.isascii() and text.isprintable()):
        raise BadRequest(400, "Idempotency-Key: give one value, in printable ASCII characters")
    return text


def _with_unique(given: Any, key: str) -> dict[str, Any]:
    """The job of a request with an ``Idempotency-Key``, which becomes its unique value."""
    if isinstance(given, list):
        raise BadRequest(400, "Idempotency-Key is for one job", "give unique to each job instead")
    source = {"command": given} if isinstance(given, str) else given
    if not isinstance(source, dict):
        raise InvalidInput("a job is a JSON object or a command")
    fields = {field_name(name) for name, value in source.items() if value is not None}
    if "unique" in fields:
        raise BadRequest(400, "Idempotency-Key and unique exclude each other", "give one of them")
    until = fields & {"unique_until", "unique_for"}
    return source | {"unique": key} | ({} if until else {"unique_for": REMEMBERED})


async def _find(request: Request, queue: Queue, *, to_change: bool = False) -> Job:
    return await queue.find(request.path_params["id"], to_change=to_change)


async def show(request: Request) -> Response:
    """One job with its attempts."""
    queue = await context(request).reader()
    job = await _find(request, queue)
    history = [attempt.to_json() for attempt in await queue.attempts(job)]
    [job] = await queue.with_texts([job])
    document = job.to_json(show_env=_flag(request, "show_env"))
    return JSONResponse(document | {"history": history})


async def output(request: Request) -> Response:
    """The output of an attempt, cleaned as ``logs`` does; ``raw``: its bytes."""
    queue = await context(request).reader()
    job = await _find(request, queue)
    number = number_of(request, "attempt", least=1)
    found = await queue.output(job, number)
    if _flag(request, "raw"):
        name = f"{job.id}.{found.number}.log"
        return StreamingResponse(
            raw(found),
            media_type="application/octet-stream",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )
    offset, data = await asyncio.to_thread(read_on, found, number_of(request, "offset") or 0)
    return JSONResponse(
        {
            "id": job.id,
            "attempt": found.number or None,
            "output": clean_block(data.decode("utf-8", "backslashreplace")),
            "bytes": found.total or found.size(),
            "offset": offset,
            "next_offset": offset + len(data) if offset + len(data) < found.size() else None,
            "complete": found.complete,
            "running": found.running and found.number > 0,
        }
    )


async def output_stream(request: Request) -> Response:
    """What is added to the output of an attempt, as server-sent events."""
    found = context(request)
    queue = await found.reader()
    job = await _find(request, queue)
    number = number_of(request, "attempt", least=1)
    if number is not None:
        await queue.output(job, number)  # NotFound
    offset = number_of(request, "offset") or 0
    _one_more_stream(request)
    events = follow(found.live, queue, job, number, offset)
    return EventStream(found.live, events, session_of(request))


async def stream(request: Request) -> Response:
    """Server-sent events: that something has changed, or parts of the overview."""
    found = context(request)
    _one_more_stream(request)
    overview = request.query_params.get("view") == "overview"
    since = number_of(request, "since")
    if since is None:
        since = found.live.version if overview else found.live.changes
    await found.reader()
    events = found.live.events(since, overview=overview)
    return EventStream(found.live, events, session_of(request))


def _one_more_stream(request: Request) -> None:
    if context(request).live.streams >= MAX_STREAMS:
        raise BadRequest(503, "too many browsers look at the same time", "close some pages")


Change = Callable[[Queue, Sequence[Job]], Awaitable[int]]


async def _change_one(request: Request, change: Change) -> Response:
    """Change one job, and answer with the job as it is now."""
    queue = await context(request).writer()

    async def find() -> list[Job]:
        return await queue.with_texts([await _find(request, queue, to_change=True)])

    [job] = await change_as_found(find, partial(change, queue))
    now = await queue.get(job.seq)
    if now is None:
        return JSONResponse(job.to_json())
    return JSONResponse((await queue.with_texts([now]))[0].to_json())


async def retry(request: Request) -> Response:
    """Run a job again, now; ``command``: with another command."""
    command = _object(request, "command").get("command")
    if command is not None:
        queue = await context(request).writer()
        job = await _find(request, queue, to_change=True)
        [job] = await queue.with_texts([await amend(queue, job, command)])
        return JSONResponse(job.to_json())
    return await _change_one(request, Queue.retry)


async def cancel(request: Request) -> Response:
    """Cancel a job."""
    _object(request)
    return await _change_one(request, Queue.cancel)


async def remove(request: Request) -> Response:
    """Remove a job with its history and output; ``cascade``: also the jobs that wait for it."""
    cascade = _flag(request, "cascade")

    async def change(queue: Queue, jobs: Sequence[Job]) -> int:
        return await queue.remove(jobs, cascade=cascade)

    return await _change_one(request, change)


async def hold(request: Request) -> Response:
    """Let a job wait until it is released."""
    _object(request)
    return await _change_one(request, Queue.hold)


async def release(request: Request) -> Response:
    """Release a held job."""
    _object(request)
    return await _change_one(request, Queue.release)


async def edit(request: Request) -> Response:
    """Change fields of a job that does not run."""
    changes = _body(request)
    if not isinstance(changes, dict) or not changes:
        raise InvalidInput("give the fields to change as a JSON object")
    parse_changes(changes, await (await context(request).reader()).defaults())

    async def change(queue: Queue, jobs: Sequence[Job]) -> int:
        for job in jobs:
            await queue.edit(job, changes)
        return len(jobs)

    return await _change_one(request, change)


async def why(request: Request) -> Response:
    """Why a job does not run."""
    queue = await context(request).reader()
    found = await queue.why(await _find(request, queue))
    return JSONResponse(
        {
            "id": found.job.id,
            "state": found.job.state.value,
            "ready": found.ready,
            "blockers": [one.to_json(blocker_command(one)) for one in found.blockers],
        }
    )


async def tree(request: Request) -> Response:
    """What a job waits for, and what waits for it."""
    queue = await context(request).reader()
    limit = number_of(request, "limit", least=1, most=MOST) or MOST
    job = await _find(request, queue)
    return JSONResponse({"id": job.id} | tree_json(await queue.tree(job, limit)))


ChangeAll = Callable[[Queue, Filter], Awaitable[int]]


def _change_all(word: str, change: ChangeAll, states: tuple[State, ...] = ()) -> Handler:
    async def run(request: Request) -> Response:
        given = _object(request, "all", "state", "queue", "key", "search", "exit_code", "reason")
        where = filter_of(_items(given))
        if where == Filter() and given.get("all") is not True:
            raise InvalidInput('give filters, or "all": true')
        if states:
            if where.states and where.states != states:
                raise InvalidInput("state: only dead jobs are in the DLQ")
            where = where._replace(states=states)
        queue = await context(request).writer()
        return JSONResponse({word: await change(queue, where)})

    return run


def _items(given: dict[str, Any]) -> list[tuple[str, str]]:
    """The filters of a JSON object, each a value or an array of values."""
    items = []
    for name, value in given.items():
        if name == "all":
            if not isinstance(value, bool):
                raise InvalidInput("all: give true or false")
            continue
        if isinstance(value, list) and name == "search":
            raise InvalidInput("search: give one text")
        for one in value if isinstance(value, list) else [value]:
            if one == "":
                raise InvalidInput(f"{name}: it is empty", "leave it out")
            if isinstance(one, bool) or not isinstance(one, str | int):
                raise InvalidInput(f"{name}: give text, a number, or an array of them")
            items.append((name, str(one)))
    return items


# -- the rest -------------------------------------------------------------------------------


async def status(request: Request) -> Response:
    """Counts of every state, queues, live workers."""
    queue = await context(request).reader()
    found = await queue.status()
    return JSONResponse(found.to_json(queue.clock()))


async def stats(request: Request) -> Response:
    """Rates, run times and waiting times."""
    seconds = period_of(request.query_params.get("since") or "1h")
    return JSONResponse((await (await context(request).reader()).stats(seconds)).to_json())


async def groups(request: Request) -> Response:
    """Dead jobs by cause, the largest group first."""
    limit = number_of(request, "limit", least=1, most=MOST) or 500
    found = await dead_groups(await context(request).reader(), limit)
    return JSONResponse([group.to_json() for group in found])


async def workers(request: Request) -> Response:
    """All workers."""
    queue = await context(request).reader()
    return JSONResponse([worker.to_json(queue.clock()) for worker in await queue.workers()])


async def start_workers(request: Request) -> Response:
    """Start workers in the background on the host of the dashboard."""
    given = _object(request, "count", "queues")
    count, queues = given.get("count", 1), given.get("queues", [])
    if isinstance(count, bool) or not isinstance(count, int):
        raise InvalidInput("count: give a whole number")
    if not isinstance(queues, list) or not all(isinstance(name, str) for name in queues):
        raise InvalidInput("queues: give an array of names")
    queue = await context(request).writer()
    started = await queue.start_workers(count, queues)
    return JSONResponse([worker.to_json(queue.clock()) for worker in started], 201)


async def stop_workers(request: Request) -> Response:
    """Ask workers to stop: those that are named, or all."""
    given = _object(request, "workers", "all", "now")
    names = given.get("workers", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidInput("workers: give an array of ids")
    if bool(names) == (given.get("all") is True):
        raise InvalidInput('name workers, or give "all": true')
    if not isinstance(given.get("now", False), bool):
        raise InvalidInput("now: give true or false")
    queue = await context(request).writer()
    found = await queue.find_workers(names)
    await queue.stop_workers(found, now=given.get("now", False))
    return JSONResponse([worker.to_json(queue.clock()) for worker in found], 202)


async def queues(request: Request) -> Response:
    """All queues: those with jobs, with settings, or that a worker serves by name."""
    queue = await context(request).reader()
    return JSONResponse([info.to_json(queue.clock()) for info in await queue.queues()])


async def show_queue(request: Request) -> Response:
    """One queue."""
    queue = await context(request).reader()
    info = await queue.queue(request.path_params["name"])
    return JSONResponse(info.to_json(queue.clock()))


async def _as_it_is(queue: Queue, settings: QueueSettings) -> Response:
    """A queue after a change. One without jobs may be known by its new settings only."""
    found = (info for info in await queue.queues() if info.settings.name == settings.name)
    info = next(found, QueueInfo(settings, {}, None, 0))
    return JSONResponse(info.to_json(queue.clock()))


def _reason(given: Mapping[str, Any]) -> str | None:
    """The reason for a pause."""
    reason = given.get("reason")
    if reason is not None and not isinstance(reason, str):
        raise InvalidInput("reason: give text")
    return reason


async def pause_queue(request: Request) -> Response:
    """Start no job of a queue any more; ``for``: only for this long."""
    given = _object(request, "for", "reason")
    reason = _reason(given)
    seconds = None if given.get("for") is None else pause_of(given["for"])
    queue = await context(request).writer()
    name = request.path_params["name"]
    return await _as_it_is(queue, await queue.pause_queue(name, seconds=seconds, reason=reason))


async def resume_queue(request: Request) -> Response:
    """End the pause of a queue."""
    _object(request)
    queue = await context(request).writer()
    return await _as_it_is(queue, await queue.resume_queue(request.path_params["name"]))


async def set_queue(request: Request) -> Response:
    """Set limits of a queue, or take them away (null or none)."""
    given = _body(request)
    if not isinstance(given, dict) or not given:
        raise InvalidInput(f"give limits as a JSON object: {', '.join(FIELDS)}")
    queue = await context(request).writer()
    return await _as_it_is(queue, await queue.set_queue(request.path_params["name"], given))


async def remove_queue(request: Request) -> Response:
    """Forget the settings of a queue. Answers with the queue as it was."""
    name = request.path_params["name"]
    queue = await context(request).writer()
    info = await queue.queue(name)
    await queue.remove_queue(name)
    return JSONResponse(info.to_json(queue.clock()))


async def hooks(request: Request) -> Response:
    """All hooks. URLs are masked."""
    queue = await context(request).reader()
    return JSONResponse([info.to_json() for info in await queue.hooks()])


async def _hook(queue: Queue, name: str) -> Response:
    return JSONResponse((await queue.hook(name)).to_json())


async def show_hook(request: Request) -> Response:
    """One hook."""
    return await _hook(await context(request).reader(), request.path_params["name"])


async def pause_hook(request: Request) -> Response:
    """Deliver nothing more to a hook."""
    reason = _reason(_object(request, "reason"))
    queue, name = await context(request).writer(), request.path_params["name"]
    await queue.pause_hook(name, reason)
    return await _hook(queue, name)


async def resume_hook(request: Request) -> Response:
    """End the pause of a hook."""
    _object(request)
    queue, name = await context(request).writer(), request.path_params["name"]
    await queue.resume_hook(name)
    return await _hook(queue, name)


async def test_hook(request: Request) -> Response:
    """Deliver a sample to a hook from the host of the dashboard."""
    _object(request)
    queue, name = await context(request).writer(), request.path_params["name"]
    return JSONResponse((await queue.test_hook(name)).to_json(name))


async def pause_schedule(request: Request) -> Response:
    """Enqueue nothing more for a schedule."""
    reason = _reason(_object(request, "reason"))
    return JSONResponse((await schedules.api_pause(request, reason)).to_json())


async def resume_schedule(request: Request) -> Response:
    """End the pause of a schedule."""
    _object(request)
    return JSONResponse((await schedules.api_resume(request)).to_json())


async def run_schedule(request: Request) -> Response:
    """Enqueue a run now. The answer is the job."""
    _object(request)
    queue = await context(request).writer()
    made = await queue.run_schedule(request.path_params["name"])
    [job] = await queue.with_texts([made])
    return JSONResponse(job.to_json(), 201)


async def settings(request: Request) -> Response:
    """All settings."""
    queue = await context(request).reader()
    return JSONResponse([setting.to_json() for setting in await queue.config_list()])


async def set_setting(request: Request) -> Response:
    """Change a setting."""
    given = _object(request, "value").get("value")
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise InvalidInput("value: give text or a number")
    queue = await context(request).writer()
    return JSONResponse((await queue.config_set(request.path_params["key"], str(given))).to_json())


async def unset_setting(request: Request) -> Response:
    """Forget a stored setting."""
    queue = await context(request).writer()
    return JSONResponse((await queue.config_unset(request.path_params["key"])).to_json())


async def description(request: Request) -> Response:
    """This description, as OpenAPI 3.1."""
    return Response(json.dumps(describe(OPERATIONS)), media_type="application/json")


SHOW_ENV = Parameter("show_env", "The values of env, not ***.", {"type": "boolean"})
SINCE = Parameter("since", "How far back: 30m, 24h. 1h if not given.", TEXT)
ATTEMPT = Parameter("attempt", "The attempt; the latest if not given.", whole(1, 2**53))
OFFSET = Parameter("offset", "The byte to begin with.", whole(0, 2**53))
CHANGE = (400, 403, 404, 409, 503)
EVENT_FILTERS = (
    Parameter("job", "Only events of the job with this id, also a removed one.", TEXT),
    Parameter("since", "How far back: 1h, or a time.", TEXT),
    Parameter("kind", "Only events of this kind; job means all of jobs.", TEXT, many=True),
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/jobs",
        list_jobs,
        "Jobs, newest first. The Link header leads to the next page. A page may have fewer jobs "
        "than asked for, also none, if few match.",
        (
            *FILTERS,
            Parameter("limit", f"Jobs on a page; {PAGE} if not given.", whole(1, MOST)),
            Parameter("before", "From the Link header.", whole(1, 2**53)),
            SHOW_ENV,
        ),
        "[Job]",
    ),
    Operation(
        "POST",
        "/jobs",
        enqueue,
        "Enqueue a job or an array of jobs, all or none.",
        (
            Parameter(
                "Idempotency-Key",
                "For one job without unique: its unique value, remembered for 24 hours unless the "
                "job says otherwise. A request with the same value again enqueues nothing.",
                TEXT,
                place="header",
            ),
        ),
        answer="EnqueuedOrMany",
        body="NewJobs",
        status=201,
        status_if_nothing_is_new=200,
        problems=(400, 403, 404, 409, 415, 503),
    ),
    Operation("GET", "/jobs/{id}", show, "One job with its attempts as history. A prefix is "
              "enough.", (SHOW_ENV,), "JobWithHistory", problems=(400, 404, 409, 503)),
    Operation("DELETE", "/jobs/{id}", remove, "Remove a job with its history and output. A job "
              "that others wait for is removed only with them.", (Parameter("cascade", "Also the "
              "jobs that wait for it.", {"type": "boolean"}),), "Job", problems=CHANGE),
    Operation("POST", "/jobs/{id}/retry", retry, "Run a job again, now; with another command if "
              "one is given.", answer="Job", body="Command", problems=(*CHANGE, 415)),
    Operation("POST", "/jobs/{id}/cancel", cancel, "Cancel a job. A running job is asked to end.",
              answer="Job", problems=CHANGE),
    Operation("POST", "/jobs/{id}/hold", hold, "Let a job that has not started wait until it is "
              "released.", answer="Job", problems=CHANGE),
    Operation("POST", "/jobs/{id}/release", release, "Release a held job.", answer="Job",
              problems=CHANGE),
    Operation("POST", "/jobs/{id}/edit", edit, "Change fields of a job that does not run.",
              answer="Job", body="Edit", problems=(*CHANGE, 415)),
    Operation("GET", "/jobs/{id}/why", why, "Every reason why a job does not run, and the command "
              "line that removes it.", answer="Why", problems=(400, 404, 409, 503)),
    Operation("GET", "/jobs/{id}/tree", tree, "What a job waits for and what waits for it, "
              "directly or through other jobs. complete: there is no more.",
              (Parameter("limit", f"Dependencies in each direction; {MOST} if not given.",
              whole(1, MOST)),), "Tree", problems=(400, 404, 409, 503)),
    Operation("GET", "/jobs/{id}/output", output, "The output of an attempt, in parts of 32 KiB. "
              "raw: all its bytes.", (ATTEMPT, OFFSET, Parameter("raw", "All its bytes.",
              {"type": "boolean"})), "Output", problems=(400, 404, 409, 503)),
    Operation("GET", "/jobs/{id}/output/stream", output_stream, "Server-sent events: text that is "
              "added (text), and the end (end).", (ATTEMPT, OFFSET), "",
              problems=(400, 404, 409, 503)),
    Operation("POST", "/retry", _change_all("retried", Queue.retry_all), "Run all matching jobs "
              "again whose state allows it.", answer="Count", body="Filter",
              problems=(*CHANGE, 415)),
    Operation("POST", "/cancel", _change_all("cancelled", Queue.cancel_all), "Cancel all matching "
              "jobs that wait or run.", answer="Count", body="Filter", problems=(*CHANGE, 415)),
    Operation("POST", "/remove", _change_all("removed", Queue.remove_all), "Remove all matching "
              "jobs that do not run.", answer="Count", body="Filter", problems=(*CHANGE, 415)),
    Operation("POST", "/hold", _change_all("held", Queue.hold_all), "Hold all matching jobs that "
              "have not started.", answer="Count", body="Filter", problems=(*CHANGE, 415)),
    Operation("POST", "/release", _change_all("released", Queue.release_all), "Release all "
              "matching held jobs.", answer="Count", body="Filter", problems=(*CHANGE, 415)),
    Operation("GET", "/queues", queues, "All queues: those with jobs, with settings, or that a "
              "worker serves by name.", answer="[Queue]"),
    Operation("GET", "/queues/{name}", show_queue, "One queue.", answer="Queue",
              problems=(400, 404, 503)),
    Operation("POST", "/queues/{name}/pause", pause_queue, "Start no job of a queue any more. "
              "for: only for this long (seconds, or 10m).", answer="Queue", body="Pause",
              problems=(400, 403, 415, 503)),
    Operation("POST", "/queues/{name}/resume", resume_queue, "End the pause of a queue.",
              answer="Queue", problems=(400, 403, 404, 503)),
    Operation("POST", "/queues/{name}/set", set_queue, "Set limits of a queue. null takes one "
              "away.", answer="Queue", body="Limits", problems=(400, 403, 415, 503)),
    Operation("POST", "/queues/{name}/remove", remove_queue, "Forget the settings of a queue "
              "in which no job waits or runs. The answer is the queue as it was.", answer="Queue",
              problems=(400, 403, 404, 409, 503)),
    Operation("GET", "/hooks", hooks, "All hooks. Most of a URL is masked.", answer="[Hook]"),
    Operation("GET", "/hooks/{name}", show_hook, "One hook.", answer="Hook",
              problems=(400, 404, 503)),
    Operation("POST", "/hooks/{name}/pause", pause_hook, "Deliver nothing more to a hook. What "
              "happens meanwhile is not delivered later.", answer="Hook", body="PauseHook",
              problems=(400, 403, 404, 415, 503)),
    Operation("POST", "/hooks/{name}/resume", resume_hook, "End the pause of a hook.",
              answer="Hook", problems=(400, 403, 404, 503)),
    Operation("POST", "/hooks/{name}/test", test_hook, "Deliver a sample, at once, from the host "
              "of the dashboard.", answer="TestedHook", problems=(400, 403, 404, 503)),
    Operation("GET", "/schedules", schedules.api_list, "All schedules.", answer="[Schedule]"),
    Operation("GET", "/schedules/{name}", schedules.api_show, "One schedule, with its next times "
              "and last runs.", answer="ScheduleShown", problems=(400, 404, 503)),
    Operation("POST", "/schedules/{name}/pause", pause_schedule, "Enqueue nothing more for a "
              "schedule.", answer="Schedule", body="Reason",
              problems=(400, 403, 404, 409, 415, 503)),
    Operation("POST", "/schedules/{name}/resume", resume_schedule, "End the pause of a schedule. "
              "It counts from now.", answer="Schedule", problems=(400, 403, 404, 409, 503)),
    Operation("POST", "/schedules/{name}/run", run_schedule, "Enqueue a run now, outside the "
              "times of the schedule. Its overlap rule may refuse it.", answer="Job", status=201,
              problems=(400, 403, 404, 409, 503)),
    Operation("GET", "/dlq/groups", groups, "Dead jobs by cause, the largest group first.",
              (Parameter("limit", "Groups; 500 if not given.", whole(1, MOST)),), "[Group]"),
    Operation("POST", "/dlq/retry", _change_all("retried", Queue.retry_all, (State.DEAD,)),
              "Run matching dead jobs again.", answer="Count", body="Filter",
              problems=(*CHANGE, 415)),
    Operation("POST", "/dlq/purge", _change_all("purged", Queue.remove_all, (State.DEAD,)),
              "Remove matching dead jobs.", answer="Count", body="Filter", problems=(*CHANGE, 415)),
    Operation("GET", "/status", status, "The count of every state, queues and live workers.",
              answer="Status"),
    Operation("GET", "/stats", stats, "Rates, run times and waiting times.", (SINCE,), "Stats"),
    Operation("GET", "/workers", workers, "All workers.", answer="[Worker]"),
    Operation("POST", "/workers/start", start_workers, "Start workers in the background, on the "
              "host of the dashboard.", answer="[Worker]", body="StartWorkers", status=201,
              problems=(400, 403, 415, 503)),
    Operation("POST", "/workers/stop", stop_workers, "Ask workers to stop after their jobs; now: "
              "at once.", answer="[Worker]", body="StopWorkers", status=202,
              problems=(*CHANGE, 415)),
    Operation("GET", "/events", list_events, "Who did what, and what happened, newest first. The "
              "Link header leads to the next page. A page may have fewer events than asked for, "
              "also none, if few match.", (
                  *EVENT_FILTERS,
                  Parameter("limit", f"Events on a page; {PAGE} if not given.", whole(1, MOST)),
                  Parameter("after", "From the Link header.", TEXT),
              ), "[Event]", problems=(400, 404, 409, 503)),
    Operation("GET", "/events/stream", stream_events, "Server-sent events: new events (events) "
              "with the cursor after them. Without a cursor: those from now on.", (
                  *EVENT_FILTERS,
                  Parameter("cursor", "Of the last message that was read.", TEXT),
              ), "", problems=(400, 404, 409, 503)),
    Operation("GET", "/config", settings, "All settings.", answer="[Setting]"),
    Operation("PUT", "/config/{key}", set_setting, "Change a setting.", answer="Setting",
              body="Value", problems=(400, 403, 404, 415, 503)),
    Operation("DELETE", "/config/{key}", unset_setting, "Forget a stored setting.",
              answer="Setting", problems=(400, 403, 404, 503)),
    Operation("GET", "/stream", stream, "Server-sent events: changed, or trouble when the store "
              "cannot be read.", (Parameter("since", "The last number that was seen.",
              whole(0, 2**53)),), ""),
    Operation("GET", "/openapi.json", description, "This description."),
)  # fmt: skip


def routes() -> list[BaseRoute]:
    """The routes of the API."""
    return [Route(PREFIX + op.path, op.run, methods=[op.method]) for op in OPERATIONS]
