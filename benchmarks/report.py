"""Puts what ``benchmarks/results.json`` says into ``docs/performance.md``, README.md and
``benchmarks/drain.svg``.

    python benchmarks/report.py [--results FILE] [--check]

The tables go to ``docs/performance.md``, the picture and three figures to README.md: in each, the
part between the two ``benchmark`` comments is replaced. No figure gets there in another way.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness import ROOT, bars
from peers import KEPT, OURS
from picture import drain_picture
from run import RESULTS

README = ROOT / "README.md"
PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "benchmarks" / "drain.svg"
BEGIN, END = "<!-- benchmark: written by benchmarks/report.py -->", "<!-- /benchmark -->"

Found = dict[str, Any]


def tables(results: Found) -> Iterator[str]:
    """All that was measured: for ``docs/performance.md``."""
    if "drain" in results:
        yield from picture("../")
        yield from drain(results["drain"])
        yield ""
    if "postgres_peers" in results:
        yield from on_postgres(results["postgres_peers"])
        yield ""
    if results:
        yield from others(results)
        yield ""
        yield from verdict(results)


def summary(results: Found) -> Iterator[str]:
    """The picture and three figures: for README.md."""
    if found := results.get("drain"):
        yield from picture("")
        rate = found["queuectl"]["running"]["value"]
        yield f"- {found['workers']} workers run {rate:,.0f} jobs that do nothing per second."
    if figure := dig(results, "core/pick_up_ms/median"):
        yield f"- A job starts {figure['value']:.1f} ms after `enqueue` returned (median)."
    if figure := dig(results, "flat/drain/own queue"):
        ratio = figure.get("value", figure.get("ratio"))
        yield (
            "- With a million jobs in the store, workers are"
            f" {ratio:.2f} times as fast as with none."
        )


def picture(up: str) -> Iterator[str]:
    """``up``: the way from the page's directory to the root."""
    yield f"![Jobs a second, queuectl and its peers]({up}{PICTURE.relative_to(ROOT)})"
    yield ""


# -- beside its peers -------------------------------------------------------------------------


def drain(found: Found) -> Iterator[str]:
    where, on = found["machine"], found.get("measured", {}).get("on", "")
    yield (
        f"{found['jobs']:,} times `true` on {found['workers']} workers, in turns, medians of"
        f" {found['rounds']} rounds (least to greatest). {where['cores']} cores,"
        f" {where['memory_gb']} GB, {where['system']}, Python {where['python']},"
        f" SQLite {where['sqlite']}; {on}."
    )
    yield from beside(found, {"keeps": OURS, **found["queuectl"]}, KEPT)
    notes = {name: part.get("note") for name, part in found["peers"].items() if part.get("note")}
    notes |= {name: f"left out, {why}" for name, why in found["left_out"].items()}
    if notes:
        yield ""
        yield "; ".join(f"{name}: {note}" for name, note in notes.items()) + "."


def beside(found: Found, ours: Found, kept: Iterable[str]) -> Iterator[str]:
    """Two tables: how fast each is, and what each keeps."""
    parts = {"**queuectl**": ours, **found["peers"]}
    yield ""
    yield "| | jobs/s, running | jobs/s, enqueuing included | queuectl compared with it |"
    yield "| --- | ---: | ---: | --- |"
    for name, part in parts.items():
        running = plain(part["running"]) if "running" in part else "as one"
        yield "| " + " | ".join([name, running, plain(part["whole"]), times(part)]) + " |"
    yield ""
    yield "| what is kept | " + " | ".join(kept) + " |"
    yield "| --- |" + " --- |" * len(list(kept))
    for name, part in parts.items():
        yield "| " + " | ".join([name, *(part["keeps"][key] for key in kept)]) + " |"


def on_postgres(found: Found) -> Iterator[str]:
    """The same with PostgreSQL for all."""
    yield (
        f"On one PostgreSQL {found['postgres']}: {found['jobs']:,} times `true` as a command,"
        f" {found['workers']} at a time, by other queues as their manuals describe it; medians of"
        f" {found['rounds']} rounds; {found['on']}."
    )
    ours = found["queuectl"]
    yield from beside(found, ours, tuple(ours["keeps"]))
    if found["left_out"]:
        yield ""
        yield "; ".join(f"{name}: left out, {why}" for name, why in found["left_out"].items()) + "."


def plain(figure: Found) -> str:
    low, high = figure["spread"]
    return f"{figure['value']:,.0f} ({low:,.0f} to {high:,.0f})"


def times(part: Found) -> str:
    if "ours to theirs" not in part:
        return ""
    drain, whole = part["ours to theirs"], part.get("whole to whole")
    bar = f", bar {drain['bar']:g}{missed(drain)}" if "bar" in drain else ""
    differs = whole is not None and drain["value"] != whole["value"]
    both = f"; enqueuing included {whole['value']:.2f}" if differs else ""
    return f"{drain['value']:.2f}{bar}{both}"


def missed(figure: Found) -> str:
    return "" if figure["ok"] else ": **missed**"


# -- the rest ---------------------------------------------------------------------------------

PAINT = "console/bars/first paint / bare app"
KEY = "console/bars/slowest key, ends of the list"
LATENCY = "soak/latency_ms"
SLOW = "reader/a reader"
MEANWHILE = "longest claim meanwhile, ms"
Row = tuple[str, str, str, str]


def admission(store: str, at: str) -> tuple[Row, ...]:
    return (
        (f"{store}, drain beside 700,000 blocked jobs", "×", ".2f", f"{at}/blocked/ratio"),
        (f"{store}, drain with a limit, beside none", "×", ".2f", f"{at}/limit/ratio"),
        (f"{store}, 10,000 children are released in", "s", ".1f", f"{at}/children/seconds"),
        (f"{store}, longest claim meanwhile", "ms", ".0f", f"{at}/children/{MEANWHILE}"),
        (f"{store}, `why` in a million jobs", "ms", ".1f", f"{at}/why/slowest"),
    )  # fmt: skip


def events(store: str, name: str) -> tuple[Row, ...]:
    hooks, schedules = f"hooks/{name}", f"schedules/{name}"
    return (
        (f"{store}, 50,000 jobs die with a hook, beside none", "×", ".2f", f"{hooks}/each/ratio"),
        (f"{store}, the same with a digest", "×", ".2f", f"{hooks}/digest/ratio"),
        (f"{store}, idle with 1,000 schedules", "% of a core", ".2f", f"{schedules}/idle"),
        (f"{store}, 1,000 schedules due at once", "s", ".2f", f"{schedules}/at once"),
    )


ROWS = (
    # label, unit, how it is written, where it is
    ("8 supervisors on one store, beside one", "×", ".2f", "fleet/up before/ratio"),
    ("a job starts after `enqueue` returned, median", "ms", ".1f", "core/pick_up_ms/median"),
    ("the same, 99th percentile", "ms", ".1f", "core/pick_up_ms/p99"),
    ("four workers at rest", "% of a core", ".2f", "core/idle_cpu_percent"),
    ("50 workers at rest, memory", "MB", ".0f", "startup/small/idle"),
    ("`enqueue`, beside `python -c pass`", "×", ".2f", "startup/start_up/queuectl enqueue true"),
    ("`status`, beside `python -c pass`", "×", ".2f", "startup/start_up/queuectl status"),
    ("bulk `enqueue -`", "jobs/s", ",.0f", "startup/bulk/jobs_per_second"),
    ("drain with a million jobs in the store, beside none", "×", ".2f", "flat/drain/own queue"),
    ("drain beside a slow reader, to the drain alone", "×", ".2f", "reader/a reader/beside alone"),
    ("drain beside a slow backup, to the drain alone", "×", ".2f", "reader/a backup/beside alone"),
    ("`enqueue` beside a slow reader, 99th percentile", "ms", ".1f", f"{SLOW}/enqueue p99, ms"),
    ("console, first paint beside a bare Textual app", "×", ".2f", PAINT),
    ("console, a million jobs, slowest key", "ms", ".0f", KEY),
    ("PostgreSQL, the drain beside SQLite's", "×", ".2f", "postgres/drain/ratio"),
    ("PostgreSQL, a job starts after `enqueue`, median", "ms", ".1f", "postgres/pick-up/median_ms"),
    ("PostgreSQL, a million jobs beside none", "×", ".2f", "postgres/flat/drain/own queue"),
    *admission("SQLite", "admission/sqlite"),
    *admission("PostgreSQL", "admission/postgres"),
    *events("SQLite", "sqlite"),
    *events("PostgreSQL", "postgres"),
    ("sustained load: WAL at most", "MB", ".1f", "soak/wal_mb"),
    ("`enqueue`, 99th percentile, last quarter beside first", "×", ".2f", f"{LATENCY}/enqueue/p99"),
    ("supervisors' memory, the same", "×", ".2f", "soak/memory_mb/supervisors"),
)  # fmt: skip


def others(results: Found) -> Iterator[str]:
    """Everything else that was measured, a line each; how much is met says :func:`verdict`."""
    found = [(*row, figure) for *row, path in ROWS if (figure := dig(results, path))]
    if found:
        yield "| | | |"
        yield "| --- | ---: | --- |"
    for label, unit, form, figure in found:
        value = figure.get("value", figure.get("ratio"))
        bar = f"bar {figure['bar']:,g}{missed(figure)}" if "bar" in figure else ""
        yield f"| {label} | {value:{form}} {unit} | {bar} |"
    if soak := results.get("soak"):
        yield ""
        yield (
            f"The sustained load is {soak['minutes']:.0f} minutes of {soak['jobs']:,} jobs in"
            f" {soak['attempts']:,} attempts, {soak['failed']:,} of them failed:"
            f" {len(soak['lost']['found'])} lost, {len(soak['errors']['found'])} errors."
        )


def dig(found: Any, path: str) -> Any:
    """What is at a path whose names may hold slashes of their own; None if nothing is."""
    if not path:
        return found
    if not isinstance(found, dict):
        return None
    for name, part in found.items():
        if path == name or path.startswith(f"{name}/"):
            return dig(part, path[len(name) + 1 :])
    return None


def verdict(results: Found) -> Iterator[str]:
    every = bars(results)
    short = [name for name, figure in every if not figure["ok"]]
    met = len(every) - len(short)
    yield f"`make bench` measures all of it: {met} of {len(every)} bars are met."
    if short:
        yield "Missed: " + "; ".join(short) + "."


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--readme", type=Path, default=README)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if it would")
    given = parser.parse_args()
    results = json.loads(given.results.read_text()) if given.results.exists() else {}
    wanted = {
        given.readme: with_section(given.readme, summary(results)),
        given.page: with_section(given.page, tables(results)),
    }
    if "drain" in results:
        wanted[given.picture] = drain_picture(results["drain"])
    differ = [path for path, text in wanted.items() if not same(path, text)]
    for path in differ:
        if given.check:
            print(f"{path.name} is not what {given.results.name} says")
        else:
            path.write_text(wanted[path], "utf-8")
    return int(given.check and bool(differ))


def with_section(path: Path, lines: Iterable[str]) -> str:
    """The page with these lines between its two comments."""
    before, rest = path.read_text("utf-8").split(BEGIN, 1)
    return before + "\n".join([BEGIN, *lines, END]) + rest.split(END, 1)[1]


def same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text("utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
