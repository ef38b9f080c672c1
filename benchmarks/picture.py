"""The drain benchmark as a picture: an SVG that reads on a light and on a dark page."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

WIDTH = 760
LEFT, RIGHT = 130, 90
"""Room for the names, and for the figures at the bars' ends."""
TOP, ROW, BAR = 62, 46, 13

LEGEND = (
    "upper bar: to run them; lower: with putting them in; the line: least to greatest of {rounds}"
    " rounds"
)

STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #57606a }
.title { font-size: 15px; font-weight: 600 }
.name { text-anchor: end }
.small { font-size: 11px }
.ours { fill: #1f7ae0 } .peer { fill: #8b949e } .whole { opacity: .5 }
.line { stroke: #57606a; stroke-width: 1.5; fill: none }
.axis { stroke: #8b949e; stroke-width: 1; opacity: .6 }
@media (prefers-color-scheme: dark) {
  text { fill: #c3ccd6 } .line { stroke: #c3ccd6 } .ours { fill: #4a9bf5 }
}
"""


def drain_picture(found: dict[str, Any]) -> str:
    """Two bars for each queue: only to run the jobs, and with putting them in."""
    every = {"queuectl": found["queuectl"], **found["peers"]}
    figures = [
        part[kind] for part in every.values() for kind in ("running", "whole") if kind in part
    ]
    scale = (WIDTH - LEFT - RIGHT) / max(figure["spread"][1] for figure in figures)
    height = TOP + ROW * len(every) + 14
    title = f"{found['jobs']:,} jobs of nothing on {found['workers']} workers: jobs a second"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>',
        f'<text class="small" x="{LEFT}" y="42">{LEGEND.format(rounds=found["rounds"])}</text>',
    ]
    for place, (name, part) in enumerate(every.items()):
        top = TOP + ROW * place
        kind = "ours" if name == "queuectl" else "peer"
        parts.append(f'<text class="name" x="{LEFT - 10}" y="{top + 19}">{escape(name)}</text>')
        if "running" in part and part["running"] != part["whole"]:
            parts += bar(part["running"], kind, top, scale)
            parts += bar(part["whole"], f"{kind} whole", top + BAR + 3, scale)
        else:
            parts += bar(part["whole"], kind, top + BAR // 2 + 1, scale)
    parts.append(f'<path class="axis" d="M {LEFT} {TOP - 6} V {TOP + ROW * len(every) - 6}"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def bar(figure: dict[str, Any], kind: str, top: int, scale: float) -> list[str]:
    """A bar, its spread as a line, its figure."""
    long, (low, high) = figure["value"] * scale, (edge * scale for edge in figure["spread"])
    middle = top + BAR / 2
    return [
        f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{long:.1f}" height="{BAR}" rx="2"/>',
        f'<path class="line" d="M {LEFT + low:.1f} {middle} H {LEFT + high:.1f}"/>',
        f'<text class="small" x="{LEFT + max(long, high) + 6:.1f}" y="{middle + 4}">'
        f"{figure['value']:,.0f}</text>",
    ]
