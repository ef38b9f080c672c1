"""The command palette: every verb of the command line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar, cast

from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandList, CommandPalette
from textual.events import Click
from textual.screen import Screen

from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.figures import Stats
from queuectl_core.domain.model import State
from queuectl_core.domain.text import clean_line
from queuectl_core.operations.doctor import examine

from ..presentation import actions, hook_actions
from ..presentation.actions import Action
from ..presentation.columns import TableColumn, table
from ..presentation.findings import FINDING_COLUMNS
from ..presentation.settings import SETTING_COLUMNS
from ..presentation.stats import STATS_COLUMNS, TIME_COLUMNS, precision, time_rows
from ..presentation.why import summary_rows
from .background import run_in_background
from .navigation import Navigation
from .screens.base import JobScreen
from .screens.text_screen import TextScreen
from .theme import CHOICES
from .widgets.text import TextRow

T = TypeVar("T")

STATS_WINDOW = 3600.0
IN_A_SHELL = (
    ("queue set", "limits of a queue: shows its line", "queue set NAME --limit N --rate N/PERIOD"),
    ("queue remove", "forget them: shows its line", "queue remove NAME"),
    ("hook add", "a command or a URL for events: shows its line", "hook add --help"),
    ("schedule add", "a new one: shows its line", "schedule add NAME --cron EXPR COMMAND"),
    ("schedule edit", "change one: shows its line", "schedule edit NAME --help"),
    ("schedule import", "of a crontab: shows its line", "schedule import FILE"),
    ("prune", "forget what ended long ago: shows its line", "prune --help"),
    ("backup", "copy the store: shows its line", "backup FILE"),
    ("restore", "put a backup back: shows its line", "restore FILE"),
    ("store copy", "move to another: shows its line", "store copy --to URL"),
    ("demo", "on a store of its own: shows its line", "demo"),
    ("completion", "for bash, zsh or fish: shows its line", "completion --help"),
)
"""Verbs that the console does not run: name, help, and command line."""

SCHEDULE_VERBS = (
    ("list", "the schedules: next and last run"),
    ("show", "everything about one: enter on it"),
    ("pause", "in the schedules: P"),
    ("resume", "in the schedules: P"),
    ("run", "now, in the schedules: f"),
    ("remove", "in the schedules: D"),
)


class Palette(CommandPalette):
    """Textual's palette. Its page keys fail with KeyError while its list has no row yet, and a
    click beside the screen ends it with NoWidget."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pagedown", "page(1)", "next page", show=False),
        Binding("pageup", "page(-1)", "previous page", show=False),
    ]

    def _on_click(self, event: Click) -> None:  # type: ignore[override]
        if not self.size.region.contains(event.screen_x, event.screen_y):
            event.prevent_default()  # it was made before the terminal became smaller

    def action_page(self, direction: int) -> None:
        """Go a page down (1) or up (-1). A list that cannot be seen stays as it is."""
        rows = self.query_one(CommandList)
        if rows.scrollable_content_region:
            turn = rows.action_page_down if direction > 0 else rows.action_page_up
            cast(Callable[[], None], turn)()


def commands(console: Navigation, screen: Screen[Any] | None = None) -> Iterator[SystemCommand]:
    """The commands of the palette on ``screen``; in a read-only console those that change nothing.

    A verb acts on what that screen shows. Only the main screen shows the filter, so verbs for all
    jobs that match it are only there. Verbs that look at the store go back to the main screen.
    """
    main = console.main
    screen = screen or main
    here = screen if isinstance(screen, JobScreen) else main

    def on_main(act: Callable[[], object]) -> Callable[[], object]:
        def back_then_act() -> None:
            console.back_to_main()
            act()

        return back_then_act

    def shell(verb: str) -> Callable[[], object]:
        return lambda: console.say(f"this is not run here; type in a shell: $ queuectl {verb}")

    if not console.connections.read_only:
        yield from _changing(console, screen, here)
    yield do("list", "filter the jobs by text", on_main(main.action_filter))
    for state in State:
        yield do(
            f"list --state {state}", "only these jobs", on_main(partial(main.show_state, state))
        )
    if screen is main:
        yield do("show", "everything about the current job", main.action_open)
    yield do("logs", "the current job's output, live", here.action_output)
    yield do("why", "the reasons why the current job does not run", here.action_why)
    yield do("queue list", "the queues, with their limits", console.open_queues)
    yield do("queue show", "the queues, with their limits", console.open_queues)
    for verb, about in SCHEDULE_VERBS:
        yield do(f"schedule {verb}", about, console.open_schedules)
    yield do("events", "who did what, and what happened", console.open_events)
    yield do(
        "status --why", "how many jobs wait for which reason", lambda: tell(console, "why", _waits)
    )
    yield do("status", "clear the filter: the whole picture", on_main(main.action_clear))
    yield do("stats", "of the last hour", lambda: tell(console, "stats", _stats))
    yield do("wait", "say when the marked or current jobs are done", here.wait_for)
    yield do("worker list", "the workers", on_main(lambda: main.action_pane("workers")))
    yield do("dlq list", "the dead by cause", on_main(lambda: main.action_pane("dlq")))
    yield do("config list", "every setting", lambda: tell(console, "config", _config))
    yield do("config get", "every setting", lambda: tell(console, "config", _config))
    for verb in ("list", "show"):
        yield do(f"hook {verb}", "every hook", console.open_hooks)
    yield do("doctor", "is everything in order?", lambda: tell(console, "doctor", _doctor))
    for verb, said, line in IN_A_SHELL:
        yield do(verb, said, shell(line))
    yield do("help", "every key", console.action_help)
    yield do("messages", "what was said, the latest first", console.action_messages)
    yield do("pause", "or go on", console.action_pause)
    for theme in CHOICES:
        yield do(f"theme {theme}", "colours", partial(setattr, console, "theme", theme))
    yield do("quit", "leave the console", console.exit)


def _changing(console: Navigation, screen: Screen[Any], here: JobScreen) -> Iterator[SystemCommand]:
    """The commands that change something."""
    main = console.main
    yield do("enqueue", "a new job: a form with every field", console.open_form)
    yield do("retry", "the marked or current job", here.action_retry)
    yield do("cancel", "the marked or current job", here.action_cancel)
    yield do("remove", "delete the marked or current job", here.action_remove)
    yield do("retry --command", "edit the current job's command, and run it", here.edit_job)
    yield do("edit", "the fields of the current job", here.action_edit_fields)
    yield do("hold", "the marked or current job, or release it", here.action_hold)
    yield do("release", "the marked or current job, if it is held", here.release)
    yield do("queue pause", "or resume: the current job's queue", here.action_pause_queue)
    if screen is main:
        yield do("retry all", "every job that matches the filter", main.action_retry_all)
        yield do("cancel all", "every job that matches the filter", main.cancel_all)
        yield do("remove all", "delete every job that matches the filter", main.remove_all)
        yield do("worker stop", "the current one, or all of them", main.action_stop)
    yield do("worker start", "in the background, on this host", console.ask_workers)
    yield do("dlq retry", "all dead jobs", main.retry_dead)
    yield do("dlq purge", "delete all dead jobs", main.purge_dead)
    ask = partial(console.ask_config, "Which setting, and its value?", actions.config_set)
    yield do("config set", "change a setting: KEY VALUE", ask)
    question = "Which setting goes back to its default?"
    ask = partial(console.ask_config, question, actions.config_unset)
    yield do("config unset", "back to the default: KEY", ask)
    for verb, said, make in (
        ("pause", "deliver nothing more: NAME", lambda name: hook_actions.pause_hooks([name])),
        ("resume", "deliver again: NAME", lambda name: hook_actions.resume_hooks([name])),
        ("test", "send a sample now: NAME", hook_actions.try_hook),
    ):
        ask = partial(console.ask_config, f"Which hook? ({verb})", _named(make))
        yield do(f"hook {verb}", said, ask)
    yield do("hook remove", "in the hooks: D", console.open_hooks)


def _named(make: Callable[[str], Action]) -> Callable[[str], Action]:
    """``make`` with a name as it was typed. The hook is looked up when the action is done."""
    return lambda text: make(text.strip())


def do(title: str, said: str, act: Callable[[], object]) -> SystemCommand:
    return SystemCommand(title, said, cast(Callable[[], None], act))


def tell(
    console: Navigation, title: str, read: Callable[[Navigation], Awaitable[list[TextRow]]]
) -> None:
    """Open a page and fill it with what ``read`` finds out."""
    page = TextScreen(title)
    console.push_screen(page)

    async def fill() -> None:
        try:
            rows = await read(console)
        except QueueError as error:
            rows = [[(str(error), "bad")]]
        page.show(rows)

    run_in_background(console, fill, "page", exclusive=True)


async def _stats(console: Navigation) -> list[TextRow]:
    return stats_rows(await console.connections.reader.stats(STATS_WINDOW))


def stats_rows(stats: Stats) -> list[TextRow]:
    rows: list[TextRow] = [
        [(f"{column.name:<14}", "muted"), column.cell(stats, 0.0)]
        for column in table(STATS_COLUMNS, "screen")
    ]
    columns = table(TIME_COLUMNS, "screen")
    rows += [[], line(columns, [column.name for column in columns])]
    rows += [line(columns, row) for row in time_rows(stats)]
    note = precision(stats)
    return [*rows, [], *([[(note, "muted")], []] if note else []), _same("stats --since 1h")]


def line(columns: Sequence[TableColumn[T]], row: T) -> TextRow:
    """A row of a table without a header, as it is on a page."""
    cells = []
    for column in columns:
        text, role = column.cell(row, 0.0)
        side = ">" if column.right else "<"
        cells.append((f"{text:{side}{column.place.width}}", role))
    return cells


def _same(words: str) -> TextRow:
    return [(f"$ queuectl {words}", "muted")]


async def _waits(console: Navigation) -> list[TextRow]:
    counts = await console.connections.reader.wait_summary()
    rows: list[TextRow] = [
        [(f"{count:>9,}  ", "strong"), (word, "text")] for word, count in summary_rows(counts)
    ]
    return [*(rows or [[("no job waits", "muted")]]), [], _same("status --why")]


async def _config(console: Navigation) -> list[TextRow]:
    columns = table(SETTING_COLUMNS, "console")
    settings = await console.connections.reader.config_list()
    return [*(line(columns, setting) for setting in settings), [], _same("config list")]


async def _doctor(console: Navigation) -> list[TextRow]:
    columns = table(FINDING_COLUMNS, "console")
    rows: list[TextRow] = []
    for finding in await examine(console.connections.url, console.connections.env):
        rows.append(line(columns, finding))
        if finding.hint:
            rows.append([(f"{'':19}{clean_line(finding.hint, 300)}", "muted")])
    return [*rows, [], _same("doctor")]
