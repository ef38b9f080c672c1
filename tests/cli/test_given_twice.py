"""An option that takes one value is refused when it is given twice, so no value is lost silently.

The test covers all options of all verbs, so also every new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from queuectl_tui.cli.command import ClickNoun, built
from queuectl_tui.cli.main import ROOT
from queuectl_tui.cli.session import Session

from ..support import Cli
from .conftest import Here
from .test_globals import one_line

Words = tuple[str, ...]


def root() -> ClickNoun:
    found = built(ROOT, is_root=True)
    assert isinstance(found, ClickNoun)
    return found


def commands(noun: ClickNoun, path: Words = ()) -> Iterator[tuple[Words, click.Command]]:
    """Every command, also the root, with the words that call it."""
    context = click.Context(noun, obj=Session())
    yield path, noun
    for name in noun.list_commands(context):
        found = noun.get_command(context, name)
        if isinstance(found, ClickNoun):
            yield from commands(found, (*path, name))
        elif found is not None:
            yield (*path, name), found


def options() -> Iterator[tuple[Words, click.Option]]:
    for path, command in commands(root()):
        for param in command.get_params(click.Context(command)):
            if isinstance(param, click.Option) and not param.is_flag:
                yield path, param


ONE_VALUE = [(path, option) for path, option in options() if not option.multiple]
LISTS = {(path, max(option.opts, key=len)) for path, option in options() if option.multiple}


@pytest.mark.parametrize(
    ("path", "option"), ONE_VALUE, ids=[" ".join([*p, o.opts[-1]]) for p, o in ONE_VALUE]
)
def test_an_option_of_one_value_is_given_once(
    here: Here, path: Words, option: click.Option
) -> None:
    name = max(option.opts, key=len)
    for first in option.opts:
        shown = here(*path, first, "1", f"{name}=2", code=2)
        assert f"{name} is given twice" in one_line(shown.err)
        assert not shown.out


def test_what_may_be_repeated() -> None:
    """If a filter is repeated, jobs need to match only one of the values. This is so in every
    verb."""
    filters = {"--state", "--queue", "--key", "--exit-code", "--reason"}
    set_it = {("enqueue",), ("edit",), ("queue", "pause"), ("hook", "add"), ("hook", "pause")}
    set_it |= {("schedule", verb) for verb in ("add", "edit", "import", "pause")}
    for path, option in options():
        name = max(option.opts, key=len)
        if name in filters and path not in set_it:
            assert option.multiple, (path, name)
    others = {(" ".join(path), name) for path, name in LISTS if name not in filters}
    lists = ("--after", "--after-any", "--after-failed", "--env", "--secret")
    verbs = ("enqueue", "schedule add", "schedule edit")
    assert others == {
        *((verb, name) for verb in verbs for name in lists),
        *(("schedule edit", "--unset"), ("hook add", "--env"), ("hook add", "--on")),
        *(("dashboard", "--name"), ("events", "--kind")),
    }


def test_another_spelling_is_the_same_option(here: Here) -> None:
    for words in (("-f", "a", "--file", "b"), ("--max_retries", "1", "--retries", "2", "x")):
        assert "is given twice" in one_line(here("enqueue", *words, code=2).err)
    assert here("enqueue", "--", "sort", "--key", "1", "--key", "2").out, "of the command itself"


def test_repeated_filters_are_a_union(here: Here) -> None:
    for queue in ("mail", "mail", "web", "other"):
        here("enqueue", "true", "--queue", queue)
    words = ("--queue", "mail", "--queue", "web")
    assert len(here("list", *words, "--json").json) == 3
    assert here("cancel", *words).out == "3 jobs cancelled\n"
    assert here("retry", "--queue", "mail,web").out == "3 jobs retried\n"
    assert here("remove", *words, "-y").out == "3 jobs removed\n"
    assert [job["queue"] for job in here("list", "--json").json] == ["other"]


def test_repeated_filters_of_dead_jobs(cli: Cli, tmp_path: Path) -> None:
    for code in (3, 4, 5, 7):
        command = f"echo 'cannot reach host {code}' >&2; exit {code}"
        cli("enqueue", command, "--max-retries", "1", "--id", f"j{code}")
    cli("worker", "start", "--until-empty", "-q")
    codes = ("--exit-code", "3", "--exit-code", "4")
    assert {job["id"] for job in cli.json("dlq", "list", *codes)} == {"j3", "j4"}
    assert cli.json("dlq", "retry", *codes) == {"retried": 2}
    # A part of a reason is enough; its case does not matter. A whole reason selects only itself.
    found = cli.json("dlq", "list", "--reason", "EXIT 5: cannot", "--reason", "exit 7")
    assert {job["id"] for job in found} == {"j5", "j7"}
    shown = cli("dlq", "retry", "--reason", "no route")
    assert shown.out == "0 jobs retried\n"
    said = one_line(shown.err)
    assert "no dead job has the reason 'no route'; they died of: 'exit " in said
    assert cli.json("dlq", "purge", "--reason", "reach HOST", "-y") == {"purged": 2}


def test_a_queue_that_is_not_there_is_said(here: Here) -> None:
    here("enqueue", "true", "--id", "j", "--queue", "mail")
    for verb in ("list", "cancel", "retry", "remove", "dlq list", "dlq retry", "dlq purge"):
        shown = here(*verb.split(), "--queue", "mial")
        assert "no job is in queue 'mial'; did you mean mail?" in one_line(shown.err), verb
        assert not here(*verb.split(), "--queue", "mial", "-q").err
    assert "queues with jobs: mail" in here("list", "--queue", "zebra").err
    assert not here("list", "--queue", "mail").err
    assert "is not allowed" in one_line(here("list", "--queue", "a b", code=2).err)


@pytest.mark.parametrize("verb", ["cancel", "retry", "remove", "dlq retry", "dlq purge"])
def test_ids_go_with_no_filter(here: Here, verb: str) -> None:
    here("enqueue", "true", "--id", "j1")
    for words in (("--all",), ("--queue", "x"), ("--search", "t"), ("--exit-code", "1")):
        said = one_line(here(*verb.split(), "j1", *words, code=2).err)
        assert "name jobs, or give filters or --all, not both" in said
    assert "name jobs, or give --all or a filter" in one_line(here(*verb.split(), code=2).err)
    assert [job["state"] for job in here("list", "--json").json] == ["pending"]
