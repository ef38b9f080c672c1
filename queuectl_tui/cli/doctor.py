"""``queuectl doctor``."""

from __future__ import annotations

import os
from dataclasses import asdict

from queuectl_core.doctor import Finding, examine
from queuectl_core.text import clean_line

from .command import Session, pass_session, verb
from .output import Column, View

STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}


def _whole(finding: Finding) -> str:
    return clean_line("; ".join(part for part in (finding.message, finding.hint) if part))


FINDINGS: View[Finding] = View(
    asdict,
    ("CHECK", "LEVEL", "MESSAGE"),
    lambda finding: (finding.check, finding.level, _whole(finding)),
    (Column(""), Column(""), Column("", flex=1, wrap=True)),
    lambda finding: (
        (finding.level, STYLES[finding.level]),
        (finding.check, "bold"),
        (_whole(finding), ""),
    ),
)


@verb("doctor", examples=("queuectl doctor", "queuectl --store /srv/queue.db doctor --json"))
@pass_session
def doctor(session: Session) -> int:
    """Check that everything is in order: the store and its integrity, the SQLite version, file
    modes, network file system, disk space, lost workers, the clock; a line each.

    A line is ok, warn (it works, but have a look) or bad. Exit code 1 if anything is bad.
    """
    import asyncio

    findings = asyncio.run(examine(session.store, os.environ))
    with session.out.listing(FINDINGS, json=session.json, header=not session.quiet) as listing:
        for finding in findings:
            listing.add(finding)
    return 1 if any(finding.level == "bad" for finding in findings) else 0
