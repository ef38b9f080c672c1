"""The faults that are made in SQL."""

from __future__ import annotations

import pytest

from mutants.sql import mutants


def made(sql: str) -> list[str]:
    return [" ".join(mutant.after.split()) for mutant in mutants("a.sql", sql)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a FROM t WHERE b", []),
        ("SELECT a FROM t WHERE b = :c", ["SELECT a FROM t WHERE true", "… WHERE b <> :c"]),
        ("SELECT a FROM t WHERE b < 5", ["… WHERE b <= 5", "… WHERE b < 6"]),
        (
            "SELECT a FROM t WHERE b AND c OR d",
            [
                *("… WHERE c OR d", "… WHERE b OR c OR d", "… WHERE b OR d"),
                *("… WHERE b AND c AND d", "… WHERE b AND c"),
            ],
        ),
        ("SELECT a FROM t WHERE x AND (b OR c)", ["… x AND ( c)", "… x AND (b AND c)"]),
        ("SELECT a FROM t WHERE b BETWEEN 2 AND :d AND e", ["… WHERE b BETWEEN 2 AND :d", "… e"]),
        ("SELECT a FROM t JOIN u ON t.b = u.b", ["… ON true", "… ON t.b <> u.b"]),
        ("SELECT a FROM t JOIN u USING (b, c)", ["… USING (c)", "… USING (b)"]),
        ("SELECT a FROM t LEFT JOIN u USING (b)", ["SELECT a FROM t JOIN u USING (b)"]),
        ("SELECT a FROM t ORDER BY b, c DESC", ["… b DESC, c DESC", "… b, c ASC"]),
        ("SELECT a FROM t ORDER BY b LIMIT 3", ["… ORDER BY b DESC LIMIT 3", "… ORDER BY b"]),
        ("SELECT min(a) FROM t", ["SELECT max(a) FROM t"]),
        ("SELECT DISTINCT a FROM t", ["SELECT a FROM t"]),
        ("SELECT a FROM t UNION ALL SELECT b FROM u", ["SELECT a FROM t UNION SELECT b FROM u"]),
        ("SELECT a IS NULL", ["SELECT a IS NOT NULL"]),
        ("SELECT a IS NOT NULL", ["SELECT a IS NULL"]),
        ("SELECT EXISTS (SELECT 1 FROM t)", ["SELECT NOT EXISTS (SELECT 1 FROM t)"]),
        ("SELECT a FROM t WHERE b IN (1, 4)", ["… b NOT IN (1, 4)", "… (0, 4)", "… (1, 5)"]),
        ("SELECT a FROM t FOR UPDATE OF t SKIP LOCKED", ["… FROM t", "… FOR UPDATE OF t"]),
        ("UPDATE t SET a = 1, b = :c", ["… SET b = :c", "… SET a = 1", "… SET a = 0, b = :c"]),
        ("UPDATE t SET a = a + :n", ["UPDATE t SET a = a - :n"]),
        ("UPDATE t SET a = CASE WHEN b = :c THEN d END", ["… WHEN b <> :c THEN d END"]),
        ("INSERT INTO t VALUES ('dead', true)", ["… ('dead_', true)", "… ('dead', false)"]),
        ("INSERT OR IGNORE INTO t VALUES (:a)", ["INSERT INTO t VALUES (:a)"]),
        ("DELETE FROM t WHERE a AND NOT\n-- include: b\n", ["… WHERE NOT -- include: b"]),
    ],
)
def test_each_kind_of_fault_is_made(sql: str, expected: list[str]) -> None:
    found = made(sql)
    for one in expected:
        assert any(text.endswith(one.removeprefix("… ")) for text in found), found
    assert bool(found) == bool(expected)


@pytest.mark.parametrize(
    "sql",
    [
        "-- a comment AND another = 1\nSELECT a FROM t",
        "CREATE UNIQUE INDEX i ON t (a)",
        "INSERT INTO t VALUES (:a) ON CONFLICT (b) DO NOTHING",
        "SELECT 'more than a word', \"a = b\" FROM t",
        "SELECT a::text[], :b FROM t",
    ],
)
def test_what_is_no_condition_stays(sql: str) -> None:
    assert made(sql) == []


def test_a_mutant_says_where_it_is() -> None:
    found = mutants("a.sql", "-- name: x\nSELECT a FROM t\nWHERE b >\n  :c AND d\n")
    (mutant,) = (one for one in found if one.what == "> → >=")
    assert mutant.line == 3
    assert "-WHERE b >\n+WHERE b >=\n" in mutant.diff()
