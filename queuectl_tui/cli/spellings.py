"""Names that other queues have for our verbs and options: accepted, or answered with a hint.

Imported only when a verb or an option was not found. The tables say what a word means. Only then
is similar spelling tried, which never suggests a verb that removes something.
"""

from __future__ import annotations

import re
import shlex

import click

from queuectl_core.domain.text import clean_line, closest

TAKES_AWAY = frozenset(("remove", "prune", "purge", "cancel"))
"""Verbs that are never suggested for similar spelling: ``resume`` is not ``remove``."""

VERBS: dict[str, dict[str, tuple[str, ...]]] = {
    "": {
        "version": ("--version",),
        "help": ("--help",),
        "workers": ("worker", "list"),
        "queues": ("queue", "list"),
        "schedules": ("schedule", "list"),
        "hooks": ("hook", "list"),
    },
    "queue": {"status": ("list",), "ls": ("list",), "help": ("--help",)},
    "worker": {"status": ("list",), "help": ("--help",)},
    "dlq": {"clear": ("purge",), "retry-all": ("retry", "--all"), "help": ("--help",)},
    "config": {"show": ("list",), "reset": ("unset",), "delete": ("unset",), "help": ("--help",)},
    "store": {"help": ("--help",)},
    "schedule": {"status": ("list",), "ls": ("list",), "help": ("--help",)},
    "hook": {"status": ("list",), "ls": ("list",), "help": ("--help",)},
}
"""Command -> its subcommands by another name -> the words they stand for."""

NOT_NEEDED = dict.fromkeys(
    ("init", "init-db", "initdb"), "not needed: the store is made when it is first used"
)

_LIST = "jobs are listed with: queuectl list"
_SHOW = "type: queuectl show ID"
_ADD = "to add a job, type: queuectl enqueue 'COMMAND'"
_WORK = "to run jobs, type: queuectl worker start"
_CLEAR = "ended jobs: queuectl prune --older-than TIME; dead ones: queuectl dlq purge --all"
_EVERY = "again and again: queuectl schedule add NAME --cron EXPR 'COMMAND'"
_TUI = "to look at everything, type: queuectl tui"

HINTS: dict[str, dict[str, str]] = {
    "": {
        "resume": "to run jobs, type: queuectl worker start; one job again: queuectl retry ID; "
        "a queue: queuectl queue resume NAME; a held job: queuectl release ID",
        "continue start work start-worker start-workers run-worker run-workers": _WORK,
        "pause": "a queue: queuectl queue pause NAME; a job: queuectl hold ID; "
        "all workers: queuectl worker stop (running jobs finish)",
        "suspend freeze block": "a job: queuectl hold ID; a queue: queuectl queue pause NAME",
        "unhold unpause unsuspend unblock": "a job: queuectl release ID; "
        "a queue: queuectl queue resume NAME",
        "explain blocked blockers": "type: queuectl why ID",
        "update modify change alter set-priority reprioritize reschedule": "type: queuectl edit ID",
        "tree deps dependencies graph": "type: queuectl show ID --tree",
        "limit throttle": "type: queuectl queue set NAME --limit N (or --rate N/TIME)",
        "get info inspect describe details get-job show-job job-status": _SHOW,
        "output result": "type: queuectl logs ID",
        "tail": "type: queuectl logs ID --follow",
        "clear clean flush": _CLEAR,
        "cleanup": "type: queuectl prune --older-than TIME",
        "purge": "for dead jobs, type: queuectl dlq purge ID",
        "reset": "a job again: queuectl retry ID; a setting: queuectl config unset KEY",
        "requeue rerun replay retry-job": "type: queuectl retry ID",
        "restart": "a job again: queuectl retry ID; workers: queuectl worker stop && "
        "queuectl worker start",
        "metric prometheus exporter": "type: queuectl metrics",
        "stat": "type: queuectl stats",
        "web webui ui serve dash": f"{_TUI}; in a browser: queuectl dashboard",
        "console top": _TUI,
        "watch": "type: queuectl status --watch",
        "ls jobs list-jobs": _LIST,
        "job": f"{_LIST}; one job: queuectl show ID",
        "done": "type: queuectl list --state completed",
        "failed": "type: queuectl list --state failed",
        "waiting": "type: queuectl list --state waiting",
        "pending": "type: queuectl list --state pending",
        "dead dead-letter list-dlq": "type: queuectl dlq list",
        "add submit push put create new exec": _ADD,
        "run": f"{_ADD}; then: queuectl worker start",
        "cron crontab recurring repeat periodic": f"{_EVERY}; a crontab: "
        "queuectl schedule import FILE",
        "at later": "once: queuectl enqueue 'COMMAND' --run-at TIME; again and again: "
        "queuectl schedule add",
        "webhook webhooks notify notification alert subscribe": "type: queuectl hook add NAME "
        "--on dead --url URL, or with -- CMD ARG instead of --url",
        "event audit history trail journal": "type: queuectl events",
        "daemon": f"{_WORK} --detach",
        "stop shutdown stop-worker stop-workers": "type: queuectl worker stop",
        "ps": "type: queuectl worker list",
        "delete del rm": "type: queuectl remove ID",
        "kill abort cancel-job": "type: queuectl cancel ID",
        "cancle": "did you mean cancel?",
        "settings": "type: queuectl config list",
        "set": "type: queuectl config set KEY VALUE",
        "export": "type: queuectl list --json --show-env",
        "import": "type: queuectl enqueue --file F",
        "copy": "type: queuectl store copy --to URL",
        "migrate": "not needed: a store of an older version is upgraded when it is used",
        "health check": "type: queuectl doctor",
        "server": "not needed: there is no server; to run jobs, type: queuectl worker start",
        "scheduler": f"not needed: workers start jobs when they are due; {_EVERY}",
        "retry-dlq": "type: queuectl dlq retry ID",
        "clear-dlq purge-dlq": "type: queuectl dlq purge --all",
    },
    "queue": {
        "get inspect info stats": "type: queuectl queue show NAME",
        "create add new": "not needed: a queue exists as soon as a job is in it; "
        "limits: queuectl queue set NAME --limit N",
        "stop suspend freeze": "type: queuectl queue pause NAME",
        "start unpause continue": "type: queuectl queue resume NAME",
        "limit config update edit change": "type: queuectl queue set NAME --limit N",
        "delete rm": "its settings: queuectl queue remove NAME; "
        "its jobs: queuectl cancel --queue NAME",
        "purge clear empty drain": "its jobs: queuectl cancel --queue NAME, "
        "or: queuectl remove --queue NAME -y",
        "jobs": f"{_LIST} --queue NAME",
    },
    "schedule": {
        "create new set": "type: queuectl schedule add NAME --cron EXPR 'COMMAND'",
        "get inspect info next": "type: queuectl schedule show NAME",
        "disable stop suspend": "type: queuectl schedule pause NAME",
        "enable start unpause": "type: queuectl schedule resume NAME",
        "trigger fire now exec": "type: queuectl schedule run NAME",
        "update change modify": "type: queuectl schedule edit NAME",
        "delete rm": "type: queuectl schedule remove NAME",
    },
    "hook": {
        "create new set": "type: queuectl hook add NAME --on EVENT --url URL",
        "get inspect info": "type: queuectl hook show NAME",
        "disable stop suspend": "type: queuectl hook pause NAME",
        "enable start unpause": "type: queuectl hook resume NAME",
        "send ping try": "type: queuectl hook test NAME",
        "edit update change": "not possible: remove the hook, and add it again",
        "delete rm": "type: queuectl hook remove NAME",
    },
    "worker": {
        "restart": "type: queuectl worker stop && queuectl worker start",
        "run resume": _WORK,
        "kill": "type: queuectl worker stop --now",
        "scale add": "add workers with: queuectl worker start --count N",
        "logs": "a job's output: queuectl logs ID",
        "pause": "type: queuectl worker stop (running jobs finish)",
    },
    "dlq": {
        "show get inspect": _SHOW,
        "delete remove rm": "type: queuectl dlq purge ID",
        "replay requeue": "type: queuectl dlq retry ID",
        "count": "type: queuectl status",
        "stats": "type: queuectl dlq list --group",
    },
}

VALUE = ("",)
"""Not an option here: its value is an argument."""
BY_ID: dict[str, tuple[str, ...]] = {"--id": VALUE, "--job-id": VALUE}
_SURE: dict[str, tuple[str, ...]] = {"--force": ("--yes",), "--confirm": ("--yes",)}

OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "": dict.fromkeys(("--db", "--db-path", "--database"), ("--store",)),
    "dashboard": dict.fromkeys(("--port", "--host", "--bind", "--addr", "-p"), ("--listen",)),
    "metrics": dict.fromkeys(("--file", "--output", "-o", "--text-file"), ("--textfile",)),
    "enqueue": {
        "-f": ("--file",),
        **dict.fromkeys(("--retries", "--max-retry", "--max-attempts"), ("--max-retries",)),
        "--timeout-seconds": ("--timeout",),
        "--delay-seconds": ("--delay",),
        "--cmd": ("--command",),
        **dict.fromkeys(("--depends-on", "--needs", "--wait-for", "--parent"), ("--after",)),
        **dict.fromkeys(("--unique-key", "--idempotency-key", "--dedupe"), ("--unique",)),
        **dict.fromkeys(("--held", "--paused"), ("--hold",)),
        **dict.fromkeys(("--job", "--data", "--payload"), VALUE),
    },
    **dict.fromkeys(
        (
            *(
                "show",
                "logs",
                "wait",
                "why",
                "cancel",
                "retry",
                "hold",
                "release",
                "edit",
                "remove",
            ),
            *("dlq retry", "dlq purge"),
        ),
        BY_ID,
    ),
    "list": {"--status": ("--state",), "-n": ("--limit",)},
    "queue set": {
        **dict.fromkeys(("--concurrency", "--max-running"), ("--limit",)),
        "--rate-limit": ("--rate",),
    },
    "queue pause": {"--duration": ("--for",)},
    "worker start": {
        **dict.fromkeys(("--detached", "--background", "--daemon"), ("--detach",)),
        **dict.fromkeys(("--workers", "--concurrency", "-n", "-w"), ("--count",)),
        "--foreground": (),
    },
    "worker stop": {
        "--force": ("--now",),
        **dict.fromkeys(("--all", "--wait", "--graceful"), ()),
        "--id": VALUE,
    },
}
OPTIONS["logs"] = BY_ID | {"--lines": ("--tail",), "-n": ("--tail",)}
OPTIONS["retry"] = BY_ID | _SURE | {"--reset": ()}
OPTIONS["remove"] = BY_ID | _SURE
OPTIONS["edit"] = BY_ID | {"--cmd": ("--command",), "--timeout-seconds": ("--timeout",)}
OPTIONS["dlq purge"] = BY_ID | _SURE
"""Verb -> its options by another name -> our words; empty: this is always so."""

_OF_JOBS = (
    *("show", "logs", "cancel", "retry", "remove", "wait"),
    *("why", "hold", "release", "edit"),
)
_START = ("--count", "-c", "--detach", "-d", "--queue", "--until-empty", "--until-idle")
_STATES = ("pending", "waiting", "processing", "completed", "failed", "dead", "cancelled")

_NOT_OF_SCHEDULES = {
    "--id": "a schedule cannot set it: the id of a run is made from the name of the schedule and "
    "its time",
    "--run-at --delay --at --in": "the schedule says when; to spread runs, see --jitter",
    "--hold --held --paused": "type: queuectl schedule pause NAME",
    "--on-conflict": "a run whose unique value another job holds is skipped",
    "-f --file": "a schedule enqueues one job: give it as COMMAND",
}

OPTION_HINTS: dict[str, dict[str, str]] = {
    "": {"--format --output -o": "type: --json"},
    "enqueue": {
        "--name --job-id": "type: --id",
        "--retry-delay --backoff": "type: --backoff-base",
        "--at": "type: --run-at",
        "--in": "type: --delay",
        "--dir": "type: --cwd",
        "--json-file": "type: --file",
        "--concurrency-key --group --lock": "type: --key",
    },
    **dict.fromkeys(("schedule add", "schedule edit"), _NOT_OF_SCHEDULES),
    "list": {
        "--id": _SHOW,
        "--all": "all jobs are listed without it; see --limit",
        "--dlq": "type: queuectl dlq list",
        "--page": "see --limit; in a pipe all jobs are listed",
        "--sort": "jobs are listed newest first; queuectl tui sorts them",
        "--since": "jobs are listed newest first; see --limit, or: queuectl stats --since TIME",
        **{f"--{state}": f"type: --state {state}" for state in _STATES},
    },
    "worker start": {
        "--daemonize": "type: --detach",
        "--once": "type: --until-idle or --until-empty",
        "--burst --drain": "type: --until-empty",
        "--poll-interval --interval": "not needed: workers are woken as soon as a job is due",
        "--duration": "type: timeout 6 queuectl worker start (for six seconds)",
        "--id --name": "queuectl names the workers",
    },
    "logs": {"--stdout --stderr": "both are kept together, in order: queuectl logs ID"},
    "edit": {
        "--delay": "type: --run-at +10m",
        "--env --cwd": "this cannot be changed; add another job: queuectl enqueue",
    },
    "queue pause": {"--until": "type: --for TIME"},
    "queue set": {"--pause --paused": "type: queuectl queue pause NAME"},
    "config": {"--key": "type: queuectl config get KEY"},
}


def _path(ctx: click.Context) -> str:
    return ctx.command_path.partition(" ")[2]


def _hint(hints: dict[str, dict[str, str]], path: str, word: str) -> str | None:
    """The hint for ``word`` after the command ``path``. A key holds one word or several."""
    found = hints.get(path, {}).items()
    return next((hint for words, hint in found if word in words.split()), None)


def other_verb(ctx: click.Context, word: str, rest: list[str]) -> list[str] | None:
    """The words that ``word`` and ``rest`` stand for; None when they stand for nothing."""
    path = _path(ctx)
    if not path:
        noun, _, sub = word.replace("_", "-").partition("-")
        if sub and noun in VERBS:  # worker-start is worker start
            return [noun, sub, *rest]
    known = VERBS.get(path, {}).get(word.lower().replace("_", "-"))
    if known is None:
        return None
    if word == "help":
        return [*rest, "--help"]
    if word in ("workers", "queues") and rest[:1] == ["list"]:
        rest = rest[1:]
    if (path, word) == ("config", "show") and any(not one.startswith("-") for one in rest):
        known = ("get",)
    return [*known, *rest]


def not_needed(ctx: click.Context, word: str) -> str | None:
    return None if _path(ctx) else NOT_NEEDED.get(word.lower().replace("_", "-"))


def unknown_verb(ctx: click.Context, word: str, rest: list[str], known: list[str]) -> str:
    path = _path(ctx)
    shown = clean_line(f"{path} {word}".strip(), 60)
    hint = _hint(HINTS, path, word.lower())
    if not path and word in ("job", "jobs") and rest[:1] and rest[0] in _OF_JOBS:
        hint = f"type: queuectl {clean_line(shlex.join(rest), 60)}"
    if hint is None and path == "config":
        hint = _setting(word, rest)
    if hint is None:
        close = closest(word, known)
        safe = close is not None and close not in TAKES_AWAY
        hint = f"did you mean {close}?" if safe else f"use one of: {', '.join(known)}"
    return f"no such command: '{shown}'; {hint}"


def _setting(word: str, rest: list[str]) -> str | None:
    """``config max-retries 5``: the verb was left out."""
    key = _key(word.partition("=")[0])
    if key is None:
        return None
    value = word.partition("=")[2] or (rest[0] if rest else "")
    if not value:
        return f"type: queuectl config get {key}"
    return f"type: queuectl config set {key} {clean_line(shlex.quote(value), 40)}"


def _key(name: str) -> str | None:
    from queuectl_core.domain.config import canonical
    from queuectl_core.domain.errors import NotFound

    try:
        return canonical(name)
    except NotFound:
        return None


def other_options(ctx: click.Context, words: list[str], option: str) -> list[str] | None:
    """``words`` with our name for the option that was not found; None when there is none."""
    path = _path(ctx)
    place = next((i for i, word in enumerate(words) if _is(word, option)), None)
    if place is None:
        return None
    before, word, after = words[:place], words[place], words[place + 1 :]
    name, equals, value = word.partition("=")
    if path in ("progress", "config set") and re.match(r"-\.?\d", word):
        # A negative number is a value; it is refused later.
        after = ["--", word, *after] if path == "progress" else [*after, "--", word]
        return [*before, *after]
    if path in ("config get", "config set") and (key := _key(name.removeprefix("--"))):
        value = (value or "".join(after[:1])) if path == "config set" else ""
        line = f"queuectl {path} {key} {clean_line(shlex.quote(value), 40) if value else ''}"
        raise click.UsageError(f"no such option: {name}; type: {line.strip()}", ctx)
    if path == "worker" and (name in OPTIONS["worker start"] or name in _START):
        line = f"queuectl worker start {clean_line(shlex.join(words), 60)}"
        raise click.UsageError(f"no such option: {name}; type: {line}", ctx)
    if name in ("--format", "--output", "-o") and (value or "".join(after[:1])) == "json":
        return [*before, "--json", *(after if equals else after[1:])]
    ours = OPTIONS.get(path, {}).get(name) or OPTIONS.get(path, {}).get(word)
    if ours is None:
        ours = OPTIONS[""].get(name)
    if ours is None and name in OPTIONS.get(path, {}):
        ours = ()
    if ours is None and not word.startswith("--"):  # -fFILE
        name, value = word[:2], word[2:]
        ours = OPTIONS.get(path, {}).get(name) if value else None
        return None if ours is None else [*before, *ours, value, *after]
    if ours == VALUE:
        return [*before, *([value] if equals else []), *after]
    if ours is None and path and path in VERBS and name[2:] in getattr(ctx.command, "table", {}):
        return [*before, name[2:], *([value] if equals else []), *after]  # worker --stop
    if ours is None:
        plain = re.sub(r"(?<=[a-z])[A-Z]", r"-\g<0>", name).lower().replace("_", "-")
        if plain == name:
            return None
        ours = (plain,)
    return [*before, *(f"{one}{equals}{value}" for one in ours), *after]


def _is(word: str, option: str) -> bool:
    if option.startswith("--"):
        return word == option or word.startswith(f"{option}=")
    return word.startswith(option)


def option_hint(ctx: click.Context | None, option: str) -> str | None:
    path = "" if ctx is None else _path(ctx)
    if path == "config set":
        return "type: queuectl config set KEY VALUE"
    return _hint(OPTION_HINTS, path, option) or _hint(OPTION_HINTS, "", option)


def nearest_option(error: click.NoSuchOption) -> str | None:
    if error.ctx is None or not error.option_name.startswith("--"):
        return None
    params = error.ctx.command.get_params(error.ctx)
    names = [name[2:] for param in params for name in param.opts if name.startswith("--")]
    close = closest(error.option_name[2:], names)
    return f"did you mean --{close}?" if close else None


def extra_hint(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None)
    found = re.search(r"\((\S+)\)", error.message)
    path = "" if ctx is None else _path(ctx)
    word = clean_line(found[1], 60) if found else ""
    if path == "worker start" and word.isdecimal():
        return f"; type: queuectl worker start --count {word}"
    if path == "list" and word in _STATES:
        return f"; type: queuectl list --state {word}"
    if path == "status" and word:
        return f"; type: queuectl show {word}"
    return ""
