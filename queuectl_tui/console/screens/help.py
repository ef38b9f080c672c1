"""Help, made from the bindings, so that it always says what the keys do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from textual.app import App
from textual.screen import Screen

from ..widgets.text import TextRow


def help_rows(screen: Screen[Any]) -> list[TextRow]:
    """Every key that does something on ``screen``: its own, the pane's, the console's."""
    sections: dict[str, dict[str, tuple[list[str], str]]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if binding.system or not binding.description or binding.action == "screen.copy_text":
            continue
        section = "this pane"
        if isinstance(active.node, Screen):
            section = "this screen"
        elif isinstance(active.node, App):
            section = "everywhere"
        key = screen.app.get_key_display(replace(binding, key_display=None))
        keys, _ = sections.setdefault(section, {}).setdefault(
            binding.action, ([], binding.description)
        )
        if key not in keys:
            keys.append(key)
    rows: list[TextRow] = []
    for name in ("this screen", "this pane", "everywhere"):
        rows.append([(name, "title")])
        for keys, said in sections.get(name, {}).values():
            rows.append([(f"  {' '.join(keys):<14}", "accent"), (said, "text")])
        rows.append([])
    rows.append([("Each action shows the command line that does the same.", "muted")])
    return rows
