"""When a cron expression fires: pure rules, without a clock.

An expression is about the time that a clock on the wall shows. cronsim reads it. This module finds
the moments in a time zone, by the rules of Debian's cron:

- An expression is about *fixed times* if neither its minutes nor its hours (nor its seconds) begin
  with a star: ``30 2 * * *``. Each of these times is reached once a day. If the clock jumps over
  it, it is the moment after the jump. If the clock shows it twice, it is the first time.
- Any other expression is *frequent*: ``*/15 * * * *``. It fires whenever the clock shows such a
  time: not for times that the clock jumps over, and twice for times that it shows twice. So it
  follows elapsed time.

Times of one expression that fall on the same moment are one time.

A moment is epoch seconds. Every zone of the IANA database has a whole number of seconds as its
distance from UTC, so moments of an expression are whole too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim.cronsim import CronSim, CronSimError, Field

from .errors import InvalidInput
from .text import clean_line, nearest
from .times import LATEST

WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
LONGEST = 200
"""Characters of an expression."""

LOCAL = ("localtime", "posixrules")
"""Names in some databases that mean another zone on each host."""

FIELDS = ("second", "minute", "hour", "day of the month", "month", "day of the week")

_EPOCH = datetime(1970, 1, 1)
_FAR = 2 * 86400
"""Seconds. No clock is ever set by so much."""
_STEP = 6 * 3600
"""Seconds. No clock is set twice within this time."""


class Zone:
    """A time zone of the IANA database."""

    def __init__(self, name: str) -> None:
        """InvalidInput if this host does not know it."""
        self.name = name
        self.info = _load(name)

    def offset(self, moment: int) -> int:
        """Seconds by which clocks are ahead of UTC at ``moment``."""
        here = datetime.fromtimestamp(moment, UTC).astimezone(self.info)
        found = here.utcoffset()
        return 0 if found is None else found.days * 86400 + found.seconds

    def repeated(self, moment: int) -> bool:
        """Whether clocks have shown this time before, because they were set back."""
        return bool(datetime.fromtimestamp(moment, UTC).astimezone(self.info).fold)

    def change(self, low: int, high: int) -> int | None:
        """The first moment above ``low`` and up to ``high`` with another offset than before; None:
        there is none."""
        before = self.offset(low)
        while low < high:
            end = min(low + _STEP, high)
            if self.offset(end) != before:
                while end - low > 1:
                    middle = (low + end) // 2
                    if self.offset(middle) == before:
                        low = middle
                    else:
                        end = middle
                return end
            low = end
        return None

    def moment(self, wall: datetime) -> int:
        """The moment when clocks first show ``wall``; if they jump over it, the moment of the
        jump."""
        first, second = (_seconds(wall) - self._offset_at(wall, fold) for fold in (0, 1))
        if second >= first:  # it exists, once or twice
            return first
        found = self.change(second, first)
        return first if found is None else found

    def _offset_at(self, wall: datetime, fold: int) -> int:
        found = wall.replace(tzinfo=self.info, fold=fold).utcoffset()
        return 0 if found is None else found.days * 86400 + found.seconds


def _seconds(wall: datetime) -> int:
    """The time on the wall, as if it were UTC, in epoch seconds."""
    between = wall - _EPOCH
    return between.days * 86400 + between.seconds


def _wall(seconds: int) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)


@lru_cache(maxsize=64)
def _load(name: str) -> ZoneInfo:
    shown = clean_line(str(name), 60)
    # A name is a path below the database, so what is no name of a zone never reaches the library.
    if re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}", name) and name not in LOCAL:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, OSError, ValueError):
            pass
    raise InvalidInput(f"no such time zone: '{shown}'", _zone_hint(name))


def _zone_hint(name: str) -> str:
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    known = {one.lower(): one for one in sorted(available_timezones()) if one not in LOCAL}
    close = get_close_matches(name[:64].lower(), known, 1, 0.7)
    ends = [one for low, one in known.items() if low.rpartition("/")[2] == name.lower()]
    if close or ends:
        return f"did you mean {known[close[0]] if close else ends[0]}?"
    return "use a name such as Europe/Berlin, or UTC"


@lru_cache(maxsize=64)
def zone(name: str) -> Zone:
    """The zone of this name. InvalidInput if this host does not know it."""
    return Zone(name)


class Cron:
    """A parsed expression."""

    def __init__(self, text: str) -> None:
        """``text``: five fields, or six (seconds first), or a word such as ``@daily``. InvalidInput
        names the wrong field."""
        self.text = " ".join(text.split())
        fields = _fields(self.text)
        self._never = False
        try:
            self._times = CronSim(" ".join(fields), _EPOCH)
        except CronSimError:
            # Each field is valid, so these days are in none of these months: 30 February.
            self._never = True
        self.fixed = not any(one.startswith("*") for one in fields[:3])
        """Whether it is about fixed times. Otherwise it is frequent."""
        self.every_hour = fields[2].startswith("*")

    def after(self, moment: float, where: Zone) -> int | None:
        """The first of its moments after ``moment``; None: it never fires again."""
        start = int(moment // 1)
        found = (self._next_fixed if self.fixed else self._next_frequent)(start, where)
        return None if found is None or found > LATEST else found

    def moments(self, moment: float, where: Zone) -> Iterator[int]:
        """All of its moments after ``moment``, in order."""
        found = self.after(moment, where)
        while found is not None:
            yield found
            found = self.after(found, where)

    def jumped_over(self, moment: float, until: float, where: Zone) -> datetime | None:
        """The first time on the wall between these moments that the expression is about, and that
        the clock jumps over."""
        change: int | None = int(moment // 1)
        while change is not None:
            change = where.change(change, int(until))
            if change is None or where.offset(change) <= (before := where.offset(change - 1)):
                continue
            found = self._next_wall(_wall(change + before - 1))
            if found is not None and _seconds(found) < change + where.offset(change):
                return found
        return None

    def _next_wall(self, wall: datetime) -> datetime | None:
        """The first time after ``wall`` that the expression is about."""
        if self._never:
            return None
        # Several threads may use one expression, so each step has its own iterator.
        times = CronSim.__new__(CronSim)
        times.__dict__.update(self._times.__dict__)
        times.dt = wall
        return next(times, None)

    def _next_fixed(self, start: int, where: Zone) -> int | None:
        wall = _wall(start + where.offset(start))
        if where.repeated(start):
            # Times up to the moment when the clock was set back were reached before.
            back = where.change(start - _FAR, start)
            while back is not None and (later := where.change(back, start)) is not None:
                back = later
            if back is not None:
                wall = _wall(back + where.offset(back - 1) - 1)
        while True:
            found = self._next_wall(wall)
            if found is None:
                return None
            moment = where.moment(found)
            if moment > start:
                return moment
            wall = found

    def _next_frequent(self, start: int, where: Zone) -> int | None:
        offset = where.offset(start)
        wall = _wall(start + offset)
        while True:
            found = self._next_wall(wall)
            if found is None:
                return None
            moment = _seconds(found) - offset
            # Up to here clocks show only times that do not match, unless they are set.
            change = where.change(start, min(moment, start + _FAR))
            if change is not None:
                start, offset = change, where.offset(change)
                wall = _wall(start + offset - 1)
            elif moment <= start + _FAR:
                return moment
            else:
                # They reach that time within a day of this moment, whatever they are set to.
                start = moment - _FAR
                offset = where.offset(start)
                wall = _wall(start + offset)


@lru_cache(maxsize=512)
def parse_cron(text: str) -> Cron:
    """The expression ``text``. InvalidInput says what is wrong with it."""
    return Cron(text)


def _fields(text: str) -> list[str]:
    """The six fields of an expression, each valid by itself."""
    shown = clean_line(text, 60)
    if not text or len(text) > LONGEST or not text.isascii():
        raise InvalidInput(f"'{shown}' is not a cron expression", "write five fields: 30 2 * * 1-5")
    if text.startswith("@"):
        word = text.lower()
        if word == "@reboot":
            raise InvalidInput(
                "@reboot is not supported: a schedule is about times",
                "use a service of the system that runs: queuectl enqueue",
            )
        if word not in WORDS:
            hint = nearest(word, list(WORDS)) or f"there are {', '.join(WORDS)}"
            raise InvalidInput(f"no such word: '{shown}'", hint)
        text = WORDS[word]
    typed = text.split()
    if len(typed) == 5:
        typed.insert(0, "0")
    fields = [field.upper() for field in typed]
    if len(fields) != 6:
        count = len(fields)
        raise InvalidInput(
            f"'{shown}' has {count} field{'s' * (count != 1)}, not five (or six, seconds first)",
            "minute, hour, day of the month, month, day of the week: 30 2 * * 1-5",
        )
    for kind, name, field, word in zip(Field, FIELDS, fields, typed, strict=True):
        try:
            if len(field) > 100:
                raise CronSimError
            kind.parse(field)
        except (CronSimError, AssertionError, ValueError, TypeError, RecursionError):
            wrong = clean_line(word, 30)
            raise InvalidInput(f"cron: '{wrong}' is no {name}", _hint(kind)) from None
    return fields


def _hint(kind: Field) -> str:
    low_high = {
        Field.SECOND: "0 to 59",
        Field.MINUTE: "0 to 59",
        Field.HOUR: "0 to 23",
        Field.DAY: "1 to 31, or L for the last day",
        Field.MONTH: "1 to 12, or JAN to DEC",
        Field.DOW: "0 to 7 (0 and 7 are Sunday), or SUN to SAT",
    }
    return f"{low_high[kind]}, with *, lists (1,2), ranges (1-5) and steps (*/5)"
