"""Help pages, laid out here. click's own formatter imports the module of every verb for the list of
commands, which makes ``queuectl --help`` take twice as long, and it wraps the examples again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

import click

WIDEST = 90
TERM_COLUMN = 26
"""A term longer than this has its text on the next line."""


def width() -> int:
    """Columns to fill: the terminal's, within reason; 80 in a pipe."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and len(given) < 6:
        found = int(given)
    else:
        try:
            found = os.get_terminal_size(sys.stdout.fileno()).columns
        except (OSError, ValueError, AttributeError):
            found = 80
    return max(40, min(found, WIDEST))


def wrap(text: str, room: int) -> list[str]:
    """``text`` in lines of at most ``room`` characters, longer words left whole."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > room:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def paragraphs(text: str, room: int) -> list[str]:
    """Wrapped paragraphs; a line that starts with two blanks is kept as it is."""
    lines: list[str] = []
    gathered = ""
    for line in [*text.split("\n"), ""]:
        if line.strip() and not line.startswith("  "):
            gathered += " " + line
            continue
        if gathered:
            lines += wrap(gathered, room)
            gathered = ""
        lines.append(line.rstrip())
    return lines[:-1]


def terms(rows: Iterable[tuple[str, str]], room: int) -> list[str]:
    rows = list(rows)
    first = min(max((len(term) for term, _ in rows), default=0), TERM_COLUMN) + 2
    lines = []
    for term, meaning in rows:
        head, *rest = wrap(meaning, max(room - first, 20))
        if len(term) > first - 2:
            lines += [term, " " * first + head]
        else:
            lines.append(f"{term:<{first}}{head}")
        lines += [" " * first + line for line in rest]
    return lines


def page(
    ctx: click.Context,
    sections: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    examples: Sequence[str],
) -> str:
    room = width() - 2
    pieces = " ".join(ctx.command.collect_usage_pieces(ctx))
    lines = [f"Usage: {ctx.command_path} {pieces}", ""]
    body = (ctx.command.help or "").strip().replace("\n    ", "\n")
    lines += ["  " + line if line else "" for line in paragraphs(body, room)]
    for title, rows in sections:
        if rows:
            lines += ["", f"{title}:", *("  " + line for line in terms(rows, room))]
    if examples:
        lines += ["", "Examples:", *(f"  {example}" for example in examples)]
    return "\n".join(lines)
