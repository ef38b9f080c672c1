"""What every table shows of sample rows, cell by cell with its role, and how wide it is.

The files in ``snapshots`` are what users see; see :mod:`tests.snapshots`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from queuectl_tui.cli.output import Stdout, TerminalTable, styled
from queuectl_tui.console.theme import DARK, styles_of
from queuectl_tui.console.widgets.strips import lay_out
from queuectl_tui.presentation.columns import ROLES, TableColumn, table

from .. import snapshots
from ..support import NOW
from .samples import KINDS, Kind

FOLDER = Path(__file__).parent / "snapshots"


def tables(kind: Kind) -> dict[str, Sequence[TableColumn[Any]]]:
    """All tables of a kind by name, in the order in which columns name them."""
    names = dict.fromkeys(name for column in kind.columns for name in column.places)
    return {name: table(kind.columns, name) for name in names}


def brief(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:30]} … {text[-30:]} ({len(text)} characters)"


def cells(kind: Kind) -> Iterator[str]:
    """Each cell of each table of each row: what a screen shows, with its role; and what goes into a
    pipe."""
    for row in kind.rows:
        for name, columns in tables(kind).items():
            yield f"{name}:"
            for column in columns:
                text, role = column.cell(row, NOW)
                assert role in ROLES
                value = column.value(row, NOW)
                exact = "" if value == text else f" | {brief(value)}"
                if text or value:
                    yield f"  {column.name}: {brief(text)} [{role}]{exact}"
        if kind.document is not None:
            yield json.dumps(kind.document(row, NOW), indent=1)
        yield "-" * 40


@pytest.mark.parametrize("name", KINDS)
def test_cells(name: str) -> None:
    snapshots.same_as(FOLDER / f"{name}-cells.txt", "\n".join(cells(KINDS[name])))


def at_a_terminal(
    kind: Kind, columns: Sequence[TableColumn[Any]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The columns where another one fits, and all rows on a narrow and on a wide terminal."""
    out = Stdout()
    out.color = False
    before = None
    for width in range(40, 131):
        monkeypatch.setenv("COLUMNS", str(width))
        names = [str(column.header) for column in TerminalTable(out, columns).made.columns]
        if names != before:
            yield f"{width}: {' '.join(names)}"
        before = names
    for width in (100, 250):
        monkeypatch.setenv("COLUMNS", str(width))
        made = TerminalTable(out, columns)
        for row in kind.rows:
            made.add(row, NOW)
        made.fit()
        yield f"{width} columns:"
        text = re.sub(r"\x1b\[[\d;]*m", "", out.rendered(made.made))
        yield from (line.rstrip() for line in text.splitlines())


def in_the_console(columns: Sequence[TableColumn[Any]]) -> Iterator[str]:
    """The columns and their widths where another one fits, and on wide screens."""
    before = None
    for width in range(20, 201):
        found = lay_out(columns, width)
        names = [column.name for column, _ in found]
        if names != before or width in (100, 200):
            yield f"{width}: " + " ".join(f"{column.name}={wide}" for column, wide in found)
        before = names
    for column in columns:
        side = "right" if column.right else "left"
        yield f"  {column.name}: {side}" + (f", sorted by {column.sort}" if column.sort else "")


@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name].screens])
def test_widths(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = KINDS[name]
    shown = []
    for places in kind.terminals:
        shown.append(f"-- {' '.join(places)} at a terminal")
        shown += at_a_terminal(kind, table(kind.columns, *places), monkeypatch)
    for places in kind.screens:
        shown.append(f"-- {' '.join(places)} on a screen")
        shown += in_the_console(table(kind.columns, *places))
    for place, columns in tables(kind).items():
        if wrapped := [column.name for column in columns if column.place.wrap]:
            shown.append(f"{place} goes on the next line: {', '.join(wrapped)}")
    snapshots.same_as(FOLDER / f"{name}-widths.txt", "\n".join(shown))


def test_every_role_is_used_and_has_a_style_everywhere() -> None:
    used = {
        column.cell(row, NOW)[1]
        for kind in KINDS.values()
        for row in kind.rows
        for columns in tables(kind).values()
        for column in columns
    }
    assert used == ROLES.keys()
    shown = []
    for role in ROLES:
        assert styles_of(DARK).of(role)
        file = StringIO()
        Console(file=file, force_terminal=True, color_system="standard").print(
            styled(("word", role)), end=""
        )
        shown.append(f"{role}: {file.getvalue()!r}")
    snapshots.same_as(FOLDER / "roles.txt", "\n".join(shown))
