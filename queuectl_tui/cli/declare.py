"""What each verb takes, declared once as plain data.

Two readers use it. ``quick`` reads a command line that is plainly right, without any other module:
scripts call verbs in loops, and importing click takes longer than the verb. ``command`` builds
click's commands from it, for everything else: help, completion, mistakes, other spellings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

Table = dict[str, tuple[str, str]]
"""Subcommand -> (module:attribute in this package, help in one line)."""

FILE = "file"
DIRECTORY = "dir"
"""For ``complete``: names that the shell completes itself."""

Complete = str | Callable[[Any, str], list[str]] | None
"""How the shell completes a value: :data:`FILE`, :data:`DIRECTORY`, or a function of the session
and of what has been typed. None: not at all."""


class Option(SimpleNamespace):
    """An option of a verb."""

    names: tuple[str, ...]
    """As they are typed; the longest gives its value the name, unless ``dest`` does."""
    dest: str
    about: str
    metavar: str | None = None
    is_flag: bool = False
    multiple: bool = False
    """It may be repeated; its value is a tuple."""
    type: type = str
    least: float | None = None
    most: float | None = None
    default: Any = None
    required: bool = False
    complete: Complete = None


class Argument(SimpleNamespace):
    """An argument of a verb."""

    dest: str
    metavar: str
    many: bool = False
    """It takes all that are left; its value is a tuple."""
    required: bool = True
    complete: Complete = None
    choices: tuple[str, ...] = ()


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
        self, name: str, table: Table, *, about: str, examples: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.table = table
        self.about = about
        self.examples = examples


class UsageError(Exception):
    """The command line is wrong; ``str()`` says how."""


Function = Callable[..., Any]


def verb(
    name: str, *, examples: Sequence[str] = (), has_argv: bool = False
) -> Callable[[Function], Verb]:
    """Make a function the verb ``name``; its docstring is the help."""
    return lambda function: Verb(name, function, examples, has_argv=has_argv)


def option(*names: str, dest: str = "", about: str, **rest: Any) -> Callable[[Function], Function]:
    """Declare an option of the verb below; ``rest``: see :class:`Option`."""
    dest = dest or max(names, key=len).lstrip("-").replace("-", "_")
    if rest.get("is_flag"):
        rest["default"] = False
    return _declared(Option(names=names, dest=dest, about=about, **rest))


def argument(dest: str, **rest: Any) -> Callable[[Function], Function]:
    """Declare an argument of the verb below; ``rest``: see :class:`Argument`. One that takes all
    that are left may have none, unless it is ``required``."""
    rest.setdefault("required", not rest.get("many"))
    return _declared(Argument(dest=dest, **rest))


def _declared(param: Option | Argument) -> Callable[[Function], Function]:
    def keep(function: Function) -> Function:
        params = function.__dict__.setdefault("params", [])
        params.append(param)  # the decorator that stands last is called first
        return function

    return keep


def _flag(*names: str, dest: str, about: str) -> Option:
    return Option(names=names, dest=dest, about=about, is_flag=True, default=False)


GLOBALS = (
    Option(
        names=("--store",),
        dest="store",
        about="The store to use; else $QUEUECTL_STORE, else queue.db in your data directory.",
        metavar="PATH",
        complete=FILE,
    ),
    _flag("--json", dest="json", about="Print one JSON document."),
    _flag("--no-color", dest="no_color", about="No colours; NO_COLOR does the same."),
    _flag("-q", "--quiet", dest="quiet", about="No notes, no progress, no table header."),
    _flag("-v", "--verbose", dest="verbose", about="Say more."),
    _flag("--debug", dest="debug", about="Show the traceback of an error."),
    _flag("--version", dest="version", about="Print the version."),
    _flag("-h", "--help", dest="help", about="Show this help."),
)
"""Taken by every command, so before and after the verb alike."""
