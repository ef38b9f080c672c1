"""The table alone: it sends only what changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot

from queuectl_tui.console.theme import DARK
from queuectl_tui.console.widgets.row_window import ListPages
from queuectl_tui.console.widgets.strips import fit, lay_out
from queuectl_tui.console.widgets.table import LineTable
from queuectl_tui.presentation.columns import Column, Place, TableColumn, table


@dataclass(frozen=True)
class Row:
    id: str
    count: int = 0


COLUMNS: tuple[TableColumn[Row], ...] = table(
    (
        Column("id", value=lambda r, _: r.id, console=Place(6, flex=1)),
        Column(
            "count", "", lambda r, _: (str(r.count), "muted"), right=True, console=Place(5, rank=1)
        ),
    ),
    "console",
)


class Recorder(LineTable[Row]):
    """Records what is repainted."""

    def __init__(self) -> None:
        super().__init__(COLUMNS, ListPages("id"), id="table")
        self.repainted: list[Region | None] = []

    def refresh(self, *regions: Region, **options: bool) -> Recorder:
        self.repainted += regions or [None]
        return super().refresh(*regions, **options)


@asynccontextmanager
async def shown(rows: list[Row]) -> AsyncIterator[tuple[Recorder, Pilot[None]]]:
    table = Recorder()

    class Tables(App[None]):
        def on_mount(self) -> None:
            self.register_theme(DARK)
            self.theme = DARK.name

        def compose(self) -> ComposeResult:
            yield table

    async with Tables().run_test(size=(40, 12)) as pilot:
        table.set_rows(rows)
        await pilot.pause()
        table.repainted.clear()
        yield table, pilot


async def test_the_same_rows_again_repaint_nothing() -> None:
    rows = [Row(f"r{n}") for n in range(30)]
    async with shown(rows) as (table, _):
        table.set_rows([replace(row) for row in rows])
        assert table.repainted == []


async def test_a_changed_cell_repaints_that_cell() -> None:
    rows = [Row(f"r{n}") for n in range(30)]
    async with shown(rows) as (table, _):
        rows[3] = Row("r3", 7)
        table.set_rows(rows)
        assert [(r.y, r.height) for r in table.repainted if r] == [(5, 1)]
        assert all(r is not None and r.width <= 6 for r in table.repainted)


async def test_moving_the_cursor_repaints_two_lines() -> None:
    async with shown([Row(f"r{n}") for n in range(30)]) as (table, pilot):
        table.focus()
        await pilot.pause()
        table.repainted.clear()
        await pilot.press("j")
        assert {r.y for r in table.repainted if r} == {2, 3}


async def test_marks_are_by_id_and_last_while_rows_move() -> None:
    async with shown([Row("a"), Row("b"), Row("c")]) as (table, pilot):
        table.focus()
        await pilot.press("space")
        table.set_rows([Row("z"), Row("c"), Row("b"), Row("a", 9)])
        assert table.chosen() == [Row("a", 9)]
        await pilot.press("ctrl+backslash")
        assert not table.marks


async def test_cleared_marks_leave_no_start_of_a_range() -> None:
    async with shown([Row(f"r{n}") for n in range(9)]) as (table, pilot):
        table.focus()
        await pilot.press("space", "ctrl+backslash", "j", "j", "V")
        assert list(table.marks) == ["r3"]
        await pilot.press("j", "V")  # that was the start of one
        await pilot.pause()
        assert list(table.marks) == ["r3", "r4", "r5"]


async def test_a_range_is_marked_down_and_up_and_goes_on() -> None:
    async with shown([Row(f"r{n}") for n in range(30)]) as (table, pilot):
        table.focus()
        await pilot.press(*["j"] * 5, "space", *["k"] * 3, "V")
        await pilot.pause()
        assert sorted(table.marks) == ["r3", "r4", "r5"]
        await pilot.press("k", "k", "V")  # from the last end
        await pilot.pause()
        assert sorted(table.marks) == ["r1", "r2", "r3", "r4", "r5"]
        await pilot.press(*["j"] * 6, "V")
        await pilot.pause()
        assert sorted(table.marks) == [f"r{n}" for n in range(1, 8)]


async def test_a_click_puts_the_cursor_there() -> None:
    async with shown([Row(f"r{n}") for n in range(30)]) as (table, pilot):
        await pilot.click(table, offset=(3, 6))
        assert table.current == Row("r4")


async def test_pages_halves_and_the_wheel_move_in_both_directions() -> None:
    """The table shows 10 rows."""
    async with shown([Row(f"r{n}") for n in range(100)]) as (table, pilot):
        table.focus()

        async def at(*keys: str) -> str:
            await pilot.press(*keys)
            assert table.current is not None
            return table.current.id

        assert table.window.height == 10
        assert await at("pagedown") == "r9"
        assert await at("pagedown") == "r18"
        assert await at("pageup") == "r9"
        assert await at("ctrl+d") == "r14"
        assert await at("ctrl+u", "ctrl+u") == "r4"
        assert await at("pageup") == "r0"
        table.on_mouse_scroll_down()
        table.on_mouse_scroll_down()
        assert table.window.visible()[0] == Row("r6")
        table.on_mouse_scroll_up()
        assert table.window.visible()[0] == Row("r3")
        assert table.current == Row("r6"), "the cursor stays on the screen"


async def test_a_double_click_opens_a_row_and_a_click_does_not() -> None:
    async with shown([Row(f"r{n}") for n in range(30)]) as (table, pilot):
        chosen: list[Row | None] = []
        table.action_choose = lambda: chosen.append(table.current)  # type: ignore[method-assign]
        await pilot.click(table, offset=(3, 6))
        assert chosen == []
        await pilot.double_click(table, offset=(3, 7))
        assert chosen == [Row("r5")]


def test_text_is_fitted_to_cells_not_characters() -> None:
    assert fit("abc", 5) == "abc  "
    assert fit("abc", 5, right=True) == "  abc"
    assert fit("abcdef", 4) == "abc…"
    assert fit("漢字漢字", 5) == "漢字…"
    assert fit("abc", 0) == ""


def test_columns_go_by_rank_when_it_is_narrow() -> None:
    assert [width for _, width in lay_out(COLUMNS, 40)] == [34, 5]
    assert [column.name for column, _ in lay_out(COLUMNS, 8)] == ["id"]
    assert sum(width for _, width in lay_out(COLUMNS, 20)) + 1 == 20
