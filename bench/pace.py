"""Send events at an even rate, hold event streams open, and read what a process has used of the processor."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

CONNECTIONS = 20
BODY = b'{"pad":"' + b"x" * 1010 + b'"}'


def cpu(process: int) -> float:
    """Return the seconds of processor time of a process, all its threads, to the nanosecond; without its children."""
    # What clock_getcpuclockid(3) makes of a process's id.
    return time.clock_gettime((~process << 3) | 2)


async def send(port: int, path: str, rate: float, seconds: float) -> int:
    """POST about *rate* events a second for a while, as clients do who know nothing of each other; return how many."""
    sent = await asyncio.gather(*(_client(port, path, rate / CONNECTIONS, seconds) for _ in range(CONNECTIONS)))
    return sum(sent)


async def _client(port: int, path: str, rate: float, seconds: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    request, count = head.encode() + BODY, 0
    begun = due = time.monotonic()
    with contextlib.closing(writer):
        while (due := due + random.expovariate(rate)) < begun + seconds:
            # Who was held up catches up.
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert b" 202 " in answer.split(b"\r\n", 1)[0], answer
            length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            count += 1
    return count


@asynccontextmanager
async def streams(port: int, count: int) -> AsyncGenerator[None]:
    """Hold so many event streams of the console open, as tabs do, and read what comes."""
    tabs = [asyncio.create_task(_tab(port)) for _ in range(count)]
    try:
        yield
    finally:
        for tab in tabs:
            tab.cancel()
        await asyncio.gather(*tabs, return_exceptions=True)


async def _tab(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n\r\n" % port)
    with contextlib.closing(writer):
        while await reader.read(65536):
            pass


if __name__ == "__main__":
    asyncio.run(send(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
