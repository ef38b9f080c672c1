"""What every verb is made of: the session, the global options, help, lazy subcommands."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..interrupts import Interrupted, signals
from .diagnostics import Stderr
from .helppage import page
from .output import Stdout

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

T = TypeVar("T")

PROGRAM = "queuectl"
COMPLETE = "_QUEUECTL_COMPLETE"
"""Set by the completion script when it asks for suggestions."""

Table = dict[str, tuple[str, str]]
"""Subcommand -> (module:attribute in this package, help in one line)."""


class Session:
    """One run of the command line: the global options, standard output and error."""

    def __init__(self) -> None:
        self.out = Stdout()
        self.err = Stderr()
        self.store: str | None = None
        self.json = False
        self.quiet = False
        self.verbose = False
        self.clock: Callable[[], float] = time.time
        """The queue's, once one was opened: what its times are to be compared with."""
        self.set_color(not os.environ.get("NO_COLOR"))

    def set_color(self, wanted: bool) -> None:
        """Whether terminals get colours."""
        self.out.color = self.err.color = wanted

    def run(
        self,
        act: Callable[[Queue], Awaitable[T]],
        *,
        read_only: bool = False,
        create: bool = False,
        url: str | None = None,
        loop: bool = False,
    ) -> T:
        """Open the queue, do ``act`` with it, close it.

        ``create``: make a store that is not there. Else it is an error if its path was given; the
        default store is taken for an empty one.
        ``loop``: ``act`` needs an event loop. Else asyncio, a third of a short verb's time, is left
        out where the store can do without.
        """
        from queuectl_core.postcommit import commits, report_to
        from queuectl_core.queue import Queue
        from queuectl_core.text import clean_line

        url = url or self.store
        commits.reset()

        async def session() -> T:
            report_to(self.err.warn)
            async with Queue.open(
                url, read_only=read_only, create=create, absent_ok=not create
            ) as queue:
                commits.verb_begins()
                self.clock = queue.clock
                if self.verbose:
                    where = clean_line(str(queue.directory))
                    self.err.note(f"output and logs of this store: {where}")
                gc.freeze()  # see __main__: what is here stays, from now on there may be garbage
                gc.enable()
                return await act(queue)

        if not loop and Queue.answers_at_once(url):
            from queuectl_core.once import at_once

            return at_once(session())
        return run_loop(session)


def run_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The answer of ``work``, run under an event loop and stopped by signals."""
    import asyncio

    async def main() -> T:
        signals.under_loop(asyncio.current_task())
        return await work()

    try:
        with asyncio.Runner() as runner:
            # All that takes long is done before there is a coroutine: one that a signal keeps
            # from being awaited would make Python complain.
            runner.get_loop()
            return runner.run(main())
    except asyncio.CancelledError:
        raise Interrupted from None
    except RuntimeError as error:
        if "Event loop stopped before Future completed" not in str(error):
            raise
        raise Interrupted from None  # what asyncio makes of a second one


pass_session = click.make_pass_decorator(Session)


def queue_time() -> float:
    """Epoch seconds by the clock of the queue this run of the command line has opened."""
    session = click.get_current_context().find_object(Session)
    return time.time() if session is None else session.clock()


def _set(name: str, value: Any) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that keeps an option's value in the session (given here or further left)."""

    def keep(ctx: click.Context, _: click.Parameter, given: Any) -> None:
        if given:
            setattr(ctx.obj, name, given if value is None else value)

    return keep


def _store(ctx: click.Context, _: click.Parameter, given: str | None) -> None:
    # One after the verb wins over one before it, which may come from an alias of the shell.
    if given is not None:  # an empty one is refused, not taken for the default
        ctx.obj.store = given


def _no_color(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given:
        ctx.obj.set_color(False)


def _quiet(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given:
        ctx.obj.quiet = ctx.obj.err.quiet = True


def _debug(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given:
        ctx.obj.err.debug = True


def _version(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given and not ctx.resilient_parsing:
        from queuectl_core import __version__

        ctx.obj.out.line(f"queuectl {__version__}")
        ctx.exit()


def _help(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given and not ctx.resilient_parsing:
        ctx.obj.out.line(ctx.get_help())
        ctx.exit()


def _flag(*names: str, callback: Any, about: str, eager: bool = False) -> click.Option:
    return click.Option(
        names, is_flag=True, expose_value=False, callback=callback, is_eager=eager, help=about
    )


def complete_file(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    """Names of files, which the shell completes itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def complete_directory(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    """Names of directories, which the shell completes itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


GLOBALS: list[click.Parameter] = [
    click.Option(
        ("--store",),
        metavar="PATH",
        shell_complete=complete_file,
        expose_value=False,
        callback=_store,
        help="The store to use; else $QUEUECTL_STORE, else queue.db in your data directory.",
    ),
    _flag("--json", callback=_set("json", True), about="Print one JSON document."),
    _flag("--no-color", callback=_no_color, about="No colours; NO_COLOR does the same."),
    _flag("-q", "--quiet", callback=_quiet, about="No notes, no progress, no table header."),
    _flag("-v", "--verbose", callback=_set("verbose", True), about="Say more."),
    _flag("--debug", callback=_debug, about="Show the traceback of an error."),
    _flag("--version", callback=_version, about="Print the version.", eager=True),
    _flag("-h", "--help", callback=_help, about="Show this help.", eager=True),
]
"""Taken by every command, so before and after the verb alike."""


def refuse_twice(ctx: click.Context, given: Sequence[click.Parameter]) -> None:
    """UsageError for an option that takes one value and is given several times: click would drop
    all but the last without a word. ``given``: the parameters as they stand on the command line."""
    options = [param for param in given if isinstance(param, click.Option)]
    for option in options:
        one_value = not (option.multiple or option.is_flag or option.count)
        if one_value and options.count(option) > 1:
            raise click.UsageError(f"{max(option.opts, key=len)} is given twice", ctx)


class _Helpful(click.Command):
    """Help with our options, then the global ones, then examples as they are written."""

    examples: Sequence[str] = ()
    table: Table = {}  # noqa: RUF012 - never changed

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*self.params, *GLOBALS]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)  # the parser takes them away
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from .spellings import other_options

            ours = other_options(ctx, words, error.option_name)
            if ours is None:
                raise
        return self.parse_args(ctx, ours)

    def make_parser(self, ctx: click.Context) -> Any:
        parser = super().make_parser(ctx)
        parse = parser.parse_args

        def checked(args: list[str]) -> tuple[dict[str, Any], list[str], list[click.Parameter]]:
            found = parse(args)
            if not ctx.resilient_parsing:
                refuse_twice(ctx, found[2])
            return found

        parser.parse_args = checked  # type: ignore[method-assign]
        return parser

    def get_help(self, ctx: click.Context) -> str:
        commands = [(name, line) for name, (_, line) in self.table.items()]
        sections = [("Commands", commands)]
        for title, params in (("Options", self.params), ("Global options", GLOBALS)):
            found = (param.get_help_record(ctx) for param in params)
            # An argument that has nothing to say for itself is in the usage line already.
            sections.append((title, [row for row in found if row is not None and row[1]]))
        return page(ctx, sections, self.examples)


class Verb(_Helpful):
    """One verb. Made by :func:`verb`."""

    def __init__(self, name: str | None, *, examples: Sequence[str] = (), **rest: Any) -> None:
        super().__init__(name, add_help_option=False, **rest)
        self.examples = examples


class Noun(_Helpful, click.Group):
    """A command that only has subcommands, each imported when it is used."""

    def __init__(
        self,
        name: str,
        table: Table,
        *,
        about: str,
        examples: Sequence[str] = (),
        is_root: bool = False,
    ) -> None:
        super().__init__(name, add_help_option=False, help=about, subcommand_metavar="COMMAND ...")
        self.no_args_is_help = False
        self.table = table
        self.examples = examples
        self.is_root = is_root

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.table:
            return None
        module, attribute = self.table[name][0].split(":")
        found = getattr(import_module(f"{__package__}.{module}"), attribute)
        assert isinstance(found, click.Command)  # noqa: S101 - the table is ours
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word, *rest = args
        noun, colon, sub = word.partition(":")
        if self.is_root and colon and sub:  # worker:start is worker start
            word, rest = noun, [sub, *rest]
        found = self.get_command(ctx, word)
        if found is None or (colon and not isinstance(found, Noun)):
            if ctx.resilient_parsing:
                return None, None, []
            return self._otherwise(ctx, word if found is None else args[0], rest)
        return word, found, rest

    def _otherwise(
        self, ctx: click.Context, word: str, rest: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A verb that has another name here, or a usage error with what was probably meant."""
        from .spellings import not_needed, other_verb, unknown_verb

        if reason := not_needed(ctx, word):
            ctx.obj.err.note(reason)
            ctx.exit()
        ours = other_verb(ctx, word, rest)
        if ours is None:
            raise click.UsageError(unknown_verb(ctx, word, rest, list(self.table)), ctx)
        if not ours[0].startswith("-"):
            return self.resolve_command(ctx, ours)
        self.parse_args(ctx, ours)  # --help or --version: it ends here
        raise click.exceptions.Exit

    def invoke(self, ctx: click.Context) -> Any:
        if not ctx._protected_args and not ctx.args:
            raise click.UsageError(f"say what to do: {', '.join(self.table)}", ctx)
        return super().invoke(ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=line)
            for name, (_, line) in self.table.items()
            if name.startswith(incomplete)
        ]
        return found or click.Command.shell_complete(self, ctx, incomplete)


def verb(
    name: str, *, cls: type[Verb] = Verb, examples: Sequence[str] = ()
) -> Callable[[Callable[..., Any]], Verb]:
    """Make a function the verb ``name``; its docstring is the help."""
    return click.command(name, cls=cls, examples=examples)
