"""``queuectl doctor``."""

from __future__ import annotations

import os
from dataclasses import asdict

from queuectl_core.operations.doctor import Finding, examine

from ..presentation.findings import FINDING_COLUMNS
from .declare import option, verb
from .output import View
from .session import Session, run_loop

FINDINGS: View[Finding] = View(lambda finding, now: asdict(finding), FINDING_COLUMNS)


@verb(
    "doctor",
    examples=(
        "queuectl doctor",
        "queuectl doctor --repair",
        "queuectl --store /srv/queue.db doctor --json",
    ),
)
@option("--repair", is_flag=True, about="Put right what can be, then check.")
def doctor(session: Session, repair: bool) -> int:
    """Check that everything is in order: the store, its integrity and counters, the SQLite
    version, file modes, network file system, disk space, lost workers, processes and files left
    by jobs that ended, the clock; a line each.

    A line is ok, warn (it works, but have a look) or bad. Exit code 1 if anything is bad.

    --repair loses nothing and stops nobody: it sets modes and counters right, forgets lost
    workers that hold no job, and removes output and run files nobody needs. What it did is told
    first, as fixed.
    """
    findings = []
    if repair:
        from queuectl_core.operations.repair import repair as repair_store
        from queuectl_core.system.postcommit import commits

        commits.reset()
        findings = run_loop(lambda: repair_store(session.store, os.environ))
    findings += run_loop(lambda: examine(session.store, os.environ))
    session.show_all(FINDINGS, findings)
    return 1 if any(finding.level == "bad" for finding in findings) else 0
