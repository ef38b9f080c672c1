"""``queuectl metrics``."""

from __future__ import annotations

from queuectl_core.domain.text import clean_line
from queuectl_core.operations.metrics import read_metrics, text_format, write_metrics

from .declare import FILE, option, verb
from .session import Session


@verb(
    "metrics",
    examples=(
        "queuectl metrics",
        "queuectl metrics --textfile /var/lib/prometheus/node-exporter/queuectl.prom",
        "queuectl metrics --json",
    ),
)
@option(
    "--textfile",
    metavar="FILE",
    complete=FILE,
    about="Write them into FILE, for the textfile collector of node_exporter. Print nothing.",
)
def metrics(session: Session, textfile: str | None) -> None:
    """Print metrics for monitoring, in the text format of Prometheus: jobs by queue and state, how
    long the oldest due job has waited, paused queues, workers, attempts by outcome, how long
    attempts ran and jobs waited, when each schedule is next due and last succeeded
    (queuectl_schedule_next_run_timestamp_seconds,
    queuectl_schedule_last_success_timestamp_seconds). Counters go on when jobs are pruned.

    With --textfile, FILE is replaced in one step, so nobody reads half of it. Everybody may read it
    (mode 0644), because node_exporter runs as a user of its own. It reads only names that end in
    .prom. If the store cannot be read, FILE stays as it was.

    With --json the same numbers are a JSON array with an object for each metric. With both,
    FILE has the text, and its name and size are printed as JSON.
    """
    if session.json and textfile is None:
        found = session.run(read_metrics, read_only=True)
        session.out.json([metric.to_json() for metric in found])
        return
    as_text = text_format()
    if textfile is None:
        session.out.write(as_text(session.run(read_metrics, read_only=True)).decode())
        return
    made, size = session.run(lambda queue: write_metrics(queue, textfile, as_text), read_only=True)
    if made.suffix != ".prom":
        name = clean_line(made.name, 60)
        session.err.warn(f"node_exporter reads only files that end in .prom, and not '{name}'")
    if session.json:
        session.out.json({"file": str(made), "bytes": size})
