"""What is accepted from users, and what is refused in which words: at the edges of each rule.

The file in ``snapshots`` has each input and what became of it; see :mod:`tests.snapshots`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain import config, jobspec, spellings
from queuectl_core.domain.cron import WORDS, parse_cron, zone
from queuectl_core.domain.crontab import parse_crontab
from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.hooks import check_events, check_name, check_url, masked, secret_key
from queuectl_core.domain.queues import parse_settings
from queuectl_core.domain.schedule import Schedule, parse_template, plan
from queuectl_core.domain.schedule import check_name as check_schedule
from queuectl_core.domain.text import any_case, closest, edits_between, signal_name
from queuectl_core.domain.times import (
    format_time,
    is_local,
    parse_duration,
    parse_size,
    parse_time,
)
from queuectl_core.operations import schedules
from queuectl_core.queue import check_states
from queuectl_tui.cli.durations import units

from .. import snapshots
from ..support import NOW, defaults, local_zone

FOLDER = Path(__file__).parent / "snapshots"

LONG = "x" * 41
OTHER = (None, True, 5, 1.5, "word", "", [], ["a"], {}, {"A": "b"}, float("inf"), 10**400)
"""A value of each kind. Each field takes some of them."""

EDGES: dict[str, tuple[Any, ...]] = {
    "id": ("a" * 128, "a" * 129, "-a", "a b", "a/b", "Z9._:@-", LONG + "/"),
    "queue": ("a" * 128, "a" * 129, LONG + "/"),
    "command": ("\0", "\ud800", " ", [" "], [""], ["a", 5], ["x" * 131_000] * 9),
    "max_retries": (0, -1, 10_000, 10_001, 3.0, "3", "3.5", "-3", "3e1"),
    "backoff_base": (0, -0.1, 3600, 3600.5, "2"),
    "priority": (-1_000_000, -1_000_001, 1_000_000, 1_000_001, 0.5),
    "run_at": ("+1s", "soon", 4102444800.0, 4102444801.0, -1, True, 1e12, 5e15),
    "timeout_seconds": (0, -1, "5m", "soon", 315360000, 315360001, 1e10, float("nan")),
    "cwd": ("/a/../b", "c", "x" * 4095, "x" * 4096),
    "env": ({"": "a"}, {"A=": "a"}, {"A": "***"}, {"A": 5}, {5: "a"}, {LONG: "***"}),
    "nice": (0, -1, 19, 20),
    "memory_limit": (
        0,
        1,
        (1 << 20) - 1,
        1 << 20,
        1 << 50,
        (1 << 50) + 1,
        "1MiB",
        "big",
        1048576.5,
    ),
    "cpu_seconds": (0, 1.5, "1m", "soon", 315360001),
    "output_limit": (0, 4095, 4096, 1 << 40, (1 << 40) + 1, "4KiB"),
    "key": ("k" * 512, "k" * 513, "a\nb", "é" * 257),
    "unique": ("k" * 512, "k" * 513),
    "unique_until": ("start", "end", LONG),
    "unique_for": ("1h", -1),
    "after": ("a", ["a", "a", "b"], ["a b"], [5]),
    "on_parent_failure": ("cancel", "hold", LONG),
    "hold": (False, "yes"),
    "stdin": ("x" * (1 << 20), "x" * ((1 << 20) + 1), "\ud800"),
    "secrets": (
        *({"A": "file:/a"}, {"A": "file:b"}, {"A": "file:"}, {"A": "b"}, {"A": "file:~"}),
        *({"A": "file:~/b"}, {"A": "file:~b"}, {"1": "file:/a"}, {"QUEUECTL_A": "file:/a"}),
        *({"a" * 128: "file:/a"}, {"a" * 129: "file:/a"}, {"A": "file:" + "/" * 4096}),
    ),
}
TOGETHER: tuple[dict[str, Any], ...] = (
    {},
    {"cmd": "x"},
    {"command": "x", "Command": "y"},
    {"command": "x", "timeout": 5, "timeoutSeconds": 6},
    {"command": "x", "max-retries": 1},
    {"command": "x", LONG: 1},
    {"command": None},
    {"command": "x", "state": "dead", "history": []},
    {"command": "x", "unique_until": "start"},
    {"command": "x", "unique_for": 5},
    {"command": "x", "unique": "u", "unique_for": 5, "unique_until": "end"},
    {"command": "x", "unique": "u", "unique_until": "start"},
    {"command": "x", "env": {"A": "1"}, "secrets": {"A": "file:/a"}},
)


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:40]} … {text[-20:]} ({len(text)} characters)"


def became(act: Callable[[Any], Any], value: Any) -> str:
    """``value``, and what ``act`` makes of it, or what it says against it."""
    try:
        return f"{shown(value)}: {shown(act(value))}"
    except QueueError as error:
        return f"{shown(value)}: REFUSED {error.message} ({error.hint})"


def of_jobs() -> Iterator[str]:
    before = jobspec.parse_job("x", defaults())[0]._asdict()

    def change(given: Any) -> Any:
        spec, ignored = jobspec.parse_job(given, defaults())
        changed = {name: one for name, one in spec._asdict().items() if one != before[name]}
        return (changed, ignored) if ignored else changed

    for field in jobspec.INPUT_FIELDS:
        for value in (*OTHER, *EDGES.get(field, ())):
            given = {"command": "x", field: value}
            if field in ("unique_until", "unique_for"):
                given["unique"] = "u"
            yield f"{field}={became(lambda _, given=given: change(given), value)}"  # type: ignore[misc]
    for given in TOGETHER:
        yield became(change, given)
    for source in ("true", 5, None, ["a"]):
        yield became(change, source)
    gone = defaults(cwd="")
    for given in ({"command": "x"}, {"command": "x", "cwd": "a"}, {"command": "x", "cwd": "/a"}):
        yield "nowhere " + became(lambda one: jobspec.parse_job(one, gone)[0].cwd, given)
    edits: tuple[dict[str, Any], ...] = (
        {"maxRetries": 5, "key": None, "timeout": "5m"},
        {"id": "b"},
        {LONG: 1},
        {"priority": None},
        {"timeout": 1, "timeout_seconds": 2},
    )
    for given in edits:
        yield "edit " + became(lambda one: jobspec.parse_changes(one, defaults()), given)


SETTINGS: dict[str, tuple[str, ...]] = {
    "max-retries": ("10000", "10001", "+5", "1e3", " 5 ", "1" * 19),
    "backoff-base": ("3600", "3600.1", "1_0", "nan"),
    "backoff-max": ("315360000", "315360001", "1h"),
    "backoff-jitter": ("1", "1.01", "0.5"),
    "timeout": ("5m", "-5m", "1h30m"),
    "kill-grace": ("3600", "3601"),
    "lease": ("1.9", "2", "60", "61"),
    "max-crashes": ("1", "1000", "1001"),
    "output-limit": ("4095", "4096", "4KiB", "1TiB", "2TiB", "1.5MiB"),
    "shell": ("/bin/bash", "bash", "/a b", "/" * 1023, "/" * 1024, "/a\x7f"),
    "log-level": ("DEBUG", "debgu", "warning", "error", "info"),
}


def of_settings() -> Iterator[str]:
    for key, rule in config.KEYS.items():
        yield f"{key} {rule.default} {rule.help}; {config.env_name(key)}"
        for text in ("0", "-1", "", "soon", LONG, *SETTINGS.get(key, ())):
            yield "  " + became(lambda one, key=key: config.parse_value(key, one), text)  # type: ignore[misc]
    for value in (0.0, 1.5, 3e-9, 1e10, 5, "x"):
        yield config.show_value(value)
    for given in (
        *({"limit": 0}, {"limit": -1}, {"limit": 1_000_000}, {"limit": 1_000_001}, {"limit": True}),
        *(
            {"per-host": "0"},
            {"per_host": " 7 "},
            {"per_key": 0},
            {"per_key": 1},
            {"limit": "None"},
        ),
        *({"limit": "1" * 19}, {"limit": "1" * 20}, {"limit": LONG}, {LONG: 1}, {"limit": None}),
        *({"rate": "60/1m"}, {"rate": "60/m"}, {"rate": "60"}, {"rate": "60/"}, {"rate": "x/1m"}),
        *({"rate": "0/1s"}, {"rate": "1/1s"}, {"rate": "1/0.9s"}, {"rate": 5}, {"rate": LONG}),
        *({"rate": "1000000/1s"}, {"rate": "1000001/1s"}, {"rate": "1" * 10 + "/1s"}),
        *({"rate": "1/315360000"}, {"rate": "1/315360001"}),
    ):
        yield "queue " + became(parse_settings, given)


TIMES = (
    *("now", "+10s", "+", "0", "-1", "9:00", "09:00:30", "14:13:20", "14:13:21", "24:00", "0:00"),
    *("9", "12am", "12pm", "0am", "1pm", "13pm", "today 9:00", "tomorrow 9:00", "tomorrow"),
    *("today", "20270328", "2027-03-28", "2027-03-28T10:00", "2027-03-28T10:00+02:00", "in 5m"),
    *("5m", "2101-01-01", "1969-12-31", "4102444800", "4102444801", "4102444800000"),
    *("4102444800001", "nan", "", LONG, "9:60", "9:00pm", "TODAY 9:00", "9:00 PM", "1e9"),
)
DURATIONS = (
    *("90", "1.5", "10s", "5m", "2h", "1d", "1w", "1h30m", "1 h", "5 min", "2 hours", "250ms"),
    *("3secs", "1week", "-5", "5x", "", "1" * 32, "1" * 33, "5M", "1.s", "5mm", "5m 3"),
)
ZONES = ("UTC", "Europe/Berlin", "europe/berlin", "Mars", "", "localtime", "../etc/passwd", LONG)


def of_times() -> Iterator[str]:
    for text in TIMES:
        yield f"{became(lambda one: format_time(parse_time(one, NOW)), text)} {is_local(text)}"
    for number in (20270328, 4102444800, 1.5, -1, float("nan")):
        yield f"{became(lambda one: format_time(parse_time(one, NOW)), number)} {is_local(number)}"
    for moment in (0.0, 0.0004, 0.0005, 0.9994, 1.9996, 59.9999999, 86399.999, 1.5, None):
        yield f"shown {moment}: {format_time(moment)}"
    for text in DURATIONS:
        yield "duration " + became(parse_duration, text)
    for text in (
        "0",
        "1",
        "1K",
        "1k",
        "1KiB",
        "1KB",
        "1.5MiB",
        "2G",
        "1T",
        "1P",
        "",
        "x",
        "-1",
        LONG,
    ):
        yield "size " + became(parse_size, text)
    for text in (*WORDS, "@reboot", "@dayly", "@x", "@DAILY"):
        yield "cron " + became(_next, text)
    for text in (
        *("* * * * *", "0 9 * * 1-5", "0 9 L * *", "*/20 * * * * *", "30 2 29 2 *", "0 0 30 2 *"),
        *("60 * * * *", "* 24 * * *", "* * 32 * *", "* * * 13 *", "* * * * 8", "60 * * * * *"),
        *("* * * *", "*", "", "* * * * * * *", "é * * * *", "0 0 * JAN SUN", "0 0 * jan sun"),
        *("* " * 100 + "*", "0," * 49 + "0 0 1 1 *", "0," * 50 + "0 0 1 1 *", f"{LONG} * * * *"),
        *("0 0 1 1 *" + " " * 200, "0 " * 101),
    ):
        yield "cron " + became(_next, text)
    for text in ZONES:
        yield "zone " + became(lambda one: zone(one).name, text)


def _next(text: str) -> Any:
    cron = parse_cron(text)
    at = cron.after(NOW, zone("UTC"))
    return cron.text, cron.fixed, at if at is None else format_time(at)


CRONTAB = """
# comment
MAILTO=""
MAILTO=ops@example.org
RANDOM_DELAY=5
PATH=/bin
"HOME" = "/home/eve"
SHELL=/bin/bash
X='a b'
Y='
*/5 * * * * /usr/bin/backup --all
@daily cd /srv && ./clean%in\\%put%more
@dayly x
* * * * true
* * * * *
* * * * * ;
CRON_TZ=Mars
CRON_TZ=UTC
0 9 * * 1 A=1 nice /opt/odd\u00e9name;
0 9 * * 1 A=1 nice /opt/odd\u00e9name;
1 1 1 1 1 -x
1 1 1 1 1 .hidden
@hourly %
SHELL=/bin/sh
0 0 * * * \t x
"""


def of_crontabs() -> Iterator[str]:
    lines, problems = parse_crontab(CRONTAB, "/root")
    yield from (shown(line._replace(job=dict(line.job))) for line in lines)
    yield from (str(problem.to_json()) for problem in problems)


def of_names() -> Iterator[str]:
    for text in ("a", "", "a" * 64, "a" * 65, "-a", "a b", "A9._-", LONG + "/"):
        yield "hook " + became(check_name, text)
    for name in ("a", "", "a" * 100, "a" * 101, "-a", 5, LONG + "/"):
        yield "schedule " + became(check_schedule, name)
    events: tuple[list[str], ...] = (
        ["dead"],
        ["job.dead,DEAD", "failed completed"],
        ["queue.empty", "worker.lost", "schedule.missed", "cancelled"],
        ["ded"],
        ["xyzzy" * 9],
        [],
        [","],
    )
    for given in events:
        yield "events " + became(check_events, given)
    for url in (
        *("http://a", "https://u:p@a:65535/b?c#d", "ftp://a", "http://", "http://a b", "http://é"),
        *("http://a:0", "http://a:65536", "http://a:x", "http://[", "http://a\x7f", "x"),
        *("http://a/" + "x" * 2039, "http://a/" + "x" * 2040),
    ):
        yield "url " + became(check_url, url)
    for url in ("http://a", "http://a/", "http://a/1234567", "http://a/12345678", "http://u@a/?q"):
        yield f"{url}: {masked(url)}"
    for secret in (b"", b"\n", b"key\r\n", b"key\n\n", b" whsec_a2V5 \n", b"whsec_!", b"whsec_"):
        yield "secret " + became(secret_key, secret)
    templates: tuple[Any, ...] = (
        "true",
        {"command": ["a", "b"], "after": "p", "after_any": ["q"], "timeout": 5, "state": "dead"},
        {"command": "x", "id": "a"},
        {"command": "x", "run_at": "+1s"},
        {"command": "x", "hold": True},
        {"command": "x", "hold": False, "key": None, "secrets": {"A": "file:b"}},
    )
    for template in templates:
        yield "template " + became(lambda one: parse_template(one, defaults()), template)


def schedule(**given: Any) -> Schedule:
    options = schedules.parse_options(given)
    return schedules.make_schedule("s", options, {"command": "x"}, NOW, "UTC")


def of_schedules() -> Iterator[str]:
    for given in (
        *({}, {"cron": "@daily", "every": 5}, {"every": 0.9}, {"every": 1}, {"every": "1s"}),
        *({"every": 366 * 86400}, {"every": 366 * 86400 + 1}, {"every": True}, {"every": "soon"}),
        *({"every": 60, "jitter": 0}, {"every": 60, "jitter": 59}, {"every": 60, "jitter": 60}),
        *({"every": 60, "jitter": -1}, {"cron": "0 * * * *", "jitter": "1h"}, {"every": None}),
        *(
            {"every": 5, "missed": "skip"},
            {"every": 5, "missed": "all"},
            {"every": 5, "missed": "x"},
        ),
        *({"every": 5, "overlap": "queue"}, {"every": 5, "overlap": LONG}, {"every": 5, LONG: 1}),
        *({"every": 5, "overlap": "allow"}, {"every": 5, "overlap": "replace"}, {"cron": 5}),
        *({"cron": " 0  9 * * * "}, {"cron": "0 9 * * *", "tz": "Mars"}, {"tz": "UTC", "tzz": "x"}),
        {"cron": "0 9 * * *", "tz": "Europe/Berlin", "missed_within": "2h"},
    ):
        yield became(lambda one: list(schedule(**one))[1:8], given)
    for cron in ("30 2 * * *", "*/30 2 * * *", "30 * * * *", "0 0 30 2 *", "0 12 * * *", "@hourly"):
        found = schedule(cron=cron, tz="Europe/Berlin")
        yield f"{cron}: {schedules.warnings(found, NOW)}"
    assert schedules.warnings(schedule(every=5), NOW) == []
    for missed in ("once", "skip", "all"):
        for every in (3600, 30):
            one = schedule(every=every, missed=missed, missed_within=7200)
            at = one.next_at or 0.0
            for late in (0, 29, 30, 60, 60.5, 3599, 3600, 7200, 7260, 7261, 6000 * 3600 + 100):
                times, missing, *rest = plan(one, at + late, 3)
                shown_times = [f"{time - at:g}" for time in times]
                yield f"{missed} {every}, {late} late: {shown_times}, missed {missing}, {rest[-1]}"


def of_words() -> Iterator[str]:
    states = [word for words in spellings._STATES.values() for word in words]
    for word in (*states, *spellings._STATES, "all", "DEAD", "ded", "xyzzy", LONG):
        yield "state " + became(lambda one: check_states([one]), word)
    fields = [word for words in spellings._FIELDS.values() for word in words]
    for word in (*fields, "delay", "delay_seconds", "Delay-MS", "comand", "xyzzy"):
        yield f"field {word}: {spellings.field_hint(word, jobspec.KNOWN)}"
    keys = [word for words in spellings._KEYS.values() for word in words]
    for word in (
        *(*keys, *spellings._KEY_HINTS, "poll", "worker-polling-interval-ms", "pollInterval"),
        *("timeout-ms", "job-lease-ms", "job-timeout-ms", "timeout=5", "DEFAULT_TIMEOUT", "xyzzy"),
        *("timeout-default", "default-timeout", f"shell={LONG}", "tiemout", " Max_Retries ", LONG),
    ):
        yield "key " + became(config.canonical, word)
    for word in ("ab", "abc", "abd", "acb", "abcd", "bacd", "abxxd", "qwertyuiop", "qwretyuoip"):
        yield f"closest {word}: {closest(word, ['abcde', 'qwertyuiop', 'zzz'])}"
    for word, known in (("lst", ["list", "last"]), ("ls", ["list"]), ("lt", ["list"])):
        yield f"closest {word}: {closest(word, known)}"
    for word in ("a" * 100 + "b", "a" * 99 + "b"):
        yield f"closest {word[-5:]}: {closest(word, ['a' * 99 + 'b'])}"
    for one, other in (
        ("ab", "ca"),
        ("ab", "ba"),
        ("abcd", "bacd"),
        ("a", ""),
        ("", "ab"),
        ("ab", "b"),
    ):
        yield f"edits {one} {other}: {edits_between(one, other)}"
    for text in ("a", "1.", "Straße", "ǆ", "K", "\u212a", "ſ", "ẞ", "µ", "İ"):
        yield f"any case {text}: {any_case(text)}"
    for number in (1, 9, 15, 35, 64):
        yield f"signal {number}: {signal_name(number)}"
    for text in ("1", "30", "59", "60"):
        yield f"units {text}: {units(text)}"


@pytest.mark.parametrize(
    "kind",
    [of_jobs, of_settings, of_times, of_crontabs, of_names, of_schedules, of_words],
    ids=lambda kind: kind.__name__[3:],
)
def test_what_is_accepted(kind: Callable[[], Iterable[str]]) -> None:
    with local_zone("UTC"):
        text = "\n".join(kind())
    snapshots.same_as(FOLDER / f"accepted-{kind.__name__[3:]}.txt", text)
