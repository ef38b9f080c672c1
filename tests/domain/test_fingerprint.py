"""The cause a dead job is grouped by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain.fingerprint import LIMIT, dead_reason


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        (7, "exit 7: connection to db-12:5432 refused", "exit 7: connection to db-# refused"),
        (1, "exit 1: request 8f14e45fceea167a failed", "exit 1: request # failed"),
        (
            1,
            "exit 1: job 3f2504e0-4f89-11d3-9a0c-0305e82c3301 at 2026-01-31T09:00:00Z",
            "exit 1: job # at #",
        ),
        (1, "exit 1: read 0xdeadbeef", "exit 1: read #"),
        (1, "exit 1: HTTP 503 Service Unavailable", "exit 1: HTTP 503 Service Unavailable"),
        (1, "exit 1: HTTP/1.1 404 of 12", "exit 1: HTTP/1.1 404 of #"),
        (1, "exit 1: HTTP 50312 and HTTP 503:17", "exit 1: HTTP # and HTTP #"),
        (1, "exit 1", "exit 1"),
        (3, "exit 3: Traceback\n  File x\nValueError: bad row 17\n\n", "ValueError: bad row #"),
        (127, "command not found (exit 127): gti", "command not found (exit #): gti"),
        (None, "timed out after 30s", "timed out after #s"),
        (None, None, "no reason given"),
        (None, " \n ", "no reason given"),
    ],
)
def test_what_differs_from_job_to_job_is_taken_out(
    code: int | None, error: str | None, reason: str
) -> None:
    assert dead_reason(code, error) == reason


@given(st.integers(0, 255), st.text(max_size=2000))
def test_is_one_clean_line_of_bounded_length(code: int, error: str) -> None:
    reason = dead_reason(code, f"exit {code}: {error}")
    assert reason
    assert len(reason) <= LIMIT + 20
    assert "\n" not in reason
    assert "\x1b" not in reason


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_two_numbers_are_one_cause(a: int, b: int) -> None:
    assert dead_reason(1, f"exit 1: row {a} is bad") == dead_reason(1, f"exit 1: row {b} is bad")
