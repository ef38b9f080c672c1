"""queuectl accepts the examples that ``--help`` shows."""

from __future__ import annotations

import shlex

import click
import pytest

from queuectl_core.domain.config import KEYS
from queuectl_tui.cli.command import ClickNoun
from queuectl_tui.cli.session import Session

from .test_given_twice import Words, commands, root


def lines() -> list[Words]:
    """The words after ``queuectl`` in each example. An example may call it several times."""
    found: list[list[str]] = []
    for _, command in commands(root()):
        for example in getattr(command, "examples", ()):
            line = shlex.shlex(example, posix=True, punctuation_chars=True)
            line.whitespace_split = True
            inside = False
            for word in line:
                if word == "queuectl":
                    found.append([])
                    inside = True
                elif set(word) <= set("|&;()<>"):
                    inside = False
                elif inside:
                    found[-1].append(word)
    return list(dict.fromkeys(map(tuple, found)))


LINES = lines()


def parsed(command: click.Command, words: list[str], parent: click.Context | None) -> Words:
    """Parse the line and run nothing. Returns the names of the commands."""
    given = {} if parent else {"obj": Session()}
    context = command.make_context(command.name, words, parent, **given)
    if not isinstance(command, ClickNoun):
        return (command.name or "",)
    _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    assert found is not None
    return (command.name or "", *parsed(found, rest, context))


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_an_example_is_taken(words: Words) -> None:
    names = parsed(root(), list(words), None)
    every = any(word.startswith("--") and word != "--cascade" for word in words)
    if names[-1] == "purge" or (names[1:] == ("remove",) and every):
        assert "-y" in words, "in a script it would be refused"
    if names[1:] == ("config", "get") or names[1:] == ("config", "set"):
        key = words[words.index(names[-1]) + 1]
        assert key in KEYS, "config list would not show it"


def test_there_are_examples() -> None:
    assert len(LINES) > 50
    assert {"enqueue", "worker", "dlq", "config"} <= {word for words in LINES for word in words}
