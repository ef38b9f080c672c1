"""Nothing that acts on a terminal survives cleaning."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from queuectl_core.domain.text import (
    clean_block,
    clean_bytes,
    clean_line,
    closest,
    edits_between,
    nearest,
)

EVERY_CHARACTER = "".join(map(chr, range(0x110000)))
anything = st.text(st.characters())  # lone surrogates too
nasty = st.text(st.sampled_from("a\\\n\r\t\x1b\x9b\x07\x7f\u202e\u2066\u2028\u200b\ud800[]é"))


def acts_on_a_terminal(char: str) -> bool:
    """By what Unicode says of it, not by our own list."""
    return (
        unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(char)
        in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN")
        or char in "\u200e\u200f\u061c"
    )


def test_no_character_that_acts_on_a_terminal_survives() -> None:
    line, block = clean_line(EVERY_CHARACTER), clean_block(EVERY_CHARACTER)
    unsafe = {char for char in EVERY_CHARACTER if acts_on_a_terminal(char)}
    # Noncharacters and soft format controls of scripts and music move nothing.
    harmless = {char for char in unsafe if unicodedata.category(char) in ("Cf", "Cn")} - set(
        "\u200b\u200c\u200d\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    )
    assert not (unsafe - harmless) & set(line)
    assert not (unsafe - harmless - set("\n\t")) & set(block)


@given(anything | nasty)
@example("\x1b[2J\x1b]52;c;aGk=\x07")
def test_a_line_is_one_line_and_stays_as_it_is(text: str) -> None:
    cleaned = clean_line(text)
    assert "\n" not in cleaned
    assert cleaned.isprintable() or not text.isprintable()
    assert clean_line(cleaned) == cleaned
    cleaned.encode()  # no lone surrogate is left


@given(anything | nasty)
def test_a_block_keeps_its_lines_and_stays_as_it_is(text: str) -> None:
    cleaned = clean_block(text)
    assert clean_block(cleaned) == cleaned
    assert len(cleaned.split("\n")) == len(
        text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    )
    assert "\r" not in cleaned
    assert "\x1b" not in cleaned


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_is_left_alone(text: str) -> None:
    ordinary = "".join(char for char in text if char not in "\ufffc\ufffd")
    assert clean_line(ordinary) == ordinary


@given(anything | nasty, st.integers(1, 50))
def test_a_limit_is_kept(text: str, limit: int) -> None:
    cleaned = clean_line(text, limit)
    assert len(cleaned) <= limit
    if len(clean_line(text)) > limit:
        assert cleaned.endswith("…")


@given(st.binary())
def test_any_bytes_can_be_shown(raw: bytes) -> None:
    cleaned = clean_bytes(raw)
    assert clean_block(cleaned) == cleaned


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("abc\u202edef", r"abc\u202edef"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("[/foo] [@click=x]y", "[/foo] [@click=x]y"),
        ("naïve 日本語 🙂", "naïve 日本語 🙂"),
    ],
)
def test_what_is_shown(raw: str, shown: str) -> None:
    assert clean_line(raw) == shown


def test_bytes_that_are_not_utf8_are_shown_as_such() -> None:
    assert clean_bytes(b"ok \xff\xfe \x1b[2J\r\n\xc3\xa4") == "ok \\xff\\xfe \\x1b[2J\nä"


def test_the_nearest_word() -> None:
    words = ["max-retries", "backoff-base", "timeout"]
    assert nearest("max-retrys", words) == "did you mean max-retries?"
    assert nearest("TIMEOUT ", words) == "did you mean timeout?"
    assert nearest("zzz", words) == "use one of: max-retries, backoff-base, timeout"
    assert nearest("z" * 2_000_000, words).startswith("use one of")


@pytest.mark.parametrize(
    ("word", "close"),
    [
        ("stauts", "status"),
        ("enqeue", "enqueue"),
        ("log", "logs"),
        ("cofnig", "config"),
        ("cfg", "config"),
        ("STATUS", "status"),
        ("completoin", "completion"),
        # Not close enough: one edit for every four letters.
        ("restart", None),
        ("bogus", None),
        ("done", None),
        ("since", None),
        ("stp", None),
        # Nearly everything is close to a word of two letters.
        ("ps", None),
        ("", None),
        # An abbreviation of several is none.
        ("stt", None),
    ],
)
def test_a_guess_is_close_or_there_is_none(word: str, close: str | None) -> None:
    known = ["enqueue", "status", "stats", "state", "logs", "config", "completion", "version"]
    assert closest(word, known) == close


def test_edits() -> None:
    assert edits_between("", "abc") == edits_between("abc", "") == 3
    assert edits_between("abc", "acb") == edits_between("abc", "abcd") == 1
    assert edits_between("restart", "stats") == 4
