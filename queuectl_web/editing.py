"""Editing the fields of a job that does not run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from queuectl_core.domain.errors import Conflict, InvalidInput
from queuectl_core.domain.jobspec import EDITABLE_FIELDS, Defaults, parse_changes
from queuectl_core.domain.lifecycle import EDITABLE
from queuectl_core.domain.model import Command, Job
from queuectl_core.domain.text import clean_line
from queuectl_tui.presentation.admission_actions import edit_fields
from queuectl_tui.presentation.format import command_text, short
from queuectl_tui.presentation.job_form import EDIT_ENTRIES, field_texts

from .context import context, form_of
from .links import job_link
from .marks import fingerprint, marked_job, session_for_forms
from .problems import BadRequest
from .rendering import page


def texts_of(job: Job) -> dict[str, str]:
    """The fields as the form shows them."""
    return {**field_texts(job), "command": _lines(command_text(job.command))}


def edit_mark(job: Job) -> str:
    """Identifies the fields as they were shown: an edit changes neither the state of a job nor the
    number of its attempts."""
    values = [getattr(job, field) for field in EDITABLE_FIELDS]
    return sha256(json.dumps(values).encode()).hexdigest()[:16]


def form_values(
    job: Job, defaults: Defaults, typed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What the form of a job is rendered from. ``typed``: the texts of the form that was sent."""
    texts = texts_of(job) if typed is None else typed
    return {
        "link": f"{job_link(job.id)}/edit",
        "mark": fingerprint(job),
        "was": edit_mark(job),
        "command": texts.get("command", ""),
        "fields": [
            {
                "name": entry.field,
                "label": entry.field.replace("_", " "),
                "value": texts.get(entry.field, ""),
                "hint": clean_line(entry.hint(defaults), 200),
            }
            for entry in EDIT_ENTRIES
            if entry.field != "command"
        ],
    }


async def show(request: Request) -> Response:
    """The form with the fields of a job."""
    if request.scope["state"]["read_only"]:
        raise BadRequest(403, "this dashboard is read-only", "start it without --read-only")
    queue = await context(request).reader()
    job = await queue.find(request.path_params["id"], to_change=True)
    return await _page(request, job, "")


async def _page(
    request: Request,
    job: Job,
    error: str,
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    if job.state not in EDITABLE:
        raise Conflict(f"job '{job.id}' is {job.state}; cannot edit it", "wait until it ends")
    defaults = await (await context(request).reader()).defaults()
    return page(
        request,
        "edit.html",
        status=status,
        where=context(request).title,
        job=job,
        name=short(job.id, 128),
        form=form_values(job, defaults, typed),
        error=error,
    )


async def save(request: Request) -> Response:
    """The form was sent. A job that has changed meanwhile stays as it is."""
    session = session_for_forms(request)
    form = form_of(request)
    queue = await context(request).writer()
    try:
        job = await marked_job(queue, form.get("job", ""), same=True)
        if edit_mark(job) != form.get("was", ""):
            text = "nothing was done: it has changed since the page was loaded"
            raise Conflict(text, "look at it, and save again")
        changes = _changes(job, form)
        parse_changes(changes, await queue.defaults())
        action = edit_fields(job, changes)
        if changes:
            said = await action.run(queue)
            session.tell(said, "good", action.command)
        else:
            session.tell("nothing was changed", "warn")
    except InvalidInput as error:
        return await _page(request, job, str(error), form, 400)
    except Conflict as error:
        now = await marked_job(queue, form.get("job", ""), same=False)
        return await _page(request, now, str(error), form, 409)
    return RedirectResponse(job_link(job.id), 303)


def _changes(job: Job, form: Mapping[str, str]) -> dict[str, Any]:
    """The fields whose text is not what the form showed. Raises InvalidInput."""
    found: dict[str, Any] = {}
    before = texts_of(job)
    for entry in EDIT_ENTRIES:
        text = _lines(form.get(entry.field, before[entry.field]))
        text = text if entry.field == "command" else text.strip()
        if text == before[entry.field]:
            continue
        if entry.field == "command":
            found["command"] = _command(job, text)
        elif entry.field == "key":
            found["key"] = text or None
        else:
            found[entry.field] = entry.read(text)
    return found


def _command(job: Job, text: str) -> Command:
    """The command that was typed. One that runs without a shell still does."""
    if isinstance(job.command, str):
        return text
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InvalidInput(f"command: {error}", "close each quote") from None


def _lines(text: str) -> str:
    """A text with line ends as a browser sends them back."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
