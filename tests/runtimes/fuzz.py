"""Feed the readers of what strangers send with what no sane program would, and see that none breaks.

Each input is a valid message, spoiled. A reader may take it or refuse it in its own words; anything else
that is raised, a second that goes by, or a buffer that outgrows its bound is a finding. Run as
``python -m tests.runtimes.fuzz --inputs 1000000 --seed 7``: exits with 1 when there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from triggerhub.policy import allowlist, forwarding
from triggerhub.runtimes import frames
from triggerhub.runtimes.bootstrap import worker
from triggerhub.runtimes.frames import HEAD, MAX_HEADER, Decoder, Frame, Kind, Malformed
from triggerhub.runtimes.launcher import plan as launcher
from triggerhub.runtimes.launcher.plan import FIRST_UID, Bind, Landlock, Plan

LIMIT = 4096
"""Bytes of a payload: little, so that it is often gone over."""
SLOW = 1.0
MOST = 20
"""Findings after which there is enough to mend."""
PART = 20_000
"""Inputs that a process is given at a time."""
STUCK = 10
"""Seconds after which an input is given up, to name it."""
NUMBERS = (0, 1, 2, 11, 12, 13, 127, 128, 255, 256, LIMIT - 1, LIMIT, LIMIT + 1, MAX_HEADER, MAX_HEADER + 1)
NUMBERS += (2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
TEXTS = (
    b"{", b"}", b"[", b'"', b"\\", b"null", b"NaN", b"1e999", b"-0", b'"\\ud800"', b'"\\u0000"', b"\xff", b"\xc0\x80",
    b"[" * 3000, b'{"a":' * 2000, b"9" * 5000, b'"id":"r"', b'"id":1', b",", b":", b"TH", b"TH\x04\x00", b"\r\n\r\n",
    b"\r\n", b"\n", b"HTTP/1.1", b"CONNECT ", b"http://", b"Connection: ", b"%00", b"@", b"[::1]", b"\x00", b" " * 3000,
    b'"/../etc"', b'"\\u0000"', b"true", b"0", b"-1", b'{"id":1}', b'["/a","/b"]', b'"uid":0',
)  # fmt: skip

Input = tuple[bytes, list[int]]
"""The bytes, and where they are cut into the pieces that arrive."""


@dataclass
class Report:
    """What a run did, by reader."""

    seed: int
    inputs: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def add(self, part: Report) -> None:
        """Count what another run did to what this one did."""
        for name, count in part.inputs.items():
            self.inputs[name] = self.inputs.get(name, 0) + count
            self.taken[name] = self.taken.get(name, 0) + part.taken[name]
            self.slowest[name] = max(self.slowest.get(name, 0.0), part.slowest[name])
        self.findings += part.findings

    def table(self) -> str:
        lines = [f"seed {self.seed}", f"{'reader':12}{'inputs':>10}{'taken':>10}{'refused':>10}{'slowest':>12}"]
        lines += [
            f"{name:12}{count:10}{self.taken[name]:10}{count - self.taken[name]:10}{self.slowest[name] * 1e3:9.2f} ms"
            for name, count in self.inputs.items()
        ]
        return "\n".join([*lines, *self.findings])


def header(draw: random.Random) -> dict[str, str]:
    names = ("id", "type", "message", "arn", "deadline", "remaining", "attempt", "trace", "client", "")
    return {draw.choice(names): "r" * draw.choice((0, 1, 3, 200)) for _ in range(draw.choice((1, 1, 1, 0, 3)))}


def frame(draw: random.Random) -> bytes:
    payload = draw.randbytes(draw.choice((0, 0, 1, 10, 300, LIMIT)))
    return frames.encode(draw.choice(list(Kind)), header(draw), payload)


def call(draw: random.Random) -> bytes:
    names = {
        "id": "r",
        "arn": "a:b",
        "attempt": "1",
        "deadline": "17",
        "remaining": "300",
        "client": "{}",
        "trace": "t",
    }
    payload = draw.choice((b"1", b"null", b'{"a":[1,2]}', b"\xff", b"[" * 2000, b'"\\ud800"', b"9" * 5000))
    return frames.encode(Kind.INVOKE, dict(list(names.items())[: draw.choice((5, 6, 7))]), payload)


def request(draw: random.Random) -> bytes:
    lines = draw.choice(
        (
            b"CONNECT api.example:443 HTTP/1.1",
            b"GET http://api.example:8080/a?b HTTP/1.1",
            b"POST http://10.0.0.5/ HTTP/1.1",
            b"OPTIONS http://[::1]:80 HTTP/1.0",
        )
    )
    fields = [b"Host: x", b"Connection: close, te", b"Proxy-Authorization: a", b"Content-Length: 3"]
    return b"\r\n".join([lines, *draw.sample(fields, draw.randrange(5))]) + b"\r\n\r\n"


def plan(draw: random.Random) -> bytes:
    made = Plan(
        id=draw.choice((1, 2**31, 2**63)),
        uid=draw.choice((FIRST_UID, FIRST_UID + 7)),
        binds=tuple(
            Bind(
                source="/usr",
                target=draw.choice(("/usr", "/var/task")),
                access=draw.choice(("read", "write", "device")),
            )
            for _ in range(draw.randrange(4))
        ),
        links=(("/bin", "usr/bin"),),
        files=(("/etc/passwd", "x"),),
        limits=((7, 1024, 1024),),
        landlock=draw.choice((None, Landlock(ruled=7, everywhere=4, below=(("/tmp", 7),)))),
        descriptors=(0, 1, 3),
    )
    return launcher.encode(made)


def spoil(data: bytes, draw: random.Random) -> bytes:
    """Return *data* with up to four things wrong."""
    spoiled = bytearray(data)
    for _ in range(draw.choice((0, 1, 1, 1, 2, 4))):
        at = draw.randrange(len(spoiled) + 1)
        match draw.randrange(8):
            case 0 if spoiled:
                spoiled[at % len(spoiled)] ^= 1 << draw.randrange(8)
            case 1:
                del spoiled[at : at + draw.choice((1, 2, 12, 500))]
            case 2:
                spoiled[at:at] = draw.choice(TEXTS)
            case 3:
                spoiled[at : at + 4] = draw.choice(NUMBERS).to_bytes(4, "big")
            case 4 if len(spoiled) >= HEAD.size:
                place = draw.choice((4, 8))
                spoiled[place : place + 4] = draw.choice(NUMBERS).to_bytes(4, "big")
            case 5:
                del spoiled[at:]
            case 6:
                spoiled[at:at] = spoiled[: draw.choice((1, 12, 40))]
            case _:
                spoiled += draw.randbytes(draw.choice((1, 12, 100)))
    return bytes(spoiled)


def arriving(data: bytes, draw: random.Random) -> list[int]:
    return sorted(draw.randrange(len(data) + 1) for _ in range(draw.choice((0, 0, 0, 1, 3))))


def pieces(given: Input) -> Iterator[bytes]:
    data, cuts = given
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        yield data[start:end]


def decode(given: Input) -> bool:
    """The hub's reader: in pieces as at once, what it gives is again a frame, and it holds no more than one."""
    whole, torn = Decoder(LIMIT), Decoder(LIMIT)
    at_once, in_pieces = _frames(whole, [given[0]]), _frames(torn, pieces(given))
    got, refused = at_once
    assert (got, refused) == in_pieces, "in pieces it says something else than at once"
    if not refused:
        assert len(torn._buffer) < HEAD.size + MAX_HEADER + LIMIT, "it holds more than a frame"
    again = b"".join(frames.encode(*one) for one in got)
    assert Decoder(LIMIT).feed(again) == got, "what it gave does not come back"
    return not refused


def _frames(decoder: Decoder, data: object) -> tuple[list[Frame], bool]:
    got: list[Frame] = []
    try:
        for piece in data:  # type: ignore[attr-defined]
            # One at a time: what came before a bad frame is given or not, as the cut has it.
            got += decoder.feed(piece)
    except Malformed:
        return [], True
    return got, False


class Left(BaseException):
    """The worker's process would have ended."""


def serve(given: Input) -> bool:
    """The worker's reader: it answers, or its process ends."""
    arrived = pieces(given)
    said: list[bytes] = []

    def read(_: int, count: int) -> bytes:
        return next((piece for piece in arrived if piece), b"")[:count] if count else b""

    def write(_: int, data: bytes) -> int:
        said.append(bytes(data))
        return len(data)

    def leave(status: int) -> None:
        raise Left(status)

    real = os.read, os.write, os._exit
    # It is this process's, however that came to be: a child that a handler forked would not answer.
    worker.unread, worker.OWNER = b"", os.getpid()
    try:
        os.read, os.write, os._exit = read, write, leave  # type: ignore[assignment]
        with contextlib.redirect_stdout(io.StringIO()):
            worker.serve(lambda event, context: {"got": repr(event)[:50], "id": context.aws_request_id})
    except Left as left:
        return left.args == (0,)
    except Exception:
        # What is no frame does not come from the hub: the process may end by it, with a traceback.
        return False
    finally:
        os.read, os.write, os._exit = real
        for answer in said:
            assert Decoder().feed(answer), "it sent what is no frame"
    raise AssertionError("it stopped serving")


def launch(given: Input) -> bool:
    """The launcher's reader: what it takes is a plan all of whose parts are what they should be."""
    try:
        made = launcher.decode(given[0])
    except launcher.BadPlan as error:
        return one_line(error, False)
    assert FIRST_UID <= made.uid < FIRST_UID + launcher.UIDS
    paths = [path for bind in made.binds for path in (bind.source, bind.target)]
    paths += [path for path, _ in (*made.links, *made.files)]
    for path in paths:
        assert path.startswith("/"), path
        assert ".." not in path.split("/"), path
        assert "\0" not in path, path
    assert launcher.decode(launcher.encode(made)) == made, "what it took does not come back"
    return True


ENTRIES = [allowlist.parse(text) for text in ("api.example:443", "10.0.0.5:80", "[::1]:80")]


def forward(given: Input) -> bool:
    """The proxy's reader: what it sends on is one head, to where the list allows it or nowhere."""
    try:
        asked = forwarding.read(given[0])
    except forwarding.BadRequest as error:
        return one_line(error, False)
    if asked.head is not None:
        assert asked.head.count(b"\r\n\r\n") == 1
    try:
        allowlist.admit(ENTRIES, asked.host, asked.port)
    except allowlist.Refused as error:
        return one_line(error, True)
    return True


def one_line(error: Exception, taken: bool) -> bool:
    assert forwarding.answer(403, str(error)).count(b"\r\n") == 5, "a refusal smuggles a line"
    return taken


READERS: dict[str, tuple[Callable[[random.Random], bytes], Callable[[Input], bool], int]] = {
    "hub": (frame, decode, 1),
    "worker": (call, serve, 10),
    "proxy": (request, forward, 10),
    "launcher": (plan, launch, 10),
}
"""By name: what makes a valid message, what reads it, and for how many of the hub's inputs it gets one."""


@contextmanager
def guarded(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(inputs: int, seed: int) -> Report:
    """Feed every reader; the hub's own gets *inputs*."""
    report = Report(seed)
    for name, (_, _, share) in READERS.items():
        report.add(feed(name, 0, inputs // share, seed))
        if len(report.findings) > MOST:
            break
    return report


def spread(inputs: int, seed: int, processes: int) -> Report:
    """Do what :func:`fuzz` does in so many processes: every input is made of its number, whoever makes it."""
    report = Report(seed)
    parts = [
        (name, start, min(start + PART, inputs // share), seed)
        for name, (_, _, share) in READERS.items()
        for start in range(0, inputs // share, PART)
    ]
    with ProcessPoolExecutor(processes) as pool:
        for part in pool.map(feed, *zip(*parts, strict=True)):
            report.add(part)
            if len(report.findings) > MOST:
                pool.shutdown(cancel_futures=True)
                break
    return report


def feed(name: str, start: int, stop: int, seed: int) -> Report:
    """Feed one reader with the inputs of these numbers."""
    report = Report(seed, {name: stop - start}, {name: 0}, {name: 0.0})
    make, take, _ = READERS[name]
    for number in range(start, stop):
        draw = random.Random(f"{seed}/{name}/{number}")
        data = spoil(b"".join(make(draw) for _ in range(draw.choice((1, 1, 1, 2, 3)))), draw)
        given = data, arriving(data, draw)
        began = time.thread_time()
        try:
            with guarded(STUCK):
                report.taken[name] += take(given)
        except Exception as error:
            report.findings.append(f"{name} {number}: {type(error).__name__}: {error}: {data[:200]!r}")
        took = time.thread_time() - began
        report.slowest[name] = max(took, report.slowest[name])
        if took > SLOW:
            report.findings.append(f"{name} {number}: took {took:.1f} s: {data[:200]!r}")
        if len(report.findings) > MOST:
            break
    return report


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    began = time.monotonic()
    report = spread(arguments.inputs, arguments.seed, arguments.processes)
    print(report.table())
    print(json.dumps({"seconds": round(time.monotonic() - began, 1), "findings": len(report.findings)}))
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
