"""Actions on hooks."""

from __future__ import annotations

from collections.abc import Sequence

from queuectl_core.domain.hooks import HookInfo
from queuectl_core.domain.text import clean_line
from queuectl_core.queue import Queue

from .actions import Action
from .format import cli
from .hooks import short_target

SHOWN = 200
"""Characters of an answer or a target that are shown in a message."""


def pause_hooks(names: Sequence[str], reason: str | None = None) -> Action:
    """Deliver nothing more to these hooks."""

    async def run(queue: Queue) -> str:
        for name in names:
            await queue.pause_hook(name, reason)
        return f"{_hooks(names)} paused"

    words = ("--reason", reason) if reason else ()
    commands = " && ".join(cli("hook", "pause", name, *words) for name in names)
    details = ("What happens meanwhile is not delivered later.",)
    return Action(commands, run, f"Pause {_hooks(names)}?", details)


def resume_hooks(names: Sequence[str]) -> Action:
    """End the pause of these hooks. Asks."""

    async def run(queue: Queue) -> str:
        for name in names:
            await queue.resume_hook(name)
        return f"{_hooks(names)} active"

    commands = " && ".join(cli("hook", "resume", name) for name in names)
    details = ("What happens from now on is delivered.",)
    return Action(commands, run, f"Resume {_hooks(names)}?", details)


def remove_hook(info: HookInfo) -> Action:
    """Remove a hook. Asks."""
    name = info.hook.name

    async def run(queue: Queue) -> str:
        await queue.remove_hook(name)
        return f"hook {name} is removed"

    details = [short_target(info, SHOWN)]
    if info.waiting:
        details.append(f"{info.waiting:,} events that wait for its digest are not delivered")
    return Action(cli("hook", "remove", name), run, f"Remove hook {name}?", details)


def try_hook(name: str, info: HookInfo | None = None) -> Action:
    """Deliver a sample to a hook, from this host. ``info``: for the question."""

    async def run(queue: Queue) -> str:
        found = await queue.test_hook(name)
        said = f"{'accepted' if found.accepted else 'not accepted'}: {found.said}"
        output = clean_line(found.output.strip(), SHOWN)
        return f"hook {name}: {said}{f'; {output}' if output else ''}"

    question = f"Send a sample to hook {name} from this host?"
    details = () if info is None else (short_target(info, SHOWN),)
    return Action(cli("hook", "test", name), run, question, details)


def _hooks(names: Sequence[str]) -> str:
    return f"hook {names[0]}" if len(names) == 1 else f"hooks {', '.join(names)}"
