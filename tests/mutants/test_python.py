"""The faults that are made in Python."""

from __future__ import annotations

import pytest

pytest.importorskip("mutmut", reason="make mutants installs it")

from mutants.python import mutants


def made(code: str) -> set[str]:
    return {mutant.after for mutant in mutants("a.py", code)}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = a < b", {"x = a <= b"}),
        ("a is b", {"a is not b"}),
        ("a and b", {"a or b", "a", "b"}),
        ("f(a, b=c)", {"pass", "f(a)"}),
        ("if a:\n    b\n", {"if not (a):\n    b\n"}),
        ("if not a:\n    b\n", {"if a:\n    b\n"}),
        ("a.b = c", {"pass"}),
        ("x = 1", {"x = 2", "x = 0"}),
        ("x = 30.0", {"x = 0.0"}),
        ("x = True", {"x = False"}),
        ('x = "key"', {'x = "key_"'}),
        ("for a in b:\n    break\n", {"for a in b:\n    pass\n", "for a in b:\n    return\n"}),
    ],
)
def test_each_kind_of_fault_is_made(code: str, expected: set[str]) -> None:
    assert made(code) == expected


@pytest.mark.parametrize(
    "code",
    [
        '"""word"""\n',
        "'word'\n",
        'x = "a sentence"',
        '__all__ = ["a"]',
        "def f(a: Literal[1]) -> Literal['b']: ...",
        "if TYPE_CHECKING:\n    import a\n",
        'T = TypeVar("T")',
        "@decorated(1)\ndef f(): ...",
    ],
)
def test_what_nobody_would_notice_stays(code: str) -> None:
    assert made(code) == set()


def test_a_log_text_stays_but_the_call_is_left_out() -> None:
    assert made('log.info("word", 1)') <= {"pass"}


def test_only_one_line_is_asked_for() -> None:
    found = mutants("a.py", "x = 1\ny = True\n", 2)
    assert [(mutant.line, mutant.what) for mutant in found] == [(2, "True → False")]
