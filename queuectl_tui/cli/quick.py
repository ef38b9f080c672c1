"""Parses a command line that is clearly correct. click parses all others.

It never guesses. For an unknown word, a wrong value, an option that is given twice, a request for
help and a synonym it returns None. Then :mod:`.command` uses the same declarations with click.
``tests/fuzz/test_quick.py`` compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .declare import GLOBALS, Argument, Noun, Option, Subcommands, Verb

_BY_CLICK = ("help", "version")


class ParsedLine:
    """A command line after parsing."""

    def __init__(
        self, verb: Verb, path: str, shared: list[tuple[str, Any]], values: dict[str, Any]
    ) -> None:
        """``path``: of the verb, as ``dlq list``. ``shared``: global options, in the order in which
        they were given. ``values``: one for each parameter of the verb."""
        self.verb = verb
        self.path = path
        self.shared = shared
        self.values = values


def read(args: Sequence[str], table: Subcommands) -> ParsedLine | None:
    """The parsed command line; None: click must parse it."""
    shared: list[tuple[str, Any]] = []
    path: list[str] = []
    words = list(args)
    while True:
        # Before a subcommand there can only be global options.
        words = _leading(words, shared)
        if not words or words[0] not in table:
            return None
        name = words.pop(0)
        path.append(name)
        module, attribute = table[name][0].split(":")
        # Not with importlib, which is a module more.
        found = getattr(__import__(f"{__package__}.{module}", fromlist=[attribute]), attribute)
        if isinstance(found, Noun):
            table = found.table
            continue
        values = _parameters(found, words, shared)
        return None if values is None else ParsedLine(found, " ".join(path), shared, values)


def _leading(words: list[str], shared: list[tuple[str, Any]]) -> list[str]:
    """``words`` without the global options at the beginning; empty: click must parse them."""
    at = 0
    given: set[str] = set()
    while at < len(words) and words[at][:1] == "-":
        found = _option(words, at, _GLOBALS, given)
        if found is None:
            return []
        option, value, at = found
        shared.append((option.dest, value))
    return words[at:]


def _parameters(
    verb: Verb, words: list[str], shared: list[tuple[str, Any]]
) -> dict[str, Any] | None:
    values: dict[str, Any] = {}
    if verb.has_argv:
        values["argv"] = None
        if "--" in words:
            cut = words.index("--")
            values["argv"] = words[cut + 1 :]
            words = words[:cut]
    options = [param for param in verb.params if isinstance(param, Option)]
    known = _GLOBALS | _by_name(options)
    for option in options:
        values[option.dest] = () if option.multiple else option.default
    given: set[str] = set()
    rest: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            rest += words[at + 1 :]
            break
        if word[:1] != "-" or word == "-":
            rest.append(word)
            at += 1
            continue
        found = _option(words, at, known, given)
        if found is None:
            return None
        option, value, at = found
        if option.names[0] in _GLOBALS:
            shared.append((option.dest, value))
        else:
            values[option.dest] = (*values[option.dest], value) if option.multiple else value
    if any(option.required and option.dest not in given for option in options):
        return None
    return values if _arguments(verb, rest, values) else None


def _arguments(verb: Verb, words: list[str], values: dict[str, Any]) -> bool:
    """Give ``words`` to the arguments of the verb. False: click must do it."""
    for param in verb.params:
        if not isinstance(param, Argument):
            continue
        if (param.required and not words) or "" in words or param.choices:
            return False
        if param.many:
            values[param.dest], words = tuple(words), []
        else:
            values[param.dest] = words.pop(0) if words else None
    return not words


def _option(
    words: list[str], at: int, known: dict[str, Option], given: set[str]
) -> tuple[Option, Any, int] | None:
    """The option at ``words[at]``, its value, and where the next word is."""
    name, equals, text = words[at].partition("=")
    option = known.get(name)
    if option is None or option.dest in _BY_CLICK:
        return None
    at += 1
    if option.is_flag:
        return None if equals else (option, True, at)
    if (option.dest in given and not option.multiple) or (equals and len(name) == 2):
        return None
    given.add(option.dest)
    if not equals:
        if at == len(words):
            return None
        text = words[at]
        at += 1
    if option.kind is str:
        return option, text, at
    digits = text.removeprefix("-")
    if option.kind is not int or not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        return None
    number = int(text)
    if (option.least is not None and number < option.least) or (
        option.most is not None and number > option.most
    ):
        return None
    return option, number, at


def _by_name(options: Sequence[Option]) -> dict[str, Option]:
    return {name: option for option in options for name in option.names}


_GLOBALS = _by_name(GLOBALS)
