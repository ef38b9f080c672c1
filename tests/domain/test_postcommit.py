"""What follows a commit is reported, and never fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from queuectl_core.domain.errors import StoreFull
from queuectl_core.store.named_sql import load
from queuectl_core.system.postcommit import after_commit, report_to


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreFull("no space left", "free some"), "no space left; free some"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (ValueError("a bug\x1b"), "ValueError: a bug\\x1b"),
    ],
)
def test_a_failure_is_told_to_who_asked_for_it(error: Exception, said: str) -> None:
    async def verb(told: list[str]) -> str:
        report_to(told.append)
        with after_commit("tidying up"):
            raise error
        return "done"

    async def both() -> list[list[str]]:
        heard: list[list[str]] = [[], []]
        assert await asyncio.gather(*map(verb, heard)) == ["done", "done"]
        return heard

    assert asyncio.run(both()) == [[f"tidying up failed afterwards: {said}"]] * 2


def test_nobody_needs_to_listen() -> None:
    with after_commit("tidying up"):
        raise OSError


def test_ctrl_c_passes() -> None:
    with pytest.raises(KeyboardInterrupt), after_commit("tidying up"):
        raise KeyboardInterrupt


def test_a_fragment_is_included_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(
        "-- about it\n-- fragment: inner\nAND b\n\n-- fragment: outer\nAND a\n-- include: inner\n"
    )
    (tmp_path / "b.sql").write_text("-- name: one\nSELECT 1 WHERE c\n  -- include: outer\nLIMIT 1;")
    assert load(tmp_path)["one"] == "SELECT 1 WHERE c\nAND a\nAND b\nLIMIT 1"
    (tmp_path / "c.sql").write_text("-- name: two\n-- include: nothing\n")
    with pytest.raises(KeyError, match="nothing"):
        load(tmp_path)["two"]
    (tmp_path / "c.sql").write_text("-- fragment: inner\nAND d\n")
    with pytest.raises(ValueError, match="fragment inner is defined twice"):
        load(tmp_path)
