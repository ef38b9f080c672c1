"""The states of an attempt: whatever happens, in whatever order, it is settled once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain.config import settings
from queuectl_core.domain.model import Job, Outcome, State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.runner.events import Exit, Exited, NotStarted, Recalled, RunnerEvent, Started
from queuectl_core.supervisor.attempt_states import (
    ENDED,
    RUNS,
    TRANSITIONS,
    AttemptEvent,
    AttemptState,
)
from queuectl_core.supervisor.context import Context
from queuectl_core.supervisor.dispatcher import Dispatcher
from queuectl_core.supervisor.executor import Executor
from queuectl_core.supervisor.heartbeat import Heartbeat
from queuectl_core.supervisor.supervisor import Supervisor

from ..support import Cli, eventually

FORWARD = [
    AttemptState.CLAIMED,
    AttemptState.PREFETCHED,
    AttemptState.ORPHANED,
    AttemptState.RUNNING,
    AttemptState.EXITED,
    AttemptState.RETURNED,
    AttemptState.CLEANED,
    AttemptState.SETTLED,
]


def test_every_state_has_its_transitions_and_only_the_last_has_none() -> None:
    assert TRANSITIONS.keys() == set(AttemptState)
    assert [state for state, events in TRANSITIONS.items() if not events] == [AttemptState.SETTLED]
    named = {event for events in TRANSITIONS.values() for event in events}
    assert named == set(AttemptEvent)
    assert not ENDED & RUNS


def test_an_attempt_only_moves_forward() -> None:
    for before, events in TRANSITIONS.items():
        for after in events.values():
            assert FORWARD.index(before) < FORWARD.index(after), (before, after)


@given(st.lists(st.sampled_from(AttemptEvent), max_size=30))
def test_any_order_of_events_ends_in_one_settled_attempt(events: list[AttemptEvent]) -> None:
    """After them come those that always come: an exit, the end of the cleaning, a commit."""
    state = AttemptState.CLAIMED
    visited = [state]
    last = [AttemptEvent.EXITED, AttemptEvent.CLEANED, AttemptEvent.SETTLED]
    for event in [*events, *last]:
        after = TRANSITIONS[state].get(event)
        if after is not None:
            state = after
            visited.append(state)
    assert state is AttemptState.SETTLED
    assert len(visited) == len(set(visited))
    assert (AttemptState.CLEANED in visited) != (AttemptState.RETURNED in visited)


class FakeShim:
    """Takes every request, and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class FakeStore:
    """What the executor needs of a store."""

    shared_by_hosts = False
    url = "none"

    def __init__(self, directory: Path) -> None:
        self.directory = directory


def executor_of(directory: Path) -> tuple[Executor, Context, list[Notice]]:
    """An executor with one worker, on a shim that does nothing."""
    told: list[Notice] = []
    context = Context(FakeStore(directory), {}, lambda: 100.0, told.append)  # type: ignore[arg-type]
    context.settings = settings({}, {})
    context.become("sup", [()])
    executor = Executor(context)
    executor.shims._shared = FakeShim()  # type: ignore[assignment]
    return executor, context, told


def job_of(seq: int) -> Job:
    fields: dict[str, Any] = dict.fromkeys(Job._fields)
    fields |= {"seq": seq, "id": f"j{seq}", "command": "true", "queue": "default", "runs": 1}
    fields |= {"attempts": 0, "crashes": 0, "max_retries": 1, "backoff_base": 2.0, "env": {}}
    fields |= {"cwd": "/", "nice": 0, "memory_limit": 0, "cpu_seconds": 0, "created_at": 1.0}
    fields |= {"timeout_seconds": 0, "output_limit": 0, "shim": "sup", "updated_at": 1.0}
    fields |= {"state": State.PROCESSING, "run_at": 1.0, "priority": 0}
    return Job(**fields)


EXIT = Exit(0, None, 0.1, 5, 1.0, False, written=0)
WORDS = st.lists(
    st.sampled_from(["started", "exited", "lacking", "recalled", "lost", "never", "turn"]),
    max_size=12,
)


def commit(executor: Executor, dispatcher: Dispatcher) -> Iterator[str]:
    """What the next commit writes down, or gives back."""
    results, executor.attempts.results = executor.attempts.results, []
    for result in results:
        yield str(result.attempt.outcome)
        dispatcher._settled(result, refused=False)
    for attempt in list(executor.attempts.returned.values()):
        yield "returned"
        executor.attempts.move(attempt, AttemptEvent.SETTLED)


@pytest.mark.parametrize("way", ["launched", "prefetched", "inherited"])
@given(words=WORDS)
def test_the_store_hears_once_of_each_attempt(way: str, words: list[str]) -> None:
    """Events of the shim, of recovery and of commits, in any order and any number."""

    async def play() -> list[str]:
        executor, context, _ = executor_of(Path("/nonexistent"))
        dispatcher = Dispatcher(context, Heartbeat(context), executor)
        job, slot = job_of(1), context.slots["sup-1"]
        if way == "inherited":
            executor.claim(job, inherited=True)
        else:
            dispatcher._start(job._replace(worker=slot.id) if way == "launched" else job)
        attempt = executor.attempts.of(job)
        assert attempt is not None
        token = attempt.token
        events: dict[str, RunnerEvent] = {
            "started": Started(token, 1, 0.9, 1.0, 1.0, slot.id),
            "exited": Exited(token, EXIT, slot.id),
            "lacking": NotStarted(token, "no processes"),
            "recalled": Recalled([token]),
        }
        heard: list[str] = []
        for word in [*words, "exited", "turn"]:
            if word in events:
                executor._on_event(events[word])
            elif word == "lost":
                executor.give_up(attempt, "lost")
            elif word == "never":
                executor.never_started(attempt)
            else:
                heard += commit(executor, dispatcher)
            await asyncio.sleep(0)
        assert list(executor.attempts) == []
        assert slot.attempt is None
        assert executor.attempts.prefetched == executor.attempts.unannounced == {}
        dispatcher.close()
        return heard

    heard = asyncio.run(play())
    assert len(heard) == 1, heard
    assert heard[0] in {"returned", *(outcome.value for outcome in Outcome)}


async def test_a_trace_names_the_states(queue: Queue) -> None:
    events: list[Notice] = []
    await queue.enqueue(["true"])
    supervisor = Supervisor(
        queue.store, queue.env, on_notice=events.append, until_empty=True, trace=True
    )
    await supervisor.run(1, ())
    told = [event.message for event in events if event.kind is NoticeKind.ATTEMPT]
    assert told == [
        "attempt 1: claimed → running (started)",
        "attempt 1: running → exited (exited)",
        "attempt 1: exited → cleaned (cleaned)",
        "attempt 1: cleaned → settled (settled)",
    ]


def test_debug_and_the_log_name_the_states(cli: Cli) -> None:
    cli("enqueue", "true")
    done = cli("--debug", "worker", "start", "--until-empty")
    assert re.search(r"\w+ attempt 1: running → exited", done.err)
    cli("config", "set", "log-level", "debug")
    cli("enqueue", "true")
    try:
        cli("worker", "start", "-d")
        cli("wait", "--all")
        log = cli.directory / "supervisor.log"
        eventually(lambda: "cleaned → settled" in log.read_text())
    finally:
        cli("worker", "stop")
