"""What each verb takes, declared once as plain data.

Two modules use it. ``quick`` parses a command line that is clearly correct, without click: scripts
call verbs in loops, and importing click takes longer than the verb. ``command`` makes click's
commands from it, for everything else: help, completion, mistakes and synonyms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Subcommands = dict[str, tuple[str, str]]
"""Subcommand -> (module:attribute in this package, help in one line)."""

FILE = "file"
DIRECTORY = "dir"
"""For ``complete``: names that the shell completes itself."""

Complete = str | Callable[[Any, str], list[str]] | None
"""How the shell completes a value: :data:`FILE`, :data:`DIRECTORY`, or a function of the session
and of what has been typed. None: not at all."""


class Option:
    """An option of a verb."""

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        about: str,
        dest: str = "",
        metavar: str | None = None,
        is_flag: bool = False,
        multiple: bool = False,
        kind: type = str,
        least: float | None = None,
        most: float | None = None,
        default: Any = None,
        required: bool = False,
        complete: Complete = None,
    ) -> None:
        """``names``: as they are typed; the longest names the value, unless ``dest`` does.
        ``multiple``: it may be repeated; its value is a tuple. ``least``, ``most``: of a number."""
        self.names = names
        self.dest = dest or max(names, key=len).lstrip("-").replace("-", "_")
        self.about = about
        self.metavar = metavar
        self.is_flag = is_flag
        self.multiple = multiple
        self.kind = kind
        self.least = least
        self.most = most
        self.default = False if is_flag else default
        self.required = required
        self.complete = complete


class Argument:
    """An argument of a verb."""

    def __init__(
        self,
        dest: str,
        *,
        metavar: str,
        many: bool = False,
        required: bool | None = None,
        complete: Complete = None,
        choices: tuple[str, ...] = (),
    ) -> None:
        """``many``: it takes all that are left; its value is a tuple. It may have none then, unless
        it is ``required``."""
        self.dest = dest
        self.metavar = metavar
        self.many = many
        self.required = not many if required is None else required
        self.complete = complete
        self.choices = choices


class Verb:
    """A verb: a function, and what it takes. Made by :func:`verb`."""

    def __init__(
        self, name: str, run: Callable[..., Any], examples: Sequence[str], *, has_argv: bool
    ) -> None:
        self.name = name
        self.run = run
        """Called with the session and a keyword for each parameter; returns the exit code or
        None."""
        self.examples = examples
        self.has_argv = has_argv
        """What follows ``--`` is one command, kept apart: the keyword ``argv``, None without."""
        self.about = run.__doc__ or ""
        self.params: list[Option | Argument] = getattr(run, "params", [])[::-1]


class Noun:
    """A command that only has subcommands, each imported when it is used."""

    def __init__(
        self,
        name: str,
        table: Subcommands,
        *,
        about: str,
        examples: Sequence[str] = (),
        hidden: Sequence[str] = (),
    ) -> None:
        """``hidden``: subcommands that only queuectl itself uses."""
        self.name = name
        self.table = table
        self.shown = {name: row for name, row in table.items() if name not in hidden}
        self.about = about
        self.examples = examples


class UsageError(Exception):
    """The command line is wrong; ``str()`` says how."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        """What to do about it; follows the message."""


Function = Callable[..., Any]


def verb(
    name: str, *, examples: Sequence[str] = (), has_argv: bool = False
) -> Callable[[Function], Verb]:
    """Make a function the verb ``name``; its docstring is the help."""
    return lambda function: Verb(name, function, examples, has_argv=has_argv)


def option(*names: str, **rest: Any) -> Callable[[Function], Function]:
    """Declare an option of the verb below; ``rest``: see :class:`Option`."""
    return _declared(Option(names, **rest))


def argument(dest: str, **rest: Any) -> Callable[[Function], Function]:
    """Declare an argument of the verb below; ``rest``: see :class:`Argument`."""
    return _declared(Argument(dest, **rest))


def _declared(param: Option | Argument) -> Callable[[Function], Function]:
    def keep(function: Function) -> Function:
        params = function.__dict__.setdefault("params", [])
        params.append(param)  # the last decorator is called first
        return function

    return keep


GLOBALS = (
    Option(
        ("--store",),
        about="The store to use; else $QUEUECTL_STORE, else queue.db in your data directory.",
        metavar="PATH",
        complete=FILE,
    ),
    Option(("--json",), is_flag=True, about="Print one JSON document."),
    Option(("--no-color",), is_flag=True, about="No colours; NO_COLOR does the same."),
    Option(("-q", "--quiet"), is_flag=True, about="No notes, no progress, no table header."),
    Option(("-v", "--verbose"), is_flag=True, about="Say more."),
    Option(("--debug",), is_flag=True, about="Show the traceback of an error."),
    Option(("--version",), is_flag=True, about="Print the version."),
    Option(("-h", "--help"), is_flag=True, about="Show this help."),
)
"""Options of every command: they may stand before or after the verb."""
