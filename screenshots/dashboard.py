"""The pictures of the dashboard, in a real browser: part of ``make screenshots``."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.support import Cli, eventually  # noqa: E402
from tests.web.browser import Site, chromium  # noqa: E402

WIDTHS = (360, 1280, 2560)
PAGES = {"dashboard": "/", "dashboard-jobs": "/jobs", "dashboard-job": "/jobs/report-q3"}
PAGES |= {"dashboard-dlq": "/dlq", "dashboard-queues": "/queues"}
PAGES |= {"dashboard-schedules": "/schedules", "dashboard-events": "/events"}
DARK = {"dashboard-dark": "/"}

DEAD = (
    ("fetch-prices", 7, "echo 'connection to db-{n} refused' >&2; exit 7"),
    ("backup", 3, "echo 'no space left on device' >&2; exit 1"),
    ("thumbs", 3, "convert-all --album {n}"),
)


def fill(cli: Cli) -> None:
    """Jobs in every state, and three workers, one of them busy."""
    jobs = [
        {"id": f"{kind}-{n}", "command": command.format(n=n), "max_retries": 1}
        for kind, count, command in DEAD
        for n in range(1, count + 1)
    ]
    jobs += [{"id": f"mail-{n}", "command": f"echo sent to {n}@example.org"} for n in range(1, 25)]
    cli("enqueue", "-", stdin="".join(json.dumps(job) + "\n" for job in jobs))
    cli("worker", "start", "-c", "3", "--until-empty", "-q")
    cli("worker", "start", "-d", "-c", "3", "-q")
    script = "for n in $(seq 60); do echo rendering page $n of 120; done; sleep 300"
    cli("enqueue", "--id", "report-q3", "--priority", "5", script)
    cli("enqueue", "--id", "flaky-7", "--max-retries", "5", "--backoff-base", "60", "exit 75")
    cli("enqueue", "--id", "nightly", "--delay", "2h", "reindex --all --jobs 4")
    for queue, *settings in (
        ("render", "--limit", "4", "--per-host", "2"),
        ("api", "--rate", "60/1m"),
        ("mail", "--limit", "2"),
    ):
        cli("queue", "set", queue, *settings)
    cli("schedule", "add", "nightly", "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "make all")
    cli("schedule", "add", "poll", "--every", "5m", "./poll.sh https://prices.example")
    cli("schedule", "run", "poll")
    cli("schedule", "pause", "nightly", "--reason", "the new server is not there yet")
    cli("hook", "add", "mail", "--on", "dead", "--digest", "5m", "--", "mail-it", "ops@example.org")
    cli("queue", "pause", "mail", "--for", "1h", "--reason", "the mail server is down")
    waiting = [{"queue": "mail", "command": f"send-mail {n}"} for n in range(1, 8)]
    cli("enqueue", "-", stdin="".join(json.dumps(job) + "\n" for job in waiting))
    eventually(lambda: cli.json("show", "flaky-7")["state"] == "failed")
    eventually(lambda: cli.json("show", "report-q3")["state"] == "processing")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = {"HOME": folder, "XDG_DATA_HOME": folder}
        cli = Cli(Path(folder) / "queue.db", Path(folder), env=home)
        try:
            fill(cli)
            site = Site.start(cli)
            with chromium() as browser, site.visit(browser) as page:
                for name, path in (PAGES | DARK).items():
                    page.emulate_media(color_scheme="dark" if name in DARK else "light")
                    for width in WIDTHS if name == "dashboard" else WIDTHS[:2]:
                        page.set_viewport_size({"width": width, "height": 900})
                        page.goto(site.base + path)
                        page.locator("#live").get_by_text("live").wait_for()
                        shown = HERE / f"{name}-{width}.png"
                        page.screenshot(path=shown, full_page=path in ("/", "/dlq"))
                        sys.stdout.write(f"screenshots/{shown.name}\n")
        finally:
            cli.close()


if __name__ == "__main__":
    os.environ.pop("QUEUECTL_STORE", None)
    main()
