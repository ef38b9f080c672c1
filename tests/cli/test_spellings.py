"""Every word of other queues that is understood, or answered with a hint: what becomes of each.

The verbs are not run. The file in ``snapshots`` has what would run, or what the user reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queuectl_tui.cli import command, spellings
from queuectl_tui.cli.main import run
from queuectl_tui.cli.session import Session

from .. import snapshots

FOLDER = Path(__file__).parent / "snapshots"


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """``answer("ls")``: the verb that would run and the values it was given, or what is said."""

    def only_say(self: command.ClickVerb, **values: Any) -> int:
        ctx = command.click.get_current_context()
        session = ctx.find_object(Session)
        assert session is not None
        given = {name: value for name, value in values.items() if value not in (None, (), False)}
        given |= {"json": True} if session.json else {}
        given |= {"store": session.store} if session.store else {}
        session.out.line(f"{ctx.command_path} {given}")
        return 0

    monkeypatch.setattr(command.ClickVerb, "_run", only_say)
    monkeypatch.setattr("queuectl_tui.cli.main.read", lambda args, table: None)

    def call(*words: str) -> str:
        code = run(words)
        out, err = capfd.readouterr()
        said, *_ = [*(out + err).splitlines(), ""]
        return f"{' '.join(words)} -> {code} {said}"

    return call


def of_verbs() -> Iterator[tuple[str, ...]]:
    for path, table in spellings.VERBS.items():
        for word in table:
            yield (*path.split(), word)
            yield (*path.split(), word.upper(), "more")
    yield from ((word,) for word in spellings.NOT_NEEDED)
    for path, hints in spellings.HINTS.items():
        for words in hints:
            for word in words.split():
                yield (*path.split(), word)


OTHERS: tuple[tuple[str, ...], ...] = (
    ("worker-start",),
    ("worker_list", "--json"),
    ("worker:list",),
    ("dlq-retry-all",),
    ("queue-",),
    ("nothing-start",),
    ("help", "enqueue"),
    ("workers", "list"),
    ("workers", "list", "list"),
    ("queues", "list"),
    ("config", "show", "timeout"),
    ("config", "show", "--json"),
    ("INIT_DB",),
    ("LS",),
    ("Inspect", "a"),
    *(("jobs", word, "a b") for word in ("show", "logs", "cancel", "retry", "remove", "wait")),
    *(("job", word, "a") for word in ("why", "hold", "release", "edit", "list")),
    ("jobs", "show", "x" * 70),
    ("config", "max-retries"),
    ("config", "max_retries=5"),
    ("config", "max-retries", "it's"),
    ("config", "shell", "x" * 50),
    ("config", "lst"),
    ("remov",),
    ("prun",),
    ("cancl",),
    ("dlq", "purg"),
    ("enqeue",),
    ("qwertyuiop" * 7,),
    ("schedule", "ad"),
    # Arguments that no verb takes.
    ("worker", "start", "5"),
    ("worker", "start", "five"),
    *(("list", word) for word in spellings._STATES),
    ("list", "held"),
    ("status", "job1"),
    ("status", "x" * 70),
    # Options.
    ("list", "--format", "json"),
    ("list", "--output=json"),
    ("list", "-o", "json"),
    ("list", "-o", "yaml"),
    ("list", "--format"),
    ("list", "--limti", "3"),
    ("list", "--maxRetries", "3"),
    ("list", "--Limit", "3"),
    ("list", "--exit_code=3"),
    ("list", "--exitCode", "3", "--exitCode=4"),
    ("list", "--n"),
    ("enqueue", "-fjobs.txt"),
    ("enqueue", "-z"),
    ("enqueue", "--retries=3", "true"),
    ("enqueue", "--job", "true"),
    ("enqueue", "--job=true"),
    ("show", "--job-id=a"),
    ("progress", "-5"),
    ("progress", "-.5", "text"),
    ("config", "set", "timeout", "-5"),
    ("config", "get", "--timeout"),
    ("config", "get", "--timeout=5"),
    ("config", "set", "--max-retries", "it's"),
    ("config", "set", "--max-retries=5"),
    ("config", "set", "--max-retries"),
    ("config", "set", "--colour", "red"),
    ("config", "--key", "timeout"),
    *(("worker", option) for option in spellings._START),
    ("worker", "--count", "3"),
    ("worker", "--workers=3"),
    ("worker", "--stop"),
    ("worker", "--start=5"),
    ("worker", "--sotp"),
    ("--lst",),
    ("--db=x.db", "status"),
)


def of_options() -> Iterator[tuple[str, ...]]:
    for path, table in (*spellings.OPTIONS.items(), *spellings.OPTION_HINTS.items()):
        for words in table:
            for word in words.split():
                yield (*(path or "status").split(), word, "3")


@pytest.mark.parametrize("part", [of_verbs, of_options, OTHERS], ids=["verbs", "options", "others"])
def test_what_other_words_stand_for(part: Any, answer: Any) -> None:
    lines = [answer(*words) for words in (part() if callable(part) else part)]
    name = "others" if isinstance(part, tuple) else part.__name__[3:]
    snapshots.same_as(FOLDER / f"spellings-{name}.txt", "\n".join(lines))
