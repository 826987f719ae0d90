"""Read what processes write, line by line, and give each line to the request that was running.

The pipe may outlive the process that it was made for, since a grandchild can hold it: nothing here
waits for its end.
"""

from __future__ import annotations

import asyncio
import os
from typing import IO, Literal

from triggerhub.runtime import Output
from triggerhub.settings import KB, Function

KEPT = 512 * KB
"""How much of one invocation's output is kept, in bytes."""
LONGEST = 256 * KB
"""A longer line is broken, in bytes."""
_PIPE = 64 * KB
"""The most that a pipe holds: what was written before an answer is within the next so many bytes."""


class LinePipe:
    """The read end of a pipe (owned) whose lines go to an Output."""

    def __init__(self, end: int, function: Function, output: Output, stream: Literal["stdout", "stderr"]) -> None:
        self._end = end
        self._function = function
        self._output = output
        self._stream = stream
        self._request: str | None = None
        self._partial = b""
        self._room = KEPT
        self._dropped = 0
        self._open = True
        self.tail = b""
        """The last bytes of the running request, for error messages; at most 2 KB."""
        os.set_blocking(end, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end, self._readable)

    def begin(self, request_id: str) -> None:
        """Give what comes from now on to this request, until ``end``.

        Nothing is read for it: what was written between two requests the loop has taken in by now.
        """
        self._turn(request_id)

    def end(self) -> None:
        """Take in what the request has written; what comes from now on belongs to none."""
        self.drain()
        self._turn(None)

    def _turn(self, request_id: str | None) -> None:
        self._flush()
        self._request = request_id
        self._room = KEPT
        self.tail = b""

    def drain(self) -> None:
        """Take in everything that was written before this call, and no endless flood after it."""
        taken = 0
        while self._open and taken < _PIPE:
            size = self._readable()
            if not size:
                break
            taken += size

    def close(self) -> None:
        """Take in what is there and stop."""
        self.drain()
        self._flush()
        self._shut()

    def _readable(self) -> int:
        try:
            data = os.read(self._end, _PIPE)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self._shut()
            return 0
        self._take(data)
        return len(data)

    def _take(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-2 * KB :]
        if self._room <= 0:
            self._dropped += len(data)
            return
        *lines, partial = (self._partial + data).split(b"\n")
        while len(partial) > LONGEST:
            lines.append(partial[:LONGEST])
            partial = partial[LONGEST:]
        self._partial = partial
        for line in lines:
            self._write(line)

    def _write(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, LONGEST):
            piece = line[start : start + LONGEST]
            if len(piece) > self._room:
                self._dropped += len(piece) + 1
                # A line that does not fit ends the output: shorter ones after it would seem to follow.
                self._room = 0
                continue
            self._room -= len(piece) + 1
            text = piece.decode("utf-8", "replace").removesuffix("\r")
            self._output.write(self._function, self._request, self._stream, text)

    def _flush(self) -> None:
        if self._partial:
            partial, self._partial = self._partial, b""
            self._write(partial)
        if self._dropped:
            self._output.write(self._function, self._request, "hub", f"{self._dropped} bytes of output dropped")
            self._dropped = 0

    def _shut(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._end)
            os.close(self._end)


def pipe(function: Function, output: Output, stream: Literal["stdout", "stderr"]) -> tuple[LinePipe, IO[bytes]]:
    """Make a pipe; return its reading end at work and the end to be written to, which the caller closes."""
    reading, writing = os.pipe()
    return LinePipe(reading, function, output, stream), os.fdopen(writing, "wb", buffering=0)
