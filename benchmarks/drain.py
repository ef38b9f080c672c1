"""How fast a queue of tiny jobs is processed, compared with xargs and other queues.

    python benchmarks/drain.py [--jobs N] [--rounds N] [--only NAME]… [--json]

N times the shell command ``true`` on four workers. queuectl runs as it always does: each job on the
disk before ``enqueue`` returns, each attempt recorded, each output captured.
*whole* is from the first job put in until the last has ended, *running* only the latter part
(for queuectl: ``worker start --count 4 --until-empty`` from start to exit). Ends with exit code 1
if a bar is missed.
"""

from __future__ import annotations

import sys
from typing import Any

from harness import (
    QUEUECTL,
    Scratch,
    in_turns,
    judged,
    machine,
    middle,
    options,
    progress,
    ratio,
    report,
    timed,
    word,
)
from peers import OURS, PEERS, WORKERS, Peer, Took, queuectl

BARS = {"xargs -P4": 0.9, "task-spooler": 2.0, "GNU parallel": 6.0}
"""At least so many times as fast: our running part beside theirs, or where jobs run while others
are still put in (task-spooler), beside their whole."""


def measure(scratch: Scratch, jobs: int, rounds: int, only: list[str]) -> dict[str, Any]:
    wanted = [peer for peer in PEERS if not only or any(word in peer.name for word in only)]
    left_out = {peer.name: why for peer in wanted if (why := peer.missing())}
    for name, why in left_out.items():
        progress(f"{name} is left out: {why}")
    peers = [peer for peer in wanted if peer.name not in left_out]
    queuectl(scratch, 20)  # the first run compiles

    def run(name: str, runner: Any) -> Took:
        took: Took = runner(scratch, jobs)
        progress(f"{name:<16}{jobs / took.whole:8.0f} jobs/s")
        return took

    runners = [("queuectl", queuectl), *((peer.name, peer.run) for peer in peers)]
    mine, *others = in_turns(rounds, *(lambda r=r: run(*r) for r in runners))
    return {
        "jobs": jobs,
        "workers": WORKERS,
        "rounds": rounds,
        "queuectl": {**rates(mine, jobs), "keeps": OURS},
        "peers": {
            peer.name: beside(peer, mine, theirs, jobs)
            for peer, theirs in zip(peers, others, strict=True)
        },
        "left_out": left_out,
        "machine": machine(),
    }


def rates(tooks: list[Took], jobs: int) -> dict[str, Any]:
    """Jobs a second."""
    found = {"whole": middle([jobs / took.whole for took in tooks])}
    if all(took.running for took in tooks):
        each = [(took.running_jobs or jobs) / took.running for took in tooks if took.running]
        found["running"] = middle(each)
    return found


def beside(peer: Peer, mine: list[Took], theirs: list[Took], jobs: int) -> dict[str, Any]:
    """A peer's figures, and how many times as fast we are."""
    as_one = any(took.running is None or took.running_jobs for took in theirs)
    drain = ratio(
        [1 / took.running for took in mine if took.running],
        [1 / (took.whole if as_one else took.running or 0) for took in theirs],
    )
    whole = ratio([1 / took.whole for took in mine], [1 / took.whole for took in theirs])
    bar = BARS.get(peer.name)
    return {
        **rates(theirs, jobs),
        "ours to theirs": judged(drain, at_least=bar) if bar else drain,
        "whole to whole": whole,
        "version": peer.version(),
        "note": peer.note,
        "keeps": peer.keeps,
    }


def table(found: dict[str, Any]) -> str:
    where = found["machine"]
    rows = [
        f"{where['cores']} cores, Python {where['python']}, SQLite {where['sqlite']};"
        f" {found['jobs']} times true on {found['workers']} workers, {found['rounds']} rounds",
        f"{'':16}{'running':>16}{'whole, jobs/s':>16}   ours is so many times as fast",
    ]
    ours = found["queuectl"]
    for name, part in {"queuectl": ours, **found["peers"]}.items():
        running = f"{part['running']['value']:.0f}" if "running" in part else "–"
        row = f"{name:<16}{running:>16}{part['whole']['value']:>16.0f}"
        if part is not ours:
            times, whole = part["ours to theirs"], part["whole to whole"]
            low, high = times["spread"]
            bar = f", bar {times['bar']:g}: {word(times)}" if "bar" in times else ""
            row += f"   {times['value']:.2f} ({low:.2f} to {high:.2f}{bar})"
            row += f"; whole {whole['value']:.2f}"
        rows.append(row)
    rows += [f"{name:<16}left out: {why}" for name, why in found["left_out"].items()]
    rows.append("what is kept:  " + " | ".join(ours["keeps"]))
    for name, part in {"queuectl": ours, **found["peers"]}.items():
        rows.append(f"{name:<16}" + " | ".join(part["keeps"].values()))
    return "\n".join(rows)


def main() -> int:
    parser = options(__doc__, 5)
    parser.add_argument("--jobs", type=int, default=3000, help="default: 3000")
    parser.add_argument("--only", action="append", default=[], help="peers with this in the name")
    given = parser.parse_args()
    with Scratch() as scratch:
        timed([*QUEUECTL, "--version"], scratch.env)
        found = measure(scratch, given.jobs, given.rounds, given.only)
    return report(found, given.json, table)


if __name__ == "__main__":
    sys.exit(main())
