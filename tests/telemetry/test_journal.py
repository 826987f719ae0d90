"""The hub's own log is in nobody's way."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

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


def test_what_fails_in_a_callback_is_in_the_log_without_its_secrets() -> None:
    program = """
        import asyncio, uvloop
        from triggerhub.telemetry import journal
        def fail():
            raise ValueError("not hunter2")
        async def main():
            journal.attend(asyncio.get_running_loop())
            asyncio.get_running_loop().call_soon(fail)
            await asyncio.sleep(0)
        journal.configure("info", "json")
        journal.hide_by(lambda text: text.replace("hunter2", "..."))
        uvloop.run(main())
    """
    done = subprocess.run([sys.executable, "-c", dedent(program)], capture_output=True, text=True, check=True)
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (line["event"], line["level"]) == ("a callback failed", "error")
    assert line["exception"].endswith("ValueError: not ...")
