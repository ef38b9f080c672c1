"""Text from jobs never acts on the terminal or on the console."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from queuectl_core.queue import Queue

from .scenes import opened, settled, text_of

TEXTS = {
    "closing markup": "[/foo]",
    "a link that quits": "[@click=app.quit]x[/]",
    "clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "title": "\x1b]0;owned\x07\x9b31m",
    "bidi": "safe \u202e dangerous \u2066",
    "long": "x" * 100_000,
    "lines": "one\ntwo\rthree\ttabs",
    "wide": "漢字 🇨🇭 e\u0301 \u200b" * 30,
}
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b]")


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("size", [(120, 40), (40, 12)], ids=["large", "small"])
async def test_a_hostile_job(text: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    async with Queue.open(str(path), env={}) as queue:
        await queue.enqueue(
            [{"id": "hostile", "command": ["echo", text], "cwd": "/", "env": {"A": text[:1000]}}]
        )
        await queue.cancel([await queue.find("hostile")])
    async with opened(tmp_path, size) as (console, pilot):
        for keys in (
            ["4"],
            ["enter"],
            ["escape"],
            ["l"],
            ["escape"],
            ["D"],
            ["escape"],
            ["enter", "e"],
        ):
            await pilot.press(*keys)
            await settled(console, pilot)
            shown = text_of(console)
            assert not UNSAFE.search(shown)
            assert all(len(line) <= size[0] for line in shown.splitlines())
            for strip in console.screen._compositor.render_strips():
                assert strip.cell_length == size[0]
                assert not any(s.style and s.style.meta.get("@click") for s in strip)
        assert console.is_running


async def test_a_hostile_filter(tmp_path: Path) -> None:
    async with Queue.open(str(tmp_path / "queue.db"), env={}):
        pass
    async with opened(tmp_path, (80, 24)) as (console, pilot):
        await pilot.press(
            "slash",
            "left_square_bracket",
            "slash",
            "x",
            "right_square_bracket",
            "percent_sign",
            "enter",
        )
        await settled(console, pilot)
        assert "/[/x]%" in text_of(console)
