"""Configuration: spellings, ranges, and which layer wins."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain.config import (
    KEYS,
    MAX_SECONDS,
    canonical,
    env_name,
    layers,
    parse_value,
    settings,
    show_value,
)
from queuectl_core.domain.errors import InvalidInput, NotFound
from queuectl_core.domain.text import clean_line

CONTRACT: dict[str, Any] = {
    "max-retries": 3,
    "backoff-base": 2,
    "backoff-max": 3600,
    "backoff-jitter": 0,
    "timeout": 0,
    "kill-grace": 10,
    "lease": 30,
    "max-crashes": 3,
    "output-limit": 10 * 1024 * 1024,
    "shell": "/bin/sh",
    "keep-completed": 0,
    "keep-events": 2592000,
    "log-level": "info",
}


def test_the_keys_and_defaults_of_the_contract() -> None:
    assert {name: key.default for name, key in KEYS.items()} == CONTRACT
    assert all(key.help for key in KEYS.values())


@pytest.mark.parametrize("name", sorted(KEYS))
def test_every_spelling_is_the_same_key(name: str) -> None:
    low = name.replace("-", "_")
    for spelling in (name, low, f"default-{name}", f"default_{low}", name.upper(), f" {low} "):
        assert canonical(spelling) == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("max-retry", "did you mean max-retries?"),
        ("MAX_RETRYS", "did you mean max-retries?"),
        ("zzz", "use one of: max-retries, "),
        ("", "use one of"),
        ("default-", "use one of"),
        ("\x1b[31m", r"'\x1b[31m'"),
    ],
)
def test_an_unknown_key_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(NotFound) as caught:
        canonical(name)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("max-retries", "0", 0),
        ("max-retries", " +5 ", 5),
        ("max-retries", "10000", 10_000),
        ("backoff-base", "1.5", 1.5),
        ("backoff-base", "0", 0.0),
        ("backoff-max", "2h", 7200.0),
        ("backoff-jitter", "1", 1.0),
        ("timeout", "1h30m", 5400.0),
        ("timeout", "90", 90.0),
        ("kill-grace", "500ms", 0.5),
        ("lease", "2", 2.0),
        ("lease", "60s", 60.0),
        ("max-crashes", "1", 1),
        ("output-limit", "4KiB", 4096),
        ("output-limit", "1.5MB", 3 << 19),
        ("output-limit", "10 m", 10 << 20),
        ("output-limit", "8192", 8192),
        ("shell", "/bin/bash", "/bin/bash"),
        ("log-level", "DEBUG", "debug"),
    ],
)
def test_values_that_are_taken(key: str, text: str, value: Any) -> None:
    assert parse_value(key, text) == value
    assert type(parse_value(key, text)) is type(KEYS[key].default)


TEN_YEARS = 10 * 365 * 86400


@pytest.mark.parametrize(
    ("key", "low", "high", "step"),
    [
        ("max-retries", 0, 10_000, 1),
        ("backoff-base", 0, 3600, 0.001),
        ("backoff-max", 0, TEN_YEARS, 1),
        ("backoff-jitter", 0, 1, 0.001),
        ("timeout", 0, TEN_YEARS, 1),
        ("kill-grace", 0, 3600, 0.001),
        ("lease", 2, 60, 0.001),
        ("max-crashes", 1, 1000, 1),
        ("output-limit", 4096, 1 << 40, 1),
        ("keep-completed", 0, TEN_YEARS, 1),
        ("keep-events", 0, TEN_YEARS, 1),
    ],
)
def test_the_edges_of_each_range(key: str, low: float, high: float, step: float) -> None:
    for value in (low, low + step, high - step, high):
        assert parse_value(key, str(value)) == value
    for value in (low - step, high + step):
        with pytest.raises(InvalidInput):
            parse_value(key, str(value))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("max-retries", "-1"),
        ("max-retries", "10001"),
        ("max-retries", "1.5"),
        ("max-retries", "1_0"),
        ("max-retries", ""),
        ("max-retries", "9" * 5000),
        ("backoff-base", "nan"),
        ("backoff-base", "inf"),
        ("backoff-base", "-1"),
        ("backoff-base", "1_0"),
        ("backoff-jitter", "1.1"),
        ("timeout", "-5"),
        ("timeout", "5 parsecs"),
        ("timeout", "11000000000"),
        ("kill-grace", "2h"),
        ("lease", "1"),
        ("lease", "61"),
        ("max-crashes", "0"),
        ("output-limit", "1KiB"),
        ("output-limit", "2TiB"),
        ("output-limit", "-1"),
        ("shell", "bash"),
        ("shell", "/bin/sh -e"),
        ("shell", "/bin/\0sh"),
        ("log-level", "loud"),
        ("log-level", "\x1b[31m"),
    ],
)
def test_values_that_are_refused(key: str, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_value(key, text)
    said = str(caught.value)
    assert said.startswith(f"{key}: ")
    assert said == clean_line(said)
    assert len(said) < 200


@given(st.sampled_from(sorted(KEYS)), st.text(st.characters()) | st.from_regex(r"[0-9.]+[a-z]*"))
def test_any_text_is_a_value_or_is_refused(key: str, text: str) -> None:
    try:
        value = parse_value(key, text)
    except InvalidInput as error:
        said = str(error)
    else:
        assert parse_value(key, show_value(value)) == pytest.approx(value, abs=1e-9)
        return
    assert said == clean_line(said)


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_default_can_be_written_as_it_is_shown(key: str) -> None:
    assert parse_value(key, show_value(KEYS[key].default)) == KEYS[key].default


@given(st.floats(0, MAX_SECONDS))
def test_a_stored_number_is_the_number_that_was_set(seconds: float) -> None:
    assert parse_value("timeout", show_value(seconds)) == pytest.approx(seconds, abs=1e-9)


def test_the_environment_is_over_the_store_is_over_the_default() -> None:
    found = layers({"max-retries": "5", "lease": "40"}, {"QUEUECTL_MAX_RETRIES": "7"})
    assert (found["max-retries"].value, found["max-retries"].source) == (7, "env")
    assert (found["lease"].value, found["lease"].source) == (40.0, "store")
    assert (found["timeout"].value, found["timeout"].source) == (0.0, "default")
    assert list(found) == list(KEYS)
    assert found["lease"].to_json() == {"key": "lease", "value": 40.0, "source": "store"}


def test_an_empty_variable_is_not_set() -> None:
    assert layers({}, {"QUEUECTL_LEASE": ""})["lease"].source == "default"


def test_a_bad_variable_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidInput) as caught:
        layers({}, {"QUEUECTL_MAX_RETRIES": "three"})
    assert str(caught.value).startswith("QUEUECTL_MAX_RETRIES: 'three' is not a whole number")


def test_a_stored_value_of_another_version_stops_nothing() -> None:
    found = layers({"lease": "soon", "no-such-key": "1"}, {})
    assert (found["lease"].value, found["lease"].source) == (30.0, "default")


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_has_its_variable_and_its_setting(key: str) -> None:
    variable = env_name(key)
    assert variable == f"QUEUECTL_{key.upper().replace('-', '_')}"
    shown = show_value(KEYS[key].default)
    assert getattr(settings({}, {variable: shown}), key.replace("-", "_")) == KEYS[key].default
