"""Work in the background."""

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
    """Run ``work`` in the background. ``exclusive``: cancel older work of the group.

    ``work`` is called when it starts. A screen that is closed before cancels it, and a coroutine
    that was made here would never be awaited.
    """
    _: Worker[None] = node.run_worker(work, group=group, exclusive=exclusive, exit_on_error=False)
