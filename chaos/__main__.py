"""``python -m chaos``: attack queuectl, print the figures, exit 1 when a promise was broken."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .campaign import Campaign, Options
from .faults import FAULTS
from .mutations import MUTATIONS
from .trials import TRIALS, run_trial
from .writers import many_writers

WRITERS = "writers"
ALL = (*FAULTS, *TRIALS, WRITERS)


@dataclass(frozen=True)
class Result:
    """What came of one campaign or trial."""

    name: str
    seed: int
    figures: dict[str, float]
    broken: list[str] = field(default_factory=list)
    skipped: str = ""


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    add = parser.add_argument
    add("--seed", type=int, default=1, help="the same seed, the same faults in the same order")
    add("--jobs", type=int, default=2000, help="of the campaign of kills")
    add("--kills", type=int, default=100, help="supervisors to kill -9")
    add("--minutes", type=float, default=0.0, help="go on with the next seeds for so long")
    add("--quick", action="store_true", help="half a minute in all, instead of some six")
    add("--faults", help=f"only these, with commas: {','.join(ALL)}")
    add("--mutate", choices=sorted(MUTATIONS), default="", help="put a bug in: must end with 1")
    add("--json", type=Path, metavar="FILE", help="write the figures there as well")
    add("--keep", action="store_true", help="leave the files of a broken campaign")
    args = parser.parse_args()
    chosen = (args.faults or ",".join(ALL)).split(",")
    unknown = set(chosen) - set(ALL)
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    args.chosen = chosen
    if args.quick or args.mutate:
        args.jobs, args.kills = min(args.jobs, 60), min(args.kills, 8)
    return args


def campaigns(args: argparse.Namespace, seed: int) -> Iterator[tuple[str, Options]]:
    """One of kills alone, whose oracle allows no crash at all, and one of everything."""
    faults = tuple(name for name in args.chosen if name in FAULTS)
    # What a bug does shows while a job runs: then they run for long, and are few.
    longest = 4.0 if args.mutate else 0.6
    common = {"seed": seed, "mutate": args.mutate, "keep": args.keep}
    if "kill" in faults:
        kills = Options(
            **common, jobs=args.jobs, kills=args.kills, faults=("kill",), longest=max(longest, 1.0)
        )
        yield "kill", kills
    if set(faults) - {"kill"}:
        jobs, kills = max(args.jobs // 4, 60), max(args.kills // 3, 60 if args.mutate else 12)
        yield (
            "everything",
            Options(**common, jobs=jobs, kills=kills, faults=faults, longest=longest),
        )


def single(args: argparse.Namespace, seed: int) -> Iterator[Result]:
    """Everything that is not a campaign."""
    for name in TRIALS:
        if name in args.chosen:
            print(f"\n{name}, seed {seed}")
            trial = run_trial(name, seed, rounds=3 if args.quick else 20)
            yield Result(name, seed, trial.figures, trial.broken, trial.skipped)
    if WRITERS in args.chosen:
        print(f"\n{WRITERS}")
        yield Result(WRITERS, seed, *many_writers(3.0 if args.quick else 60.0))


def one_round(args: argparse.Namespace, seed: int) -> Iterator[Result]:
    """Everything that was asked for, once."""
    for name, options in campaigns(args, seed):
        print(f"\ncampaign '{name}', seed {seed}: {options.jobs} jobs, {options.kills} kills")
        campaign = Campaign(options, lambda text: print(f"  {text}"))
        campaign.run()
        yield Result(f"campaign {name}", seed, dict(campaign.figures), campaign.broken)
    if not args.mutate:
        yield from single(args, seed)


def show(result: Result) -> None:
    """One result as a table."""
    for label, value in result.figures.items():
        shown = f"{value:,.3f}".rstrip("0").rstrip(".")
        print(f"    {label:44} {shown:>10}")
    if result.skipped:
        print(f"    not done: {result.skipped}")
    for text in result.broken[:20]:
        print(f"    BROKEN  {text}")
    if len(result.broken) > 20:
        print(f"    and {len(result.broken) - 20} more")
    sys.stdout.flush()


def main() -> int:
    """Run rounds until the time is over."""
    args = arguments()
    end = time.monotonic() + args.minutes * 60
    results: list[Result] = []
    seed = args.seed
    while not results or time.monotonic() < end:
        for result in one_round(args, seed):
            show(result)
            results.append(result)
        seed += 1
    broken = [text for result in results for text in result.broken]
    if args.json:
        document = {"ok": not broken, "results": [vars(result) for result in results]}
        args.json.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\n{len(broken)} promises broken" if broken else "\nEvery promise held.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
