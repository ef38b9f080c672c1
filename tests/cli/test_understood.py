"""The answers to plausible mistakes, to other spellings, and to command lines of other
implementations of this assignment.

The tables say what a new user would expect. Each row is a command line as the shell passes it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ..support import Cli, eventually
from .conftest import Here, Terminal
from .test_globals import one_line

Words = tuple[str, ...]

# -- refused, with the line that the user probably meant ------------------------------------

REFUSED: list[tuple[Words, str]] = [
    # JSON without quotes around it: bash expands the braces and removes the quotes in it.
    (
        ("enqueue", "id:j1", "command:echo hi"),
        """the JSON apart; type: queuectl enqueue '{"id": "j1", "command": "echo hi"}'""",
    ),
    (
        ("enqueue", "id:j1", "command:echo a, b", "priority:5"),
        """type: queuectl enqueue '{"id": "j1", "command": "echo a, b", "priority": 5}'""",
    ),
    (
        ("enqueue", "{id:", "j1,", "command:", "echo hi}"),
        """type: queuectl enqueue '{"id": "j1", "command": "echo hi"}'""",
    ),
    (
        ("enqueue", "{id:j1,command:echo hi}"),
        """its quotes are missing; type: queuectl enqueue '{"id": "j1", "command": "echo hi"}'""",
    ),
    (
        ("enqueue", "{name:j1,cmd:echo hi,max_retries:5}"),
        """'{"id": "j1", "command": "echo hi", "max_retries": 5}'""",
    ),
    (
        ("enqueue", "{id:007,command:echo hi,priority:01}"),
        """'{"id": "007", "command": "echo hi", "priority": 1}'""",
    ),
    (("enqueue", "id:j1"), """type: queuectl enqueue '{"command": "echo hi"}'"""),
    (("enqueue", "command: echo hi"), """type: queuectl enqueue '{"command": "echo hi"}'"""),
    (("enqueue", "- command: ls /"), """YAML; type: queuectl enqueue '{"command": "ls /"}'"""),
    # A command without quotes.
    (("enqueue", "make", "clean"), "type: queuectl enqueue 'make clean'"),
    (("enqueue", "echo", "hello", "world"), "type: queuectl enqueue 'echo hello world'"),
    (("enqueue", "echo", "hello world"), "type: queuectl enqueue -- echo 'hello world'"),
    (("enqueue", "sleep", "5", "--priority", "3"), "type: queuectl enqueue 'sleep 5'"),
    (("enqueue", "ls", "-l"), "type: queuectl enqueue -- ls -l"),
    (("enqueue", "ls", "--all"), "type: queuectl enqueue -- ls --all"),
    (("enqueue", "python", "-m", "http.server"), "type: queuectl enqueue -- python -m http.server"),
    (("enqueue", "x", "--", "y"), "the whole command after --"),
    # Names of files, and other things that are not commands.
    (("enqueue", "jobs.json"), "type: queuectl enqueue --file jobs.json"),
    (("enqueue", "./jobs.jsonl"), "type: queuectl enqueue --file ./jobs.jsonl"),
    (("enqueue", "jobs.yaml"), "queuectl reads JSON, not YAML"),
    (("enqueue", "jobs.csv"), "queuectl reads JSON, not CSV"),
    (("enqueue", "“echo hi”"), "type straight ones: queuectl enqueue 'echo hi'"),
    (("enqueue", "‘echo", "hi’"), "curly quotes"),
    (("enqueue", "--"), "type: queuectl enqueue -- CMD ARG"),
    (("enqueue", ""), "command is empty"),
    (("enqueue",), "give a job"),
    (("enqueue", "@nothere"), "cannot read 'nothere'"),
    # JSON with a mistake: the answer shows what was received, and what to type.
    (("enqueue", r"{\"id\":\"j\",\"command\":\"echo hi\"}"), "backslashes before its quotes"),
    (("enqueue", "{'id': 'j', 'command': 'echo hi'}"), "JSON has double quotes"),
    (("enqueue", "{“command”: “echo hi”}"), "curly quotes"),
    (("enqueue", '{""command"":""echo hi""}'), "its quotes are doubled"),
    (("enqueue", '{"command": "echo hi",}'), "a comma before }"),
    (("enqueue", '[{"command": "a"},]'), "a comma before ]"),
    (("enqueue", '{"command": "a" // why\n}'), "JSON has no comments"),
    (("enqueue", '{"command": "a" # why\n}'), "JSON has no comments"),
    (("enqueue", '{"command": "a"'), "it is cut off"),
    (("enqueue", '{"command": "a'), "it is cut off"),
    (("enqueue", '{"command": "a" "id": "b"}'), 'a comma is missing before "id"'),
    (("enqueue", '{"command" "a"}'), 'a colon is missing before "a"'),
    (("enqueue", '{"command": a}'), "put a in double quotes"),
    (("enqueue", '{"command": }'), "a value is missing before }"),
    (("enqueue", '{command: "a"}'), "put command in double quotes"),
    (("enqueue", '{"command": "it\'s",}'), "a comma before }"),
    (("stauts",), "did you mean status?"),
    (("enqueue", '{"command": "a"}{"command": "b"}'), "more than one object"),
    (("enqueue", '{"command": "a\nb"}'), "a line break inside a text; write \\n"),
    (("enqueue", r'{"command": "\d"}'), r"\d is no JSON escape; write \\"),
    (("enqueue", '{"command": True}'), "write true"),
    (("enqueue", "{ a; b; }"), "type: queuectl enqueue --command '{ a; b; }'"),
    (("enqueue", "[ -d / ] && x"), "type: queuectl enqueue --command '[ -d / ] && x'"),
    (("enqueue", "[[ -d / ]] && x"), "type: queuectl enqueue --command '[[ -d / ]] && x'"),
    (("enqueue", '{"cmd": "x"}'), "did you mean command?"),
    (("enqueue", '{"name": "x", "command": "x"}'), "did you mean id?"),
    (("enqueue", '{"retries": 1, "command": "x"}'), "did you mean max_retries?"),
    (("enqueue", '{"delay": 5, "command": "x"}'), 'write "run_at": "+10s"'),
    (("enqueue", '{"command": "x", "max_retries": "3"}'), "write 3 without quotes"),
    # Times.
    (("enqueue", "x", "--run-at", "20270328"), "write 2027-03-28"),
    (("enqueue", '{"command": "x", "run_at": 20270328}'), "write 2027-03-28"),
    (("enqueue", "x", "--run-at", "10m"), "did you mean +10m?"),
    (("enqueue", "x", "--run-at", "tomorrow"), "write tomorrow 09:00"),
    (("enqueue", "x", "--run-at", "25:00"), "not a time: '25:00'"),
    (("enqueue", "x", "--run-at", "friday"), "not a time: 'friday'"),
    (("enqueue", "x", "--run-at", "1900000000000"), "that is in milliseconds"),
    (("enqueue", "x", "--timeout", "5 parsecs"), "write 10s, 5m, 2h"),
    # Other words for a verb. The meaning decides, not only the spelling.
    (("resume",), "queuectl worker start"),
    (("resume",), "queuectl queue resume NAME"),
    (("pause",), "queuectl worker stop"),
    (("pause",), "queuectl queue pause NAME"),
    (("suspend", "j1"), "queuectl hold ID"),
    (("unhold", "j1"), "queuectl release ID"),
    (("explain", "j1"), "type: queuectl why ID"),
    (("update", "j1"), "type: queuectl edit ID"),
    (("deps", "j1"), "type: queuectl show ID --tree"),
    (("throttle",), "queuectl queue set NAME --limit N"),
    (("edti", "j1"), "did you mean edit?"),
    (("hodl", "j1"), "did you mean hold?"),
    (("queue",), "say what to do: list, show, pause, resume, set, remove"),
    (("queue", "create", "mail"), "not needed: a queue exists as soon as a job is in it"),
    (("queue", "stop", "mail"), "type: queuectl queue pause NAME"),
    (("queue", "unpause", "mail"), "type: queuectl queue resume NAME"),
    (("queue", "purge", "mail"), "queuectl cancel --queue NAME"),
    (("queue", "delete", "mail"), "queuectl queue remove NAME"),
    (("queue", "pase", "mail"), "did you mean pause?"),
    (("queue", "remvoe", "mail"), "use one of: list, show, pause, resume, set, remove"),
    (("queue", "set", "mail", "--limti", "3"), "did you mean --limit?"),
    (("queue", "pause", "mail", "--until", "9:00"), "type: --for TIME"),
    (("edit", "j1", "--delay", "1h"), "type: --run-at +10m"),
    (("enqueue", "x", "--group", "g"), "type: --key"),
    (("enqueue", "x", "--on-conflict", "exist"), "did you mean existing?"),
    (("list", "--state", "held"), "did you mean waiting?"),
    (("list", "--waiting"), "type: --state waiting"),
    (("enqueue", '{"command": "x", "depends_on": "a"}'), "did you mean after?"),
    (("enqueue", '{"command": "x", "idempotency_key": "a"}'), "did you mean unique?"),
    (("get",), "type: queuectl show ID"),
    (("info", "j1"), "type: queuectl show ID"),
    (("inspect", "j1"), "type: queuectl show ID"),
    (("output", "j1"), "type: queuectl logs ID"),
    (("log", "j1"), "did you mean logs?"),
    (("tail", "j1"), "type: queuectl logs ID --follow"),
    # A guess is close to what was typed, or there is no guess.
    (
        ("restart",),
        "a job again: queuectl retry ID; workers: queuectl worker stop && queuectl work",
    ),
    (("restart", "j1"), "a job again: queuectl retry ID"),
    (("bogus",), "no such command: 'bogus'; use one of: enqueue, list,"),
    (("list", "--bogus"), "no such option: --bogus; see: queuectl list --help"),
    (("logs", "j1", "--since", "1h"), "no such option: --since; see: queuectl logs --help"),
    (("list", "--sort", "id"), "jobs are listed newest first; queuectl tui sorts them"),
    (("list", "--since", "1h"), "jobs are listed newest first; see --limit"),
    (("list", "--sate", "dead"), "did you mean --state?"),
    (("list", "--serach", "x"), "did you mean --search?"),
    (("enqueue", "x", "--timout", "5"), "no such option: --timout; did you mean --timeout? if it"),
    (("list", "--state", "runing"), "did you mean processing?"),
    (("list", "--state", "sucess"), "did you mean completed?"),
    (("list", "--state", "xyzzy"), "use one of: pending, waiting, processing,"),
    (("worker", "strat"), "did you mean start?"),
    (("config", "lst"), "did you mean list?"),
    # A number that could mean days or seconds.
    (("stats", "--since", "24"), "24 of what?; write 24d (days), 24h (hours), 24m (minutes) or"),
    (("config", "set", "keep-completed", "30"), "30 of what?; write 30d (days), 30h (hours)"),
    # Given twice: no value is lost silently.
    (("enqueue", "--queue", "a", "--queue", "b", "x"), "--queue is given twice"),
    (("enqueue", "--file", "a", "-f", "b"), "--file is given twice"),
    (("list", "--search", "a", "--search", "b"), "--search is given twice"),
    (("worker", "start", "--until-idle", "--until-empty"), "give one of them"),
    (("clear",), "queuectl dlq purge --all"),
    (("reset",), "queuectl retry ID"),
    (("requeue", "j1"), "type: queuectl retry ID"),
    (("prometheus",), "queuectl metrics"),
    (("web", "--port", "3000"), "queuectl dashboard"),
    (("web",), "queuectl tui"),
    (("ui",), "queuectl tui"),
    (("ls",), "queuectl list"),
    (("jobs",), "queuectl list"),
    (("job", "list"), "queuectl list"),
    (("add", "echo hi"), "queuectl enqueue"),
    (("submit", "echo hi"), "queuectl enqueue"),
    (("push", "echo hi"), "queuectl enqueue"),
    (("run", "echo hi"), "queuectl enqueue"),
    (("start",), "queuectl worker start"),
    (("stop",), "queuectl worker stop"),
    (("ps",), "queuectl worker list"),
    (("delete", "j1"), "queuectl remove ID"),
    (("rm", "j1"), "queuectl remove ID"),
    (("kill", "j1"), "queuectl cancel ID"),
    (("abort", "j1"), "queuectl cancel ID"),
    (("purge",), "queuectl dlq purge"),
    (("dead",), "queuectl dlq list"),
    (("settings",), "queuectl config list"),
    (("set", "max-retries", "5"), "queuectl config set"),
    (("top",), "queuectl tui"),
    (("watch",), "queuectl status --watch"),
    (("export",), "queuectl list --json --show-env"),
    (("import",), "queuectl enqueue --file F"),
    (("health",), "queuectl doctor"),
    (("enqeue", "x"), "did you mean enqueue?"),
    (("remvoe", "x"), "no such command: 'remvoe'; use one of: "),
    (("pruen",), "use one of: "),
    (("dlq", "show", "j1"), "queuectl show ID"),
    (("dlq", "delete", "j1"), "queuectl dlq purge ID"),
    (("dlq", "purg", "j1"), "use one of: list, retry, purge"),
    (("dlq", "replay", "j1"), "queuectl dlq retry ID"),
    (("worker", "restart"), "queuectl worker stop && queuectl worker start"),
    (("worker", "run"), "queuectl worker start"),
    (("worker", "kill"), "queuectl worker stop --now"),
    (("worker", "scale", "4"), "queuectl worker start --count N"),
    (("list", "--state", "done"), "did you mean completed?"),
    (("list", "--state", "running"), "did you mean processing?"),
    (("list", "--state", "queued"), "did you mean pending?"),
    (("list", "--state", "error"), "did you mean failed?"),
    (("list", "--state", "dlq"), "did you mean dead?"),
    (("list", "--dead"), "type: --state dead"),
    (("list", "--pending"), "type: --state pending"),
    (("list", "--format", "xml"), "type: --json"),
    (("list", "--id", "j1"), "queuectl show ID"),
    (("worker", "start", "3"), "type: queuectl worker start --count 3"),
    (("worker", "start", "--once"), "--until-idle or --until-empty"),
    (("worker", "start", "--daemonize"), "type: --detach"),
    (("enqueue", "x", "--name", "j1"), "type: --id"),
    (("enqueue", "x", "--retry-delay", "5"), "type: --backoff-base"),
    (("enqueue", "x", "--retry-on", "j1"), "no such option: --retry-on"),
    (("config", "set", "max-retries"), "VALUE is missing"),
    (("config", "set", "max-retries", "-1"), "'-1' is not a whole number from 0 to 10000"),
    (("config", "set", "max-retries", "-1", "--json"), "'-1' is not a whole number"),
    (("config", "set", "backoff-base", "-0.5"), "'-0.5' is not a number from 0 to 3600"),
    (("config", "max-retries", "5"), "type: queuectl config set max-retries 5"),
    (("config", "max-retries"), "type: queuectl config get max-retries"),
    (("logs",), "ID is missing"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[" ".join(w)[:60] for w, _ in REFUSED])
def test_refused_with_the_line_that_was_meant(here: Here, words: Words, said: str) -> None:
    shown = here(*words, code=2)
    assert said in one_line(shown.err)
    assert not shown.out
    assert here("list", "--json").json == []


# Command lines of other implementations of this assignment (their READMEs and scripts).
ELSEWHERE: list[tuple[Words, str]] = [
    (("worker", "--count", "2"), "type: queuectl worker start --count 2"),
    (("worker", "--count=2", "--duration", "6"), "type: queuectl worker start --count=2"),
    (("worker", "start", "--duration", "6"), "type: timeout 6 queuectl worker start"),
    (("worker", "start", "--interval", "1"), "not needed: workers are woken"),
    (("worker", "start", "--id", "w1"), "queuectl names the workers"),
    (("worker", "logs", "w1", "--lines", "50"), "a job's output: queuectl logs ID"),
    (("worker", "stop", "all"), "no such worker: 'all'; without a name all are stopped"),
    (("config", "set", "--max-retries", "5"), "type: queuectl config set max-retries 5"),
    (("config", "set", "--retryBase", "2"), "type: queuectl config set KEY VALUE"),
    (("config", "get", "--max-retries"), "type: queuectl config get max-retries"),
    (("config", "--key", "max-retries"), "type: queuectl config get KEY"),
    (("config", "set", "--key", "max-retries", "--value", "5"), "queuectl config set KEY VALUE"),
    (("config", "reset"), "KEY is missing"),
    (("job", "show", "j1"), "type: queuectl show j1"),
    (("job", "cancel", "j1"), "type: queuectl cancel j1"),
    (("job", "status", "j1"), "one job: queuectl show ID"),
    (("status", "j1"), "type: queuectl show j1"),
    (("list", "pending"), "type: queuectl list --state pending"),
    (("list", "--state", "all"), "all jobs are listed without --state"),
    (("list", "--dlq"), "type: queuectl dlq list"),
    (("list", "--page", "2"), "see --limit"),
    (("logs", "j1", "--stderr"), "both are kept together, in order"),
    (("logs", "j1", "--stdout"), "both are kept together, in order"),
    (("cleanup", "--days", "7"), "type: queuectl prune --older-than TIME"),
    (("ui", "start", "--port", "8080"), "queuectl tui"),
    (("server",), "not needed"),
    (("scheduler", "start"), "not needed: workers start jobs when they are due"),
    (("reset", "--force"), "queuectl retry ID"),
    (("get-job", "j1"), "type: queuectl show ID"),
    (("job-status", "j1"), "type: queuectl show ID"),
    (("list-jobs",), "queuectl list"),
    (("start-workers", "3"), "type: queuectl worker start"),
    (("run-worker",), "type: queuectl worker start"),
    (("stop-workers",), "type: queuectl worker stop"),
    (("retry-job", "j1"), "type: queuectl retry ID"),
    (("retry-dlq", "j1"), "type: queuectl dlq retry ID"),
    (("clear-dlq",), "type: queuectl dlq purge --all"),
    (("dlq",), "say what to do: list, retry, purge"),
    (("enqueue", "x", "--priority", "high"), "higher runs first: 10, 0, -10"),
    (("enqueue", "x", "--interval", "5"), "no such option: --interval"),
    (("schedule", "add", "z", "--every", "1m", "--id", "x", "true"), "a schedule cannot set it"),
    (("schedule", "add", "z", "--every", "1m", "--hold", "true"), "queuectl schedule pause NAME"),
    (("schedule", "edit", "z", "--delay", "5m"), "the schedule says when"),
    (("schedule", "add", "z", "--on-conflict", "fail", "x"), "other job holds is skipped"),
    (("schedule", "add", "z", "ls", "--every", "1m", "-l"), "write the command after --"),
    (("schedule", "add", "z", "--cron", "a.txt", "b.txt", "c.txt"), "quote it: --cron '30 2"),
    (("schedule", "add", "z", "--cron", "5", "*", "--", "true"), "quote it: --cron '30 2"),
    (("schedule", "add", "z", "--cron", "5a * * * *", "true"), "cron: '5a' is no minute"),
    (("hook", "add", "z", "--on", "dead", "--url", "http://h/", "--", "true"), "not both"),
    (("hook", "add", "z", "cat", "--on", "dead", "--bad"), "write the command after --"),
    (("hook", "add", "z", "--on", "dead", "--url", "http://h:99999/"), "the port in the URL"),
    (("progress", "-5"), "'-5' is not a percentage"),
]


@pytest.mark.parametrize(("words", "said"), ELSEWHERE, ids=[" ".join(w) for w, _ in ELSEWHERE])
def test_refused_as_other_implementations_have_it(here: Here, words: Words, said: str) -> None:
    shown = here(*words, code=3 if words == ("worker", "stop", "all") else 2)
    assert said in one_line(shown.err)
    assert not shown.out


NOT_THERE: list[tuple[Words, str]] = [
    (("dlq", "retry", "all"), "type: queuectl dlq retry --all"),
    (("cancel", "all"), "type: queuectl cancel --all"),
    (("config", "set", "priority_default", "5"), "queuectl enqueue --priority N"),
    (("config", "get", "retry_delay"), "did you mean backoff-base?"),
    (("config", "get", "job-lease-ms"), "did you mean lease? it is in seconds"),
    (("config", "set", "backoff_base_ms", "1000"), "did you mean backoff-base? it is in seconds"),
    (("config", "set", "lock-timeout-seconds", "120"), "did you mean lease?"),
    (("config", "get", "poll-interval"), "not needed"),
    (("config", "get", "retries"), "did you mean max-retries?"),
    (("config", "set", "concurrency", "4"), "queuectl worker start --count N"),
    (("show", "nothing"), "see: queuectl list"),
    (("logs", "nothing"), "see: queuectl list"),
]


@pytest.mark.parametrize(("words", "said"), NOT_THERE, ids=[" ".join(w) for w, _ in NOT_THERE])
def test_not_there(here: Here, words: Words, said: str) -> None:
    assert said in one_line(here(*words, code=3).err)


# -- another spelling is accepted, with the same answer ---------------------------------------

SAME: list[tuple[Words, Words]] = [
    (("config", "get"), ("config", "list")),
    (("config", "show"), ("config", "list")),
    (("config", "show", "max-retries"), ("config", "get", "max-retries")),
    (("config:get", "max_retries"), ("config", "get", "max-retries")),
    (("config-get", "max-retries"), ("config", "get", "max-retries")),
    (("config", "get", "job-timeout"), ("config", "get", "timeout")),
    (("config", "get", "job_timeout"), ("config", "get", "timeout")),
    (("config", "get", "default_max_retries"), ("config", "get", "max-retries")),
    (("config", "get", "max_retries_default"), ("config", "get", "max-retries")),
    (("config", "get", "maxRetries"), ("config", "get", "max-retries")),
    (("config", "get", "MAX_RETRIES"), ("config", "get", "max-retries")),
    (("config", "set", "max-retries=5"), ("config", "set", "max-retries", "5")),
    (("config", "reset", "max-retries"), ("config", "unset", "max-retries")),
    (("config", "delete", "max-retries"), ("config", "unset", "max-retries")),
    (("worker", "status"), ("worker", "list")),
    (("workers",), ("worker", "list")),
    (("queues",), ("queue", "list")),
    (("queues", "list", "--json"), ("queue", "list", "--json")),
    (("queue:list",), ("queue", "list")),
    (("queue-list",), ("queue", "list")),
    (("queue", "ls"), ("queue", "list")),
    (("queue", "status"), ("queue", "list")),
    (
        ("queue", "set", "default", "--per_host", "2"),
        ("queue", "set", "default", "--per-host", "2"),
    ),
    (("queue", "set", "q", "--concurrency=2"), ("queue", "set", "q", "--limit", "2")),
    (
        ("queue", "pause", "default", "--duration", "5m"),
        ("queue", "pause", "default", "--for", "5m"),
    ),
    (("why", "--id", "j1"), ("why", "j1")),
    (("workers", "--json"), ("worker", "list", "--json")),
    (("workers", "list"), ("worker", "list")),
    (("worker-list",), ("worker", "list")),
    (("worker_list",), ("worker", "list")),
    (("worker", "stop", "--force"), ("worker", "stop", "--now")),
    (("worker", "stop", "--wait"), ("worker", "stop")),
    (("worker", "stop", "--graceful", "--timeout", "5"), ("worker", "stop", "--timeout", "5")),
    (("worker", "--stop"), ("worker", "stop")),
    (("dlq", "--list"), ("dlq", "list")),
    (("config", "--list"), ("config", "list")),
    (("config", "get", "timeout_default"), ("config", "get", "timeout")),
    (("show", "--id", "j1", "--json"), ("show", "j1", "--json")),
    (("show", "--job-id=j1", "--json"), ("show", "j1", "--json")),
    (("logs", "--job-id", "j1"), ("logs", "j1")),
    (("dlq", "clear", "--all", "--confirm"), ("dlq", "purge", "--all", "-y")),
    (("dlq", "purge", "--all", "--force"), ("dlq", "purge", "--all", "-y")),
    (("worker", "stop", "--all"), ("worker", "stop")),
    (("worker-stop",), ("worker", "stop")),
    (("dlq", "clear", "--all"), ("dlq", "purge", "--all")),
    (("dlq", "retry-all"), ("dlq", "retry", "--all")),
    (("dlq:list",), ("dlq", "list")),
    (("dlq-list",), ("dlq", "list")),
    (("version",), ("--version",)),
    (("help",), ("--help",)),
    (("help", "enqueue"), ("enqueue", "--help")),
    (("help", "worker", "start"), ("worker", "start", "--help")),
    (("worker", "help"), ("worker", "--help")),
    (("worker", "help", "start"), ("worker", "start", "--help")),
    (("list", "--state", "pending, failed"), ("list", "--state", "pending,failed")),
    (("list", "--state", "PENDING"), ("list", "--state", "pending")),
    (("list", "--state", "canceled"), ("list", "--state", "cancelled")),
    (("list", "--status", "pending"), ("list", "--state", "pending")),
    (("list", "--format", "json"), ("list", "--json")),
    (("list", "--format=json"), ("list", "--json")),
    (("list", "--no_color"), ("list", "--no-color")),
    (("prune", "--older_than", "30d"), ("prune", "--older-than", "30d")),
    (("prune", "--older-than", "10min"), ("prune", "--older-than", "10m")),
]


@pytest.mark.parametrize(("words", "plain"), SAME, ids=[" ".join(w) for w, _ in SAME])
def test_another_spelling(here: Here, words: Words, plain: Words) -> None:
    here("enqueue", "true", "--id", "j1", "--delay", "1h")  # when it is due, its age is shown
    here("queue", "set", "q", "--limit", "3")
    wanted, found = here(*plain), here(*words)
    assert (found.out, found.err) == (wanted.out, wanted.err)


@pytest.mark.parametrize("option", ["--db", "--db-path", "--database"])
def test_the_store_by_another_option(here: Here, tmp_path: Path, option: str) -> None:
    other = tmp_path / "other.db"
    here("enqueue", "true", "--id", "there", option, other)
    assert [job["id"] for job in here(option, other, "list", "--json").json] == ["there"]
    assert [job["id"] for job in here("list", "--json", f"{option}={other}").json] == ["there"]
    assert here("list", "--json").json == []


@pytest.mark.parametrize("name", ["QUEUECTL_DB", "QUEUECTL_DB_PATH"])
def test_the_store_by_another_variable(cli: Cli, tmp_path: Path, name: str) -> None:
    other = {name: str(tmp_path / "other.db"), "QUEUECTL_STORE": ""}
    cli("enqueue", "true", "--id", "there", env=other)
    assert (tmp_path / "other.db").exists()
    assert [job["id"] for job in cli.json("list", env=other)] == ["there"]
    cli("config", "unset", "lease", env={name: other[name]})
    assert cli.json("list", env={name: other[name]}) == [], "QUEUECTL_STORE wins"


JOBS: list[tuple[Words, dict[str, Any]]] = [
    (("--command", "echo hi"), {"command": "echo hi"}),
    (("--command", "{ a; b; }"), {"command": "{ a; b; }"}),
    (("--command=[ -d / ] && x", "--id", "j"), {"command": "[ -d / ] && x", "id": "j"}),
    (("--max_retries", "5", "x"), {"max_retries": 5}),
    (("--maxRetries", "5", "x"), {"max_retries": 5}),
    (("--retries", "5", "x"), {"max_retries": 5}),
    (("--max-attempts", "5", "x"), {"max_retries": 5}),
    (("--timeout-seconds", "5", "x"), {"timeout_seconds": 5}),
    (("--cmd", "echo hi", "--id", "j"), {"command": "echo hi", "id": "j"}),
    (("--cmd=echo hi",), {"command": "echo hi"}),
    (("--job", '{"command":"x","priority":2}'), {"command": "x", "priority": 2}),
    (("--data", '{"command":"x"}'), {"command": "x"}),
    (("--delay-seconds", "60", "x"), {"state": "pending"}),
    (("--idempotency-key", "u", "x"), {"unique": "u"}),
    (("--held", "x"), {"hold": True, "state": "waiting"}),
    (('{"command":"x","onParentFailure":"hold"}',), {"on_parent_failure": "hold"}),
    (('{"command":"x","unique":"u","unique-for":"5m"}',), {"unique_for": 300}),
    (('{"command":"x","max-retries":5}',), {"max_retries": 5}),
    (('{"command":"x","maxRetries":5}',), {"max_retries": 5}),
    (('{"command":"x","backoffBase":1.5}',), {"backoff_base": 1.5}),
    (('{"command":"x","run-at":"2030-01-01T00:00:00Z"}',), {"run_at": "2030-01-01T00:00:00.000Z"}),
    (('{"command":"x","max-retries":5}', "--max-retries", "6"), {"max_retries": 6}),
    (('{"command":"x","timeout":"5m"}',), {"timeout_seconds": 300}),
    (('{"command":"x","timeout_seconds":"90"}',), {"timeout_seconds": 90}),
    (('{"command":"x","cpu_seconds":"2m"}',), {"cpu_seconds": 120}),
    (('{"command":"x","timeout":null}',), {"timeout_seconds": 0}),
    (("x", "--timeout", "10min"), {"timeout_seconds": 600}),
    (("x", "--timeout", "2hours"), {"timeout_seconds": 7200}),
    (("echo 'hello world'",), {"command": "echo 'hello world'"}),
    (("./run.sh",), {"command": "./run.sh"}),
    (("true",), {"command": "true"}),
    (("make -C id:j1",), {"command": "make -C id:j1"}),
    (("cat jobs.json",), {"command": "cat jobs.json"}),
    (("--", "make", "clean"), {"command": ["make", "clean"]}),
    (("--", "echo", "--db", "x", "--max_retries"), {}),
    (("curl http://host/x",), {"command": "curl http://host/x"}),
    (("echo “quoted”",), {"command": "echo “quoted”"}),
]


@pytest.mark.parametrize(("words", "fields"), JOBS, ids=[" ".join(w)[:60] for w, _ in JOBS])
def test_jobs_in_another_spelling(here: Here, words: Words, fields: dict[str, Any]) -> None:
    shown = here("enqueue", "--json", *words)
    assert not shown.err
    assert {name: shown.json[name] for name in fields} == fields


def test_depends_on_is_after(here: Here) -> None:
    here("enqueue", "x", "--id", "p")
    assert here("enqueue", "x", "--depends-on", "p", "--json").json["after"] == ["p"]
    assert here("enqueue", '{"command":"x","afterAny":["p"]}', "--json").json["after_any"] == ["p"]


def test_several_commands_are_several_jobs(here: Here) -> None:
    assert len(here("enqueue", "make all", "make check").out.split()) == 2
    assert len(here("enqueue", '{"command":"a"}', "b").out.split()) == 2


@pytest.mark.parametrize("words", [("-f", "jobs.jsonl"), ("-fjobs.jsonl",), ("@jobs.jsonl",)])
def test_a_file_of_jobs(
    here: Here, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("jobs.jsonl").write_text('{"command":"a"}\n{"command":"b"}\n')
    assert len(here("enqueue", *words).out.split()) == 2


NOT_NEEDED: list[tuple[Words, str]] = [
    (("init",), "not needed: the store is made when it is first used"),
    (("init-db",), "not needed"),
    (("initdb",), "not needed"),
    (("config", "set", "poll-interval", "1"), "not needed"),
    (("config", "set", "poll_interval_ms", "500"), "not needed"),
    (("config", "set", "worker-poll-interval", "0.5"), "not needed"),
]


@pytest.mark.parametrize(("words", "said"), NOT_NEEDED, ids=[" ".join(w) for w, _ in NOT_NEEDED])
def test_not_needed(here: Here, words: Words, said: str) -> None:
    shown = here(*words)
    assert said in one_line(shown.err)
    assert not shown.out


WORKERS: list[Words] = [
    ("worker", "start", "--workers", "2", "--until-empty"),
    ("worker", "start", "-n", "2", "--until-empty"),
    ("worker", "start", "--concurrency=2", "--until_empty"),
    ("worker", "start", "--foreground", "--until-empty"),
    ("worker:start", "--count", "2", "--until-empty"),
    ("worker-start", "--count", "2", "--until-empty"),
    ("worker", "start", "--until-idle"),
]


@pytest.mark.parametrize("words", WORKERS, ids=" ".join)
def test_workers_in_another_spelling(cli: Cli, words: Words) -> None:
    cli("enqueue", "true")
    assert "1 done, 0 failed" in cli(*words).err


@pytest.mark.parametrize("option", ["--detached", "--background", "--daemon", "-d"])
def test_detached_workers_in_another_spelling(cli: Cli, option: str) -> None:
    assert cli("worker", "start", option).out
    cli("worker", "stop")


# -- times ------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["now", "2pm", "12:30am", "9:00", "23:59", "today 23:59"])
def test_times_of_today(here: Here, when: str) -> None:
    shown = here("enqueue", "x", "--run-at", when, "--json")
    assert shown.json["state"] == "pending"


def test_tomorrow(here: Here) -> None:
    shown = here("enqueue", "x", "--run-at", "tomorrow 9:00", "--id", "j")
    (job,) = here("list", "--json").json
    tomorrow = time.localtime(time.time() + 86400)
    nine = time.mktime((*tomorrow[:3], 9, 0, 0, 0, 0, -1))
    utc = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(nine))
    assert job["run_at"].startswith(utc)
    assert job["run_at"] in one_line(shown.err), "the answer says what it became"


def test_a_time_in_the_past_is_said(here: Here) -> None:
    for words in (("x", "--run-at", "2020-01-01T00:00:00Z"), ('{"command":"x","run_at":5}',)):
        assert "is in the past: due at once" in one_line(here("enqueue", *words).err)


def test_a_cwd_that_is_not_there_is_said(here: Here) -> None:
    for words in (("x", "--cwd", "/no/such"), ('{"command":"x","cwd":"/no/such"}',)):
        said = one_line(here("enqueue", *words).err)
        assert "there is no directory /no/such on this host" in said


# -- jobs on standard input -------------------------------------------------------------

STREAMS: list[tuple[str, str]] = [
    ("echo hi\necho ho\n", "line 1: this is a plain command, not JSON"),
    ("id,command\nj1,echo hi\n", "line 1: this looks like CSV"),
    ("- id: j1\n  command: echo hi\n", "line 1: this looks like YAML"),
    ("---\ncommand: echo hi\n", "line 1: this looks like YAML"),
    ("command: echo hi\n", "line 1: this looks like YAML"),
    ("#!/bin/sh\necho hi\n", "line 1: this is a script"),
    ("#!/bin/sh\r\necho hi\r\n", "line 1: this is a script with Windows line ends (CR LF)"),
    ("{'command': 'x'}\n", "line 1: it is not valid JSON: JSON has double quotes"),
    ('{"command": "x",}\n', "line 1: it is not valid JSON: a comma before }"),
    (
        '{"command": "x"},\n{"command": "y"}\n',
        "line 1: it is not valid JSON: a comma after the object",
    ),
    ('// jobs\n{"command": "x"}\n', "line 1: JSON has no comments"),
    ('# jobs\n{"command": "x"}\n', "line 1: JSON has no comments"),
    ('{\n "command": "x",\n}\n', "line 1: it is not valid JSON"),
]


@pytest.mark.parametrize(("text", "said"), STREAMS, ids=[text[:30] for text, _ in STREAMS])
def test_what_is_no_job_on_standard_input(cli: Cli, text: str, said: str) -> None:
    shown = cli("enqueue", "-", stdin=text, code=2)
    assert said in shown.err
    assert "nothing enqueued" in shown.err.splitlines()[-1]
    assert cli.json("list") == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('{\n  "id": "j",\n  "command": "echo hi"\n}\n', 1),
        ('\n{ "id": "j",\n  "command": "echo hi" }', 1),
        ('{\n "command": "a"\n}\n{\n "command": "b",\n "env": {\n "A": "}"\n }\n}\n', 2),
        ('{"command": "a"}\n{\n "command": "b"\n}\n', 2),
        ('[\n {"command": "a"},\n {"command": "b"}\n]\n', 2),
    ],
)
def test_pretty_printed_jobs(cli: Cli, text: str, count: int, tmp_path: Path) -> None:
    assert len(cli("enqueue", "-", stdin=text).out.split()) == count
    file = tmp_path / "job.json"
    file.write_text(text.replace('"id": "j",', ""))
    assert len(cli("enqueue", "--file", file).out.split()) == count


def test_a_broken_line_among_others_is_named_alone(cli: Cli) -> None:
    text = '{"command":"a"}\n{"command":\n{"command":"b"}\n{\n{"command":"c"}\n'
    said = cli("enqueue", "-", stdin=text, code=2).err.splitlines()
    assert [line.split(": ")[2] for line in said[:-1]] == ["line 2", "line 4"]


# -- Windows line ends ------------------------------------------------------------------


def test_a_command_with_windows_line_ends(here: Here) -> None:
    said = one_line(here("enqueue", "echo a\r\necho b\r\n").err)
    assert "Windows line ends (CR LF)" in said


def test_a_script_with_windows_line_ends(here: Here, tmp_path: Path) -> None:
    script = tmp_path / "x.sh"
    script.write_bytes(b"#!/bin/sh\r\necho hi\r\n")
    script.chmod(0o755)
    said = one_line(here("enqueue", f"{script} now").err)
    assert f"{script} has Windows line ends (CR LF)" in said
    assert "Windows" not in here("enqueue", "/bin/true").err


# -- which job is meant -----------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        *(("cancel",), ("retry",), ("remove",), ("dlq", "retry"), ("dlq", "purge", "-y")),
        *(("hold",), ("release",), ("edit", "--priority", "3")),
    ],
    ids=" ".join,
)
def test_what_changes_a_job_takes_its_whole_id(here: Here, words: Words) -> None:
    here("enqueue", "true", "--id", "build-10")
    said = one_line(here(*words, "build-1", code=3).err)
    assert "no such job: 'build-1'" in said
    assert "build-10" in said
    assert [job["state"] for job in here("list", "--json").json] == ["pending"]


def test_a_prefix_of_a_generated_id_will_do(here: Here) -> None:
    job = here("enqueue", "true").out.strip()
    assert here("cancel", job[:6]).out.strip() == job
    assert here("remove", job[:6]).out.strip() == job


def test_what_reads_takes_any_prefix(here: Here) -> None:
    here("enqueue", "true", "--id", "build-10")
    assert here("show", "build-1", "--json").json["id"] == "build-10"
    here("cancel", "build-10")
    here("wait", "build-1", code=1)


# -- what is said at a terminal ---------------------------------------------------------


def test_sentences_at_a_terminal_ids_in_a_pipe(cli: Cli, terminal: Terminal) -> None:
    cli("enqueue", "true", "--id", "j1")
    assert "Job j1 cancelled." in terminal("cancel", "j1")
    assert cli("retry", "j1").out == "j1\n"
    said = terminal("config", "set", "max-retries", "5")
    assert "max-retries is 5 now, for jobs enqueued from now on." in said
    assert cli("config", "set", "lease", "20").out == "20\n"
    worker = cli("worker", "start", "-d").out.strip()
    assert f"1 worker stopped: {worker}." in terminal("worker", "stop")


def test_quiet_takes_the_notes_and_never_the_ids(cli: Cli, terminal: Terminal) -> None:
    words = ("enqueue", "true", "--run-at", "2pm", "--id")
    assert cli(*words, "j1").err
    quiet = cli(*words, "j2", "-q")
    assert (quiet.out, quiet.err) == ("j2\n", "")
    assert terminal(*words, "j3", "-q") == "j3\n"
    assert "STATE" in terminal(*words, "j4")


def test_the_first_lines_of_worker_start_name_detach(terminal: Terminal) -> None:
    assert "--detach" in terminal("worker", "start", "--until-idle")


# -- workers from cron ------------------------------------------------------------------


def test_until_idle_ends_while_jobs_wait(cli: Cli) -> None:
    cli("enqueue", "exit 3", "--id", "again", "--backoff-base", "3600")
    cli("enqueue", "true", "--id", "later", "--run-at", "+1h")
    cli("enqueue", "true", "--id", "now")
    assert "1 done, 1 failed" in cli("worker", "start", "--until-idle").err
    states = {job["id"]: job["state"] for job in cli.json("list")}
    assert states == {"again": "failed", "later": "pending", "now": "completed"}
    said = cli("worker", "start", "-d", "--until-idle", code=2).err
    assert "--until-idle is for workers in the foreground" in said


def test_a_job_that_was_put_back_is_not_counted_as_failed(cli: Cli) -> None:
    cli("enqueue", "sleep 60", "--id", "long")
    process = cli.start("worker", "start")
    eventually(lambda: cli.json("show", "long")["state"] == "processing")
    cli("worker", "stop", "--now")
    _, err = process.communicate(timeout=60)
    assert "0 done, 0 failed" in err
    assert cli.json("show", "long")["state"] == "pending"
