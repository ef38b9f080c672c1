"""Questions asked without an event loop."""

from __future__ import annotations

import asyncio

import pytest

from queuectl_core.system.run_sync import run_sync


def test_the_answer_comes_back() -> None:
    async def inner() -> int:
        return 20

    async def outer() -> int:
        return await inner() + 1

    assert run_sync(outer()) == 21


def test_what_it_raises_comes_through() -> None:
    async def fails() -> None:
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        run_sync(fails())


def test_one_that_waits_is_ended_not_left_hanging() -> None:
    steps = []

    async def waits() -> None:
        try:
            await asyncio.sleep(0)
            steps.append("went on")
        finally:
            steps.append("cleaned up")

    with pytest.raises(RuntimeError, match="answer at once"):
        run_sync(waits())
    assert steps == ["cleaned up"]
