"""Help, made from the bindings: what a key is called here is what it does."""

from __future__ import annotations

from typing import Any

from textual.binding import Binding
from textual.screen import Screen

from ..widgets.drawing import Cell
from .page import PageScreen, Row


class HelpScreen(PageScreen):
    """The keys of the screen it was called from."""

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__("keys", help_rows(screen))


def help_rows(screen: Screen[Any]) -> list[Row]:
    """Every key that does something on ``screen``, the nearest to the cursor first."""
    sections: dict[str, list[tuple[str, str]]] = {}
    seen: set[str] = set()
    for node, binding in _bindings(screen):
        name = {"Console": "everywhere"}.get(type(node).__name__, "this pane")
        if isinstance(node, Screen):
            name = "this screen"
        if binding.action in seen or not binding.description:
            continue
        seen.add(binding.action)
        keys = " ".join(_keys(screen, node, binding.action))
        sections.setdefault(name, []).append((keys, binding.description))
    rows: list[Row] = []
    for name in ("this screen", "this pane", "everywhere"):
        if name in sections:
            rows.append([(name, "title")])
            rows += [_row(keys, said) for keys, said in sections[name]]
            rows.append([])
    rows.append([("Each action shows the command line that does the same.", "muted")])
    return rows


def _bindings(screen: Screen[Any]) -> list[tuple[Any, Binding]]:
    """(where it is, binding) of all that are active; those a read-only console lacks are not."""
    found = []
    for active in screen.active_bindings.values():
        if not active.binding.system:
            found.append((active.node, active.binding))
    return found


def _keys(screen: Screen[Any], node: Any, action: str) -> list[str]:
    return [
        screen.app.get_key_display(active.binding)
        for active in screen.active_bindings.values()
        if active.binding.action == action and active.node is node
    ]


def _row(keys: str, said: str) -> list[Cell]:
    return [(f"  {keys:<16}", "accent"), (said, "text")]
