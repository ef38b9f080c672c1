"""The page of hooks, and what its form says."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.queue import Queue
from queuectl_tui.presentation import columns
from queuectl_tui.presentation import hook_actions as actions
from queuectl_tui.presentation.actions import Action
from queuectl_tui.presentation.format import cli
from queuectl_tui.presentation.hooks import HOOK_COLUMNS

from .context import all_of, context, reason_of
from .rendering import page
from .tables import no_mark, table

HOOKS = columns.table(HOOK_COLUMNS, "terminal")


async def hooks(request: Request) -> Response:
    """All hooks."""
    found = context(request)
    since = found.live.changes
    queue = await found.reader()
    infos = await queue.hooks()
    read_only = request.scope["state"]["read_only"]
    return page(
        request,
        "hooks.html",
        where=found.title,
        count=len(infos),
        table=table(
            HOOKS,
            infos,
            queue.clock(),
            caption="Hooks",
            mark=no_mark if read_only else lambda info: info.hook.name,
        ),
        command=cli("hook", "list"),
        since=since,
    )


async def action(request: Request, queue: Queue, name: str) -> Action | None:
    """The action that a form about hooks asks for; None: it is about something else. Raises
    QueueError."""
    if name not in ("pause-hook", "resume-hook", "test-hook"):
        return None
    infos = [await queue.hook(one) for one in dict.fromkeys(all_of(request, "hook"))]
    if not infos:
        raise InvalidInput("no hook is marked", "mark some first")
    names = [info.hook.name for info in infos]
    if name == "resume-hook":
        return actions.resume_hooks(names)
    if name == "test-hook":
        if len(infos) > 1:
            raise InvalidInput("several hooks are marked", "test one at a time")
        return actions.try_hook(names[0], infos[0])
    return actions.pause_hooks(names, reason_of(request))
