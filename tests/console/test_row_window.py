from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from queuectl_tui.console.widgets.row_window import ListPages, RowWindow


@dataclass
class Numbers:
    """Numbers in descending order, read by key. Counts how many rows were read."""

    numbers: set[int] = field(default_factory=set)
    read: int = 0

    def key(self, row: int) -> Hashable:
        return row

    def _hand(self, rows: list[int]) -> list[int]:
        self.read += len(rows)
        return rows

    async def first(self, limit: int) -> list[int]:
        return self._hand(sorted(self.numbers, reverse=True)[:limit])

    async def last(self, limit: int) -> list[int]:
        return self._hand(sorted(self.numbers)[:limit][::-1])

    async def after(self, row: int, limit: int, *, inclusive: bool = False) -> list[int]:
        below = [n for n in self.numbers if n < row or (inclusive and n == row)]
        return self._hand(sorted(below, reverse=True)[:limit])

    async def before(self, row: int, limit: int) -> list[int]:
        return self._hand(sorted(n for n in self.numbers if n > row)[:limit][::-1])

    async def still(self, rows: Sequence[int]) -> list[int]:
        return [row for row in rows if row in self.numbers]


async def opened(count: int, height: int = 10) -> tuple[RowWindow[int], Numbers]:
    pages = Numbers(set(range(1, count + 1)))
    window = RowWindow(pages)
    window.resize(height)
    await window.go_first()
    return window, pages


async def test_shows_the_first_rows_with_the_cursor_on_the_first() -> None:
    window, _ = await opened(1000)
    assert window.visible() == list(range(1000, 990, -1))
    assert window.current == 1000


async def test_moving_past_the_screen_scrolls_by_as_much_as_needed() -> None:
    window, _ = await opened(1000)
    window.move(9)
    assert window.visible()[0] == 1000
    window.move(1)
    assert window.visible()[0] == 999
    assert window.current == 990


async def test_every_row_is_passed_on_the_way_down_and_up_again() -> None:
    window, _ = await opened(500)
    seen = [window.current]
    while window.current != 1:
        window.move(1)
        await window.extend()
        seen.append(window.current)
    assert seen == list(range(500, 0, -1))
    while window.current != 500:
        window.move(-1)
        await window.extend()
    assert window.top == 0


async def test_the_ends_are_reached_without_reading_what_is_between() -> None:
    window, pages = await opened(100_000)
    await window.go_last()
    assert window.current == 1
    assert window.visible() == list(range(10, 0, -1))
    await window.go_first()
    assert window.current == 100_000
    assert pages.read < 500


async def test_holds_a_bounded_number_of_rows_however_far_one_goes() -> None:
    window, _ = await opened(20_000)
    for _ in range(1500):
        window.move(10)
        await window.extend()
        assert len(window.rows) < 300


async def test_the_cursor_stays_on_its_row_while_rows_come_above() -> None:
    window, pages = await opened(100)
    window.move(3)
    pages.numbers |= {101, 102}
    await window.reload()
    assert window.current == 97
    assert window.visible()[0] == 102


async def test_the_screen_follows_the_cursor_when_rows_push_it_out() -> None:
    window, pages = await opened(100)
    window.move(3)
    for new in range(101, 601):
        pages.numbers.add(new)
    await window.reload()
    assert window.current == 97
    assert 97 in window.visible()


async def test_follow_stays_at_the_first_rows() -> None:
    window, pages = await opened(100)
    pages.numbers.add(101)
    await window.reload(follow=True)
    assert window.current == 101


async def test_a_row_that_goes_leaves_the_cursor_on_the_next() -> None:
    window, pages = await opened(100)
    window.move(4)
    pages.numbers.remove(96)
    await window.reload()
    assert window.current == 95
    pages.numbers.clear()
    await window.reload()
    assert window.current is None
    assert window.visible() == []
    pages.numbers.add(5)
    await window.reload()
    assert window.current == 5


async def test_rows_added_far_above_do_not_move_the_screen() -> None:
    window, pages = await opened(1000)
    for _ in range(30):
        window.move(10)
        await window.extend()
    shown = window.visible()
    pages.numbers |= {2000, 2001}
    await window.reload()
    assert window.visible() == shown


async def test_a_list_is_taken_whole() -> None:
    @dataclass
    class Row:
        name: str

    window = RowWindow(ListPages[Row]("name"))
    window.resize(5)
    window.replace([Row("a"), Row("b"), Row("c")])
    window.put(1)
    window.replace([Row("z"), Row("a"), Row("b")])
    assert window.current == Row("b")
    window.replace([])
    assert window.current is None


@given(
    st.sets(st.integers(1, 400)),
    st.lists(
        st.one_of(
            st.integers(-40, 40),
            st.sampled_from(["first", "last"]),
            st.sets(st.integers(1, 400), max_size=30),
        ),
        max_size=25,
    ),
)
async def test_whatever_happens_the_rows_are_in_order_and_the_cursor_is_seen(
    numbers: set[int], steps: list[int | str | set[int]]
) -> None:
    pages = Numbers(set(numbers))
    window = RowWindow(pages)
    window.resize(7)
    await window.go_first()
    for step in steps:
        if isinstance(step, int):
            window.move(step)
            await window.extend()
        elif isinstance(step, set):
            before = window.current
            pages.numbers ^= step
            await window.reload()
            if before in pages.numbers:
                assert window.current == before
        else:
            await (window.go_first() if step == "first" else window.go_last())
        rows = window.rows
        assert (
            rows == sorted(pages.numbers & set(range(min(rows), max(rows) + 1)), reverse=True)
            if rows
            else not pages.numbers
        )
        if rows:
            assert window.current in window.visible()
        assert len(window.visible()) == min(7, len(pages.numbers))
