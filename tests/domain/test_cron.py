"""Cron expressions in time zones, compared with a slow simulation of Debian's cron."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuectl_core.domain.cron import WORDS, Cron, Zone, parse_cron, zone
from queuectl_core.domain.errors import InvalidInput

YEAR = 2026

UNUSUAL = (
    "Australia/Lord_Howe",  # half an hour
    "Antarctica/Troll",  # two hours
    "Africa/Casablanca",  # the clock is set back for Ramadan
    "Pacific/Chatham",  # at 02:45 local time
    "Atlantic/Azores",  # at midnight UTC
    "America/Havana",  # at midnight
    "Europe/Dublin",  # winter time is the exception
    "Asia/Gaza",  # dates that change every year
    "America/St_Johns",  # half an hour from the neighbours
    "America/Nuuk",  # before midnight
    "America/Santiago",  # at midnight, southern
    "Africa/Cairo",  # at midnight, on Fridays
    "Asia/Beirut",
    "Europe/London",
    "America/New_York",
    "Antarctica/Macquarie",
    "America/Scoresbysund",
    "Asia/Kathmandu",  # never
    "UTC",
)
EXPRESSIONS = (
    *("30 2 * * *", "0 0 * * *", "15,45 1-3 * * *", "0 3 * * sun", "30 23 * * *", "5 0,1,2 * * *"),
    *(
        "*/15 * * * *",
        "45 * * * *",
        "*/10 2 * * *",
        "7 */2 * * *",
        "*/20 0-3 * * 5,6,0",
        "0 * * * *",
    ),
    *("0 0 1 * 1", "30 1 */2 * *"),
)


class Simulated:
    """What Debian's cron runs, minute by minute. It looks at the clock on the wall each minute.

    A minute that was not shown before is new. For each new minute, jobs at fixed times run, also
    those of minutes that were jumped over (at the moment after the jump). Frequent jobs run in each
    minute that the clock shows.
    """

    def __init__(self, text: str) -> None:
        fields = text.split()
        self.minutes, self.hours, self.days, self.months, self.weekdays = map(
            self._values, fields, ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
        )
        if 7 in self.weekdays:
            self.weekdays.add(0)
        self.fixed = not fields[0].startswith("*") and not fields[1].startswith("*")
        self.both_days = fields[2].startswith("*") or fields[4].startswith("*")

    @staticmethod
    def _values(field: str, span: tuple[int, int]) -> set[int]:
        found: set[int] = set()
        for part in field.replace("sun", "0").split(","):
            of, _, step = part.partition("/")
            low, _, high = (f"{span[0]}-{span[1]}" if of == "*" else of).partition("-")
            found.update(range(int(low), int(high or low) + 1, int(step or 1)))
        return found

    def matches(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours:
            return False
        day, weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        right_day = (day and weekday) if self.both_days else (day or weekday)
        return wall.month in self.months and right_day

    def run(self, start: int, end: int, name: str) -> list[int]:
        minutes = _minutes(start, end, name)
        shown = minutes[0][1]
        found = []
        for moment, wall in minutes[1:]:
            if self.fixed:
                runs = False
                while shown < wall:
                    shown += timedelta(minutes=1)
                    runs = self.matches(shown) or runs
            else:
                runs = self.matches(wall)
            if runs:
                found.append(moment)
        return found


@lru_cache(maxsize=4)
def _minutes(start: int, end: int, name: str) -> list[tuple[int, datetime]]:
    """Each minute from ``start`` to ``end``, and what the clock shows then."""
    info = ZoneInfo(name)
    return [(moment, _wall_at(moment, info)) for moment in range(start, end + 1, 60)]


def _wall_at(moment: int, info: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(moment, info).replace(tzinfo=None)


def changes(where: Zone, start: int, end: int) -> Iterator[int]:
    at = where.change(start, end)
    while at is not None:
        yield at
        at = where.change(at, end)


def epoch(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def times(text: str, name: str, start: int, end: int) -> list[int]:
    found = []
    for moment in parse_cron(text).moments(start, zone(name)):
        if moment > end:
            break
        found.append(moment)
    return found


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_year_is_as_debians_cron_runs_it(name: str) -> None:
    """The days around each change of the clock minute by minute; over the whole year, the number of
    runs of a daily job."""
    start, end = epoch(f"{YEAR}-01-01"), epoch(f"{YEAR + 1}-01-01")
    where = zone(name)
    spans = [(at // 60 * 60 - 86400, at + 43200) for at in changes(where, start, end)]
    for low, high in spans or [(start, start + 86400)]:
        for text in EXPRESSIONS:
            wanted = Simulated(text).run(low, high, name)
            assert times(text, name, low, high) == wanted, text
    days = {_wall_at(at, where.info).date() for at in times("30 2 * * *", name, start, end)}
    assert len(days) in (364, 365, 366)
    hours = times("0 * * * *", name, start, end)
    assert all(b - a <= 2 * 3600 for a, b in pairwise(hours))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("Pacific/Apia", "2011-12-28", "2012-01-03"),  # a day that was left out
        ("Pacific/Kwajalein", "1993-08-19", "1993-08-25"),
        ("Asia/Pyongyang", "2015-08-13", "2015-08-17"),
        ("Europe/Moscow", "2014-10-24", "2014-10-28"),
        ("America/Caracas", "2007-12-07", "2007-12-11"),
        ("Africa/Monrovia", "1972-01-05", "1972-01-09"),  # 44 minutes and 30 seconds
    ],
)
@pytest.mark.parametrize("text", ["0 9 * * *", "*/30 * * * *", "30 0,12 * * *"])
def test_changes_for_good_skip_no_job_and_run_none_twice(
    text: str, name: str, low: str, high: str
) -> None:
    start, end = epoch(low), epoch(high)
    found = times(text, name, start, end)
    if name == "Africa/Monrovia":  # the simulation knows only whole minutes
        assert len(found) == len(set(found))
    else:
        assert found == Simulated(text).run(start, end, name)


fields = st.tuples(
    st.sampled_from(["*", "0", "30", "*/15", "5-20", "1,59", "0-59/7"]),
    st.sampled_from(["*", "0", "1", "2", "3", "23", "*/6", "0-3", "2,3"]),
    st.sampled_from(["*", "1", "28-31", "*/3"]),
    st.sampled_from(["*", "3,4", "10-11", "*/2"]),
    st.sampled_from(["*", "0", "1-5", "7"]),
)


@settings(max_examples=20, deadline=None)
@given(fields, st.sampled_from(UNUSUAL), st.integers(0, 365 * 24), st.integers(0, 3599))
def test_any_expression_at_any_moment(
    parts: tuple[str, ...], name: str, hour: int, second: int
) -> None:
    start = epoch(f"{YEAR}-01-01") + hour * 3600
    text, end = " ".join(parts), start + 86400
    wanted = Simulated(text).run(start, end, name)
    assert times(text, name, start, end) == wanted
    # From any moment in between, the rest is the same.
    middle = start + second * 24
    assert times(text, name, middle, end) == [at for at in wanted if at > middle]


def test_seconds_come_first() -> None:
    start = epoch("2026-06-01")
    assert times("*/20 0 0 * * *", "UTC", start - 1, start + 90) == [start, start + 20, start + 40]
    # With seconds, a job at a fixed time is not run twice either.
    back = epoch("2026-10-25")
    assert len(times("15 30 2 * * *", "Europe/Berlin", back, back + 86400)) == 1


def test_words_and_names() -> None:
    for word, text in WORDS.items():
        start = epoch("2026-01-15")
        assert Cron(word).after(start, zone("UTC")) == Cron(text).after(start, zone("UTC"))
    [first, *_] = times("0 9 * JAN-mar MON-Fri", "UTC", epoch("2026-01-03"), epoch("2026-01-06"))
    assert first == epoch("2026-01-05") + 9 * 3600
    assert times("0 0 L * *", "UTC", epoch("2026-02-01"), epoch("2026-03-02")) == [
        epoch("2026-02-28")
    ]


def test_times_that_never_come() -> None:
    assert parse_cron("0 0 30 2 *").after(0, zone("UTC")) is None
    assert parse_cron("0 0 31 2,4,6 *").after(0, zone("Europe/Berlin")) is None
    assert parse_cron("0 0 29 2 *").after(epoch("2026-01-01"), zone("UTC")) == epoch("2028-02-29")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a cron expression"),
        ("* * * *", "has 4 fields"),
        ("1 2 3 4 5 6 7", "has 7 fields"),
        ("60 * * * *", "'60' is no minute"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day of the month"),
        ("* * * 13 *", "'13' is no month"),
        ("* * * * 8", "'8' is no day of the week"),
        ("99 * * * * *", "'99' is no second"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("5-1 * * * *", "'5-1' is no minute"),
        ("@reboot", "@reboot is not supported"),
        ("@dayly", "did you mean @daily"),
        ("\u0661 * * * *", "is not a cron expression"),
        ("9" * 5000 + " * * * *", "is not a cron expression"),
        ("* * * * MON#6", "no day of the week"),
        ("* * * * \x1b[2J", "no day of the week"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=r"^[^\x00-\x1f]*$") as raised:
        parse_cron(text)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin?"),
        ("berlin", "did you mean Europe/Berlin?"),
        ("../../etc/passwd", "use a name such as"),
        ("/etc/localtime", "use a name such as"),
        ("", "use a name such as"),
        ("A" * 5000, "use a name such as"),
        ("Europe", "no such time zone"),
        ("UTC\0", "no such time zone"),
    ],
)
def test_zones_that_do_not_exist(name: str, said: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        zone(name)
    assert said in str(raised.value)


def test_what_the_clock_jumps_over() -> None:
    start, end = epoch("2026-01-01"), epoch("2027-01-01")
    berlin = zone("Europe/Berlin")
    found = parse_cron("30 2 * * *").jumped_over(start, end, berlin)
    assert found == datetime(2026, 3, 29, 2, 30)
    assert parse_cron("30 4 * * *").jumped_over(start, end, berlin) is None
    assert parse_cron("30 2 * * *").jumped_over(start, end, zone("UTC")) is None
