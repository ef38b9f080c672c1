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
