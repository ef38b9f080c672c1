"""Anything at all on the command line: refused in one line, or done, and never anything else.

A few hundred examples in the suite; ``make fuzz`` tries many thousand.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from queuectl_core.domain.config import KEYS, env_name
from queuectl_core.domain.jobspec import ALIASES, INPUT_FIELDS, OUTPUT_FIELDS
from queuectl_core.domain.model import State

from .runner import Outcome, call, check

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
"""For each of the tests below."""

many = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

# -- what is typed --------------------------------------------------------------------

# An argument holds no NUL; bytes that are not UTF-8 arrive as lone surrogates.
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
    max_size=12,
)
hostile = st.sampled_from(
    [
        *("", " ", "-", "--", "-x", "'; DROP TABLE jobs; --", "%", "_", "\\", "../../no/such"),
        *("\x1b[31mred", "\x1b]52;c;eA==\x07", "\u202eevil", "[/bold]", "[@click=app.quit]x[/]"),
        *("a" * 300, "a" * 70_000, "é" * 64, "\udcff\udcfe", "\n\n", "\r", "{", "[", "[]", "{}"),
        *("{dir}", "{dir}/no/such", "{file}", "/dev/null", "~root", "$HOME"),
    ]
)
ids = st.sampled_from(
    [
        *("completed", "failed", "timeout", "cancelled", "cancelled-running", "interrupted"),
        *("crashed", "dead", "argv", "limited", "processing", "c", "canc", "nobody", "abcde-1"),
    ]
)
words = texts | hostile | ids
# Where a file may be made: the suite may well be run by root.
places = words.map(lambda word: word if word.startswith("{") else re.sub("[/~]", "_", word))
numbers = st.one_of(
    st.integers(-5, 20).map(str),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["1e9", "0x10", "1_000", "٣", "-0", "+1", "1e999", "9" * 5000, "1.5.1"]),
    words,
)
durations = st.one_of(
    st.tuples(st.integers(0, 10**6), st.sampled_from(["", "ms", "s", "m", "h", "d", "w", "y"])).map(
        lambda pair: f"{pair[0]}{pair[1]}"
    ),
    numbers,
)
sizes = st.one_of(
    st.tuples(
        st.integers(0, 10**7), st.sampled_from(["", "K", "KiB", "MiB", "g", "TB", "EiB"])
    ).map(lambda pair: f"{pair[0]}{pair[1]}"),
    numbers,
)
times = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    durations.map(lambda text: f"+{text}"),
    st.sampled_from(["now", "tomorrow", "0001-01-01", "9999-12-31T23:59:59-23:59", "2026-W01"]),
    numbers,
)
states = st.sampled_from([*(state.value for state in State), "DEAD", "dead,failed", ","]) | words
keys = st.sampled_from([*KEYS, "max_retries", "default-timeout", "lease "]) | words
pairs = st.tuples(words, words).map("=".join) | words


def joined(parts: Iterable[list[str]]) -> list[str]:
    return [word for part in parts for word in part]


def option(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """``--name value``, in either of its forms."""
    return st.one_of(
        values.map(lambda value: [name, value]), values.map(lambda value: [f"{name}={value}"])
    )


def several(*choices: st.SearchStrategy[list[str]], most: int = 4) -> st.SearchStrategy[list[str]]:
    """Some of these options, in any order, also twice."""
    return st.lists(st.one_of(*choices), max_size=most).map(joined)


def flags(*names: str) -> st.SearchStrategy[list[str]]:
    return st.sampled_from(names).map(lambda name: [name])


everywhere = several(
    flags("--json", "-q", "-v", "--no-color", "--json", "--json"),
    option("--store", places | st.just("{dir}/other.db") | st.just("/dev/null")),
    most=2,
)


def verb(*names: str, rest: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    """A verb with what follows it, and the global options before or after."""
    return st.tuples(everywhere, rest, everywhere).map(
        lambda parts: [*parts[0], *names, *parts[1], *parts[2]]
    )


def with_ids(*choices: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    some = st.lists(words, max_size=3)
    return st.tuples(some, several(*choices) if choices else st.just([])).map(
        lambda parts: [*parts[0], *parts[1]]
    )


enqueue_options = several(
    option("--id", words),
    option("--max-retries", numbers),
    option("--backoff-base", numbers),
    option("--priority", numbers),
    option("-p", numbers),
    option("--run-at", times),
    option("--delay", durations),
    option("--timeout", durations),
    option("--cwd", words),
    option("--env", pairs),
    option("--queue", words),
    option("--nice", numbers),
    option("--memory-limit", sizes),
    option("--cpu-seconds", durations),
    option("--output-limit", sizes),
    option("--key", words),
    option("--unique", words),
    option("--unique-until", words),
    option("--unique-for", durations),
    option("--on-conflict", words),
    option("--after", words),
    option("--after-any", words),
    option("--after-failed", words),
    option("--on-parent-failure", words),
    flags("--hold"),
    option("--stdin", words),
    option("--secret", pairs),
)

# -- jobs as JSON ---------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    ids,
    times,
    sizes,
    st.sampled_from([10**400, 2**63, -(2**63) - 1, 1e308, "\0", "***"]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from([*INPUT_FIELDS, *ALIASES, *sorted(OUTPUT_FIELDS)]) | st.text(max_size=6)
objects = st.dictionaries(names, values, max_size=5)
jobs = objects | objects.map(lambda given: {"command": "true"} | given)


def written(value: Any) -> str:
    """As JSON; what JSON does not have (NaN) as Python writes it."""
    return json.dumps(value)


documents = st.one_of(jobs.map(written), st.lists(jobs, max_size=4).map(written))
lines = st.lists(jobs.map(written) | st.text(max_size=20), max_size=6).map("\n".join)
streams = st.one_of(
    documents.map(str.encode),
    lines.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
)


def done(args: list[str], *, env: dict[str, str] | None = None, **options: Any) -> Outcome:
    found = call(args, env=env or {}, **options)
    check(found)
    return found


# -- the tests ------------------------------------------------------------------------


@many
@given(verb("enqueue", rest=st.tuples(documents, enqueue_options).map(lambda p: [p[0], *p[1]])))
@example(["enqueue", '{"command":"true","env":{"A":"***"}}'])
@example(["enqueue", "--env", "\udcff=\udcfe", "true"])
@example(["enqueue", "--cwd", "\udcff", "true"])
def test_jobs_as_json(args: list[str]) -> None:
    done(args)


@many
@given(
    verb(
        "enqueue",
        rest=st.tuples(enqueue_options, st.lists(words, max_size=3)).map(joined),
    ),
    st.lists(words, max_size=3),
    st.booleans(),
)
def test_jobs_as_words(args: list[str], argv: list[str], dashes: bool) -> None:
    done([*args, "--", *argv] if dashes else args)


@many
@given(verb("enqueue", rest=enqueue_options), streams, st.booleans())
def test_jobs_as_a_stream(args: list[str], stream: bytes, from_file: bool) -> None:
    if from_file:
        done([*args, "--file", "{file}"], file=stream)
    else:
        done([*args, "-"], stdin=stream)


@many
@given(
    st.one_of(
        verb(
            "list",
            rest=several(
                option("--state", states),
                option("--queue", words),
                option("--key", words),
                option("--search", words),
                option("--limit", numbers),
                flags("--show-env"),
            ),
        ),
        verb("show", rest=with_ids(flags("--show-env", "--tree"))),
        verb("why", rest=with_ids()),
        verb("queue", "list", rest=st.just([])),
        verb("queue", "show", rest=st.lists(words, max_size=2)),
        verb(
            "logs",
            rest=with_ids(option("--attempt", numbers), option("--tail", numbers), flags("--raw")),
        ),
        verb("status", rest=several(flags("--why"))),
        verb("stats", rest=several(option("--since", durations))),
        verb("metrics", rest=st.just([])),
        verb("progress", rest=st.lists(words | numbers, max_size=3)),
        verb("worker", "list", rest=st.just([])),
        verb(
            "dlq", "list", rest=several(option("--search", words), option("--exit-code", numbers))
        ),
        verb("wait", rest=with_ids(flags("--all")).map(lambda rest: [*rest, "--timeout", "0"])),
    )
)
@example(["list", "--queue", "\udcff"])
def test_looking(args: list[str]) -> None:
    done(args)


@many
@given(
    st.one_of(
        verb("cancel", rest=with_ids()),
        verb("retry", rest=with_ids()),
        verb("remove", rest=with_ids(flags("--cascade"))),
        verb("hold", rest=with_ids(option("--key", words))),
        verb("release", rest=with_ids(option("--key", words))),
        verb(
            "edit",
            rest=with_ids(
                option("--command", words),
                option("--priority", numbers),
                option("--run-at", times),
                option("--queue", words),
                option("--timeout", durations),
                option("--max-retries", numbers),
                option("--key", words),
                flags("--no-key"),
            ),
        ),
        *(
            verb(
                "queue",
                name,
                rest=st.tuples(
                    st.lists(words, max_size=2),
                    several(
                        option("--limit", numbers),
                        option("--per-host", numbers),
                        option("--per-key", numbers),
                        option("--rate", words | sizes),
                        option("--for", durations),
                        option("--reason", words),
                    ),
                ).map(joined),
            )
            for name in ("set", "pause", "resume", "remove")
        ),
        *(
            verb(
                "dlq",
                name,
                rest=with_ids(
                    flags("--all", "--all"),
                    option("--search", words),
                    option("--exit-code", numbers),
                    *([flags("-y", "--yes")] if name == "purge" else []),
                ),
            )
            for name in ("retry", "purge")
        ),
        verb(
            "prune",
            rest=several(
                option("--older-than", durations), option("--state", states), flags("--dry-run")
            ),
        ),
        verb(
            "backup",
            rest=st.tuples(st.lists(places, max_size=2), several(flags("--force"))).map(joined),
        ),
        verb("store", "copy", rest=option("--to", places)),
        verb("backup", rest=st.sampled_from([["{dir}/copy.db"], ["{dir}/queue.db", "--force"]])),
    )
)
def test_changing(args: list[str]) -> None:
    done(args)


@many
@given(
    st.one_of(
        verb("config", "get", rest=st.lists(keys, max_size=2)),
        verb("config", "unset", rest=st.lists(keys, max_size=2)),
        verb("config", "set", rest=st.lists(keys | sizes | durations, max_size=3)),
        verb("config", "set", rest=st.tuples(keys, sizes | durations | numbers).map(list)),
        verb("config", "list", rest=st.just([])),
        verb("enqueue", rest=st.just(["true"])),
    ),
    st.dictionaries(
        st.sampled_from([env_name(key) for key in KEYS]),
        (sizes | durations | numbers).filter(lambda text: "\0" not in text),
        max_size=2,
    ),
)
@example(["config", "set", "lease", "20"], {"QUEUECTL_MAX_RETRIES": "x"})
@example(["config", "unset", "lease"], {"QUEUECTL_MAX_RETRIES": "x"})
def test_settings(args: list[str], env: dict[str, str]) -> None:
    done(args, env=env)


VERBS = (
    *("enqueue", "list", "show", "logs", "status", "stats", "cancel", "retry", "remove"),
    *("worker", "dlq", "config", "completion", "prune", "worker:list", "dlq:purge"),
    *("why", "hold", "release", "edit", "queue", "queue:list", "metrics", "progress"),
)
OPTIONS = (
    *("--json", "--help", "--version", "-h", "-q", "-v", "--store", "--state", "--all", "-y"),
    *("--limit", "--id", "--tail", "--attempt", "--search", "--exit-code", "--since", "--force"),
)


@many
@given(st.lists(st.sampled_from(VERBS) | st.sampled_from(OPTIONS) | places, max_size=6))
@example([])
@example(["worker:list:x"])
@example(["--store"])
def test_words_in_any_order(args: list[str]) -> None:
    if "worker" in args and "start" in args:
        return  # that would work
    found = call(args, env={})
    if not {"--help", "-h", "--version"} & set(args) and "completion" not in args:
        check(found)


@pytest.mark.parametrize("count", ["0", "-1", "513", "x", "", "1e9", "9" * 400])
def test_workers_that_cannot_be_started(count: str) -> None:
    assert done(["worker", "start", "--count", count]).code == 2


@pytest.mark.parametrize("name", ["", "a b", "\x1b", "\udcff", "x" * 200])
def test_lanes_that_cannot_be_served(name: str) -> None:
    assert done(["worker", "start", "--until-empty", "--queue", name]).code == 2
