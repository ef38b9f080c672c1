"""click's error messages in our words. Imported only when there is an error."""

from __future__ import annotations

import click


def explain(error: click.ClickException) -> tuple[str, str]:
    """What is wrong with the command line, in our words, and what to do about it."""
    hint = ""
    message = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption):
        from .spellings import nearest_option, option_hint

        message = f"no such option: {error.option_name}"
        if found := option_hint(error.ctx, error.option_name) or nearest_option(error):
            hint = f"; {found}"
    elif isinstance(error, click.MissingParameter) and error.param is not None:
        option = isinstance(error.param, click.Option)
        what = max(error.param.opts, key=len) if option else error.param.human_readable_name
        message = f"{what} is missing"
    elif isinstance(error, click.BadParameter) and error.param is not None:
        name = max(error.param.opts, key=len) if error.param.opts else error.param.name
        message = f"{name}: {error.message.rstrip('.').replace('integer range', 'integer')}"
    elif message:
        message = message[0].lower() + message[1:]
        if "unexpected extra argument" in message:
            from .spellings import extra_hint

            hint = extra_hint(error)
    return message, hint
