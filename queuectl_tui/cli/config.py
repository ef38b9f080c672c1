"""``queuectl config``: list, get, set, unset."""

from __future__ import annotations

import os

from queuectl_core.domain.config import KEYS, Setting, canonical, env_name, show_value
from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.text import clean_line

from ..presentation.settings import SETTING_COLUMNS
from .declare import Noun, UsageError, argument, verb
from .output import View
from .session import Session

HOUR = 3600

config = Noun(
    "config",
    {
        "list": ("config:list_settings", "List every setting and where its value comes from."),
        "get": ("config:get", "Print one setting."),
        "set": ("config:set_value", "Keep a value in the store."),
        "unset": ("config:unset", "Go back to the default."),
    },
    about="Show and change settings. They are kept in the store; an environment variable "
    "(QUEUECTL_ and the key in capitals) goes first. Retries, backoff base and timeout are fixed "
    "when a job is enqueued: a change is for jobs enqueued after it.",
    examples=(
        "queuectl config list",
        "queuectl config set max-retries 5",
        "queuectl config get backoff-base",
        "QUEUECTL_MAX_RETRIES=1 queuectl enqueue 'make test'",
    ),
)

SETTINGS: View[Setting] = View(lambda setting, now: setting.to_json(), SETTING_COLUMNS)


def _complete_key(_: Session, incomplete: str) -> list[str]:
    return [key for key in KEYS if key.startswith(incomplete)]


key_argument = argument("key", metavar="KEY", complete=_complete_key)


@verb("list", examples=("queuectl config list", "queuectl config list --json"))
def list_settings(session: Session) -> None:
    """List every setting with its value and where that comes from: default, env or store."""
    found = session.run(lambda queue: queue.config_list(), read_only=True)
    session.show_all(SETTINGS, found)


@verb("get", examples=("queuectl config get max-retries", "queuectl config get timeout"))
@argument("key", metavar="[KEY]", required=False, complete=_complete_key)
def get(session: Session, /, key: str | None) -> None:
    """Print the value of one setting; of all of them, as "config list" does, without KEY."""
    if key is None:
        list_settings.run(session)
        return
    _print(session, session.run(lambda queue: queue.config_get(key), read_only=True))


@verb(
    "set",
    examples=(
        "queuectl config set max-retries 5",
        "queuectl config set timeout 10m",
        "queuectl config set output-limit 50MiB",
        "queuectl config set keep-completed 30d",
    ),
)
@key_argument
@argument("value", metavar="VALUE", required=False)
def set_value(session: Session, /, key: str, value: str | None) -> None:
    """Keep a value in the store, for every process that uses it; prints what is in force."""
    if value is None:
        key, equals, value = key.partition("=")
        if not equals:
            raise UsageError("the VALUE is missing")
    if "poll" in key.lower():
        from queuectl_core.domain.spellings import POLLING, is_polling

        if is_polling(key):
            session.err.note(f"{clean_line(key, 40)}: {POLLING}")
            return
    _refuse_few_seconds(key, value)
    setting = session.run(lambda queue: queue.config_set(key, value), create=True)
    if session.out.terminal and not session.json:
        fixed = setting.key in ("max-retries", "backoff-base", "timeout")
        which = "for jobs enqueued from now on" if fixed else "for every worker"
        session.out.line(f"{setting.key} is {clean_line(show_value(setting.value))} now, {which}.")
    else:
        _print(session, setting)
    if setting.source == "env":
        name = env_name(canonical(key))
        session.err.note(f"stored, but the environment variable {name} goes first")
    elif setting.key == "shell" and not os.access(str(setting.value), os.X_OK):
        # Not an error: other hosts may have it.
        session.err.warn("no such program on this host: every job would fail here")


KEPT = ("keep-completed", "keep-events")
"""Keys of which a small number without a unit is refused."""


def _refuse_few_seconds(key: str, value: str) -> None:
    """InvalidInput for ``keep-completed 30``: 30 seconds would remove nearly every completed job.
    A large number is accepted, because ``config get`` prints seconds."""
    number = value.strip()
    if number.isdecimal() and 0 < int(number[:12]) < HOUR and canonical(key) in KEPT:
        from .durations import units

        raise InvalidInput(f"{canonical(key)}: {number} of what?", units(number))


@verb("unset", examples=("queuectl config unset max-retries",))
@key_argument
def unset(session: Session, key: str) -> None:
    """Forget the stored value; prints what is in force."""
    _print(session, session.run(lambda queue: queue.config_unset(key), create=True))


def _print(session: Session, setting: Setting) -> None:
    if session.json:
        session.out.json(setting.to_json())
    else:
        session.out.line(clean_line(show_value(setting.value)))
