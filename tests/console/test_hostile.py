"""Text from jobs never acts on the terminal or on the console."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.cells import cell_len

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


@pytest.mark.parametrize("size", [(120, 40), (40, 12)], ids=["large", "small"])
async def test_hostile_jobs(size: tuple[int, int], tmp_path: Path) -> None:
    """Each text in the table; one job with all of them, and one with the longest, on every page."""
    path = tmp_path / "queue.db"
    texts = list(TEXTS.values())
    async with Queue.open(str(path), env={}) as queue:
        for number, words in enumerate([*([text] for text in texts), texts, [TEXTS["long"]]]):
            given = {"A": "".join(words)[:1000], "B": words[-1]}
            job = {"id": f"job{number}", "command": ["echo", *words], "cwd": "/", "env": given}
            await queue.enqueue([job])
        for job_ in await queue.scan():
            await queue.cancel([job_])
    async with opened(tmp_path, size) as (console, pilot):

        async def see(*keys: str) -> None:
            await pilot.press(*keys)
            await settled(console, pilot)
            shown = text_of(console)
            assert not UNSAFE.search(shown)
            assert all(cell_len(line) <= size[0] for line in shown.splitlines())
            for strip in console.screen._compositor.render_strips():
                assert strip.cell_length == size[0]
                assert not any(s.style and s.style.meta.get("@click") for s in strip)

        await see("4")
        for job_id in ("job9", "job8"):
            await see("enter")
            assert job_id in text_of(console)
            for keys in (["escape"], ["l"], ["escape"], ["D"], ["escape"], ["enter", "e"]):
                await see(*keys)
            await see("escape", "escape")
            await see("down")
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
