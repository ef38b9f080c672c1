"""Options of ``enqueue`` that set fields of its jobs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.jobspec import field_name
from queuectl_core.domain.text import clean_line

from .durations import duration

if TYPE_CHECKING:
    from .session import Session


class Overrides(NamedTuple):
    """Fields given as options; they win over those of JSON jobs."""

    fields: Mapping[str, Any]
    delay: float | None
    env: Mapping[str, str]

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Overrides":
        """Read the options. InvalidInput names the one that is wrong."""
        fields: dict[str, Any] = {}
        for name in ("id", "run_at", "cwd", "memory_limit", "output_limit", "queue"):
            if options[name] is not None:
                fields[name] = options[name]
        for name in ("max_retries", "backoff_base", "priority", "nice"):
            if options[name] is not None:
                fields[name] = _number(name, options[name])
        for name, option in (("timeout_seconds", "timeout"), ("cpu_seconds", "cpu_seconds")):
            if options[option] is not None:
                fields[name] = duration("--" + option.replace("_", "-"), options[option])
        delay = None
        if options["delay"] is not None:
            if options["run_at"] is not None:
                raise InvalidInput("--delay and --run-at say the same twice", "give one of them")
            delay = duration("--delay", options["delay"])
        return cls(fields, delay, dict(_pair(text) for text in options["env"]))

    def check_count(self, count: int) -> None:
        """InvalidInput when an id is given for more than one job."""
        if "id" in self.fields and count > 1:
            raise InvalidInput("--id is for one job", f"{count} are given; put ids in the JSON")

    @property
    def empty(self) -> bool:
        return not self.fields and self.delay is None and not self.env

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
        if self.env:
            env = source.get("env")
            given["env"] = {**env, **self.env} if isinstance(env, dict) else dict(self.env)
        return {name: source[name] for name in source if field_name(name) not in given} | given


def _number(name: str, text: str) -> int | float:
    for read in (int, float):
        try:
            if "_" not in text:
                return read(text)
        except ValueError:
            continue
    option = "--" + name.replace("_", "-")
    hint = "higher runs first: 10, 0, -10" if name == "priority" else ""
    raise InvalidInput(f"{option}: '{clean_line(text, 40)}' is not a number", hint)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput(f"--env: '{clean_line(text, 40)}' is not K=V", "write --env NAME=VALUE")
    return name, value


def tell_ignored(session: "Session", ignored: set[str]) -> None:
    if ignored:
        session.err.note(f"ignored, since queuectl sets them itself: {', '.join(sorted(ignored))}")
