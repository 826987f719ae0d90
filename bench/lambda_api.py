"""Measure the Lambda API: what its calls cost, beside ministack, and how it bears large code and many functions.

``python bench/lambda_api.py`` runs all parts and prints each figure beside what is asked of it; it ends with 1 where
one falls short. ``cost`` is the difference of two medians on one connection: the same handler called by a webhook
that answers its result, and by the API with a signature that is verified, requests in turn. ``calls`` has the same
boto3 client call the same function, of the same archive, here and at ministack in turn, and a server that only
answers, which tells what the client itself can make; ``events`` has wrk do so, since boto3 itself makes no more than a
thousand requests a second. ``code`` makes a function of a 10 MB archive and calls it; ``many`` compares one function
with a thousand.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import boto3
import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from bench.load import wrk
from bench.peers import Skipped, environment
from tests.e2e.daemon import Daemon, daemon, until
from tests.e2e.ports import free_port

HANDLER = "def handler(event, context):\n    return {'ok': True}\n"
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
TOML = """
[triggers.sync]
type = "webhook"
path = "/sync"
auth = "none"
respond = "result"
function = "echo"
"""
BODY = b'{"x": "' + b"y" * 1000 + b'"}'
SIGNED = (
    "AWS4-HMAC-SHA256 Credential=AKIDAKIDAKIDAKIDAKID/20260101/us-east-1/lambda/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=" + "0" * 64
)
LUA = f"""
wrk.method = "POST"
wrk.headers["X-Amz-Invocation-Type"] = "Event"
wrk.headers["Authorization"] = "{SIGNED}"
wrk.body = '{{"x": "' .. string.rep("y", 1000) .. '"}}'
"""
BARE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-amz-executed-version: $LATEST\r\n"
    b'content-length: 12\r\n\r\n{"ok": true}'
)
ONLY = "a server that only answers"
INVOKE = "/2015-03-31/functions/{name}/invocations"
LARGE = 10 << 20
MANY = 1000
ALIKE = 1.25
"""A factor of two figures of this machine that says something."""


@dataclass(frozen=True)
class Figure:
    """One measured figure, and what is asked of it: at least, at most, or nothing."""

    name: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def good(self) -> bool:
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    def __str__(self) -> str:
        asked = "" if self.least is None else f"at least {self.least:g}"
        asked = asked if self.most is None else f"at most {self.most:g}"
        word = "" if not asked else "reached" if self.good else "MISSED"
        return f"{self.name:66} {self.value:>9,.2f} {self.unit:6} {asked:14} {word}"


class Wire:
    """One connection, kept alive, that asks the same again and again."""

    def __init__(self, port: int, path: str, sign: Callable[[], dict[str, str]] = dict) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._path = path
        self._sign = sign

    def once(self) -> float:
        """Return how long an answer took, in microseconds; signing is not in it."""
        lines = [f"POST {self._path} HTTP/1.1", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in ({"Host": "127.0.0.1"} | self._sign()).items()]
        text = "\r\n".join([*lines, f"Content-Length: {len(BODY)}", "", ""]).encode() + BODY
        began = time.perf_counter()
        self._socket.sendall(text)
        answer = b""
        while not answer.endswith(b'{"ok": true}'):
            data = self._socket.recv(65536)
            assert data, answer
            answer += data
        took = (time.perf_counter() - began) * 1e6
        assert answer.startswith(b"HTTP/1.1 200"), answer
        return took


def cost(options: argparse.Namespace) -> list[Figure]:
    """What a signed call by the API takes over one by the ingress."""
    with tempfile.TemporaryDirectory() as folder, daemon(Path(folder), TOML, {"echo.py": HANDLER}) as hub:
        told = hub.cli("token", "create", "bench", "--aws", "--role", "admin", check=True).stdout
        keys = Credentials(*(line.partition("=")[2] for line in told.splitlines()))
        path = INVOKE.format(name="echo")

        @lru_cache(maxsize=1)
        def of_second(_: int) -> dict[str, str]:
            request = AWSRequest("POST", f"http://127.0.0.1:{hub.admin}{path}", data=BODY)
            SigV4Auth(keys, "lambda", "us-east-1").add_auth(request)
            return {"Host": f"127.0.0.1:{hub.admin}", **dict(request.headers)}

        def sign() -> dict[str, str]:
            # As SDKs do, which sign equal requests of one second alike.
            return of_second(int(time.time()))

        wires = {"the ingress": Wire(hub.listen, "/sync"), "the Lambda API": Wire(hub.admin, path, sign)}
        took: dict[str, list[float]] = {name: [] for name in wires}
        for number in range(options.calls + 200):
            for name, wire in wires.items():
                one = wire.once()
                if number >= 200:
                    took[name].append(one)
    medians = {name: statistics.median(values) for name, values in took.items()}
    return [
        *(Figure(f"a call by {name}, median of {options.calls}", value, "µs") for name, value in medians.items()),
        Figure(
            "a call by the API over one by the ingress, its signature verified",
            medians["the Lambda API"] - medians["the ingress"], "µs", most=100,
        ),
    ]  # fmt: skip


def archive(more: bytes = b"") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as one:
        one.writestr("app.py", HANDLER)
        if more:
            one.writestr("more.bin", more)
    return made.getvalue()


def client(url: str, connections: int = 1) -> Any:
    session = boto3.Session(
        aws_access_key_id="AKIDAKIDAKIDAKIDAKID", aws_secret_access_key="any", region_name="us-east-1"
    )
    config = Config(max_pool_connections=connections, retries={"total_max_attempts": 1}, read_timeout=60)
    return session.client("lambda", endpoint_url=url, config=config)


def create(lambdas: Any, name: str, code: bytes) -> None:
    lambdas.create_function(
        FunctionName=name, Runtime=RUNTIME, Handler="app.handler", Role="arn:aws:iam::000000000000:role/any",
        Code={"ZipFile": code}, Timeout=30,
    )  # fmt: skip


def made(url: str) -> None:
    """Make the function on one side, and call it once."""
    lambdas = client(url)
    create(lambdas, "bench", archive())
    lambdas.get_waiter("function_active_v2").wait(FunctionName="bench")
    lambdas.invoke(FunctionName="bench", Payload=BODY)


def by_boto3(url: str, connections: int, seconds: float) -> float:
    """Return calls a second by boto3, with a thread for each connection in as many processes as there are cores.

    One process alone makes no more than a thousand calls a second.
    """
    processes = min(connections, os.cpu_count() or 1)
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(processes)
    with ProcessPoolExecutor(processes, spawn, _keep, (ready,)) as clients:
        asked = [clients.submit(_called, url, connections // processes, seconds) for _ in range(processes)]
        return sum(one.result() for one in asked)


_READY: list[Any] = []


def _keep(ready: Any) -> None:
    _READY.append(ready)


def _called(url: str, connections: int, seconds: float) -> float:
    lambdas = client(url, connections)
    lambdas.invoke(FunctionName="bench", Payload=BODY)["Payload"].read()
    _READY[0].wait(60)
    until_ = time.monotonic() + seconds

    def work(_: int) -> int:
        done = 0
        while time.monotonic() < until_:
            answer = lambdas.invoke(FunctionName="bench", Payload=BODY)
            answer["Payload"].read()
            assert "FunctionError" not in answer, answer
            done += 1
        return done

    began = time.monotonic()
    with ThreadPoolExecutor(connections) as threads:
        total = sum(threads.map(work, range(connections)))
    return total / (time.monotonic() - began)


@contextmanager
def ministack() -> Iterator[str]:
    """Run the peer in an environment of its own. Raises Skipped."""
    python, port = environment("ministack", "ministack[full]"), free_port()
    told = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "IOT_MTLS_ENABLED": "0"}
    process = subprocess.Popen(
        [python.parent / "ministack"], env=told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:

        def up() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        try:
            until(up, "ministack listens", 60)
        except AssertionError as error:
            raise Skipped(f"ministack does not start here: {error}") from error
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


class _Bare(asyncio.Protocol):
    """Answers each request of a client that waits for the answer before it sends another, and does nothing else."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport, self._came = transport, b""

    def data_received(self, data: bytes) -> None:
        self._came += data
        if self._came.endswith(BODY):
            self._came = b""
            self._transport.write(BARE)


def _bare(port: int) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Bare, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(serve())


@contextmanager
def bare() -> Iterator[str]:
    """Run a server that knows one answer."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=_bare, args=(port,), daemon=True)
    process.start()
    try:

        def up() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(up, "the bare server listens", 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join(20)


def beside(
    what: str, asked: float, options: argparse.Namespace, rate: Callable[[str], float], sides: dict[str, str]
) -> list[Figure]:
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, url in sides.items():
            figures[name].append(rate(url))
    medians = {name: statistics.median(values) for name, values in figures.items()}
    told = [Figure(f"{what}: {name}", value, "/s") for name, value in medians.items()]
    ours = medians["triggerhub"]
    if "ministack" in medians:
        told.append(Figure(f"{what}: times ministack's", ours / medians["ministack"], "x", least=asked))
    if ONLY in medians:
        told.append(Figure(f"{what}: of what the client makes there", ours / medians[ONLY], "x"))
    return told


@contextmanager
def both() -> Iterator[dict[str, str]]:
    """The addresses of the hub and its peer, with the function made on both."""
    with ExitStack() as stack:
        hub = stack.enter_context(daemon(Path(stack.enter_context(tempfile.TemporaryDirectory())), "", {}))
        sides = {"triggerhub": f"http://127.0.0.1:{hub.admin}"}
        try:
            sides["ministack"] = stack.enter_context(ministack())
            made(sides["ministack"])
        except Exception as why:
            sides.pop("ministack", None)
            print(f"ministack is left out: {why}", file=sys.stderr)
        made(sides["triggerhub"])
        yield sides


def calls(options: argparse.Namespace) -> list[Figure]:
    """Calls by boto3 that wait for their answer, here and at ministack."""
    told = []
    with both() as sides, bare() as url:
        sides[ONLY] = url
        for connections, asked in ((1, 10), (64, 3)):
            told += beside(
                f"boto3 RequestResponse c={connections}", asked, options,
                lambda url, c=connections: by_boto3(url, c, options.seconds), sides,
            )  # fmt: skip
    return told


def events(options: argparse.Namespace) -> list[Figure]:
    """Events accepted from wrk, each of ours synced to the disk."""
    with both() as sides, tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "event.lua"
        script.write_text(LUA)
        path = INVOKE.format(name="bench")
        return beside(
            "wrk Event c=64, accepted", 3, options, lambda url: wrk(url + path, 64, options.seconds, script), sides
        )


def code(options: argparse.Namespace) -> list[Figure]:
    """A function of a 10 MB archive: from the request until the answer to its first call."""
    took = []
    with hub_alone() as hub:
        lambdas = client(f"http://127.0.0.1:{hub.admin}")
        create(lambdas, "warm-up", archive(os.urandom(1000)))
        for number in range(options.rounds):
            data = archive(os.urandom(LARGE))
            began = time.perf_counter()
            create(lambdas, f"large-{number}", data)
            lambdas.invoke(FunctionName=f"large-{number}", Payload=BODY)["Payload"].read()
            took.append((time.perf_counter() - began) * 1000)
    name = f"CreateFunction of 10 MB to the answer of its first call, median of {len(took)}"
    return [Figure(name, statistics.median(took), "ms", most=500)]


@contextmanager
def hub_alone() -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory() as folder, daemon(Path(folder), "", {}) as hub:
        yield hub


def many(options: argparse.Namespace) -> list[Figure]:
    """List, get and invoke with a thousand functions beside the same with one, two hubs in turn."""
    with hub_alone() as one, hub_alone() as full:
        sides = {name: client(f"http://127.0.0.1:{hub.admin}") for name, hub in (("one", one), ("full", full))}
        data = archive()
        began = time.perf_counter()
        for number in range(MANY):
            create(sides["full"], f"f{number:04}", data)
        making = (time.perf_counter() - began) / MANY * 1000
        create(sides["one"], "f0500", data)
        asked: dict[str, Callable[[Any], Any]] = {
            "list_functions(MaxItems=1)": lambda lambdas: lambdas.list_functions(MaxItems=1)["Functions"],
            "get_function": lambda lambdas: lambdas.get_function(FunctionName="f0500")["Code"],
            "invoke": lambda lambdas: lambdas.invoke(FunctionName="f0500", Payload=BODY)["Payload"].read(),
        }
        told = [Figure(f"CreateFunction, each of {MANY}", making, "ms")]
        for name, ask in asked.items():
            took: dict[str, list[float]] = {side: [] for side in sides}
            for number in range(options.calls // 3):
                for side, lambdas in sides.items():
                    start = time.perf_counter()
                    assert ask(lambdas)
                    if number >= 20:
                        took[side].append(time.perf_counter() - start)
            medians = {side: statistics.median(values) for side, values in took.items()}
            told.append(Figure(f"{name} with {MANY} functions", medians["full"] * 1000, "ms"))
            told.append(Figure(f"{name}, times with one", medians["full"] / medians["one"], "x", most=ALIKE))
    return told


PARTS = {"cost": cost, "calls": calls, "events": events, "code": code, "many": many}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which parts; all by default")
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    good = True
    for name in options.parts or PARTS:
        for figure in PARTS[name](options):
            print(figure, flush=True)
            good = good and figure.good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
