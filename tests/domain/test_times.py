"""Times and durations, read and printed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.times import (
    LATEST,
    format_bytes,
    format_duration,
    format_time,
    parse_duration,
    parse_time,
)

from ..support import NOW, local_zone

DAY = 86400


@pytest.fixture
def zone() -> Iterator[None]:
    """A local zone of +05:30 that needs no zone files."""
    with local_zone("XYZ-5:30"):
        yield


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("1.5", 1.5),
        (" 10s ", 10),
        ("10S", 10),
        ("250ms", 0.25),
        ("5m", 300),
        ("2h", 7200),
        ("1d", DAY),
        ("1w", 7 * DAY),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1d2h3m4s5ms", DAY + 7384.005),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "-5",
        "-5s",
        "+5",
        "5 s",
        "5x",
        "1h 30m",
        "1e3",
        "0x10",
        "nan",
        "inf",
        "1_0",
        ".5",
        "5s\n5s",
        "\x1b",
        "9" * 40,
    ],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a duration"):
        parse_duration(text)


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except InvalidInput:
        return


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-09-21T00:00:00Z", 1789948800),
        ("2026-09-21T00:00:00.5Z", 1789948800.5),
        ("2026-09-21 00:00:00+00:00", 1789948800),
        ("20260921T000000Z", 1789948800),
        ("2026-09-20T19:00:00-05:00", 1789948800),
        (" 1789948800 ", 1789948800),
        ("1789948800.25", 1789948800.25),
        (0, 0),
        (1789948800.25, 1789948800.25),
        (int(LATEST), LATEST),
        ("+0", NOW),
        ("+10s", NOW + 10),
        ("+1h30m", NOW + 5400),
        ("+90", NOW + 90),
    ],
)
def test_times(value: str | float, moment: float) -> None:
    assert parse_time(value, NOW) == moment


def test_a_time_without_a_zone_is_local(zone: None) -> None:
    assert parse_time("2026-09-21T05:30:00", NOW) == 1789948800
    assert parse_time("2026-09-21", NOW) == 1789948800 - 5.5 * 3600
    assert parse_time("2026-09-21T05:30:00Z", NOW) == 1789948800 + 5.5 * 3600
    assert format_time(1789948800) == "2026-09-21T00:00:00.000Z", "printed in UTC all the same"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "+",
        "-10s",
        "later",
        "2026-13-01",
        "2026-02-30",
        "25:00",
        "\x1b",
        "9" * 400,
        "1969-12-31T00:00:00Z",
        "2100-01-02",
        "0001-01-01",
        "9999-12-31T23:59:59-23:59",
        "+100000w",
        -1,
        -0.5,
        LATEST + 1,
        1789948800000,
        float("nan"),
        float("inf"),
    ],
)
def test_what_is_no_time(value: str | float) -> None:
    with pytest.raises(InvalidInput, match=r"not a time|not a duration|time out of range"):
        parse_time(value, NOW)


@given(st.integers(0, int(LATEST * 1000)))
def test_a_printed_time_reads_back(milliseconds: int) -> None:
    moment = milliseconds / 1000
    printed = format_time(moment)
    assert printed is not None
    assert parse_time(printed, NOW) == pytest.approx(moment, abs=0.0011)


@given(st.floats(0, LATEST), st.floats(0, LATEST))
def test_printed_times_sort_as_times_do(one: float, two: float) -> None:
    first, second = sorted((one, two))
    printed = format_time(first), format_time(second)
    assert printed[0] is not None
    assert printed[1] is not None
    assert printed[0] <= printed[1]


def test_no_time_is_none() -> None:
    assert format_time(None) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0ms"),
        (0, "0ms"),
        (0.0123, "12ms"),
        (0.9996, "1.0s"),
        (3.44, "3.4s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (125, "2m05s"),
        (3599.7, "1h00m"),
        (2 * 3600 + 300, "2h05m"),
        (DAY - 0.2, "1d00h"),
        (3 * DAY + 4 * 3600, "3d04h"),
        (3650 * DAY, "3650d"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(-1e9, 1e11))
def test_a_duration_fits_its_column(seconds: float) -> None:
    assert len(format_duration(seconds)) <= 8
    if seconds < 999_999 * DAY:
        assert len(format_duration(seconds)) <= 7


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (512, "512B"),
        (4096, "4.0K"),
        (1536, "1.5K"),
        (3 << 19, "1.5M"),
        (200 << 20, "200M"),
        (2 << 30, "2.0G"),
        (5 << 40, "5.0T"),
    ],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert format_bytes(count) == text
