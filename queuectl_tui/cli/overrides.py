"""Options of ``enqueue`` that set fields of its jobs."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.jobspec import ON_CONFLICT, field_name
from queuectl_core.domain.model import JobSpec
from queuectl_core.domain.text import clean_line, nearest

from .durations import duration

if TYPE_CHECKING:
    from .session import Session


class Overrides(NamedTuple):
    """Fields given as options; they win over those of JSON jobs."""

    fields: Mapping[str, Any]
    delay: float | None
    env: Mapping[str, str]
    on_conflict: str = ON_CONFLICT[0]
    secrets: Mapping[str, str] = {}

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Overrides":
        """Read the options. InvalidInput names the one that is wrong."""
        fields: dict[str, Any] = {}
        for name in TEXTS:
            if options[name] is not None:
                fields[name] = options[name]
        fields |= {"hold": True} if options["hold"] else {}
        for name in ("after", "after_any", "after_failed"):
            if options[name]:
                fields[name] = ids_in(options[name])
        for name in ("max_retries", "backoff_base", "priority", "nice"):
            if options[name] is not None:
                fields[name] = number(name, options[name])
        for name, option in DURATIONS:
            if options[option] is not None:
                fields[name] = duration("--" + option.replace("_", "-"), options[option])
        fields |= {} if options["stdin"] is None else {"stdin": text_of(options["stdin"])}
        delay = None
        if options["delay"] is not None:
            if options["run_at"] is not None:
                raise InvalidInput("--delay and --run-at say the same twice", "give one of them")
            delay = duration("--delay", options["delay"])
        on_conflict = options["on_conflict"] or ON_CONFLICT[0]
        if on_conflict not in ON_CONFLICT:
            shown = clean_line(on_conflict, 40)
            raise InvalidInput(f"--on-conflict: unknown '{shown}'", nearest(shown, ON_CONFLICT))
        env = dict(pair("--env", "VALUE", text) for text in options["env"])
        secrets = dict(pair("--secret", "file:PATH", text) for text in options["secret"])
        return cls(fields, delay, env, on_conflict, secrets)

    def check_count(self, count: int) -> None:
        """InvalidInput when an id is given for more than one job."""
        if "id" in self.fields and count > 1:
            raise InvalidInput("--id is for one job", f"{count} are given; put ids in the JSON")

    def spec(self, spec: JobSpec) -> JobSpec:
        """``spec`` with what is no field of a job."""
        if self.on_conflict == spec.on_conflict:
            return spec
        return spec._replace(on_conflict=self.on_conflict)

    @property
    def empty(self) -> bool:
        return not self.fields and self.delay is None and not self.env and not self.secrets

    def apply(self, source: Any, now: float) -> Any:
        """``source`` with our fields instead of its own. What is not a job stays as it is."""
        if self.empty:
            return source
        if isinstance(source, str):
            source = {"command": source}
        if not isinstance(source, dict):
            return source
        given = dict(self.fields)
        if self.delay is not None:
            given["run_at"] = now + self.delay
        for name, more in (("env", self.env), ("secrets", self.secrets)):
            if more:
                there = source.get(name)
                given[name] = {**there, **more} if isinstance(there, dict) else dict(more)
        return {name: source[name] for name in source if field_name(name) not in given} | given


TEXTS = (
    *("id", "run_at", "cwd", "memory_limit", "output_limit", "queue"),
    *("key", "unique", "unique_until", "on_parent_failure"),
)
DURATIONS = (
    *(("timeout_seconds", "timeout"), ("cpu_seconds", "cpu_seconds")),
    ("unique_for", "unique_for"),
)
"""Fields and their options."""


def ids_in(given: Iterable[str]) -> list[str]:
    """The ids that options hold, several with commas."""
    return [name.strip() for text in given for name in text.split(",")]


def number(name: str, text: str) -> int | float:
    """The number that an option holds; InvalidInput names the option."""
    for read in (int, float):
        try:
            if "_" not in text:
                return read(text)
        except ValueError:
            continue
    option = "--" + name.replace("_", "-")
    hint = "higher runs first: 10, 0, -10" if name == "priority" else ""
    raise InvalidInput(f"{option}: '{clean_line(text, 40)}' is not a number", hint)


def pair(option: str, what: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        wanted = "K=V" if option == "--env" else f"NAME={what}"
        shown = clean_line(text, 40)
        raise InvalidInput(f"{option}: '{shown}' is not {wanted}", f"write {option} NAME={what}")
    return name, value


def text_of(source: str) -> str:
    """The text in a file, or on standard input (``-``), as the standard input of a job.
    InvalidInput if it cannot be read, or is too large."""
    import os
    import sys

    from queuectl_core.domain.jobspec import MAX_STDIN

    shown = clean_line(source, 200)
    try:
        if source == "-":
            if sys.stdin is None:
                raise InvalidInput("standard input is closed", "give --stdin FILE")
            raw = sys.stdin.buffer.read(MAX_STDIN + 1)
        else:
            with open(os.open(source, os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
                raw = file.read(MAX_STDIN + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"--stdin: cannot read '{shown}': {why}") from None
    if len(raw) > MAX_STDIN:
        raise InvalidInput(
            f"--stdin: '{shown}' has more than {MAX_STDIN:,} bytes, which is the limit",
            "have the command read the file itself",
        )
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidInput(
            f"--stdin: '{shown}' is not valid UTF-8 text", "have the command read the file itself"
        ) from None


def tell_ignored(session: "Session", ignored: set[str]) -> None:
    if ignored:
        session.err.note(f"ignored, since queuectl sets them itself: {', '.join(sorted(ignored))}")
