"""What a shim knows of its lease: when it looks, what it reads, and the moments themselves."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from queuectl_core.runner import deadline
from queuectl_core.runner.deadline import HURRY, LOOK, WORD, Deadline

Clock = Callable[[float], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Sets the clock of leases, which says 100 at first."""
    now = [100.0]
    monkeypatch.setattr(deadline, "lease_clock", lambda: now[0])

    def set_to(moment: float) -> None:
        now[0] = moment

    return set_to


def write(path: Path, term: float, kill: float) -> None:
    path.write_text(f"{term}".rjust(WORD) + f"{kill}".rjust(WORD))


def test_the_signals_come_at_their_moments_and_not_before(at: Clock, tmp_path: Path) -> None:
    lease = Deadline(str(tmp_path / "s.lease"), 110, 120)
    seen = []
    for moment in (109.75, 110, 119.75, 120):
        at(moment)
        seen.append(lease.passed())
    assert seen == [0, signal.SIGTERM, signal.SIGTERM, signal.SIGKILL]


def test_a_lease_that_was_extended_is_seen_within_a_second(at: Clock, tmp_path: Path) -> None:
    path = tmp_path / "s.lease"
    write(path, 110, 120)
    lease = Deadline(str(path), 110, 120)
    write(path, 130, 140)
    at(100 + LOOK - 0.25)
    assert (lease.passed(), lease.term) == (0, 110)  # it does not look each time
    at(100 + LOOK)
    assert (lease.passed(), lease.term, lease.kill) == (0, 130, 140)
    at(100 + 2 * LOOK - 0.25)
    assert lease.patience() == 250


def test_it_looks_once_more_before_jobs_end(at: Clock, tmp_path: Path) -> None:
    path = tmp_path / "s.lease"
    lease = Deadline(str(path), 100.5, 120)
    write(path, 130, 140)
    assert lease.patience() == 500
    at(100.5)
    assert lease.passed() == 0


def test_while_jobs_end_it_looks_often(at: Clock, tmp_path: Path) -> None:
    lease = Deadline(str(tmp_path / "s.lease"), 110, 120)
    at(115)
    assert lease.passed() == signal.SIGTERM
    assert lease.patience() == HURRY * 1000


@pytest.mark.parametrize("content", ["", "x".rjust(WORD) + "140".rjust(WORD)])
def test_a_file_that_cannot_be_read_changes_nothing(
    at: Clock, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "s.lease"
    path.write_text(content)
    lease = Deadline(str(path), 110, 120)
    lease.read()
    assert (lease.term, lease.kill) == (110, 120)


def test_a_link_is_not_followed(at: Clock, tmp_path: Path) -> None:
    """A job may put one in the place of the file: its jobs would then never end."""
    write(tmp_path / "theirs", 1e9, 1e9)
    path = tmp_path / "s.lease"
    path.symlink_to(tmp_path / "theirs")
    lease = Deadline(str(path), 110, 120)
    lease.read()
    assert (lease.term, lease.kill) == (110, 120)
