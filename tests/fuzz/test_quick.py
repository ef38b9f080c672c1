"""A command line that is read without click says the same to click.

The lines are made from the declarations, so a new verb or option is tested as soon as it is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from queuectl_tui.cli import command
from queuectl_tui.cli.declare import GLOBALS, Noun, Option, Subcommands, Verb
from queuectl_tui.cli.main import ROOT, VERBS
from queuectl_tui.cli.quick import read
from queuectl_tui.cli.session import Session

from ..cli.test_help_examples import LINES, Words

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "400"))
LEFT_TO_CLICK = {"completion", "tui"}
"""Verbs with values that click must judge."""


def verbs(table: Subcommands, path: Words = ()) -> Iterator[tuple[Words, Verb]]:
    for name, (place, _) in table.items():
        module, attribute = place.split(":")
        found = getattr(import_module(f"queuectl_tui.cli.{module}"), attribute)
        if isinstance(found, Noun):
            yield from verbs(found.table, (*path, name))
        else:
            yield (*path, name), found


ALL = list(verbs(VERBS))
VALUES = (
    *("a", "1", "-1", "007", "1.5", "", "-", "--", "-x", "a=b", "=", "dead,failed", "٣", "9" * 30),
    *("\udcff", "{}", "[", "@f", "a b", "--json", "-q", "--store"),
)


def state(session: Session) -> dict[str, Any]:
    out, err = session.out, session.err
    said = (out.color, err.color, err.quiet, err.debug, err.path)
    return {"store": session.store, "json": session.json, "verbose": session.verbose, "err": said}


def by_click(args: list[str], patch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """The verb, its values and the global options, as click reads them."""
    found: list[tuple[Any, ...]] = []

    def keep(self: command.ClickVerb, **values: Any) -> None:
        session = click.get_current_context().find_object(Session)
        assert session is not None
        session.err.path = click.get_current_context().command_path
        found.append((self.found, values, state(session)))

    patch.setattr(command.ClickVerb, "_run", keep)
    command.run(Session(), ROOT, args)
    assert found, "click asked for help, or took it for another verb"
    return found[0]


def compare(args: list[str]) -> bool:
    """Whether the line was read without click; then click must agree."""
    quick = read(args, VERBS)
    if quick is None:
        return False
    session = Session()
    session.err.path = f"queuectl {quick.path}"
    for name, value in quick.shared:
        session.take(name, value)
    with pytest.MonkeyPatch.context() as patch:
        verb, values, found = by_click(args, patch)
    assert (quick.verb, quick.values, state(session)) == (verb, values, found), args
    return True


@st.composite
def line(draw: st.DrawFn) -> list[str]:
    """Words that a verb may be given: its options in every form, values, words of others."""
    path, verb = draw(st.sampled_from(ALL))
    options = [param for param in (*verb.params, *GLOBALS) if isinstance(param, Option)]
    values = st.sampled_from(VALUES)

    def one(at: Option) -> list[str]:
        name = draw(st.sampled_from(at.names))
        if at.is_flag:
            return [name]
        value = draw(values)
        return draw(st.sampled_from([[name, value], [f"{name}={value}"], [f"{name}{value}"]]))

    def part() -> list[str]:
        kind = draw(st.integers(0, 9))
        if kind < 6:
            return one(draw(st.sampled_from(options)))
        return [draw(values)]

    words: list[str] = []
    for step in path:
        if draw(st.integers(0, 5)) == 0:
            words += one(draw(st.sampled_from(GLOBALS)))
        words.append(step)
    for _ in range(draw(st.integers(0, 5))):
        words += part()
    return words


@settings(max_examples=EXAMPLES)
@given(line())
@example(["--store", "a", "worker", "--store", "b", "list", "--store", "c", "--json"])
@example(["enqueue", "-p", "-5", "--", "a", "--", "b", "--json"])
@example(["wait", "--", "a", "--json"])
@example(["list", "--limit", "3", "--limit=4"])
@example(["enqueue", "--command", "--", "x"])
def test_click_reads_the_same(args: list[str]) -> None:
    event("without click" if compare(args) else "by click")


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_the_examples_of_help_need_no_click(words: Words) -> None:
    left = words[0] in LEFT_TO_CLICK and len(words) > 1
    assert compare(list(words)) is not left


def test_what_is_not_plain_is_left_to_click() -> None:
    for words in (
        *("", "--help", "status -h", "status --version", "statu", "status --wacth", "worker"),
        *("show", "show a b", "list --limit x", "list --limit -1", "status -wq", "enqueue -p5 a"),
        *("prune", "workers", "worker:start", "status x", "enqueue --prio 3 a", "config get a b"),
    ):
        assert read(words.split(), VERBS) is None, words
