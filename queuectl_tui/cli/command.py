"""click's commands, made from the declarations: for help, completion, mistakes and synonyms."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from . import declare
from .declare import GLOBALS, Argument, Option, Subcommands
from .helppage import page
from .session import Session


def built(found: declare.Verb | declare.Noun, *, is_root: bool = False) -> click.Command:
    if isinstance(found, declare.Noun):
        return ClickNoun(found, is_root=is_root)
    if found.has_argv:
        return ClickArgvVerb(found)
    return ClickVerb(found)


def _completer(complete: declare.Complete) -> Any:
    if complete is None:
        return None

    def suggest(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        if isinstance(complete, str):
            return [CompletionItem(incomplete, type=complete)]
        return [CompletionItem(word) for word in complete(ctx.find_object(Session), incomplete)]

    return suggest


def _param(param: Option | Argument, **rest: Any) -> click.Parameter:
    if isinstance(param, Argument):
        return click.Argument(
            (param.dest,),
            metavar=param.metavar,
            nargs=-1 if param.many else 1,
            required=param.required,
            type=click.Choice(param.choices) if param.choices else None,
            shell_complete=_completer(param.complete),
        )
    kind: Any = param.kind
    if param.least is not None or param.most is not None:
        ranged = click.IntRange if kind is int else click.FloatRange
        kind = ranged(param.least, param.most)  # type: ignore[arg-type]
    if param.is_flag:
        rest["is_flag"] = True
    elif param.default is not None:
        rest["default"] = param.default
    return click.Option(
        (param.dest, *param.names),
        metavar=param.metavar,
        multiple=param.multiple,
        type=None if param.is_flag else kind,
        required=param.required,
        shell_complete=_completer(param.complete),
        help=param.about,
        **rest,
    )


def _keep(ctx: click.Context, param: click.Parameter, given: Any) -> None:
    if given is not None and given is not False:
        ctx.obj.take(param.name, given)


def _version(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given and not ctx.resilient_parsing:
        from queuectl_core import __version__

        ctx.obj.out.line(f"queuectl {__version__}")
        ctx.exit()


def _help(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given and not ctx.resilient_parsing:
        ctx.obj.out.line(ctx.get_help())
        ctx.exit()


_EAGER = {"version": _version, "help": _help}

_GLOBALS = [
    _param(
        one, expose_value=False, callback=_EAGER.get(one.dest, _keep), is_eager=one.dest in _EAGER
    )
    for one in GLOBALS
]


def refuse_twice(ctx: click.Context, given: Sequence[click.Parameter]) -> None:
    """UsageError for an option that takes one value and is given several times: click would use
    the last one without a message. ``given``: the parameters in the order of the command line."""
    options = [param for param in given if isinstance(param, click.Option)]
    for option in options:
        one_value = not (option.multiple or option.is_flag or option.count)
        if one_value and options.count(option) > 1:
            raise click.UsageError(f"{max(option.opts, key=len)} is given twice", ctx)


class _ClickCommand(click.Command):
    """A command whose help shows its own options, the global options, and examples."""

    examples: Sequence[str] = ()
    shown: Subcommands = {}  # noqa: RUF012 - never changed
    """Its subcommands, except those that only queuectl itself uses."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*self.params, *_GLOBALS]

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
        commands = [(name, line) for name, (_, line) in self.shown.items()]
        sections = [("Commands", commands)]
        for title, params in (("Options", self.params), ("Global options", _GLOBALS)):
            found = (param.get_help_record(ctx) for param in params)
            # An argument without a description is in the usage line only.
            sections.append((title, [row for row in found if row is not None and row[1]]))
        return page(ctx, sections, self.examples)


class ClickVerb(_ClickCommand):
    """One verb."""

    def __init__(self, found: declare.Verb) -> None:
        super().__init__(
            found.name,
            callback=self._run,
            params=[_param(one) for one in found.params],
            help=found.about,
            add_help_option=False,
        )
        self.examples = found.examples
        self.found = found

    def _run(self, **values: Any) -> Any:
        ctx = click.get_current_context()
        session = ctx.find_object(Session)
        assert session is not None  # noqa: S101 - the root has it
        session.err.path = ctx.command_path
        return self.found.run(session, **values)


class ClickArgvVerb(ClickVerb):
    """A verb that takes commands. What follows ``--`` is one command with its options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        argv = None
        if "--" in args:
            cut = args.index("--")
            argv = args[cut + 1 :]
            args = args[:cut]
        words = list(args)  # the parser takes them away
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if words and words[0].startswith("- "):
                from .intent import refuse_odd

                refuse_odd(words[0])
            from .spellings import option_hint

            if option_hint(ctx, error.option_name):
                raise
            # The first word is the command, so the option is most likely the command's own.
            if words and not words[0].startswith(("-", "{", "[", "@")) and " " not in words[0]:
                from .intent import line_for
                from .spellings import nearest_option

                line = "write the command after --"
                if self.found.name == "enqueue":
                    line = line_for(words)
                close = nearest_option(error)
                raise click.UsageError(
                    f"no such option: {error.option_name}; {close + ' ' if close else ''}"
                    f"if it belongs to the command, {line}",
                    ctx,
                ) from None
            raise
        ctx.params["argv"] = argv
        return rest


class ClickNoun(_ClickCommand, click.Group):
    """A command that only has subcommands, each imported when it is used."""

    def __init__(self, found: declare.Noun, *, is_root: bool = False) -> None:
        super().__init__(
            found.name,
            callback=self._check_subcommand,
            invoke_without_command=True,
            add_help_option=False,
            help=found.about,
            subcommand_metavar="COMMAND ...",
        )
        self.table = found.table
        self.shown = found.shown
        self.examples = found.examples
        self.is_root = is_root

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.shown)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.table:
            return None
        module, attribute = self.table[name][0].split(":")
        return built(getattr(import_module(f"{__package__}.{module}"), attribute))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word, *rest = args
        noun, colon, sub = word.partition(":")
        if self.is_root and colon and sub:  # worker:start is worker start
            word, rest = noun, [sub, *rest]
        found = self.get_command(ctx, word)
        if found is None or (colon and not isinstance(found, ClickNoun)):
            if ctx.resilient_parsing:
                return None, None, []
            return self._otherwise(ctx, word if found is None else args[0], rest)
        return word, found, rest

    def _otherwise(
        self, ctx: click.Context, word: str, rest: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A verb that has another name here, or a usage error that says what was probably meant."""
        from .spellings import not_needed, other_verb, unknown_verb

        if reason := not_needed(ctx, word):
            ctx.obj.err.note(reason)
            ctx.exit()
        ours = other_verb(ctx, word, rest)
        if ours is None:
            raise click.UsageError(unknown_verb(ctx, word, rest, list(self.shown)), ctx)
        if not ours[0].startswith("-"):
            return self.resolve_command(ctx, ours)
        self.parse_args(ctx, ours)  # --help or --version: raises Exit
        raise click.exceptions.Exit

    def _check_subcommand(self) -> None:
        """Called by click before it runs the subcommand, if there is one."""
        ctx = click.get_current_context()
        if ctx.invoked_subcommand is None:
            raise click.UsageError(f"say what to do: {', '.join(self.shown)}", ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=line)
            for name, (_, line) in self.shown.items()
            if name.startswith(incomplete)
        ]
        return found or click.Command.shell_complete(self, ctx, incomplete)


def run(session: Session, root: declare.Noun, args: Sequence[str]) -> int:
    """Run a command line that click parses. UsageError names the page to read."""
    try:
        command = built(root, is_root=True)
        with command.make_context(root.name, list(args), obj=session) as context:
            return command.invoke(context) or 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        from .mistakes import explain

        ctx = getattr(error, "ctx", None)
        session.err.path = "" if ctx is None else ctx.command_path
        raise declare.UsageError(*explain(error)) from None
