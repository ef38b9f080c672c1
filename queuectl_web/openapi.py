"""What an operation of the API is, and the OpenAPI description of all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from queuectl_core import __version__
from queuectl_core.domain.admission import Reason
from queuectl_core.domain.events import EventKind
from queuectl_core.domain.jobspec import ON_CONFLICT
from queuectl_core.domain.model import State
from queuectl_core.domain.schedule import MISSED, OVERLAP

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an operation. ``kind``: its JSON schema. ``place``: ``query`` or
    ``header``."""

    name: str
    about: str
    kind: dict[str, Any]
    many: bool = False
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the API."""

    method: str
    path: str
    run: Handler
    about: str
    query: Sequence[Parameter] = ()
    answer: str = "Any"
    """The name of the schema of the answer. ``[Job]``: an array of them."""
    body: str = ""
    """The name of the schema of the body; empty: it has none."""
    status: int = 200
    status_if_nothing_is_new: int | None = None
    """The status if everything that the request asks for was there before."""
    problems: Sequence[int] = (400, 503)


TEXT: dict[str, Any] = {"type": "string"}
TEXT_OR_NULL: dict[str, Any] = {"type": ["string", "null"]}
NUMBER: dict[str, Any] = {"type": "number"}
NUMBER_OR_NULL: dict[str, Any] = {"type": ["number", "null"]}
WHOLE: dict[str, Any] = {"type": "integer"}
WHOLE_OR_NULL: dict[str, Any] = {"type": ["integer", "null"]}
FLAG: dict[str, Any] = {"type": "boolean"}
TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
TIME_OR_NULL: dict[str, Any] = {"type": ["string", "null"], "format": "date-time"}
COMMAND: dict[str, Any] = {"oneOf": [TEXT, {"type": "array", "items": TEXT}]}
STATE: dict[str, Any] = {"type": "string", "enum": [state.value for state in State]}


def _object(required: bool = True, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "properties": fields}
    return made | {"required": list(fields)} if required else made


def _array(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _ref(name: str) -> dict[str, Any]:
    if name.startswith("["):
        return _array(_ref(name[1:-1]))
    return {"$ref": f"#/components/schemas/{name}"}


_JOB_IN: dict[str, Any] = {
    "id": TEXT,
    "command": COMMAND,
    "max_retries": WHOLE,
    "backoff_base": NUMBER,
    "priority": WHOLE,
    "run_at": {"type": ["string", "number"]},
    "timeout_seconds": NUMBER,
    "cwd": TEXT,
    "env": {"type": "object", "additionalProperties": TEXT},
    "queue": TEXT,
    "nice": WHOLE,
    "memory_limit": {"type": ["integer", "string"]},
    "cpu_seconds": {"type": ["number", "string"]},
    "output_limit": {"type": ["integer", "string"]},
    "key": TEXT_OR_NULL,
    "unique": TEXT_OR_NULL,
    "unique_until": {"type": ["string", "null"], "enum": ["start", "end", None]},
    "unique_for": {"type": ["number", "string", "null"]},
    "after": {"type": "array", "items": TEXT},
    "after_any": {"type": "array", "items": TEXT},
    "after_failed": {"type": "array", "items": TEXT},
    "on_parent_failure": {"type": "string", "enum": ["cancel", "hold"]},
    "hold": FLAG,
    "stdin": TEXT_OR_NULL,
    "secrets": {"type": "object", "additionalProperties": TEXT},
}
_ON_CONFLICT: dict[str, Any] = {"type": "string", "enum": list(ON_CONFLICT)}
_JOB_OUT: dict[str, Any] = _JOB_IN | {
    "run_at": TIME,
    "memory_limit": WHOLE,
    "cpu_seconds": WHOLE,
    "output_limit": WHOLE,
    "state": STATE,
    "attempts": WHOLE,
    "crashes": WHOLE,
    "created_at": TIME,
    "updated_at": TIME,
    "started_at": TIME_OR_NULL,
    "finished_at": TIME_OR_NULL,
    "exit_code": WHOLE_OR_NULL,
    "last_error": TEXT_OR_NULL,
    "worker": TEXT_OR_NULL,
    "unique_for": NUMBER_OR_NULL,
    "progress": NUMBER_OR_NULL,
    "progress_text": TEXT_OR_NULL,
    "result": TEXT_OR_NULL,
    "cause": TEXT_OR_NULL,
    "schedule": TEXT_OR_NULL,
    "scheduled_at": TIME_OR_NULL,
}
_COUNTS: dict[str, Any] = {"type": "object", "additionalProperties": WHOLE}
_LIMIT: dict[str, Any] = {"type": ["integer", "string", "null"]}
_TEXTS = {"oneOf": [TEXT, _array(TEXT)]}
_WHOLES = {"oneOf": [WHOLE, _array(WHOLE)]}

_SCHEDULE: dict[str, Any] = {
    "name": TEXT,
    "cron": TEXT_OR_NULL,
    "every": NUMBER_OR_NULL,
    "tz": TEXT,
    "missed": {"type": "string", "enum": list(MISSED)},
    "missed_within": NUMBER,
    "overlap": {"type": "string", "enum": list(OVERLAP)},
    "jitter": NUMBER,
    "job": {"type": "object", "additionalProperties": {}},
    "next_at": TIME_OR_NULL,
    "due_at": TIME_OR_NULL,
    "last_at": TIME_OR_NULL,
    "last_job": TEXT_OR_NULL,
    "last_state": TEXT_OR_NULL,
    "last_finished_at": TIME_OR_NULL,
    "last_success_at": TIME_OR_NULL,
    "skipped_at": TIME_OR_NULL,
    "skipped_reason": TEXT_OR_NULL,
    "paused": FLAG,
    "paused_at": TIME_OR_NULL,
    "paused_by": TEXT_OR_NULL,
    "paused_reason": TEXT_OR_NULL,
    "created_at": TIME,
    "updated_at": TIME,
}

SCHEMAS: dict[str, Any] = {
    "Job": _object(**_JOB_OUT),
    "JobWithHistory": {"allOf": [_ref("Job"), _object(history=_array(_ref("Attempt")))]},
    "Enqueued": {"allOf": [_ref("Job"), _object(required=False, existing=FLAG)]},
    "EnqueuedOrMany": {"oneOf": [_ref("Enqueued"), _array(_ref("Enqueued"))]},
    "NewJob": {
        "oneOf": [
            TEXT,
            {
                "type": "object",
                "properties": _JOB_IN | {"on_conflict": _ON_CONFLICT},
                "required": ["command"],
            },
        ],
    },
    "Edit": _object(
        required=False,
        command=COMMAND,
        priority=WHOLE,
        run_at={"type": ["string", "number"]},
        queue=TEXT,
        timeout_seconds={"type": ["number", "string"]},
        max_retries=WHOLE,
        key=TEXT_OR_NULL,
    ),
    "Why": _object(
        id=TEXT,
        state=STATE,
        ready=FLAG,
        blockers=_array(
            _object(
                reason={"type": "string", "enum": [reason.value for reason in Reason]},
                detail=TEXT,
                since=TIME_OR_NULL,
                until=TIME_OR_NULL,
                command=TEXT_OR_NULL,
            )
        ),
    ),
    "Tree": _object(
        id=TEXT,
        parents=_array(_ref("Dependency")),
        children=_array(_ref("Dependency")),
        complete=FLAG,
    ),
    "Dependency": _object(
        kind={"type": "string", "enum": ["after", "after_any", "after_failed"]},
        child=TEXT,
        child_state=STATE,
        parent=TEXT,
        parent_state={"type": ["string", "null"], "enum": [*STATE["enum"], None]},
        waived=FLAG,
    ),
    "Queue": _object(
        name=TEXT,
        paused=FLAG,
        paused_at=TIME_OR_NULL,
        paused_by=TEXT_OR_NULL,
        paused_reason=TEXT_OR_NULL,
        paused_until=TIME_OR_NULL,
        limit=WHOLE_OR_NULL,
        per_host=WHOLE_OR_NULL,
        per_key=WHOLE_OR_NULL,
        rate=TEXT_OR_NULL,
        running=WHOLE,
        waiting=WHOLE,
        oldest_waiting_seconds=NUMBER_OR_NULL,
        workers=WHOLE,
        jobs=_COUNTS,
    ),
    "Hook": _object(
        name=TEXT,
        events=_array(TEXT),
        queue=TEXT_OR_NULL,
        digest=NUMBER_OR_NULL,
        url=TEXT_OR_NULL,
        secret_file=TEXT_OR_NULL,
        command={"type": ["array", "null"], "items": TEXT},
        cwd=TEXT,
        env={"type": "object", "additionalProperties": TEXT},
        max_retries=WHOLE,
        backoff_base=NUMBER,
        timeout_seconds=NUMBER,
        priority={"type": "integer"},
        paused=FLAG,
        paused_at=TIME_OR_NULL,
        paused_by=TEXT_OR_NULL,
        paused_reason=TEXT_OR_NULL,
        created_at=TIME,
        updated_at=TIME,
        waiting=WHOLE,
        due_at=TIME_OR_NULL,
    ),
    "PauseHook": _object(required=False, reason=TEXT_OR_NULL),
    "TestedHook": _object(
        name=TEXT,
        accepted=FLAG,
        said=TEXT,
        output=TEXT,
        status=WHOLE_OR_NULL,
        exit_code=WHOLE_OR_NULL,
    ),
    "Schedule": _object(**_SCHEDULE),
    "ScheduleShown": _object(
        **_SCHEDULE,
        next_times=_array(_object(at=TIME, local=TEXT)),
        runs=_array(_ref("Job")),
    ),
    "Reason": _object(required=False, reason=TEXT_OR_NULL),
    "Pause": _object(
        required=False, reason=TEXT_OR_NULL, **{"for": {"type": ["number", "string", "null"]}}
    ),
    "Limits": _object(
        required=False, limit=_LIMIT, per_host=_LIMIT, per_key=_LIMIT, rate=TEXT_OR_NULL
    ),
    "NewJobs": {"anyOf": [_ref("NewJob"), _array(_ref("NewJob"))]},
    "Attempt": _object(
        attempt=WHOLE,
        started_at=TIME,
        finished_at=TIME_OR_NULL,
        outcome=TEXT_OR_NULL,
        exit_code=WHOLE_OR_NULL,
        signal=WHOLE_OR_NULL,
        reason=TEXT_OR_NULL,
        worker=TEXT_OR_NULL,
        host=TEXT_OR_NULL,
        peak_memory=WHOLE_OR_NULL,
        cpu_seconds=NUMBER_OR_NULL,
        output_bytes=WHOLE,
    ),
    "Output": _object(
        id=TEXT,
        attempt=WHOLE_OR_NULL,
        output=TEXT,
        bytes=WHOLE,
        offset=WHOLE,
        next_offset=WHOLE_OR_NULL,
        complete=FLAG,
        running=FLAG,
    ),
    "Status": _object(
        jobs=_COUNTS,
        total=WHOLE,
        dlq=WHOLE,
        queues={"type": "object"},
        oldest_waiting_seconds=NUMBER_OR_NULL,
        workers=_array(_ref("Worker")),
    ),
    "Stats": _object(
        since=TIME,
        completed=WHOLE,
        failed=WHOLE,
        dead=WHOLE,
        success_rate=NUMBER_OR_NULL,
        run_time={"type": ["object", "null"]},
        wait_time={"type": ["object", "null"]},
        jobs_per_minute=NUMBER,
        exact=FLAG,
    ),
    "Worker": _object(
        id=TEXT,
        supervisor=TEXT,
        host=TEXT,
        pid=WHOLE,
        detached=FLAG,
        queues=_array(TEXT),
        state=TEXT,
        job=TEXT_OR_NULL,
        running_for=NUMBER_OR_NULL,
        progress=NUMBER_OR_NULL,
        progress_text=TEXT_OR_NULL,
        done=WHOLE,
        failed=WHOLE,
        cpu_percent=NUMBER_OR_NULL,
        memory=WHOLE_OR_NULL,
        started_at=TIME,
        last_heartbeat=TIME,
    ),
    "Group": _object(reason=TEXT, exit_code=WHOLE_OR_NULL, count=WHOLE, last_at=TIME_OR_NULL),
    "Event": _object(
        seq=WHOLE_OR_NULL,
        at=TIME,
        kind={"type": "string", "enum": [kind.value for kind in EventKind]},
        actor=TEXT,
        via=TEXT,
        job=TEXT_OR_NULL,
        detail={"type": "object"},
    ),
    "Setting": _object(key=TEXT, value={}, source=TEXT),
    "Count": _COUNTS,
    "Filter": _object(
        required=False,
        all=FLAG,
        state=_TEXTS,
        queue=_TEXTS,
        key=_TEXTS,
        search=TEXT,
        exit_code=_WHOLES,
        reason=_TEXTS,
    ),
    "Command": _object(required=False, command=COMMAND),
    "Value": _object(value={"type": ["string", "number"]}),
    "StartWorkers": _object(required=False, count=WHOLE, queues=_array(TEXT)),
    "StopWorkers": _object(required=False, workers=_array(TEXT), all=FLAG, now=FLAG),
    "Any": {},
    "Problem": {
        "type": "object",
        "properties": {
            "type": TEXT,
            "title": TEXT,
            "status": WHOLE,
            "detail": TEXT,
            "exit_code": WHOLE,
            "problems": _array(_object(line=WHOLE, detail=TEXT)),
        },
        "required": ["type", "title", "status", "detail"],
    },
}


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """The description of these operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "queuectl",
            "version": __version__,
            "description": "The verbs of queuectl with the same JSON. Errors are problem JSON.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done."}
    if operation.answer:
        good["content"] = {"application/json": {"schema": _ref(operation.answer)}}
        if operation.answer == "Output":
            good["content"]["application/octet-stream"] = {"schema": {}}
    else:
        good["content"] = {"text/event-stream": {"schema": TEXT}}
    made: dict[str, Any] = {
        "summary": operation.about,
        "operationId": f"{operation.method.lower()}_{operation.run.__name__}_{operation.path}",
        "parameters": [_parameter(one) for one in operation.query] + _in_path(operation.path),
        "responses": {str(operation.status): good, "401": _problem(), "403": _problem()}
        | {str(status): _problem() for status in operation.problems},
    }
    if operation.status_if_nothing_is_new is not None:
        there = good | {"description": "Nothing is new: it was there before."}
        made["responses"][str(operation.status_if_nothing_is_new)] = there
    if operation.body:
        made["requestBody"] = {
            "required": operation.body in ("NewJobs", "Value", "Edit", "Limits"),
            "content": {"application/json": {"schema": _ref(operation.body)}},
        }
    return made


def _parameter(one: Parameter) -> dict[str, Any]:
    schema = _array(one.kind) if one.many else one.kind
    return {"name": one.name, "in": one.place, "description": one.about, "schema": schema}


def _in_path(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]


def _problem() -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    return {"description": "A problem (RFC 9457).", "content": content}
