"""Making untrusted text safe to show. Only this module cleans text.

Ids, commands, errors and output come from users and jobs. Before such text reaches a terminal, it
is cleaned here, so that it cannot move the cursor, set the clipboard, change the order of what a
person reads, or look like markup. An unsafe character is shown as its escape (``\\x1b``) and never
dropped, so that two different texts do not look the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# C0 and C1 controls, DEL, the bidi controls (Trojan Source, CVE-2021-42574), line and
# paragraph separators, zero-width and tag characters, lone surrogates, noncharacters.
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\uffff\ud800-\udfff\U000e0000-\U000e0fff"
)
# Patterns are compiled when they are first used. Most verbs show only plain text, and compiling a
# pattern takes as long as importing a module.
_LINE = f"[{_UNSAFE}]"
_BLOCK = f"(?![\n\t])[{_UNSAFE}]"
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    code = ord(char)
    if char in _NAMED:
        return _NAMED[char]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def clean_line(text: str, limit: int | None = None) -> str:
    """``text`` on one line, with every unsafe character as an escape.

    A text longer than ``limit`` (characters, at least 1) is cut and ends with ``…``.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isascii() and text.isprintable():
        return text
    cleaned = re.sub(_LINE, _escape, text)
    if limit is not None and len(cleaned) > limit:
        cleaned = cleaned[: limit - 1] + "…"
    return cleaned


def clean_block(text: str) -> str:
    """Like :func:`clean_line`, but keeps newlines and tabs.

    A carriage return starts a new line, so that progress bars stay readable.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(_BLOCK, _escape, text)


def clean_bytes(raw: bytes) -> str:
    """A job's output for display. Bytes that are not UTF-8 are shown as ``\\xNN``."""
    return clean_block(raw.decode("utf-8", "backslashreplace"))


def cases(char: str) -> str:
    """``char`` in all its cases."""
    found = {char, char.lower(), char.upper(), char.casefold()}
    found |= {one.lower() for one in found} | {one.upper() for one in found}
    return "".join(sorted(one for one in found if len(one) == 1))


def has_foreign_case(text: str) -> bool:
    """Whether ``text`` has a letter with upper and lower case that is not ASCII. Databases ignore
    the case of ASCII letters only."""
    return not text.isascii() and any(len(cases(char)) > 1 for char in text if not char.isascii())


def any_case(text: str) -> str:
    """A regular expression for ``text`` in any case, for Python and PostgreSQL."""
    return "".join(f"[{cases(c)}]" if len(cases(c)) > 1 else re.escape(c) for c in text)


def contains(text: str, wanted: str) -> bool:
    """Whether ``wanted`` is in ``text`` in any case, as in a search of jobs."""
    return re.search(any_case(wanted), text) is not None


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint for a message: the known word that ``word`` misspells, or all known words."""
    if close := closest(word, known):
        return f"did you mean {close}?"
    return f"use one of: {', '.join(known)}"


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` is a misspelling or an abbreviation of; None if it is neither.

    A misspelling has at most one edit for every four letters, or one edit in a short word. A worse
    guess may do harm: ``restart`` is not ``stats``.
    """
    # Cut the word: it may have megabytes, and the time of a comparison grows with its length.
    word = word[:LONGEST_WORD].lower()
    if len(word) < SHORTEST_WORD:
        return None
    names = list(known)
    edits = {name: edits_between(word, name.lower()) for name in names}
    close = [name for name in names if edits[name] <= max(1, len(word) // 4)]
    if close:
        return min(close, key=edits.__getitem__)
    short = [name for name in names if _abbreviates(word, name)]
    return short[0] if len(short) == 1 else None


LONGEST_WORD = 100
SHORTEST_WORD = 3
"""Letters. Nearly everything is one edit away from a shorter word."""


def edits_between(one: str, other: str) -> int:
    """How many letters must be added, dropped, replaced, or swapped with their neighbour (the
    distance of Damerau and Levenshtein, with each letter edited once)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _abbreviates(word: str, name: str) -> bool:
    """Whether ``word`` is ``name`` without some letters, but with its first letter."""
    letters = iter(name)
    return word[0] == name[0] and all(letter in letters for letter in word)


def signal_name(number: int) -> str:
    """``SIGKILL``; ``signal 35`` for one without a name (a real-time signal)."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
