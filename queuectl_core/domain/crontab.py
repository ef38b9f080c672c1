"""Reading a crontab of a user, line by line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .cron import parse_cron, zone
from .errors import InvalidInput
from .schedule import NAME
from .text import clean_line

LONGEST = 1 << 20
"""Bytes of a crontab."""
IGNORED = ("MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING", "LOGNAME", "USER")
"""Settings of cron that mean nothing here."""


class Line(NamedTuple):
    """A line that can be a schedule."""

    number: int
    name: str
    options: Mapping[str, Any]
    job: Mapping[str, Any]


class Problem(NamedTuple):
    """A line that cannot be one, and why."""

    number: int
    message: str

    def to_json(self) -> dict[str, Any]:
        """The public JSON."""
        return {"line": self.number, "message": self.message}


def parse_crontab(text: str, home: str) -> tuple[list[Line], list[Problem]]:
    """The lines of a crontab in the format of ``crontab -e``: five fields or a word, then the
    command. ``home``: where cron runs commands, unless HOME is set.

    As in cron, an environment line is for the lines after it, and a ``%`` in a command ends the
    line: what follows is its standard input. ``SHELL``, ``HOME``, ``PATH`` and all others are kept.
    ``CRON_TZ`` is the time zone. ``MAILTO`` is reported: there is no mail.
    """
    env: dict[str, str] = {}
    lines: list[Line] = []
    problems: list[Problem] = []
    taken: set[str] = set()
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        try:
            setting = re.fullmatch(r"""(['"]?)([A-Za-z_]\w*)\1\s*=\s*(.*)""", line)
            if setting and not re.match(r"[\d*@]", line):
                _set(env, setting[2], setting[3])
                continue
            lines.append(_line(number, line, env, home, taken))
        except InvalidInput as error:
            problems.append(Problem(number, str(error)))
    return lines, problems


def _set(env: dict[str, str], name: str, value: str) -> None:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    if name == "CRON_TZ":
        env[name] = value  # first: with an unknown zone the lines after it cannot be added either
        zone(value)
    if name == "RANDOM_DELAY":
        raise InvalidInput("RANDOM_DELAY is not read", "see --jitter of queuectl schedule edit")
    if name == "MAILTO":
        if value:
            raise InvalidInput(
                f"no mail is sent to {clean_line(value, 60)}", "see: queuectl hook add"
            )
        return
    if name not in IGNORED:
        env[name] = value


def _line(number: int, line: str, env: Mapping[str, str], home: str, taken: set[str]) -> Line:
    words = line.split(None, 1) if line.startswith("@") else line.split(None, 5)
    if len(words) < (2 if line.startswith("@") else 6):
        raise InvalidInput("a line has five fields and a command", "or a word like @daily")
    cron = parse_cron(" ".join(words[:-1])).text
    command, stdin = _percent(words[-1])
    if not command.strip():
        raise InvalidInput("the command is empty")
    rest = dict(env)
    job: dict[str, Any] = {"command": command, "cwd": rest.pop("HOME", home)}
    shell = rest.pop("SHELL", "/bin/sh")
    if shell != "/bin/sh":
        job["command"] = [shell, "-c", command]
    if stdin is not None:
        job["stdin"] = stdin
    options = {"cron": cron}
    if "CRON_TZ" in rest:
        options["tz"] = rest.pop("CRON_TZ")
    if "HOME" in env:
        rest["HOME"] = env["HOME"]
    if rest:
        job["env"] = rest
    return Line(number, _name(command, taken), options, job)


def _percent(text: str) -> tuple[str, str | None]:
    """A command and its standard input. ``\\%`` is a percent sign."""
    parts = [part.replace("\\%", "%") for part in re.split(r"(?<!\\)%", text)]
    if len(parts) == 1:
        return parts[0], None
    return parts[0], "\n".join(parts[1:]) + "\n"


def _name(command: str, taken: set[str]) -> str:
    """A name for a schedule, from the program that it runs."""
    words = [word for word in command.split() if "=" not in word.partition("/")[0]]
    skipped = ("cd", "test", "[", "nice", "ionice", "flock", "timeout", "sudo", "sh", "bash", "env")
    word = next((one for one in words if one not in skipped and not one.startswith("-")), "cron")
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", word.rstrip(";").rpartition("/")[2])
    base = base.strip("-._")[:90] or "cron"
    if not re.fullmatch(NAME, base):
        base = f"cron-{base}"[:90]
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name)
    return name
