"""Make the screenshots: ``make screenshots``. SVG as Textual draws it, PNG of the same.

python screenshots/make.py [NAME…]
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import resvg_py

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import queuectl_core.queue  # noqa: E402
from queuectl_core.queue import Queue  # noqa: E402
from tests.console.scenes import NOW, SCENES, Scene, opened, play, seed, typed  # noqa: E402

PICTURES = {
    "console": ("console", (120, 40), "queuectl-dark"),
    "console-light": ("console", (120, 40), "queuectl-light"),
    "console-wide": ("console", (200, 60), "queuectl-dark"),
    "dlq": ("dlq", (120, 40), "queuectl-dark"),
    "purge": ("confirm", (120, 40), "queuectl-dark"),
    "job": ("job", (120, 40), "queuectl-dark"),
    "enqueue": ("enqueue", (120, 40), "queuectl-dark"),
    "queues": ("limits", (120, 30), "queuectl-dark"),
    "why": ("why-mail", (120, 40), "queuectl-dark"),
    "schedules": ("schedules", (120, 24), "queuectl-dark"),
    "events": ("events", (120, 24), "queuectl-dark"),
    "hooks": ("hooks", (120, 24), "queuectl-dark"),
    "help": ("help", (120, 50), "queuectl-dark"),
    "tmux-pane": ("console", (50, 14), "queuectl-dark"),
}
"""Name: scene, size, theme."""

FONT = "DejaVu Sans Mono"
"""Has the box and block characters; resvg takes what monospace there is without it."""


SCENES["limits"] = Scene(("5",), "5 queues 5")
SCENES["why-mail"] = Scene(("slash", *typed("nightly-mail"), "enter", "w"), "QueuePaused")

SCENES["schedules"] = Scene(("6",), "6 schedules 4")
SCENES["events"] = Scene(("8",), "8 events")
SCENES["hooks"] = Scene(("9",), "9 hooks 3")


async def limits(home: Path) -> None:
    """Queues with limits, one of them paused, and jobs that wait in them."""
    env = {"HOME": str(home), "USER": "ops"}
    async with Queue.open(str(home / "queue.db"), env=env, clock=lambda: NOW - 300) as queue:
        queue.cwd = "/srv/app"
        await queue.set_queue("render", {"limit": "4", "per_host": "2"})
        await queue.set_queue("api", {"rate": "60/1m"})
        await queue.set_queue("deploy", {"per_key": "1"})
        for name, command in (("render", "render"), ("api", "./sync.sh"), ("mail", "send-mail")):
            await queue.enqueue(
                [{"queue": name, "command": f"{command} {n}"} for n in range(1, 12)]
            )
        await queue.enqueue([{"queue": "deploy", "key": "shop", "command": "./deploy shop"}] * 3)
        fields = {"queue": "mail", "after": ["report-q3"], "key": "nightly"}
        await queue.enqueue([{"id": "nightly-mail", "command": "send-mail --all", **fields}])
        pause = {"at": NOW - 300, "by": "ops@alpha", "reason": "the mail server is down"}
        await queue.store.set_queue(
            "mail",
            {f"paused_{name}": value for name, value in (pause | {"until": NOW + 3300}).items()},
        )


async def plans(home: Path) -> None:
    """Schedules, one of them paused, and hooks."""
    env = {"HOME": str(home), "USER": "ops", "TZ": "UTC"}
    async with Queue.open(str(home / "queue.db"), env=env, clock=lambda: NOW - 300) as queue:
        queue.cwd = "/srv/app"
        for name, when, command in (
            ("nightly", {"cron": "30 2 * * *", "tz": "Europe/Berlin"}, "make nightly"),
            ("poll", {"every": "5m"}, "./poll.sh https://prices.example"),
            ("invoices", {"cron": "0 6 1 * *", "tz": "UTC"}, "./invoices.py --send"),
            ("reindex", {"cron": "0 3 * * sun", "tz": "UTC"}, "reindex --all --jobs 4"),
        ):
            await queue.add_schedule(name, when, {"command": command})
        await queue.run_schedule("poll")
        await queue.pause_schedule("invoices", "the new prices are not in yet")
        chat = "https://chat.example.org/hooks/T0K3N"
        await queue.add_hook("chat", ["dead", "schedule.missed"], url=chat, digest=60.0)
        await queue.add_hook("mail", ["dead"], command=("mail-it", "ops@example.org"), digest=300.0)
        await queue.add_hook("report", ["queue.empty"], command=("./report.sh",), queue="render")
        await queue.pause_hook("mail", "holidays")


async def picture(scene: str, size: tuple[int, int], theme: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        await seed(Path(folder))
        if scene in ("limits", "why-mail"):
            await limits(Path(folder))
        if scene in ("schedules", "events", "hooks"):
            await plans(Path(folder))
        async with opened(Path(folder), size) as (console, pilot):
            console.theme = theme
            await play(console, pilot, scene)
            return console.export_screenshot(title="queuectl tui")


def as_png(svg: str) -> bytes:
    """The SVG drawn; its web fonts are left out, as nothing is fetched."""
    local = re.sub(r"@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL)
    png: bytes = resvg_py.svg_to_bytes(
        svg_string=local.replace("Fira Code", FONT), font_family=FONT, monospace_family=FONT
    )
    return bytes(png)


def main(names: list[str]) -> None:
    os.chdir("/")  # the form shows where it is: no directory of whoever makes the pictures
    vars(queuectl_core.queue)["actor"] = lambda env: "ops@alpha"  # nor their name
    os.environ["TZ"] = "UTC"
    time.tzset()
    for name in names or list(PICTURES):
        svg = asyncio.run(picture(*PICTURES[name]))
        # The ids Textual makes differ from run to run; these do not.
        svg = re.sub(r"terminal-\d+", f"terminal-{name}", svg)
        (HERE / f"{name}.svg").write_text(svg, "utf-8")
        (HERE / f"{name}.png").write_bytes(as_png(svg))
        sys.stdout.write(f"screenshots/{name}.svg, .png\n")


if __name__ == "__main__":
    main(sys.argv[1:])
