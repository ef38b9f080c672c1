"""Mutants of the ``.sql`` files, for both dialects.

The text is read as words, not parsed: what matters is which words are the conditions of a
statement. Most mutants are valid SQL. One that is not is found by the first test that sends it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .mutant import Mutant

WORDS = re.compile(
    r"""(?P<include> --[ ]include:[^\n]* )
      | (?P<skip> \s+ | --[^\n]* )
      | (?P<text> '(?:[^']|'')*' | "[^"]*" | \$\w*\$ )
      | (?P<value> ::\w+(?:\[\])? | :\w+ | \$\d+ )
      | (?P<number> \d+(?:\.\d+)? )
      | (?P<word> [A-Za-z_]\w* )
      | (?P<sign> <> | <= | >= | != | := | => | \|\| | ->> | -> | @> | <@ | . )""",
    re.VERBOSE | re.DOTALL,
)

CONDITIONS = {"WHERE", "ON", "HAVING", "WHEN"}
"""The clauses that are one condition."""
CLAUSES = {
    *(
        "SELECT",
        "FROM",
        "VALUES",
        "GROUP",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "RETURNING",
        "UNION",
        "JOIN",
    ),
    *("EXCEPT", "INTERSECT", "WINDOW", "SET", "THEN", "ELSE", "INSERT", "UPDATE", "DELETE", "DO"),
    *("CONFLICT", "LEFT", "INNER", "CROSS", "FOR", "RAISE", "CREATE", "ALTER", "PRAGMA", "WITH"),
    *CONDITIONS,
}
"""Words that begin another part of a statement."""
NO_OPERAND = CLAUSES | {"AND", "OR", "NOT", "BETWEEN", "IN", "BY", "CASE", "IS", "LIKE"}
COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "=": "<>", "<>": "=", "!=": "="}
FUNCTIONS = {"MIN": "max", "MAX": "min", "LEAST": "greatest", "GREATEST": "least"}
TRUTH = {"TRUE": "false", "FALSE": "true"}
SIGNS = {"+": "-", "-": "+"}

Change = tuple[int, int, str]
"""What is replaced, from and to which character, and by what."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word or sign. ``group`` is the bracket or CASE it is in, ``clause`` the part of the
    statement."""

    kind: str
    text: str
    start: int
    end: int
    group: int
    clause: str

    @property
    def upper(self) -> str:
        """As it is compared: keywords are written in either case."""
        return self.text.upper() if self.kind == "word" else self.text


def words(sql: str) -> list[Word]:
    """The words of ``sql``, without comments and white space."""
    found: list[Word] = []
    groups, clauses, made = [0], [""], 0
    for match in WORDS.finditer(sql):
        kind, text = str(match.lastgroup), match.group()
        if kind == "skip":
            continue
        upper = text.upper() if kind == "word" else text
        before = found[-1].upper if found else ""
        if upper == ")" or (upper == "END" and kind == "word"):
            if len(groups) > 1:
                groups.pop()
                clauses.pop()
        elif upper == ";":
            clauses[-1] = ""
        elif upper == "ON" and clauses[-1] != "JOIN":
            clauses[-1] = "TABLE"  # CREATE INDEX … ON, ON CONFLICT
        elif upper in CLAUSES and kind == "word" and before != "OR":
            clauses[-1] = upper
        found.append(Word(kind, text, match.start(), match.end(), groups[-1], clauses[-1]))
        if upper == "(" or (kind == "word" and upper in ("CASE", "BEGIN")):
            made += 1
            groups.append(made)
            clauses.append("" if upper == "BEGIN" else "VALUE")
    return found


class Reader:
    """The changes that can be made to one text."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.words = words(sql)

    def changes(self) -> Iterator[Change]:
        """All of them, in the order of the text."""
        makers: tuple[Callable[[int, Word], Iterator[Change]], ...] = (
            self._conditions,
            self._signs,
            self._literals,
            self._negations,
            self._keywords,
            self._pairs,
            self._orders,
            self._lists,
        )
        for index, word in enumerate(self.words):
            for make in makers:
                yield from make(index, word)

    def _at(self, index: int) -> Word:
        blank = Word("", "", len(self.sql), len(self.sql), -1, "")
        return self.words[index] if 0 <= index < len(self.words) else blank

    def _next(self, index: int) -> str:
        return self._at(index + 1).upper

    def _before(self, index: int) -> str:
        return self._at(index - 1).upper

    def _span(self, index: int, stops: set[str]) -> tuple[int, int, Word] | None:
        """From where to where the words go that begin at ``index``, up to one of ``stops`` in the
        same brackets, or to where these end; and the word that stopped them."""
        first, last = self._at(index), None
        between = False
        depth = 0
        for at in range(index, len(self.words)):
            word = self.words[at]
            closes = word.upper == ")" or (word.kind == "word" and word.upper == "END")
            depth -= closes
            if depth < 0:
                break
            if depth == 0 and not closes:
                if word.upper == "AND" and between:
                    between = False
                elif word.upper == ";" or (word.upper in stops and word.kind != "text"):
                    break
                between = between or word.upper == "BETWEEN"
            depth += word.upper == "(" or (word.kind == "word" and word.upper in ("CASE", "BEGIN"))
            last = word
        else:
            at = len(self.words)
        return (first.start, last.end, self._at(at)) if last else None

    def _conditions(self, index: int, word: Word) -> Iterator[Change]:
        """AND and OR are swapped, and each condition is dropped."""
        ends = {"AND", "OR", ",", *CLAUSES} - {"LEFT"}  # left(text, 5)
        if word.upper in ("AND", "OR") and word.kind == "word" and not self._no_operator(index):
            yield word.start, word.end, "OR" if word.upper == "AND" else "AND"
            if span := self._span(index + 1, ends):
                yield word.start, span[1], ""
        elif (word.kind == "word" and word.upper in CONDITIONS and word.clause == word.upper) or (
            word.upper == "("
        ):
            span = self._span(index + 1, ends)
            if span and span[2].upper in ("AND", "OR"):
                yield span[0], span[2].end, ""
            elif span and word.upper != "(" and re.search(r"\W", self.sql[span[0] : span[1]]):
                yield span[0], span[1], "true"

    def _no_operator(self, index: int) -> bool:
        """Whether this AND or OR belongs to BETWEEN, CREATE, INSERT or UPDATE."""
        word = self.words[index]
        if word.upper == "OR":
            return self._before(index) in ("CREATE", "INSERT", "UPDATE")
        for at in range(index - 1, -1, -1):
            earlier = self.words[at]
            if earlier.group == word.group and earlier.kind == "word":
                if earlier.upper == "BETWEEN":
                    return True
                if earlier.upper in ("AND", "OR", *CLAUSES):
                    return False
        return False

    def _signs(self, index: int, word: Word) -> Iterator[Change]:
        if word.kind != "sign":
            return
        if word.text in COMPARISONS and word.clause not in ("SET", "PRAGMA", "ALTER"):
            yield word.start, word.end, COMPARISONS[word.text]
        if word.text in SIGNS:
            before = self._at(index - 1)
            if before.text == ")" or (before.kind != "sign" and before.upper not in NO_OPERAND):
                yield word.start, word.end, SIGNS[word.text]

    def _literals(self, index: int, word: Word) -> Iterator[Change]:
        """Numbers, states and the like become others."""
        if word.kind == "number":
            if (self._before(index), self._next(index)) == ("SELECT", "FROM"):
                return  # in EXISTS
            if word.text in ("0", "1") and word.clause != "LIMIT":
                yield word.start, word.end, {"0": "1", "1": "0"}[word.text]
            else:
                yield word.start, word.end, str(float(word.text) + 1).removesuffix(".0")
        elif word.kind == "text" and re.fullmatch(r"'\w+'", word.text):
            yield word.start, word.end, f"'{word.text[1:-1]}_'"
        elif word.kind == "word" and word.upper in TRUTH:
            yield word.start, word.end, TRUTH[word.upper]

    def _negations(self, index: int, word: Word) -> Iterator[Change]:
        if word.kind != "word":
            return
        before, after = self._before(index), self._next(index)
        if word.upper == "IS":
            if after == "NOT":
                yield word.end, self._at(index + 1).end, ""
            else:
                yield word.end, word.end, " NOT"
        elif word.upper == "NOT":
            if before not in ("IS", "IF") and after not in ("NULL", "MATERIALIZED"):
                yield word.start, self._at(index + 1).start, ""
        elif (word.upper == "EXISTS" and before not in ("NOT", "IF")) or (
            word.upper == "IN" and before != "NOT" and word.clause in CONDITIONS | {"VALUE"}
        ):
            yield word.start, word.start, "NOT "

    def _keywords(self, index: int, word: Word) -> Iterator[Change]:
        """Words that change which rows there are, or that keep others from them, are dropped."""
        if word.kind != "word":
            return
        after = self._next(index)
        if word.upper in FUNCTIONS and after == "(":
            yield word.start, word.end, FUNCTIONS[word.upper]
        elif word.upper == "DISTINCT" and self._before(index) not in ("IS", "NOT"):
            yield word.start, self._at(index + 1).start, ""
        elif word.upper == "UNION":
            if after == "ALL":
                yield word.end, self._at(index + 1).end, ""
            else:
                yield word.end, word.end, " ALL"
        elif word.upper in ("LIMIT", "OFFSET") and (span := self._span(index + 1, CLAUSES | {","})):
            yield word.start, span[1], ""

    def _pairs(self, index: int, word: Word) -> Iterator[Change]:
        """Likewise those that come in pairs."""
        after = self._next(index)
        if (word.upper, after) in (("SKIP", "LOCKED"), ("OR", "IGNORE")):
            yield word.start, self._at(index + 1).end, ""
        elif (word.upper, after) == ("LEFT", "JOIN"):
            yield word.start, self._at(index + 1).start, ""
        elif word.upper == "FOR" and after in ("UPDATE", "SHARE", "KEY", "NO"):
            if span := self._span(index + 2, {",", "LIMIT", "RETURNING"}):
                yield word.start, span[1], ""
            else:
                yield word.start, self._at(index + 1).end, ""

    def _orders(self, index: int, word: Word) -> Iterator[Change]:
        """What is sorted upwards is sorted downwards, and the other way round."""
        if word.kind != "word":
            return
        if word.upper in ("ASC", "DESC"):
            yield word.start, word.end, "ASC" if word.upper == "DESC" else "DESC"
        elif word.upper == "BY" and self._before(index) == "ORDER":
            stops = CLAUSES | {",", "ASC", "DESC", "NULLS", "ROWS", "RANGE"}
            at = index + 1
            while span := self._span(at, stops):
                if span[2].upper not in ("ASC", "DESC", "NULLS"):
                    yield span[1], span[1], " DESC"
                while self._at(at).start < span[1] or self._at(at).upper in ("ASC", "DESC"):
                    at += 1
                if self._at(at).text != ",":
                    break
                at += 1

    def _lists(self, index: int, word: Word) -> Iterator[Change]:
        """An assignment of several, and a column of several in USING, is dropped."""
        if word.kind != "word":
            return
        if word.upper == "SET" and word.clause == "SET":
            yield from self._parts(index + 1)
        elif word.upper == "USING" and self._next(index) == "(":
            yield from self._parts(index + 2)

    def _parts(self, at: int) -> Iterator[Change]:
        spans = []
        while span := self._span(at, CLAUSES | {","}):
            spans.append(span)
            while self._at(at).start < span[1]:
                at += 1
            if span[2].text != ",":
                break
            at += 1
        for number, (start, end, _) in enumerate(spans if len(spans) > 1 else ()):
            if number:
                yield spans[number - 1][1], end, ""
            else:
                yield start, spans[1][0], ""


def described(old: str, new: str) -> str:
    """A change in words."""
    before, after = " ".join(old.split()), new.strip()
    if not after:
        return f"drop {before}"
    return f"{before} → {after}" if before else f"insert {after}"


def mutants(path: str, sql: str) -> list[Mutant]:
    """All mutants of a file, by line."""
    made: dict[str, Mutant] = {}
    for start, end, text in Reader(sql).changes():
        after = sql[:start] + text + sql[end:]
        line = sql.count("\n", 0, start) + 1
        made.setdefault(after, Mutant(path, line, described(sql[start:end], text), sql, after))
    return sorted(made.values(), key=lambda one: one.line)
