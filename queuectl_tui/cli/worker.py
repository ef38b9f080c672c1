"""``queuectl worker``: start, stop, list."""

from __future__ import annotations

from .declare import Noun

worker = Noun(
    "worker",
    {
        "start": ("worker_start:start", "Run workers, here or in the background."),
        "stop": ("worker_stop:stop", "Stop workers once they have finished their jobs."),
        "list": ("worker_list:list_workers", "List workers and what they run."),
    },
    about="Start, stop and list workers. A worker runs one job at a time.",
    examples=(
        "queuectl worker start --count 4",
        "queuectl worker start --count 4 --detach",
        "queuectl worker stop",
    ),
)
