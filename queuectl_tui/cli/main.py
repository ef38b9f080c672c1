"""The root of the command line: the table of verbs and the way in.

The table is static: a verb's module is imported when the verb is run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from .declare import Noun, Subcommands
from .diagnostics import guard
from .quick import read
from .session import COMPLETE, PROGRAM, Session

VERBS: Subcommands = {
    "enqueue": ("enqueue:enqueue", "Add jobs to the queue."),
    "list": ("list_jobs:list_jobs", "List jobs."),
    "show": ("show:show", "Show everything about one job."),
    "why": ("why:why", "Say why a job does not run, and what to do about it."),
    "logs": ("logs:logs", "Show what a job wrote, live if asked."),
    "status": ("status:status", "Show how the queue stands: jobs, workers, the DLQ."),
    "events": ("events:events", "Show who did what, and what happened."),
    "stats": ("stats:stats", "Show rates, run times and waiting times."),
    "metrics": ("metrics:metrics", "Print metrics for Prometheus."),
    "progress": ("progress:progress", "Inside a job: say how far it is."),
    "wait": ("wait:wait", "Wait until jobs have ended."),
    "cancel": ("cancel:cancel", "Cancel jobs that wait or run."),
    "retry": ("retry:retry", "Run ended or failed jobs again, now."),
    "hold": ("hold:hold", "Let jobs wait until they are released."),
    "release": ("hold:release", "Let held jobs run."),
    "edit": ("edit:edit", "Change a job that does not run."),
    "remove": ("remove:remove", "Forget jobs, their history and output."),
    "schedule": ("schedule:schedule", "Enqueue jobs again and again, at times or intervals."),
    "queue": ("queue:queue", "List queues, pause and limit them."),
    "hook": ("hook:hook", "Run a command, or tell a URL, when something happens."),
    "worker": ("worker:worker", "Start, stop and list workers."),
    "dlq": ("dlq:dlq", "List, retry or purge the jobs that failed for good."),
    "config": ("config:config", "Show and change settings."),
    "prune": ("prune:prune", "Forget jobs that ended long ago."),
    "backup": ("backup:backup", "Copy the store into a file while everything goes on."),
    "restore": ("restore:restore", "Put a backup back in the place of what the store holds."),
    "store": ("store:store", "Copy the store into another, to move to it."),
    "tui": ("tui:tui", "Open the operator console."),
    "dashboard": ("dashboard:dashboard", "Serve the browser dashboard and the HTTP API."),
    "doctor": ("doctor:doctor", "Check that everything is in order."),
    "demo": ("demo:demo", "See it work in a scratch store, in a few seconds."),
    "completion": ("completion:completion", "Print a shell completion script."),
}

ROOT = Noun(
    PROGRAM,
    VERBS,
    about="A durable background job queue for shell commands.",
    examples=(
        "queuectl enqueue 'echo hello'",
        "queuectl worker start --count 4",
        "queuectl status",
    ),
)


def run(args: Sequence[str]) -> int:
    """Run a command line and return its exit code; every failure has been reported."""
    session = Session()
    with guard(session.out, session.err) as result:
        instruction = os.environ.get(COMPLETE)
        found = None if instruction else read(args, VERBS)
        if found is not None:
            session.err.path = f"{PROGRAM} {found.path}"
            for name, value in found.shared:
                session.take(name, value)
            result.code = found.verb.run(session, **found.values) or 0
        elif instruction:
            from .completion import answer

            result.code = answer(session, ROOT, instruction)
        else:
            from .command import run as run_click

            result.code = run_click(session, ROOT, args)
        session.out.flush()
    return result.code
