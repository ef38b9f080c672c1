"""What an operator does in the browser, with a real one: also without JavaScript, on a phone, with
the keyboard, and checked by axe."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from ..support import Cli, eventually
from .browser import Site, chromium

PAGES: tuple[str, ...] = (
    "/",
    "/jobs",
    "/jobs/fails",
    "/jobs/fails/output",
    "/dlq",
    "/schedules",
    "/schedules/nightly",
    "/queues",
    "/queues/mail",
    "/jobs/held",
    "/jobs/after",
    "/jobs/held/edit",
    "/workers",
    "/enqueue",
    "/stats",
)
PAGES = (*PAGES, "/settings", "/doctor", "/jobs/nowhere", "/jobs?search=<b>&state=dead")

ALL_RULES = {"resultTypes": ["violations"]}
COLOURS = {**ALL_RULES, "runOnly": ["color-contrast", "link-in-text-block"]}
"""In the dark a page differs in nothing else."""

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with jobs of each kind, some of them dead of the same cause."""
    folder = tmp_path_factory.mktemp("filled")
    cli = Cli(folder / "queue.db", folder, env={"HOME": str(folder)})
    jobs = [{"id": f"same-{n}", "command": "exit 7", "max_retries": 1} for n in range(30)]
    jobs.append({"id": "fails", "command": f"echo '{EVIL}'; nosuchprogram", "max_retries": 1})
    jobs.append({"id": "works", "command": "seq 1 30"})
    jobs.append({"id": "waits", "command": "true", "run_at": "+1h"})
    jobs += [
        {"id": "held", "command": "true", "hold": True, "queue": "mail", "key": "k" * 90},
        {"id": "after", "command": "true", "after": ["held", "waits"], "queue": "mail"},
    ]
    cli("schedule", "add", "nightly", "--cron", "30 2 * * *", "--tz", "UTC", f"echo '{EVIL}'")
    cli("schedule", "run", "nightly")
    cli("enqueue", "-", stdin="".join(json.dumps(job) + "\n" for job in jobs))
    cli("queue", "set", "mail", "--limit", "2", "--rate", "60/1m")
    cli("queue", "pause", "mail", "--for", "9d", "--reason", "the server " + "x" * 80)
    cli("worker", "start", "--count", "2", "--until-empty", "--quiet")
    cli.close()
    return folder


@pytest.fixture
def site(cli: Cli, filled: Path) -> Site:
    """A dashboard of such a store."""
    shutil.copytree(filled, cli.cwd, dirs_exist_ok=True)
    return Site.start(cli)


def state(cli: Cli, job: str) -> str:
    return str(cli.json("show", job)["state"])


def said(page: Page) -> str:
    return page.locator(".banner:visible").inner_text()


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
def test_an_operator_finds_what_fails_and_mends_it(
    cli: Cli, site: Site, browser: Browser, javascript: bool
) -> None:
    with site.visit(browser, javascript=javascript) as page:
        # What fails, and why.
        alerts = page.locator(".alerts")
        expect(alerts).to_contain_text("30 jobs dead: exit 7")
        expect(alerts).to_contain_text("1 job dead: command not found")
        alerts.get_by_role("link", name="nosuchprogram").click()
        page.get_by_role("link", name="fails").click()
        expect(page.locator("#fields")).to_contain_text("nosuchprogram: not found")
        expect(page.locator("pre.output")).to_contain_text(EVIL)

        # Mend this one.
        page.locator("form[action='/act'] textarea").fill("echo mended")
        page.get_by_role("button", name="Run this job again with it").click()
        assert "fails is due again: echo mended" in said(page)
        assert "queuectl retry fails --command 'echo mended'" in said(page)
        assert state(cli, "fails") == "pending"

        # Retry all that died of the other cause.
        page.get_by_role("link", name="DLQ").click()
        page.get_by_role("button", name="Retry 30 jobs: exit 7").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Retry 30 dead jobs?")
        assert len(cli.json("list", "--state", "dead")) == 30, "nothing before the answer"
        page.get_by_role("button", name="Confirm").click()
        assert "retried 30 jobs" in said(page)
        assert cli.json("list", "--state", "dead") == []

        # Workers, and the output of one job.
        page.get_by_role("link", name="Workers").click()
        page.get_by_role("button", name="Start").click()
        assert "1 worker up" in said(page)
        eventually(lambda: state(cli, "fails") == "completed")
        page.goto(f"{site.base}/jobs/fails")
        expect(page.locator("pre.output")).to_have_text("mended\n", use_inner_text=False)
        page.get_by_role("link", name="Workers").click()
        page.get_by_role("button", name="Stop all workers").click()
        page.get_by_role("button", name="Confirm").click()
        eventually(lambda: cli.json("worker", "list") == [])


def test_a_question_can_be_left_and_is_only_about_jobs_as_they_were(
    cli: Cli, site: Site, browser: Browser
) -> None:
    with site.visit(browser) as page:
        page.get_by_role("link", name="Jobs", exact=True).click()
        page.get_by_label("mark waits").check()
        page.get_by_role("button", name="Cancel", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Cancel waits?")
        page.get_by_role("link", name="Go back").click()
        assert state(cli, "waits") == "pending"
        page.get_by_label("mark fails").check()
        page.get_by_role("button", name="Delete", exact=True).click()
        cli("retry", "fails")
        page.get_by_role("button", name="Confirm").click()
        assert "job 'fails' is pending now; no remove was done" in said(page)
        assert state(cli, "fails") == "pending"


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
def test_an_operator_finds_why_a_job_waits_and_mends_it(
    cli: Cli, site: Site, browser: Browser, javascript: bool
) -> None:
    with site.visit(browser, width=360, javascript=javascript) as page:
        page.get_by_role("link", name="Jobs", exact=True).click()
        page.get_by_role("link", name="waiting 2").click()
        expect(page.locator("#jobs")).to_contain_text("WaitingFor")
        page.get_by_role("link", name="after", exact=True).click()
        expect(page.locator("#why")).to_contain_text("queue mail was paused by")
        expect(page.locator("#tree")).to_contain_text("held waiting")
        page.locator("#tree").get_by_role("link", name="held").click()
        page.get_by_role("button", name="Release").click()
        assert "held is released" in said(page)
        assert state(cli, "held") == "pending"

        # Edit it.
        page.get_by_text("Change command, priority").click()
        page.get_by_label("priority").fill("5")
        page.get_by_label("key").fill("")
        page.get_by_role("button", name="Save").click()
        assert "queuectl edit held --priority 5 --no-key" in said(page)
        assert cli.json("show", "held")["priority"] == 5

        # Its queue is paused.
        page.locator("#why").get_by_role("link", name="the queue").first.click()
        expect(page.locator("#queue")).to_contain_text("the server")
        page.get_by_role("button", name="Resume").click()
        page.get_by_role("button", name="Confirm").click()
        assert "queue mail resumed" in said(page)
        page.locator("input[name=limit]").fill("4")
        page.get_by_role("button", name="Set limits").click()
        assert "queuectl queue set mail --limit 4" in said(page)
        found = cli.json("queue", "show", "mail")
        assert (found["paused"], found["limit"], found["rate"]) == (False, 4, "60/1m")
        page.locator("input[name=for]").fill("10m")
        page.locator("input[name=reason]").fill("a test")
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Confirm").click()
        assert cli.json("queue", "show", "mail")["paused_reason"] == "a test"


def test_a_running_job_is_followed(cli: Cli, site: Site, browser: Browser) -> None:
    gate = cli.cwd / "gate"
    cli("enqueue", "--id", "runs", f"echo one; until test -e {gate}; do sleep 0.05; done; echo two")
    cli("worker", "start", "--detach", "--quiet")
    eventually(lambda: state(cli, "runs") == "processing")
    with site.visit(browser) as page:
        page.goto(f"{site.base}/jobs/runs")
        output = page.locator("pre.output")
        expect(output).to_contain_text("one")
        gate.touch()
        expect(output).to_contain_text("two")
        expect(page.locator("#state")).to_have_text("completed")
        assert output.inner_text().split() == ["one", "two"]


def test_the_overview_is_live_and_says_when_it_is_not(
    cli: Cli, site: Site, browser: Browser
) -> None:
    with site.visit(browser) as page:
        expect(page.locator("#live")).to_have_text("live")
        tile = page.get_by_role("link", name=re.compile("pending$"))
        expect(tile).to_have_text("1 pending")
        cli("enqueue", "--delay", "1h", "true")
        expect(tile).to_have_text("2 pending")

        assert isinstance(cli.store, type(cli.cwd))
        away = cli.store.with_name("away.db")
        cli.store.rename(away)
        expect(page.locator("#trouble")).to_contain_text("The store cannot be read")
        assert page.goto(f"{site.base}/jobs").status == 503  # type: ignore[union-attr]
        expect(page.locator("main")).to_contain_text("is not there")
        page.goto(site.base)
        away.rename(cli.store)
        eventually(lambda: page.goto(site.base).status == 200)  # type: ignore[union-attr]
        expect(tile).to_have_text("2 pending")


def test_a_job_is_enqueued_with_the_keyboard_only(cli: Cli, site: Site, browser: Browser) -> None:
    with site.visit(browser) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        while page.evaluate("document.activeElement.textContent") != "Enqueue":
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/enqueue")
        while page.evaluate("document.activeElement.name") != "command":
            page.keyboard.press("Tab")
        page.keyboard.type("echo from the keyboard")
        while page.evaluate("document.activeElement.textContent") != "Enqueue":
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/jobs/*")
        assert "queuectl enqueue 'echo from the keyboard'" in said(page)


def test_what_is_wrong_in_the_form_is_said_and_nothing_is_lost(
    cli: Cli, site: Site, browser: Browser
) -> None:
    with site.visit(browser) as page:
        page.goto(f"{site.base}/enqueue")
        page.locator("textarea[name=command]").fill("true")
        page.get_by_text("More fields").click()
        page.get_by_label("priority").fill("high")
        page.get_by_role("button", name="Enqueue").click()
        assert "priority" in said(page)
        expect(page.locator("textarea[name=command]")).to_have_value("true")
        expect(page.get_by_label("priority")).to_have_value("high")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_and_every_page_fits_a_phone(
    site: Site, browser: Browser, dark: bool
) -> None:
    found = []
    rules = COLOURS if dark else ALL_RULES
    with site.visit(browser, width=360, dark=dark) as page:
        for path in PAGES[:5] if dark else PAGES:
            page.goto(site.base + path)
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > 360:
                found.append(f"{path} is {wide} wide")
            for fault in Axe().run(page, options=rules).response["violations"]:
                found.append(f"{path}: {fault['help']}: {fault['nodes'][0]['html']}")
    assert found == []


def test_read_only_shows_no_button(cli: Cli, site: Site, browser: Browser) -> None:
    with Site.start(cli, "--read-only").visit(browser) as page:
        for path in PAGES:
            page.goto(site.base + path)
            buttons = page.locator("button").all_inner_texts()
            assert {*buttons} <= {"Sign out", "Filter", "Find", "Wrap lines", "Show"}, path
