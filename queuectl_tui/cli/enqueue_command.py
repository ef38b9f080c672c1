"""click's command for ``enqueue``, whose arguments are commands with options of their own."""

from __future__ import annotations

import click

from .command import Verb


class EnqueueVerb(Verb):
    """Keeps what follows ``--`` apart: it is one command, not several jobs."""

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
                from .meant import refuse_odd

                refuse_odd(words[0])
            from .spellings import option_hint

            if option_hint(ctx, error.option_name):
                raise
            # The first word is the command, so the option is most likely the command's own.
            if words and not words[0].startswith(("-", "{", "[", "@")) and " " not in words[0]:
                from .meant import line_for
                from .spellings import nearest_option

                close = nearest_option(error)
                raise click.UsageError(
                    f"no such option: {error.option_name}; {close + ' ' if close else ''}"
                    f"if it belongs to the command, {line_for(words)}",
                    ctx,
                ) from None
            raise
        ctx.params["argv"] = argv
        return rest
