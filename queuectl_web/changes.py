"""The forms that change something: first the question, where the console asks, then the change.

A question keeps the jobs as they were when it was asked. Its answer is accepted once. So pressing a
button twice does one thing, and a job that has changed meanwhile stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from queuectl_core.domain.errors import Conflict, InvalidInput, NotFound, QueueError
from queuectl_core.domain.lifecycle import (
    CANCELLABLE,
    HOLDABLE,
    RELEASABLE,
    REMOVABLE,
    RETRYABLE,
)
from queuectl_core.domain.model import Job, State
from queuectl_core.domain.text import clean_line
from queuectl_core.queue import Queue
from queuectl_tui.presentation import actions, admission_actions
from queuectl_tui.presentation.actions import Action, count_matching
from queuectl_tui.presentation.format import plural
from queuectl_tui.presentation.job_form import command_line_of, job_of

from . import hooks, queues, schedules
from .context import all_of, context, filter_of, form_of
from .links import job_link, local_path
from .marks import marked_job, session_for_forms
from .pages import form_page
from .problems import BadRequest
from .rendering import page
from .sessions import Session
from .waiting import DEPENDENCIES, waiting_children

MOST_MARKED = 500
"""Jobs in one form."""

UNASKED_WORKERS = 32
"""Workers that are started without a question. More may be a slip of the finger."""

FOR_JOBS: dict[str, tuple[tuple[State, ...], Callable[[Sequence[Job]], Action]]] = {
    "retry": (RETRYABLE, actions.retry),
    "cancel": (CANCELLABLE, actions.cancel),
    "remove": (REMOVABLE, actions.remove),
    "hold": (HOLDABLE, admission_actions.hold),
    "release": (RELEASABLE, admission_actions.release),
}
FOR_MATCHING: dict[str, tuple[tuple[State, ...], Callable[[Any], Action]]] = {
    "retry-all": (RETRYABLE, actions.retry_matching),
    "cancel-all": (CANCELLABLE, actions.cancel_matching),
    "remove-all": (REMOVABLE, actions.remove_matching),
    "hold-all": (HOLDABLE, admission_actions.hold_matching),
    "release-all": (RELEASABLE, admission_actions.release_matching),
}


async def act(request: Request) -> Response:
    """An action of a form: it is done now, or asked about first."""
    session = session_for_forms(request)
    form = form_of(request)
    back = local_path(form.get("back", "/"))
    name = form.get("action", "")
    try:
        action = await _action(request, name)
    except QueueError as error:
        typed = clean_line(form.get("command", ""), 2000)
        session.tell(f"{error}; you typed: {typed}" if typed else str(error), "bad")
        return RedirectResponse(back, 303)
    if action.question is None:
        return await _do(request, session, action, back)
    key = session.ask(action, back)
    return page(
        request,
        "question.html",
        where=context(request).title,
        question=action.question,
        details=action.details,
        command=action.command,
        key=key,
        back=back,
    )


async def answer(request: Request) -> Response:
    """The answer to a question."""
    session = session_for_forms(request)
    found = session.answer(form_of(request).get("key", ""))
    if found is None:
        session.tell("nothing was done: this question was answered before, or is too old", "warn")
        return RedirectResponse(local_path(form_of(request).get("back", "/")), 303)
    return await _do(request, session, found.action, found.back)


async def _do(request: Request, session: Session, action: Action, back: str) -> Response:
    try:
        said = await action.run(await context(request).writer())
    except QueueError as error:
        session.tell(str(error), "bad", action.command)
    else:
        session.tell(said, "good", action.command)
    return RedirectResponse(back, 303)


async def enqueue(request: Request) -> Response:
    """The form for a new job was sent."""
    session = session_for_forms(request)
    texts = {name: value.replace("\r\n", "\n") for name, value in form_of(request).items()}
    found = context(request)
    try:
        queue = await found.writer()
        job = (await queue.enqueue([job_of(texts, await queue.defaults())]))[0]
    except (InvalidInput, NotFound, Conflict) as error:
        return await form_page(request, texts, str(error), 400)
    if job.existing:
        session.tell(f"nothing was enqueued: {job.id} holds this unique value", "warn")
    else:
        session.tell(f"enqueued {job.id}", "good", command_line_of(texts))
    return RedirectResponse(job_link(job.id), 303)


async def _action(request: Request, name: str) -> Action:
    """The action that a form asks for. Raises QueueError if it is not possible."""
    queue = await context(request).reader()
    form = form_of(request)
    if name in FOR_JOBS:
        allowed, make = FOR_JOBS[name]
        return make(await _marked(request, queue, allowed))
    if name in FOR_MATCHING:
        allowed, make_matching = FOR_MATCHING[name]
        where = filter_of(request.scope["state"]["form"])
        found = await count_matching(queue, where, allowed)
        if not found.total:
            raise InvalidInput("no job that matches is in a state for that")
        return make_matching([found])
    if name == "remove-with-children":
        [job] = await _marked(request, queue, REMOVABLE)
        tree = await queue.tree(job, DEPENDENCIES)
        waiting = waiting_children(job, tree)
        return admission_actions.remove_with_children(job, waiting, whole=tree.complete)
    if name in ("edit", "copy"):
        command = form.get("command", "").replace("\r\n", "\n")
        job = await marked_job(queue, form.get("job", ""), same=name == "edit")
        return actions.edit(job, command) if name == "edit" else actions.copy(job, command)
    if name == "set-setting":
        return actions.config_set(f"{form.get('key', '')} {form.get('value', '')}")
    if name == "unset-setting":
        return actions.config_unset(form.get("key", ""))
    for further in (queues.action, schedules.action, hooks.action, _worker_action):
        action = await further(request, queue, name)
        if action is not None:
            return action
    raise BadRequest(400, "no such action", "load the page again")


async def _worker_action(request: Request, queue: Queue, name: str) -> Action | None:
    """The action of a form about workers; None: it is about something else."""
    form = form_of(request)
    if name == "start-workers":
        count = _count(form.get("count", "1"))
        action = actions.start_workers(count, _queues(form))
        if count <= UNASKED_WORKERS:
            return action
        return replace(action, question=f"Start {plural(count, 'worker')} on this host?")
    if name == "stop-workers":
        return actions.stop_workers(await queue.find_workers(_some(request, "worker")))
    if name == "stop-all-workers":
        everyone = await queue.workers()
        if not everyone:
            raise NotFound("no worker runs")
        return actions.stop_workers(everyone, everyone=True)
    return None


async def _marked(request: Request, queue: Queue, allowed: tuple[State, ...]) -> list[Job]:
    """The jobs of a form, as they were on the page. Those that have changed since then, or whose
    state does not allow the action, are left out, and this is said. Conflict if none is left."""
    marks = list(dict.fromkeys(all_of(request, "job")))
    if not marks:
        raise InvalidInput("no job is marked", "mark some first")
    if len(marks) > MOST_MARKED:
        raise InvalidInput(f"more than {plural(MOST_MARKED)} are marked", "use the filter")
    jobs, changed = [], 0
    for mark in marks:
        try:
            job = await marked_job(queue, mark, same=True)
        except Conflict:
            changed += 1
            continue
        if job.state in allowed:
            jobs.append(job)
    if not jobs and changed:
        raise Conflict("nothing was done: it has changed since the page was loaded", "look again")
    if not jobs:
        raise Conflict("no marked job is in a state for that")
    if changed:
        text = f"{plural(changed)} left out: changed since the page was loaded"
        session_for_forms(request).tell(text, "warn")
    return jobs


def _some(request: Request, name: str) -> list[str]:
    found = all_of(request, name)
    if not found:
        raise InvalidInput(f"no {name} is marked", "mark some first")
    return found


def _count(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise InvalidInput("the number of workers is no number", "give 1 to 512")
    return int(text)


def _queues(form: dict[str, str]) -> list[str]:
    return [name for name in form.get("queue", "").replace(",", " ").split() if name]
