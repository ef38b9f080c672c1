"""``python -m chaos``: attack queuectl, print the figures, exit 1 when a promise was broken.

Each campaign, on each store, has supervisors that are killed, and actors that use the store in
other ways at the same time (see ``actors/``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import guard
from .campaign import ACTORS, STORES, Campaign
from .faults import FAULTS
from .mutations import BREAKS, MUTATIONS
from .run import Options
from .trials import TRIALS, run_trial
from .writers import many_writers

WRITERS = "writers"
LEAST = 15.0
"""Seconds that a campaign or a trial takes at least."""
LONGEST = 100.0
"""Seconds of one campaign with ``--minutes``: many seeds find more than one long campaign."""
RESERVE = 12.0
"""Seconds to end everything and to judge, after the time of a campaign."""
ALL = (*FAULTS, *TRIALS, WRITERS)


@dataclass(frozen=True)
class Result:
    """The result of one campaign or trial."""

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
    add("--minutes", type=float, default=0.0, help="go on with the next seeds, and end by then")
    add("--quick", action="store_true", help="a minute in all, instead of some ten")
    add("--store", choices=(*STORES, "both"), default="both", help="of the campaigns")
    add("--faults", help=f"only these, with commas: {','.join(ALL)}")
    add("--actors", help=f"only these, with commas, or none: {','.join(ACTORS)}")
    add("--mutate", choices=sorted(MUTATIONS), default="", help="put a bug in: must end with 1")
    add("--json", type=Path, metavar="FILE", help="write the figures there as well")
    add("--keep", action="store_true", help="leave the files of a broken campaign")
    args = parser.parse_args()
    chosen = (args.faults or ",".join(ALL)).split(",")
    unknown = set(chosen) - set(ALL)
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    args.chosen = chosen
    wanted = (args.actors or ",".join(ACTORS)).split(",")
    unknown = set(wanted) - set(ACTORS) - {"none"}
    if unknown:
        parser.error(f"no such actor: {', '.join(sorted(unknown))}")
    args.actors = tuple(name for name in wanted if name != "none")
    args.stores = STORES if args.store == "both" else (args.store,)
    if args.quick:
        args.jobs, args.kills = min(args.jobs, 60), min(args.kills, 8)
    elif args.minutes:  # many seeds, not a few long campaigns
        args.jobs, args.kills = min(args.jobs, 200), min(args.kills, 20)
    args.end = time.monotonic() + args.minutes * 60 if args.minutes else 0.0
    args.longest = LEAST  # seconds of a trial; those that ran say more
    return args


def left(args: argparse.Namespace) -> float:
    """Seconds until the time is over; 0: there is no limit."""
    return max(args.end - time.monotonic(), 1.0) if args.end else 0.0


def over(args: argparse.Namespace) -> bool:
    """Whether so little time is left that nothing more can be done in it. Campaigns are cut short
    by then; a trial takes as long as it takes."""
    return bool(args.end) and args.end - time.monotonic() < args.longest


def campaigns(args: argparse.Namespace, seed: int) -> Iterator[tuple[str, Options]]:
    """For each store one of kills alone, whose oracle allows no crash at all, and one of
    everything."""
    faults = tuple(name for name in args.chosen if name in FAULTS)
    for store in args.stores:
        if "kill" in faults and not over(args):
            yield "kill", _options(args, seed, store, ("kill",), args.jobs, args.kills, 1.0)
        if set(faults) - {"kill"} and not over(args):
            jobs, kills = max(args.jobs // 4, 60), max(args.kills // 3, 12)
            yield "everything", _options(args, seed, store, faults, jobs, kills, 0.6)


def _options(
    args: argparse.Namespace,
    seed: int,
    store: str,
    faults: tuple[str, ...],
    jobs: int,
    kills: int,
    longest: float,
) -> Options:
    return Options(
        seed=seed,
        store=store,
        jobs=jobs,
        kills=kills,
        faults=faults,
        actors=args.actors,
        longest=longest,
        keep=args.keep,
        acts=4 if args.quick else 20,
        seconds=min(max(left(args) - RESERVE, 1.0), LONGEST) if args.end else 0.0,
    )


def single(args: argparse.Namespace, seed: int) -> Iterator[Result]:
    """Everything that is not a campaign."""
    for name in TRIALS:
        if name in args.chosen and not over(args):
            print(f"\n{name}, seed {seed}")
            began = time.monotonic()
            trial = run_trial(name, seed, rounds=3 if args.quick or args.end else 20)
            args.longest = max(args.longest, time.monotonic() - began)
            yield Result(name, seed, trial.figures, trial.broken, trial.skipped)
    if WRITERS in args.chosen and not over(args):
        print(f"\n{WRITERS}")
        yield Result(WRITERS, seed, *many_writers(3.0 if args.quick or args.end else 60.0))


def one_round(args: argparse.Namespace, seed: int) -> Iterator[Result]:
    """Run everything that was asked for, once."""
    if args.mutate:
        yield from mutated(args, seed)
        return
    for name, options in campaigns(args, seed):
        yield run_campaign(name, options)
    yield from single(args, seed)


def run_campaign(name: str, options: Options) -> Result:
    """Run one campaign. The report of a broken promise says how to run it again."""
    title = f"campaign '{name}' on {options.store}, seed {options.seed}"
    print(f"\n{title}: {options.jobs} jobs, {options.kills} kills", flush=True)
    campaign = Campaign(options, say=lambda text: print(f"  {text}", flush=True))
    campaign.run()
    if campaign.broken:
        print(f"  again: make chaos ARGS='--store {options.store} --seed {options.seed}'")
    figures: dict[str, float] = dict(campaign.figures)
    return Result(f"campaign {name}, {options.store}", options.seed, figures, campaign.broken)


def mutated(args: argparse.Namespace, seed: int) -> Iterator[Result]:
    """The campaign or trial that finds the bug that was added."""
    breaks = BREAKS[args.mutate]
    if isinstance(breaks, str):
        print(f"\n{breaks}, with the bug '{args.mutate}'")
        trial = run_trial(breaks, seed, mutate=args.mutate)
        yield Result(breaks, seed, trial.figures, trial.broken, trial.skipped)
    else:
        yield run_campaign(args.mutate, Options(seed=seed, mutate=args.mutate, **breaks))


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
    if guard.INSIDE not in os.environ:
        return guard.guarded(sys.argv[1:], args.minutes * 60)
    guard.enter()
    results: list[Result] = []
    seed = args.seed
    while not results or (args.end and not over(args)):
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
