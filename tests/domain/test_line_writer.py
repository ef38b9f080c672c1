"""Lines for which nobody waits."""

from __future__ import annotations

import fcntl
import os
import sys
import time

import pytest

from queuectl_core.system.line_writer import LineWriter

from ..support import eventually


def read_all(fd: int) -> bytes:
    os.set_blocking(fd, False)
    data = b""
    while True:
        try:
            chunk = os.read(fd, 65536)
        except BlockingIOError:
            return data
        if not chunk:
            return data
        data += chunk


def test_lines_are_written_in_order() -> None:
    reader, fd = os.pipe()
    writer = LineWriter(fd)
    for number in range(100):
        writer.put(f"line {number} é\n")
    assert writer.close(30)
    assert read_all(reader).decode().splitlines() == [f"line {n} é" for n in range(100)]
    os.close(reader)
    os.close(fd)


def test_a_writer_that_wrote_nothing_ends_at_once() -> None:
    assert LineWriter(2).close(0)


@pytest.mark.skipif(sys.platform != "linux", reason="a pipe's size can be set on Linux only")
@pytest.mark.parametrize("blocking", [True, False])
def test_what_nobody_reads_is_dropped_and_counted(blocking: bool) -> None:
    reader, fd = os.pipe()
    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(fd, blocking)
    writer = LineWriter(fd, limit=100)
    began = time.monotonic()
    for number in range(10_000):
        writer.put(f"{number:0100}\n")
    assert not writer.close(0.05)  # stuck: who closes it does not wait for ever
    assert time.monotonic() - began < 10
    found = b""

    def all_told() -> bool:
        nonlocal found
        found += read_all(reader)
        return writer.close(0)

    eventually(all_told)
    lines = (found + read_all(reader)).decode().splitlines()
    kept = [int(line) for line in lines if line.isdecimal()]
    notes = [line for line in lines if not line.isdecimal()]
    assert kept == sorted(set(kept))
    assert all(note.endswith("lines were dropped: nobody read them") for note in notes)
    assert len(kept) + sum(int(note.split()[1]) for note in notes) == 10_000
    os.close(reader)
    os.close(fd)


def test_a_pipe_without_a_reader_takes_the_line_and_nothing_else() -> None:
    reader, fd = os.pipe()
    os.close(reader)
    writer = LineWriter(fd)
    writer.put("nobody\n")
    assert writer.close(30)
    os.close(fd)
