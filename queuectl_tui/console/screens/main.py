"""The main screen: the state of the store, and keys to act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from queuectl_core.domain.figures import DeadGroup
from queuectl_core.domain.lifecycle import CANCELLABLE, REMOVABLE, RETRYABLE
from queuectl_core.domain.model import Filter, Job, State, Worker
from queuectl_core.domain.text import contains
from queuectl_core.operations.queries import group_filter

from ...presentation import actions
from ...presentation.format import lasting, short
from ...presentation.monitor import Overview
from ...presentation.summary import by_state, summary_cells
from ...presentation.workers import console_columns
from ..action_runner import StoreRead
from ..columns import GROUPS, StateRow
from ..widgets.jobs import JobsPane
from ..widgets.row_window import ListPages
from ..widgets.states import StatesPane
from ..widgets.status_bars import Bar, KeyBar, Notice
from ..widgets.table import LineTable
from .base import WORDS, JobScreen

if TYPE_CHECKING:
    from .search import SearchLine

ALL_DEAD = Filter((State.DEAD,))

NO_WORKERS = "no workers: s starts some"
NO_DEAD = "empty: no job is dead"

SMALL = (78, 20)
"""A screen with fewer columns and lines than this shows one pane at a time."""


class MainScreen(JobScreen):
    """States, workers, the DLQ and jobs on one screen of any size."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "next_pane(1)", "next pane", key_display="1-4"),
        Binding("enter", "open", "open", key_display="⏎"),
        Binding("escape", "clear", "clear filter", key_display="esc"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("e", "enqueue", "enqueue"),
        Binding("R", "retry_all", "retry all"),
        Binding("s", "start", "start workers"),
        Binding("x", "stop", "stop worker"),
        Binding("w", "why", "why"),
        Binding("h", "hold", "hold"),
        Binding("E", "edit_fields", "edit"),
        Binding("5", "queues", "queues"),
        Binding("6", "schedules", "schedules"),
        Binding("8", "events", "events", show=False),
        Binding("9", "hooks", "hooks", show=False),
        Binding("P", "pause_queue", "pause or resume the queue", show=False),
        Binding("left_square_bracket", "state(-1)", "previous state", key_display="[", show=False),
        Binding("right_square_bracket", "state(1)", "next state", key_display="]", show=False),
        Binding("n", "found(1)", "next match", show=False),
        Binding("N", "found(-1)", "previous match", show=False),
        Binding("less_than_sign", "sort(-1)", "sort column left", key_display="<", show=False),
        Binding("greater_than_sign", "sort(1)", "sort column right", key_display=">", show=False),
        Binding("I", "invert", "sort direction", show=False),
        Binding("1", "pane('states')", "states", show=False),
        Binding("2", "pane('workers')", "workers", show=False),
        Binding("3", "pane('dlq')", "DLQ", show=False),
        Binding("4", "pane('jobs')", "jobs", show=False),
        Binding("shift+tab", "next_pane(-1)", "previous pane", show=False),
    ]

    def compose(self) -> ComposeResult:
        self.states = StatesPane()
        self.worker_table: LineTable[Worker] = LineTable(
            console_columns(()), ListPages("id"), id="workers", clock=self.console.clock
        )
        self.dlq: LineTable[DeadGroup] = LineTable(
            GROUPS, ListPages("reason"), id="dlq", clock=self.console.clock
        )
        console = self.console
        self.jobs = JobsPane(console.connections, console.clock, newest=console.monitor.newest)
        self._searching: LineTable[Any] = self.jobs
        self._last_pane: LineTable[Any] = self.jobs
        self._narrowed = {"workers": "", "dlq": ""}
        yield Bar(id="title", filled=True)
        yield Notice(id="banner", filled=True)
        yield Bar(id="summary")
        with Container(id="body"):
            yield from self.panes
        yield Notice(id="message", passing=True)
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        self.jobs.focus()
        self.jobs.know(self.console.overview.total)
        self._show(self.console.overview)

    @property
    def panes(self) -> tuple[LineTable[Any], ...]:
        return (self.states, self.worker_table, self.dlq, self.jobs)

    @property
    def pane(self) -> LineTable[Any]:
        """The pane that keys act on. It changes as soon as the focus moves, so a key that follows
        quickly never acts on the old pane."""
        if isinstance(self.focused, LineTable):
            self._last_pane = self.focused
        return self._last_pane

    def on_store_read(self, message: StoreRead) -> None:
        self._show(message.overview)
        if message.changed:
            self.jobs.renew()
            self.jobs.count_again(message.overview.matching(self.jobs.where))
        else:
            self.jobs.paint()
        self.jobs.look_why()
        self.refresh_bindings()

    def _show(self, overview: Overview) -> None:
        self.states.parts = [("1 states", "strong"), (f" {overview.total:,}", "text")]
        self.states.update(overview)
        busy = sum(worker.job is not None for worker in overview.live_workers)
        lost = len(overview.workers) - len(overview.live_workers)
        text = self._narrowed["workers"]
        shown = [w for w in overview.workers if contains(f"{w.id} {w.job or ''} {w.host}", text)]
        self.worker_table.parts = [
            ("2 workers", "strong"),
            (f" {len(overview.workers)}", "text"),
            (f"  {busy} busy" if overview.workers else "", "busy" if busy else "muted"),
            (f"  {lost} lost" if lost else "", "bad"),
            (f"  +{overview.prefetched} prefetched" if overview.prefetched else "", "muted"),
            (f"  /{short(text, 40)}" if text else "", "accent"),
        ]
        none = "no workers" if self.console.connections.read_only else NO_WORKERS
        self.worker_table.columns = console_columns(overview.workers)
        self.worker_table.empty = f"none matches {short(text, 40)}" if text else none
        self.worker_table.set_rows(shown)
        dead = overview.counts.get(State.DEAD, 0)
        causes, text = len(overview.groups), self._narrowed["dlq"]
        self.dlq.parts = [
            ("3 dlq", "strong"),
            (f" {dead:,}", "bad" if dead else "text"),
            (f"  {causes} cause{'s' if causes != 1 else ''}" if dead else "", "muted"),
            (f"  /{short(text, 40)}" if text else "", "accent"),
        ]
        self.dlq.empty = f"none matches {short(text, 40)}" if text else NO_DEAD
        groups = [group for group in overview.groups if contains(group.reason, text)]
        self.dlq.set_rows(groups)
        self._show_bars(overview)

    def _show_bars(self, overview: Overview) -> None:
        console = self.console
        self.query_one("#title", Bar).say(*console.heading())
        self.query_one("#summary", Bar).say(summary_cells(overview.counts, overview.workers))
        waiting = overview.oldest_due_at
        late = console.clock() - waiting if waiting is not None else 0.0
        unserved = False
        if console.trouble:
            self.query_one("#banner", Bar).say([(f" ▲ {console.trouble}", "bad")])
        elif unserved := late > 60 and not overview.live_workers:
            said = f" ▲ jobs have waited {lasting(late)} and no worker runs: s starts some"
            self.query_one("#banner", Bar).say([(said, "warn")])
        self.query_one("#banner").set_class(bool(console.trouble) or unserved, "on")

    def on_resize(self, event: events.Resize) -> None:
        small = event.size.width < SMALL[0] and event.size.height < 30
        self.set_class(small or event.size.height < SMALL[1], "-small")

    @on(LineTable.Moved)
    def _row_moved(self) -> None:
        self.refresh_bindings()

    @on(LineTable.Failed)
    def _failed(self, message: LineTable.Failed) -> None:
        self.console.lost(message.error)

    @on(LineTable.Refused)
    def _refused(self, message: LineTable.Refused) -> None:
        self.console.say(message.reason, "warn")

    def on_descendant_focus(self) -> None:
        for pane in self.panes:
            pane.set_class(pane is self.pane, "current")

    def action_pane(self, name: str) -> None:
        pane = next(pane for pane in self.panes if pane.id == name)
        for other in self.panes:
            other.set_class(other is pane, "current")
        self.set_focus(pane)

    def action_next_pane(self, way: int) -> None:
        panes = self.panes
        self.action_pane(str(panes[(panes.index(self.pane) + way) % len(panes)].id))

    def action_state(self, way: int) -> None:
        self.jobs.next_state(way)
        self.action_pane("jobs")

    def action_sort(self, way: int) -> None:
        self.jobs.sort(way)
        self.console.say(f"jobs {self.jobs.order()}")

    def action_invert(self) -> None:
        self.jobs.invert()
        self.console.say(f"jobs {self.jobs.order()}")

    def action_filter(self) -> None:
        from .search import SearchLine

        if not self.query(SearchLine):
            self._searching = self.jobs if self.pane is self.states else self.pane
            name = str(self._searching.id)
            now = self._narrowed.get(name, self.jobs.where.search or "")
            self.mount(SearchLine(now, name), before="#message")

    def on_search_line_typed(self, message: SearchLine.Typed) -> None:
        if self._searching is self.jobs:
            self.jobs.filter(self.jobs.where._replace(search=message.text or None))
        else:
            self._narrowed[str(self._searching.id)] = message.text
        self._show(self.console.overview)

    def on_search_line_closed(self) -> None:
        """The search line is closed: give the focus back to the rows."""
        self.set_focus(self._searching)

    def action_found(self, way: int) -> None:
        self.pane.action_move(way)

    @property
    def _filtered(self) -> bool:
        return self.jobs.filtered or any(self._narrowed.values())

    def action_clear(self) -> None:
        if self._filtered:
            self._narrowed = dict.fromkeys(self._narrowed, "")
            self.jobs.filter(Filter())
            self._show(self.console.overview)
        elif self.pane.marks:
            self.pane.action_clear_marks()

    @on(LineTable.Marked)
    def _marked(self) -> None:
        self.refresh_bindings()

    def targets(self) -> list[Job]:
        return self.jobs.chosen() if self.pane is self.jobs else []

    def target_filters(self) -> list[Filter] | None:
        groups = self.dlq.chosen() if self.pane is self.dlq else None
        return None if groups is None else [group_filter(group) for group in groups]

    def current_job(self) -> Job | None:
        return self.jobs.current if self.pane is self.jobs else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        possible = super().check_action(action, parameters)
        if possible is False or not self.is_mounted:
            return possible
        pane = self.pane
        if action in ("retry", "remove") and pane is self.dlq:
            return True if self.dlq.current else None
        if action == "copy_id" and pane is self.worker_table:
            return True if self.worker_table.current else None
        if action in ("output", "open") and pane is self.worker_table:
            return True if self.worker_table.current and self.worker_table.current.job else None
        if action == "cancel" and pane is self.worker_table:
            return True if self._jobs_run() else None
        if action == "retry_all":
            if pane is self.dlq:
                return True if self.dlq.window.rows else None
            hidden = self.has_class("-small") and pane is not self.jobs
            return None if hidden else True  # never by a filter that is not visible
        if action == "stop":
            rows = (
                self.worker_table.chosen()
                if pane is self.worker_table
                else self.console.overview.workers
            )
            return True if rows else None
        if action == "open":
            return True if pane.current is not None else None
        return possible

    def describe(self, action: str) -> str | None:
        pane, overview = self.pane, self.console.overview
        if action == "next_pane(1)":  # when all panes are visible, their titles show the keys
            return "panes" if self.has_class("-small") else ""
        if action == "clear":
            return None if self._filtered else "clear marks" if pane.marks else ""
        if action == "stop":
            if pane is not self.worker_table:
                return f"stop all {len(overview.workers)}"
            chosen = self.worker_table.chosen()
            return f"stop {len(chosen)} marked" if len(chosen) > 1 else "stop worker"
        if action == "retry_all":
            return self._describe_retry_all()
        if action == "cancel" and pane is self.worker_table:
            ids = self._jobs_run()
            return "cancel its job" if len(ids) == 1 else f"cancel {len(ids)} jobs"
        if action in ("retry", "remove") and pane is self.dlq:
            count = sum(group.count for group in self.dlq.chosen())
            return f"{WORDS[action]} {count:,} dead"
        return super().describe(action)

    def _describe_retry_all(self) -> str | None:
        if self.pane is self.dlq and self._narrowed["dlq"]:
            return f"retry {sum(group.count for group in self.dlq.window.rows):,} dead"
        where = ALL_DEAD if self.pane is self.dlq else self.jobs.where
        if where.search is not None or where.queues:
            return "retry matching"
        if where.reasons:
            return f"retry {self.jobs.count:,} dead" if self.jobs.counted else "retry matching"
        states = where.narrowed(RETRYABLE).states if where.states else (State.FAILED, State.DEAD)
        counts = {s: n for s in states if (n := self.console.overview.counts.get(s, 0))}
        return f"retry {by_state(counts)}" if counts else None

    @on(LineTable.Chosen)
    def _chosen(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        pane, row = self.pane, self.pane.current
        if isinstance(row, StateRow):
            self.jobs.filter(Filter((row.state,) if row.state else ()))
            self.action_pane("jobs")
        elif isinstance(row, DeadGroup):
            self.jobs.filter(group_filter(row))
            self.action_pane("jobs")
        elif isinstance(row, Worker):
            if row.job:
                self.console.with_job(row.job, self.console.open_job)
        elif pane is self.jobs and isinstance(row, Job):
            self.console.open_job(row)

    def _shown_dead(self) -> list[Filter]:
        """The dead jobs that the DLQ shows: all of them, or those of the causes that match its
        filter."""
        if not self._narrowed["dlq"]:
            return [ALL_DEAD]
        reasons = tuple(group.reason for group in self.dlq.window.rows)
        return [ALL_DEAD._replace(reasons=reasons)] if reasons else []

    def action_retry_all(self) -> None:
        wheres = self._shown_dead() if self.pane is self.dlq else [self.jobs.where]
        self.console.perform_counted(wheres, RETRYABLE, actions.retry_matching)

    def retry_dead(self) -> None:
        self.console.perform_counted([ALL_DEAD], RETRYABLE, actions.retry_matching)

    def purge_dead(self) -> None:
        self.console.perform_counted([ALL_DEAD], REMOVABLE, actions.remove_matching)

    def show_state(self, state: State) -> None:
        self.jobs.filter(Filter((state,)))
        self.action_pane("jobs")

    def action_cancel(self) -> None:
        if self.pane is self.worker_table:
            self.console.with_jobs(self._jobs_run(), actions.cancel)
        else:
            super().action_cancel()

    def _jobs_run(self) -> list[str]:
        return [worker.job for worker in self.worker_table.chosen() if worker.job]

    def cancel_all(self) -> None:
        self.console.perform_counted([self.jobs.where], CANCELLABLE, actions.cancel_matching)

    def remove_all(self) -> None:
        self.console.perform_counted([self.jobs.where], REMOVABLE, actions.remove_matching)

    def action_output(self) -> None:
        worker = self.worker_table.current
        if self.pane is self.worker_table and worker is not None and worker.job:
            self.console.with_job(worker.job, self.console.open_output)
        else:
            super().action_output()

    def action_copy_id(self) -> None:
        if self.pane is self.worker_table:
            self.copy_ids([worker.id for worker in self.worker_table.chosen()])
        else:
            super().action_copy_id()

    def action_enqueue(self) -> None:
        self.console.open_form()

    def action_queues(self) -> None:
        self.console.open_queues()

    def action_schedules(self) -> None:
        self.console.open_schedules()

    def action_events(self) -> None:
        self.console.open_events()

    def action_hooks(self) -> None:
        self.console.open_hooks()

    def show_queue(self, name: str) -> None:
        """Show the jobs of one queue."""
        self.jobs.filter(Filter(queues=(name,)))
        self.action_pane("jobs")

    def action_start(self) -> None:
        self.console.ask_workers()

    def action_stop(self) -> None:
        if self.pane is self.worker_table:
            if chosen := self.worker_table.chosen():
                self.console.perform(actions.stop_workers(chosen))
        elif everyone := list(self.console.overview.workers):
            self.console.perform(actions.stop_workers(everyone, everyone=True))
