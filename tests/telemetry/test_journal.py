"""The hub's own log is in nobody's way."""

from __future__ import annotations

import io
import os
from pathlib import Path

from triggerhub.telemetry.journal import Unfailing


def test_lines_that_cannot_be_written_are_counted_and_told_later(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        log = Unfailing(file)
        log.write("one\n")
        with Path("/dev/full").open("w") as full:
            kept = os.dup(file.fileno())
            os.dup2(full.fileno(), file.fileno())
            for _ in range(3):
                log.write("x" * 100_000 + "\n")
            os.dup2(kept, file.fileno())
            os.close(kept)
        log.write("two\n")
        log.write("three\n")
    first, second, lost, third = (tmp_path / "log").read_text().splitlines()
    assert (first, second, third) == ("one", "two", "three")
    assert '"count": 3' in lost


def test_a_reader_that_is_gone_harms_nobody() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        Unfailing(stream).write("one\n")


def test_a_stream_without_a_file_is_written_to_as_it_is() -> None:
    stream = io.StringIO()
    Unfailing(stream).write("one\n")
    assert stream.getvalue() == "one\n"
