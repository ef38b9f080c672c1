"""``queuectl why``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuectl_core.domain.admission import Blocker, Why

from ..presentation.why import blocker_columns, blocker_command, blocker_lines, headline
from .declare import argument, verb
from .jobs import complete_id
from .output import View, line_of
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


@verb("why", examples=("queuectl why job1", "queuectl why job1 --json"))
@argument("ref", metavar="ID", complete=complete_id)
def why(session: Session, ref: str) -> None:
    """Say why a job does not run: every reason that applies, with the command that removes it.

    The reasons: Held, WaitingFor (other jobs), NotDue, Backoff, QueuePaused, QueueLimit, HostLimit,
    KeyLimit, RateLimit, NoWorker, AllBusy, Uncertain (its supervisor is silent). The answer comes
    from the rules by which workers take jobs. For a job that has ended it says how it ended.

    In a pipe: a line with tab-separated columns for each reason under a header; or, if nothing
    blocks the job, one sentence.
    """

    async def act(queue: Queue) -> tuple[Why, str | None]:
        found = await queue.why(await queue.find(ref))
        return found, _store(session, queue)

    found, store = session.run(act, read_only=True)
    if session.json:
        blockers = [one.to_json(blocker_command(one, store)) for one in found.blockers]
        session.out.json(
            {
                "id": found.job.id,
                "state": found.job.state.value,
                "ready": found.ready,
                "blockers": blockers,
            }
        )
        return
    if session.out.terminal or not found.blockers:
        session.out.line(f"{headline(found, session.clock())}.")
    if session.out.terminal:
        for one in found.blockers:
            line, command = blocker_lines(one, session.clock(), store)
            session.out.render(line_of(line))
            if command:
                session.out.line(f"    {command}")  # not wrapped, so that it can be copied
    elif found.blockers:
        view: View[Blocker] = View(lambda one, now: {}, blocker_columns(store))
        session.show_all(view, found.blockers)


def _store(session: Session, queue: Queue) -> str | None:
    """The store as the user named it, for command lines; None: by no option. A URL is shown without
    its password."""
    if session.store and "://" in session.store:
        return queue.url
    return session.store
