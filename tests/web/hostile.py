"""Text that tries to be something else than text, in every place where a job can have it."""

from __future__ import annotations

import json
from typing import Any

from ..support import Cli

TEXTS = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)> ' onmouseover='alert(1)",
    "{{ 7 * 7 }} {% raw %} ${7*7} <%= 7 %> </title></textarea></pre><!-- ]]> &lt;b&gt;",
    "right\u202eto left\u2066 zero\u200bwidth \u2028 \ufeff\U000e0041",
    "\x1b[31mred\x1b]0;title\x07 \x9b1A \x7f \x08",
    "event: parts\ndata: {}\n\nid: 1\r\nX: y",
    "javascript:alert(1)//%0d%0aSet-Cookie:%20a=b",
)
LINES = (0, 1, 2, 6)
"""Those that a key may be: one line without control characters."""
OUTPUT = (
    b"\0nul \xff\xfe\xc3( </pre><script>x</script>\r\r\n\x1b[2J" + b"A" * (1 << 20) + b"\nend\n"
)
"""It has everything, and a line of a megabyte."""


def fill(cli: Cli) -> None:
    """Enqueue such jobs and run them: done, dead with such errors, waiting, in such queues."""
    path = cli.cwd / "output"
    path.write_bytes(OUTPUT)
    jobs: list[dict[str, Any]] = [{"id": "output", "command": ["cat", str(path)]}]
    for number, text in enumerate(TEXTS):
        fine = text.replace("\0", "")
        jobs += [
            {"id": f"done-{number}", "command": ["echo", fine], "env": {"HOSTILE": fine}},
            {
                "id": f"dead-{number}",
                "command": ["sh", "-c", 'printf "%s" "$1" >&2; exit 3', "sh", fine],
                "max_retries": 0,
            },
        ]
    jobs.append({"id": "javascript:alert.1", "command": "true", "queue": "javascript:alert.2"})
    cli("enqueue", "-", stdin=json.dumps(jobs))
    cli("worker", "start", "--until-idle", "--count", "4")
    later = [
        {"id": f"later-{n}", "command": f"# {text}", "run_at": "+1d"}
        for n, text in enumerate(TEXTS)
    ]
    later += [
        {
            "id": f"waits-{n}",
            "command": "true",
            "after": [f"later-{n}"],
            "on_parent_failure": "hold",
            "key": TEXTS[n],
            "unique": TEXTS[n],
        }
        for n in LINES
    ]
    later.append({"id": "held", "command": "true", "hold": True, "queue": "javascript:alert.2"})
    cli("enqueue", "-", stdin=json.dumps(later))
    hostile = TEXTS[0].replace("\0", "")
    cli("schedule", "add", "nightly", "--cron", "30 2 * * *", "--tz", "UTC", "--", "echo", hostile)
    cli("schedule", "pause", "nightly", "--reason", " ".join(TEXTS).replace("\0", ""))
    cli("queue", "set", "javascript:alert.2", "--limit", "2", "--rate", "60/1m")
    cli("queue", "pause", "javascript:alert.2", "--reason", " ".join(TEXTS))
    cli("queue", "pause", "default", "--for", "1d", "--reason", TEXTS[0])
