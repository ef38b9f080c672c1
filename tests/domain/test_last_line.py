"""The line of a job's output that says why it failed."""

from __future__ import annotations

import pytest

from queuectl_core.supervisor.maintenance.output_limit import last_line

HEAD = (
    b"  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n"
    b"                                 Dload  Upload   Total   Spent    Left  Speed\n"
)
METER = b"\r  0     0    0     0    0     0      0      0 --:--:-- --:--:-- --:--:--     0"
DONE = b"\r100  1.2M  100  1.2M    0     0   512k      0  0:00:02  0:00:02 --:--:--  513k"


@pytest.mark.parametrize(
    ("tail", "line"),
    [
        (b"", ""),
        (b" \n\r\n", ""),
        (b"a\nb\n\n", "b"),
        (b"10%\r50%\rno space left", "no space left"),
        (b"10%\r50%\r100%\r\n", "100%"),
        (b"sh: 1: foo\r: not found\n", "sh: 1: foo\\r: not found"),
        (b"cannot open x\r\nsh: 2: bar\r: not found\r\n", "sh: 2: bar\\r: not found"),
        (b"10%\rError: no space\r\n", "Error: no space"),
        (HEAD + METER + b"curl: (6) Could not resolve host: nope\n", "curl: (6) Could not"),
        (HEAD + METER + METER + b"\ncurl: (7) Failed to connect\n", "curl: (7) Failed"),
        (b"fetching\n" + HEAD + METER + DONE, "fetching"),
        (b"fetching\n" + HEAD + METER + b"\ncurl: (22) error: 404\n", "curl: (22)"),
        (METER, "0     0    0"),
    ],
)
def test_the_last_line_with_content(tail: bytes, line: str) -> None:
    assert last_line(tail).startswith(line)
    assert bool(last_line(tail)) == bool(line)
