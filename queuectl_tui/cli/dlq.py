"""``queuectl dlq``: list, retry, purge."""

from __future__ import annotations

from .declare import Noun

dlq = Noun(
    "dlq",
    {
        "list": ("dlq_list:list_dead", "List the jobs in the DLQ."),
        "retry": ("dlq_retry:retry", "Run jobs of the DLQ again, now."),
        "purge": ("dlq_purge:purge", "Remove jobs from the DLQ for good."),
    },
    about="The dead letter queue: the jobs that failed for good (state dead).",
    examples=(
        "queuectl dlq list",
        "queuectl dlq retry --all --search timeout",
        "queuectl dlq purge --all --exit-code 127 -y",
    ),
)
