"""``queuectl prune``."""

from __future__ import annotations

from .declare import option, verb
from .durations import age
from .jobs import chosen_states, state_filter
from .session import Session


@verb(
    "prune",
    examples=(
        "queuectl prune --older-than 30d",
        "queuectl prune --older-than 90d --state dead --state cancelled --dry-run",
    ),
)
@option("--older-than", metavar="TIME", required=True, about="Ended before this: 12h, 30d.")
@state_filter(
    "completed (if not given), dead or cancelled; may be repeated, or several with commas."
)
@option("--dry-run", is_flag=True, about="Only say how many.")
def prune(session: Session, older_than: str, states: tuple[str, ...], dry_run: bool) -> None:
    """Forget jobs that ended long ago, with their history and output.

    Takes completed jobs unless told otherwise. Done in small steps, so that workers go on
    meanwhile. To have it done for good, by the workers: queuectl config set keep-completed 30d

    Events that are older than keep-events are removed as well.
    """
    from queuectl_core.domain.model import State

    seconds = age("--older-than", older_than)
    chosen = chosen_states(states) or (State.COMPLETED,)
    count = session.run(
        lambda queue: queue.prune(
            seconds,
            chosen,
            dry_run=dry_run,
            progress=lambda done, total: session.err.bar("pruning", done, max(done, total)),
        ),
        read_only=dry_run,
    )
    session.err.clear()
    if session.json:
        session.out.json({"would_prune" if dry_run else "pruned": count})
    else:
        done = "would be pruned" if dry_run else "pruned"
        session.out.line(f"{count} job{'s' if count != 1 else ''} {done}")
