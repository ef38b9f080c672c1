"""Work beside the screen."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from textual.dom import DOMNode
from textual.worker import Worker


def run_in_background(
    node: DOMNode,
    work: Callable[[], Coroutine[Any, Any, None]],
    group: str,
    *,
    exclusive: bool = False,
) -> None:
    """Run ``work`` in the background; ``exclusive``: instead of what the group still does.

    It is called when it begins. A screen that closes first cancels it before that, and a coroutine
    made here would be one that nobody awaits.
    """
    _: Worker[None] = node.run_worker(work, group=group, exclusive=exclusive, exit_on_error=False)
