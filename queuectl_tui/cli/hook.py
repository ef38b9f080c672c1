"""``queuectl hook``: add, list, show, test, pause, resume, remove."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from queuectl_core.domain.config import MAX_RETRIES
from queuectl_core.domain.hooks import EVENTS, QUEUE, HookInfo
from queuectl_core.domain.jobspec import MAX_PRIORITY
from queuectl_core.domain.text import clean_line
from queuectl_core.system.postcommit import after_commit

from ..presentation.columns import table
from ..presentation.hooks import HOOK_COLUMNS, env_text
from .declare import Noun, UsageError, argument, option, verb
from .durations import optional_duration
from .jobs import choices, complete_queue
from .output import View
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

hook = Noun(
    "hook",
    {
        "add": ("hook:add", "Add a hook: a command or a URL for events."),
        "list": ("hook:list_hooks", "List hooks."),
        "show": ("hook:show", "Show everything about one hook."),
        "test": ("hook:test", "Deliver a sample now, and show the answer."),
        "pause": ("hook:pause", "Deliver nothing more to a hook."),
        "resume": ("hook:resume", "End the pause of a hook."),
        "remove": ("hook:remove", "Remove a hook."),
        "deliver": ("hook:deliver", "Send a delivery; queuectl runs this as a job."),
    },
    about="Hooks: run a command, or send a POST to a URL, when something happens. Each delivery is "
    f"a job in queue '{QUEUE}': it is retried, has output, and ends in the DLQ if it fails for "
    "good. Some worker must serve that queue.",
    examples=(
        "queuectl hook add mail --on dead --digest 5m -- /usr/local/bin/mail-it ops@example.org",
        "queuectl hook add chat --on dead --on queue.empty --url https://chat.example.org/hook",
        "queuectl hook test chat",
        "queuectl hook list",
    ),
    hidden=("deliver",),
)


def complete_hook(session: Session, incomplete: str) -> list[str]:
    """Hooks that start with what has been typed."""

    async def names(queue: Queue) -> list[str]:
        return [info.hook.name for info in await queue.hooks()]

    try:
        found = session.run(names, read_only=True)
    except Exception:
        return []
    return [name for name in found if name.startswith(incomplete)]


name_argument = argument("name", metavar="NAME", complete=complete_hook)
show_url_option = option(
    "--show-url", is_flag=True, about="Show whole URLs, which may hold secrets."
)


@verb(
    "add",
    examples=(
        "queuectl hook add mail --on dead --digest 5m -- /usr/local/bin/mail-it ops@example.org",
        "queuectl hook add chat --on dead --url https://chat.example.org/hook --secret-file key",
        "queuectl hook add nightly --on queue.empty --queue nightly -- ./report.sh",
    ),
    has_argv=True,
)
@argument("name", metavar="NAME")
@option(
    "--on",
    dest="events",
    metavar="EVENT",
    multiple=True,
    complete=choices(*EVENTS),
    about=f"An event; may be repeated: {', '.join(EVENTS)}.",
)
@option(
    "--queue", metavar="NAME", complete=complete_queue, about="Only events of jobs in this queue."
)
@option(
    "--digest",
    metavar="TIME",
    about="Send one delivery for all events in this time, with counts by reason: 60s, 1h.",
)
@option("--url", metavar="URL", about="Send a POST with JSON to this URL (http or https).")
@option(
    "--secret-file",
    metavar="FILE",
    complete="file",
    about="Sign what is sent with the key in this file on the worker's host.",
)
@option("--cwd", metavar="DIR", complete="dir", about="Where the command runs; else here.")
@option("--env", metavar="K=V", multiple=True, about="A variable for it; may be repeated.")
@option(
    "--max-retries",
    kind=int,
    least=0,
    most=MAX_RETRIES,
    metavar="N",
    about="A delivery is dead after this many failed attempts; 8 if not given.",
)
@option("--timeout", metavar="TIME", about="A delivery may take so long; 30s if not given.")
@option(
    "-p",
    "--priority",
    kind=int,
    least=-MAX_PRIORITY,
    most=MAX_PRIORITY,
    metavar="N",
    about="Of deliveries among all jobs that wait; 0 if not given.",
)
def add(
    session: Session,
    /,
    name: str,
    events: Sequence[str],
    env: Sequence[str],
    argv: Sequence[str] | None,
    **given: Any,
) -> None:
    """Add a hook. What follows -- is the command, which is run without a shell.

    The command gets the event as JSON on standard input. Exit 0 is success; anything else is
    retried. A URL gets the same JSON as a POST; an answer of 2xx is success, 410 pauses the hook,
    and redirects are not followed. Events of jobs in queue 'hooks' trigger no hook.
    """
    from .overrides import pair

    if argv is not None and not argv:
        raise UsageError("give the command after --")
    given["digest"] = optional_duration("--digest", given["digest"])
    given["timeout"] = optional_duration("--timeout", given["timeout"])
    if given["cwd"] is not None:
        import os

        given["cwd"] = os.path.abspath(os.path.expanduser(given["cwd"]))
    else:
        del given["cwd"]
    given["priority"] = given["priority"] or 0
    values = given | {
        "command": tuple(argv or ()),
        "env": dict(pair("--env", "VALUE", text) for text in env),
    }

    async def act(queue: Queue) -> tuple[HookInfo, bool]:
        made = await queue.add_hook(name, events, **values)
        served = True
        with after_commit("looking for workers"):
            workers = [one for one in await queue.workers() if one.state != "lost"]
            served = not workers or any(not w.queues or QUEUE in w.queues for w in workers)
        return HookInfo(made), served

    info, served = session.run(act, create=True)
    if not served:
        session.err.warn(f"no worker serves queue '{QUEUE}': queuectl worker start --queue {QUEUE}")
    if info.hook.secret_file is not None:
        _note_secret(session, info.hook.secret_file)
    _answer(session, info, f"delivers {', '.join(info.hook.events)}")


def _note_secret(session: Session, path: str) -> None:
    from queuectl_core.domain.errors import InvalidInput
    from queuectl_core.operations.deliver import read_key

    with after_commit("reading the secret file"):
        try:
            read_key(path)
        except InvalidInput as error:
            import os

            there = os.path.exists(path)
            hint = error.hint if there else "workers on other hosts may have it"
            session.err.warn(f"{error.message}; {hint}")


@verb("list", examples=("queuectl hook list", "queuectl hook list --json"))
@show_url_option
def list_hooks(session: Session, /, show_url: bool) -> None:
    """List hooks. WAITING counts the events that wait for the digest of a hook."""
    found = session.run(lambda queue: queue.hooks(), read_only=True)
    view: View[HookInfo] = View(lambda info, _: info.to_json(show_url=show_url), HOOK_COLUMNS)
    if show_url and not session.json:
        for info in found:
            session.out.pairs([(clean_line(info.hook.name), clean_line(info.hook.url or ""))])
        return
    session.show_all(view, found)
    if not found and session.out.terminal and not session.json:
        session.err.note("no hooks yet; see: queuectl hook add --help")


@verb("show", examples=("queuectl hook show chat", "queuectl hook show chat --json"))
@name_argument
@show_url_option
@option("--show-env", is_flag=True, about="Print the values of env, not ***.")
def show(session: Session, /, name: str, show_url: bool, show_env: bool) -> None:
    """Show one hook: its events, where it delivers, and what waits for its digest."""
    info = session.run(lambda queue: queue.hook(name), read_only=True)
    if session.json:
        session.out.json(info.to_json(show_url=show_url, show_env=show_env))
        return
    now = session.clock()
    shown: dict[str, str] = {}
    if show_url and info.hook.url is not None:
        shown["target"] = clean_line(info.hook.url)
    if show_env:
        shown["env"] = env_text(info, show=True)
    columns = table(HOOK_COLUMNS, "show")
    rows = [(one.name, shown.get(one.name) or one.value(info, now)) for one in columns]
    if session.out.terminal:
        _pretty(session, rows)
    else:
        session.out.pairs(rows)


@verb("test", examples=("queuectl hook test chat",))
@name_argument
def test(session: Session, /, name: str) -> int:
    """Deliver a sample from this process, at once and without a job. Prints the response of the
    URL, or the output of the command. Exit code 1 if it was not accepted."""
    found = session.run(lambda queue: queue.test_hook(name), read_only=True)
    if session.json:
        session.out.json(found.to_json(name))
    else:
        _show(session, found.output)
        session.out.line(found.said)
    return 0 if found.accepted else 1


@verb("pause", examples=("queuectl hook pause chat --reason 'the chat is down'",))
@name_argument
@option("--reason", metavar="TEXT", about="Shown in the list of hooks.")
def pause(session: Session, /, name: str, reason: str | None) -> None:
    """Deliver nothing more to a hook. What happens meanwhile is not delivered later; what waits
    for a digest already is kept. Deliveries that are jobs already go on."""
    _changed(session, name, lambda queue: queue.pause_hook(name, reason), "is paused")


@verb("resume", examples=("queuectl hook resume chat",))
@name_argument
def resume(session: Session, /, name: str) -> None:
    """End the pause of a hook."""
    _changed(session, name, lambda queue: queue.resume_hook(name), "is active")


@verb("remove", examples=("queuectl hook remove chat",))
@name_argument
def remove(session: Session, /, name: str) -> None:
    """Remove a hook, and what waits for its digest. Deliveries that are jobs already go on."""

    async def act(queue: Queue) -> HookInfo:
        info = await queue.hook(name)
        await queue.remove_hook(name)
        return info

    _answer(session, session.run(act), "is removed")


@verb("deliver")
@argument("name", metavar="NAME")
def deliver(session: Session, /, name: str) -> int:
    """Send what comes on standard input to the URL of a hook. queuectl runs this as a job, and
    gives the URL in the environment."""
    import os
    import sys

    from queuectl_core.domain.hooks import GONE
    from queuectl_core.operations.deliver import run

    def read() -> bytes:
        return b"" if sys.stdin is None else sys.stdin.buffer.read()

    answer = run(os.environ, read)
    _show(session, answer.content)
    session.out.line(answer.said)  # the last line is the reason in the DLQ
    if answer.accepted:
        return 0
    return GONE if answer.gone else 1


def _show(session: Session, text: str) -> None:
    if text:
        session.out.write(text if text.endswith("\n") else f"{text}\n")


def _changed(session: Session, name: str, change: Any, said: str) -> None:
    async def act(queue: Queue) -> HookInfo:
        changed = await change(queue)
        with after_commit("reading the hook again"):
            return await queue.hook(name)
        return HookInfo(changed)

    _answer(session, session.run(act), said)


def _answer(session: Session, info: HookInfo, said: str) -> None:
    """A sentence at a terminal, the name in a pipe, an object as JSON."""
    name = clean_line(info.hook.name)
    if session.json:
        session.out.json(info.to_json())
    elif session.out.terminal:
        session.out.line(f"Hook {name} {said}.")
    else:
        session.out.line(name)


def _pretty(session: Session, rows: Sequence[tuple[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for key, value in rows:
        if value:
            made.add_row(Text(key), Text(value))
    session.out.render(made)
