"""A terminal of a test's own: a command that is run on a pty, and what it draws there."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.daemon import GUARD

SGR = re.compile(r"\x1b\[[0-9;]*m")
"""What sets a colour: all of a terminal's language that a command may speak."""


class Terminal:
    """The controlling side of a pty."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.raw = ""
        self._master = master
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def text(self) -> str:
        """What is drawn, without its colours."""
        return SGR.sub("", self.raw).replace("\r\n", "\n")

    def until(self, text: str, within: float = GUARD) -> str:
        """Read until *text* is drawn; return all that was drawn so far."""
        deadline = time.monotonic() + within
        while text not in self.text:
            assert time.monotonic() < deadline, f"{text!r} was not drawn:\n{self.text[-3000:]}"
            if not self._read(0.1) and self.process.poll() is not None and not self._read(0):
                raise AssertionError(f"it ended without drawing {text!r}:\n{self.text[-3000:]}")
        return self.text

    def drain(self) -> str:
        """Read what is drawn by now; return all that was drawn so far."""
        while self._read(0):
            pass
        return self.text

    def end(self, within: float = GUARD) -> int:
        """Read to the end; return the exit code."""
        deadline = time.monotonic() + within
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it did not end:\n{self.text[-3000:]}"
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.returncode

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        """As a window is closed: what is written from now on fails."""
        os.close(self._master)
        self._master = -1

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def _read(self, within: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], within)
        data = b""
        if ready:
            with contextlib.suppress(OSError):
                data = os.read(self._master, 65536)
        self.raw += self._decoder.decode(data)
        return bool(data)


@contextmanager
def terminal(
    *arguments: str, columns: int = 100, environ: Mapping[str, str] | None = None, stdin: bool = True
) -> Iterator[Terminal]:
    """Run a command of the CLI on a pty; whatever happens, it is gone afterwards."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "triggerhub", *arguments],
        stdin=slave if stdin else subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**inherited, "TERM": "xterm-256color", **(environ or {})},
        cwd=Path(__file__).parents[2],
    )
    os.close(slave)
    try:
        screen = Terminal(process, master)
        yield screen
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait(GUARD)
        if screen._master >= 0:
            screen.close()
