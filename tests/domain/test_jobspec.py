"""What ``enqueue`` accepts, field by field, and that nothing else gets through."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.jobspec import (
    ALIASES,
    ID,
    INPUT_FIELDS,
    MAX_ARGUMENT,
    MAX_ARGV,
    OUTPUT_FIELDS,
    check_field,
    check_queue,
    parse_job,
)
from queuectl_core.domain.json_strict import parse_json
from queuectl_core.domain.model import MASK, Job, JobSpec, State
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time

from ..support import NOW, defaults

DEFAULTS = defaults()


def parse(source: Any) -> JobSpec:
    return parse_job(source, DEFAULTS)[0]


def refusal(source: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse_job(source, DEFAULTS)
    return str(caught.value)


# -- what is taken --------------------------------------------------------------------


def test_defaults_fill_what_is_not_given() -> None:
    filled = defaults(max_retries="5", backoff_base="1.5", timeout="60")
    assert parse_job({"command": "true"}, filled) == (
        JobSpec(
            command="true",
            id=None,
            max_retries=5,
            backoff_base=1.5,
            priority=0,
            run_at=NOW,
            timeout_seconds=60.0,
            cwd="/place",
            env={},
            queue="default",
        ),
        [],
    )


def test_a_bare_string_is_a_command() -> None:
    assert parse("echo hi") == parse({"command": "echo hi"})


def test_a_list_is_an_argv() -> None:
    assert parse({"command": ["echo", "a b", ""]}).command == ("echo", "a b", "")


@pytest.mark.parametrize(("alias", "field"), sorted(ALIASES.items()))
def test_aliases(alias: str, field: str) -> None:
    assert parse({"command": "true", alias: 7}) == parse({"command": "true", field: 7})
    assert f"field '{field}' is given twice" in refusal({"command": "x", alias: 7, field: 7})


@pytest.mark.parametrize("field", sorted(set(INPUT_FIELDS) - {"command"}))
def test_null_means_not_given(field: str) -> None:
    assert parse({"command": "true", field: None}) == parse("true")


@pytest.mark.parametrize("field", sorted(OUTPUT_FIELDS))
def test_output_fields_are_ignored_and_named(field: str) -> None:
    values: list[Any] = [None, 3, "x", {}, []]
    for value in values:
        assert parse_job({"command": "true", field: value}, DEFAULTS) == (parse("true"), [field])


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("+10s", NOW + 10),
        ("+1h30m", NOW + 5400),
        ("2026-09-21T00:00:00Z", 1789948800.0),
        ("2026-09-21T02:00:00+02:00", 1789948800.0),
        (1789948800, 1789948800.0),
        (1789948800.5, 1789948800.5),
        ("1789948800", 1789948800.0),
    ],
)
def test_run_at(given: Any, taken: float) -> None:
    assert parse({"command": "true", "run_at": given}).run_at == taken


@pytest.mark.parametrize(
    ("given", "taken"),
    [("sub", "/place/sub"), (".", "/place"), ("..", "/"), ("/a/../b/", "/b"), ("~", "/place/~")],
)
def test_cwd_is_made_absolute(given: str, taken: str) -> None:
    assert parse({"command": "true", "cwd": given}).cwd == taken


def test_whole_numbers_may_be_written_with_a_point() -> None:
    job = parse({"command": "true", "max_retries": 3.0, "priority": -2.0, "timeout": 5})
    assert (job.max_retries, job.priority, job.timeout_seconds) == (3, -2, 5.0)
    assert type(job.max_retries) is int
    assert type(job.timeout_seconds) is float


def test_the_longest_things_that_are_taken() -> None:
    parse({"command": "x" * MAX_ARGUMENT})
    parse({"command": "true", "id": "a" * 128})
    parse({"command": "true", "env": {"A": "x" * (MAX_ARGUMENT - 2)}})


@pytest.mark.parametrize(
    ("field", "low", "high", "step"),
    [
        ("max_retries", 0, 10_000, 1),
        ("backoff_base", 0, 3600, 0.001),
        ("priority", -1_000_000, 1_000_000, 1),
        ("timeout_seconds", 0, 10 * 365 * 86400, 1),
        ("nice", 0, 19, 1),
        ("memory_limit", 1 << 20, 1 << 50, 1),
        ("cpu_seconds", 0, 10 * 365 * 86400, 1),
        ("output_limit", 4096, 1 << 40, 1),
        ("unique_for", 0, 10 * 365 * 86400, 1),
    ],
)
def test_the_edges_of_each_range(field: str, low: float, high: float, step: float) -> None:
    more = {"unique": "u"} if field == "unique_for" else {}
    for value in (low, low + step, high - step, high):
        assert getattr(parse({"command": "true", field: value} | more), field) == value
    for value in (low - step, high + step):
        assert field in refusal({"command": "true", field: value} | more)


@pytest.mark.parametrize(
    ("field", "longest"),
    [("id", 128), ("queue", 128), ("key", 512), ("unique", 512), ("stdin", 1 << 20)],
)
def test_the_longest_text_of_a_field(field: str, longest: int) -> None:
    assert getattr(parse({"command": "true", field: "x" * longest}), field) == "x" * longest
    assert field in refusal({"command": "true", field: "x" * (longest + 1)})


# -- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "a job is a JSON object, not null"),
        (3, "a job is a JSON object, not a number"),
        (True, "a job is a JSON object, not true or false"),
        ([], "a job is a JSON object, not an array"),
        ({}, "command is missing"),
        ("", "command is empty"),
        (" \n", "command is empty"),
        ({"command": None}, "command must be text or a list of texts, not null"),
        ({"command": 3}, "command must be text or a list of texts, not a number"),
        ({"command": {}}, "command must be text or a list of texts, not an object"),
        ({"command": []}, "command is an empty list"),
        ({"command": [" "]}, "command is empty"),
        ({"command": ["a", 1]}, "command must be text, not a number"),
        ({"command": "a\0b"}, "command contains a NUL byte"),
        ({"command": ["a", "b\0"]}, "command contains a NUL byte"),
        ({"command": "\ud800"}, "command is not valid UTF-8"),
        ({"command": "x" * 2_000_000}, "command is 2,000,000 bytes, the limit is 131,071"),
        ({"command": "é" * 70_000}, "command is 140,000 bytes"),
        ({"command": ["x" * 100_000] * 11}, f"command is longer than {MAX_ARGV:,} bytes"),
        ({"command": "x", "id": ""}, "id '' is not allowed"),
        ({"command": "x", "id": 3}, "id must be text, not a number"),
        ({"command": "x", "id": "a b"}, "id 'a b' is not allowed"),
        ({"command": "x", "id": "-a"}, "id '-a' is not allowed"),
        ({"command": "x", "id": "a\n"}, r"id 'a\n' is not allowed"),
        ({"command": "x", "id": "a\x1b[31m"}, r"id 'a\x1b[31m' is not allowed"),
        ({"command": "x", "id": "é"}, "is not allowed"),
        ({"command": "x", "id": "../../etc"}, "is not allowed"),
        ({"command": "x", "id": "a" * 129}, "is not allowed"),
        ({"command": "x", "max_retries": -1}, "max_retries must be a whole number from 0"),
        ({"command": "x", "max_retries": 1.5}, "max_retries must be a whole number"),
        ({"command": "x", "max_retries": 10**30}, "max_retries must be a whole number"),
        ({"command": "x", "max_retries": 10**5000}, "max_retries must be a whole number"),
        ({"command": "x", "max_retries": "3"}, "max_retries must be a whole number, not text"),
        ({"command": "x", "max_retries": True}, "not true or false"),
        ({"command": "x", "backoff_base": -0.1}, "backoff_base must be a number from 0"),
        ({"command": "x", "backoff_base": float("nan")}, "backoff_base must be a number"),
        ({"command": "x", "backoff_base": float("inf")}, "backoff_base must be a number"),
        ({"command": "x", "priority": 10**7}, "priority must be a whole number from -1000000"),
        ({"command": "x", "timeout": -1}, "timeout_seconds must be a number from 0"),
        ({"command": "x", "timeout_seconds": 10**400}, "timeout_seconds must be a number"),
        ({"command": "x", "run_at": True}, "run_at must be a time"),
        ({"command": "x", "run_at": "tomorrow"}, "run_at: not a time: 'tomorrow'"),
        ({"command": "x", "run_at": "+-5s"}, "run_at: not a duration"),
        ({"command": "x", "run_at": -1}, "run_at: time out of range"),
        ({"command": "x", "run_at": 10**400}, "run_at: time out of range"),
        ({"command": "x", "run_at": 1789948800000}, "run_at: time out of range"),
        ({"command": "x", "run_at": float("nan")}, "run_at: time out of range"),
        ({"command": "x", "cwd": ""}, "cwd is empty"),
        ({"command": "x", "cwd": "a\0"}, "cwd contains a NUL byte"),
        ({"command": "x", "cwd": 3}, "cwd must be text"),
        ({"command": "x", "env": []}, "env must be an object of texts, not an array"),
        ({"command": "x", "env": {"A": 1}}, "env A must be text, not a number"),
        ({"command": "x", "env": {"": "1"}}, "env name '' is not allowed"),
        ({"command": "x", "env": {"A=B": "1"}}, "env name 'A=B' is not allowed"),
        ({"command": "x", "env": {"A": "\0"}}, "env A contains a NUL byte"),
        ({"command": "x", "env": {"A\0": ""}}, "env contains a NUL byte"),
        ({"command": "x", "env": {"A": "x" * MAX_ARGUMENT}}, "the limit is"),
        ({"command": "x", "env": {f"A{n}": "x" * 100_000 for n in range(11)}}, "env is longer"),
        ({"command": "x", "queue": "a b"}, "queue 'a b' is not allowed"),
        ({"command": "x", "queue": 3}, "queue '3' is not allowed"),
        ({"command": "x", "comand": "y"}, "unknown field 'comand'; did you mean command?"),
        ({"command": "x", "maxretries": 1}, "did you mean max_retries?"),
        ({"command": "x", "\x1b[2J": 1}, r"unknown field '\x1b[2J'"),
        ({"command": "x", "z" * 3_000_000: 1}, "unknown field 'zzz"),
    ],
)
def test_what_is_refused(source: Any, words: str) -> None:
    said = refusal(source)
    assert words in said
    assert said == clean_line(said)
    assert len(said) < 400


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("{'command': 'x'}", "not valid JSON"),
        ('{"command": "x"} {}', "not valid JSON"),
        ("{\n\n,", "line 3 column 1"),
        ('{"command": "a\nb"}', "not valid JSON"),
        ('{"backoff_base": NaN}', "NaN is not a JSON number"),
        ('{"backoff_base": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": 1, "a": 2}', "field 'a' is given twice"),
        ('{"env": {"a": "1", "a": "2"}}', "field 'a' is given twice"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "a number is too long"),
        (b"\xff\xfe\xfa", "not"),
        (b'{"command": "\xff"}', "not UTF-8"),
        ("\ufeff{}", "not valid JSON"),
    ],
)
def test_what_is_not_json(text: str | bytes, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_json(text)
    assert words in str(caught.value)
    assert str(caught.value) == clean_line(str(caught.value))


# -- anything at all ------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(
        ["+5s", "2026-01-01", "default", "true", "\x1b[31m", "a\nb", 10**400, "1e999"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
fields = st.sampled_from([*INPUT_FIELDS, *ALIASES, *sorted(OUTPUT_FIELDS)]) | st.text()
objects = st.dictionaries(fields, values, max_size=6)


@settings(max_examples=200)
@given(values | objects | objects.map(lambda given: {"command": "true"} | given))
@example({"command": "x", "run_at": "9" * 400})
@example({"command": "x", "run_at": "0001-01-01"})
@example({"command": "x", "run_at": "9999-12-31T23:59:59-23:59"})
def test_any_value_is_a_job_or_is_refused_in_one_clean_line(source: Any) -> None:
    try:
        job, ignored = parse_job(source, DEFAULTS)
    except InvalidInput as error:
        said = str(error)
        assert said
        assert said == clean_line(said)
        return
    assert set(ignored) <= OUTPUT_FIELDS
    check_every_promise(job)


def check_every_promise(job: JobSpec) -> None:
    texts = [job.command] if isinstance(job.command, str) else list(job.command)
    for text in (*texts, job.cwd, *job.env, *job.env.values()):
        assert "\0" not in text
        text.encode()
    assert texts[0].strip()
    assert job.id is None or re.fullmatch(ID, job.id)
    assert re.fullmatch(ID, job.queue)
    assert 0 <= job.max_retries <= 10_000
    assert type(job.max_retries) is type(job.priority) is int
    assert 0 <= job.backoff_base < float("inf")
    assert 0 <= job.timeout_seconds < float("inf")
    assert 0 <= job.run_at < 5e9
    assert job.cwd.startswith("/")
    assert 0 <= job.nice <= 19
    assert job.memory_limit == 0 or 1 << 20 <= job.memory_limit <= 1 << 50
    assert job.output_limit == 0 or 4096 <= job.output_limit <= 1 << 40
    assert 0 <= job.cpu_seconds < 1e9
    assert MASK not in job.env.values()


@settings(max_examples=200)
@given(st.text(st.characters()) | st.binary())
def test_any_text_is_json_or_is_refused_in_one_clean_line(text: str | bytes) -> None:
    said = ""
    try:
        parse_json(text)
    except InvalidInput as error:
        said = str(error)
    assert said == clean_line(said)


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
jobs = st.builds(
    Job,
    seq=st.integers(1),
    id=st.from_regex(ID, fullmatch=True),
    command=words.filter(str.strip) | st.lists(words, max_size=3).map(lambda rest: ("prog", *rest)),
    max_retries=st.integers(0, 10_000),
    backoff_base=st.floats(0, 3600),
    priority=st.integers(-1_000_000, 1_000_000),
    run_at=st.integers(0, 4_000_000_000).map(float),
    timeout_seconds=st.floats(0, 1e8),
    cwd=words.map(lambda word: parse({"command": "x", "cwd": f"/{word}"}).cwd),
    env=st.dictionaries(st.from_regex("[A-Z]{1,5}", fullmatch=True), words, max_size=3),
    queue=st.from_regex(ID, fullmatch=True),
    state=st.sampled_from(State),
    attempts=st.integers(0, 100),
    crashes=st.integers(0, 100),
    runs=st.integers(0, 100),
    created_at=st.integers(0, 4_000_000_000).map(float),
    updated_at=st.integers(0, 4_000_000_000).map(float),
    started_at=st.none() | st.integers(0, 4_000_000_000).map(float),
    finished_at=st.none() | st.integers(0, 4_000_000_000).map(float),
    schedule=st.none() | st.just("nightly"),
    scheduled_at=st.none() | st.integers(0, 4_000_000_000).map(float),
    exit_code=st.none() | st.integers(0, 255),
    last_error=st.none() | words,
    worker=st.none() | words,
    nice=st.integers(0, 19),
    memory_limit=st.just(0) | st.integers(1 << 20, 1 << 50),
    cpu_seconds=st.integers(0, 100_000),
    output_limit=st.just(0) | st.integers(4096, 1 << 40),
    key=st.none() | st.just("a key"),
    unique=st.none(),
    unique_until=st.just("end"),
    unique_for=st.just(0),
    parents=st.dictionaries(
        st.sampled_from(["after", "after_any", "after_failed"]),
        st.sampled_from([("a",), ("a", "b.c")]),
    ),
    on_parent_failure=st.sampled_from(["cancel", "hold"]),
    cause=st.none() | st.just("p"),
    held_at=st.none() | st.just(5.0),
    secrets=st.dictionaries(st.sampled_from(["S1", "_s"]), st.just("file:/run/s")),
    progress=st.none() | st.floats(0, 100),
    progress_text=st.none() | st.just("loading"),
    stdin=st.none() | words,
    result=st.none() | words,
)
jobs = st.builds(
    lambda job, unique: job._replace(**unique),
    jobs,
    st.sampled_from(
        [
            {},
            {"unique": "u"},
            {"unique": "u", "unique_until": "start"},
            {"unique": "u", "unique_for": 2.5},
        ]
    ),
)


def given_fields(job: Job) -> dict[str, Any]:
    """The input fields of a job, as a spec has them."""
    parents = {kind: job.parents.get(kind, ()) for kind in ("after", "after_any", "after_failed")}
    others = set(INPUT_FIELDS) - {"hold", *parents}
    return {name: getattr(job, name) for name in others} | parents | {"hold": job.held}


@given(jobs)
def test_what_list_prints_can_be_enqueued_elsewhere(job: Job) -> None:
    printed = json.loads(json.dumps(job.to_json(show_env=True)))
    spec, ignored = parse_job(printed, DEFAULTS)
    assert {name: getattr(spec, name) for name in INPUT_FIELDS} == given_fields(job)
    assert set(ignored) == set(printed) - set(INPUT_FIELDS)
    assert set(ignored) <= OUTPUT_FIELDS, "none is refused as unknown"


def test_values_of_env_are_masked_and_never_taken_for_the_real_ones() -> None:
    job = parse({"command": "true", "env": {"TOKEN": "s3cret"}})
    fields = {field: getattr(job, field) for field in INPUT_FIELDS if field in Job._fields}
    stored = Job(
        **fields | {"id": "x"},
        seq=1,
        state=State.PENDING,
        attempts=0,
        crashes=0,
        runs=0,
        created_at=NOW,
        updated_at=NOW,
        started_at=None,
        finished_at=None,
        exit_code=None,
        last_error=None,
        worker=None,
    )
    assert stored.to_json()["env"] == {"TOKEN": MASK}
    assert "s3cret" not in json.dumps(stored.to_json())
    assert "env TOKEN is masked" in refusal(stored.to_json())


@pytest.mark.parametrize(
    ("given", "limit"), [("512MiB", 512 << 20), ("1.5G", 3 << 29), (1 << 20, 1 << 20), ("0", 0)]
)
def test_sizes_are_bytes_or_text(given: Any, limit: int) -> None:
    assert parse({"command": "true", "memory_limit": given}).memory_limit == limit


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nice", -1),
        ("nice", 20),
        ("nice", 1.5),
        ("memory_limit", 1000),
        ("memory_limit", -1),
        ("memory_limit", True),
        ("memory_limit", "much"),
        ("memory_limit", [1]),
        ("memory_limit", float("inf")),
        ("memory_limit", float("nan")),
        ("memory_limit", 10**400),
        ("cpu_seconds", -1),
        ("cpu_seconds", 0.5),
        ("output_limit", 4095),
        ("output_limit", 4096.5),
    ],
)
def test_limits_that_cannot_be_set(field: str, value: Any) -> None:
    assert field in refusal({"command": "true", field: value})


def test_times_are_printed_to_the_millisecond() -> None:
    moment = 1789948800.1239
    printed = format_time(parse({"command": "true", "run_at": moment}).run_at)
    assert printed == "2026-09-21T00:00:00.123Z"
    assert parse({"command": "true", "run_at": printed}).run_at == pytest.approx(moment, abs=0.001)


# -- for forms ------------------------------------------------------------------------


def test_one_field_can_be_checked_alone() -> None:
    check_field("priority", 5, DEFAULTS)
    with pytest.raises(InvalidInput, match="priority must be a whole number"):
        check_field("priority", 0.5, DEFAULTS)


def test_queue_names() -> None:
    assert check_queue("mail.high") == "mail.high"
    for bad in ("", "a b", None, 3, "\x1b"):
        with pytest.raises(InvalidInput, match="is not allowed"):
            check_queue(bad)


def test_specs_are_values() -> None:
    spec = parse("true")
    assert spec._replace(priority=1) != spec
    assert parse("true") == spec
