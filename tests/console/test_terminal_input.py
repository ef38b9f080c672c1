"""The bytes of a terminal become the same keys for every way to cut them into packets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_tui.console.terminal_input import ESCAPE, ESCAPE_PATIENCE, PATIENCE, InputDecoder


def pieces(*packets: bytes, gap: float = 0.0) -> list[str]:
    """What is decoded from these packets, and when no more come. ``gap``: seconds between two."""
    source, now, found = InputDecoder(), 100.0, []
    for packet in packets:
        found += source.feed(packet, now)
        now += gap
        found += source.expire(now)
    return found + source.expire(now + PATIENCE * 2)


@pytest.mark.parametrize(
    ("raw", "keys"),
    [
        (b"\x1be", [ESCAPE, "e"]),
        (b"\x1b3\r", [ESCAPE, "3\r"]),
        (b"xyz\x1bj", ["xyz", ESCAPE, "j"]),
        (b"\x1b\x1b", [ESCAPE, ESCAPE]),
        (b"\x1b\x1b[A", [ESCAPE, "\x1b[A"]),
        (b"\x1b[A\x1b/", ["\x1b[A", ESCAPE, "/"]),
        (b"\x1b[200~a\x1bb\x1b[201~\x1bc", ["\x1b[200~a\x1bb\x1b[201~", ESCAPE, "c"]),
        ("\x1bé".encode(), [ESCAPE, "é"]),
    ],
)
def test_escape_and_another_key_in_one_packet_are_two_keys(raw: bytes, keys: list[str]) -> None:
    assert pieces(raw) == keys


def test_escape_alone_is_the_key_after_a_moment() -> None:
    source = InputDecoder()
    assert source.feed(b"\x1b", 0.0) == []
    assert source.expire(ESCAPE_PATIENCE / 2) == []
    assert source.expire(ESCAPE_PATIENCE * 2) == [ESCAPE]


def test_the_rest_of_a_sequence_whose_escape_was_taken_for_the_key_is_no_letters() -> None:
    assert pieces(b"\x1b", b"[1;5D", b"j", gap=ESCAPE_PATIENCE * 2) == [ESCAPE, "j"]


@pytest.mark.parametrize(
    "rest",
    [
        (b"[", b"1;", b"5", b"D"),
        (b"[", b"A"),
        (b"O", b"P"),
        (b"[<0;1", b"2;3", b"M"),
        (b"[M", b"x", b"yD"),
        (b"[?2026", b";2$", b"y"),
    ],
)
def test_nor_is_it_when_it_comes_in_pieces(rest: tuple[bytes, ...]) -> None:
    source = InputDecoder()
    assert source.feed(b"\x1b", 0.0) == []
    assert source.expire(0.2) == [ESCAPE]
    for number, piece in enumerate(rest):
        at = 0.2 + 0.1 * (number + 1)
        assert source.feed(piece, at) == []
        assert source.expire(at + 0.05) == []
    assert source.feed(b"j", 0.6) == ["j"]


@pytest.mark.parametrize("letter", ["j", "k", "e", "r", "w", "x", "l", "c"])
def test_escape_a_bracket_and_a_letter_that_a_person_types_are_three_keys(letter: str) -> None:
    source = InputDecoder()
    assert source.feed(b"\x1b", 0.0) == []
    assert source.expire(0.15) == [ESCAPE]
    assert source.feed(b"[", 0.25) == []
    assert source.feed(letter.encode(), 0.35) == ["[" + letter]


def test_an_answer_of_the_terminal_between_the_pieces_is_no_end_of_them() -> None:
    answer = b"\x1b[1;1R"
    found = pieces(b"\x1b" + answer + b"[", answer, b"1;", b"5" + answer, b"D", b"j", gap=0.01)
    assert found == [answer.decode()] * 3 + ["\x1b[1;5D", "j"]


def test_a_bracket_after_escape_is_a_key_when_nothing_follows() -> None:
    source = InputDecoder()
    source.feed(b"\x1b", 0.0)
    assert source.expire(0.15) == [ESCAPE]
    assert source.feed(b"[", 0.25) == []
    assert source.expire(0.4) == []
    assert source.expire(0.15 + PATIENCE + 0.01) == ["["]
    assert source.feed(b"5", 1.0) == ["5"]


def test_a_bracket_that_was_held_comes_before_what_follows_later() -> None:
    source = InputDecoder()
    source.feed(b"\x1b", 0.0)
    source.expire(0.15)
    assert source.feed(b"[", 0.25) == []
    assert source.feed(b"A", 0.16 + PATIENCE) == ["[A"]


TYPED = st.sampled_from(["\x1b", "\x1b[A", "\x1bOP", "\x1b[1;5D", "e", "/", "é", "\r", "3"])


@given(st.lists(TYPED, max_size=6), st.sets(st.integers(1, 30)))
def test_the_cuts_between_packets_change_nothing(typed: list[str], cuts: set[int]) -> None:
    raw = "".join(typed).encode()
    edges = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]
    packets = [raw[a:b] for a, b in pairwise(edges)]
    assert joined(pieces(*packets)) == joined(pieces(raw))


def joined(found: list[str]) -> list[str]:
    """The same, with the text between two escapes joined."""
    result: list[str] = []
    for piece in found:
        if piece == ESCAPE or not result or result[-1] == ESCAPE:
            result.append(piece)
        else:
            result[-1] += piece
    return result
