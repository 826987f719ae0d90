"""Measure invocations by the Lambda API: what it costs over the ingress, and beside ministack.

``python bench/lambda_api.py`` runs both. The cost is the difference of two medians on one connection: the same
handler called by a webhook that answers its result, and by the API, requests interleaved. Beside ministack the
same boto3 client calls the same function, made from the same archive, on both sides in turn.
"""

from __future__ import annotations

import argparse
import io
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import boto3
from botocore.config import Config

from bench.peers import Skipped, environment
from tests.e2e.daemon import Daemon, daemon, until
from tests.e2e.ports import free_port

HANDLER = "def handler(event, context):\n    return {'ok': True}\n"
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


def request(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(BODY)}", "", ""]).encode() + BODY


class Wire:
    """One connection, kept alive, that says the same again and again."""

    def __init__(self, port: int, text: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._text = text

    def once(self) -> float:
        """Return how long an answer took, in microseconds."""
        began = time.perf_counter()
        self._socket.sendall(self._text)
        answer = b""
        while not answer.endswith(b'{"ok": true}'):
            answer += self._socket.recv(65536)
        took = (time.perf_counter() - began) * 1e6
        assert answer.startswith(b"HTTP/1.1 200"), answer
        return took


def cost(hub: Daemon, calls: int) -> None:
    """Print what a call by the API takes over one by the ingress."""
    wires = {
        "ingress": Wire(hub.listen, request("/sync")),
        "Lambda API": Wire(hub.admin, request("/2015-03-31/functions/echo/invocations", f"Authorization: {SIGNED}")),
    }
    took: dict[str, list[float]] = {name: [] for name in wires}
    for number in range(calls + 200):
        for name, wire in wires.items():
            if number >= 200:
                took[name].append(wire.once())
            else:
                wire.once()
    medians = {name: statistics.median(values) for name, values in took.items()}
    for name, value in medians.items():
        print(f"{name:32} {value:8.0f} µs a call, median of {calls}, one connection")
    print(f"{'the API over the ingress':32} {medians['Lambda API'] - medians['ingress']:8.0f} µs")


def archive() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as one:
        one.writestr("app.py", HANDLER)
    return made.getvalue()


def client(url: str, connections: int) -> Any:
    session = boto3.Session(
        aws_access_key_id="AKIDAKIDAKIDAKIDAKID", aws_secret_access_key="any", region_name="us-east-1"
    )
    config = Config(max_pool_connections=connections, retries={"total_max_attempts": 1}, read_timeout=60)
    return session.client("lambda", endpoint_url=url, config=config)


def made(url: str, runtime: str) -> None:
    """Make the function on one side, and call it once."""
    lambdas = client(url, 1)
    lambdas.create_function(
        FunctionName="bench", Runtime=runtime, Handler="app.handler", Role="arn:aws:iam::000000000000:role/any",
        Code={"ZipFile": archive()}, Timeout=30,
    )  # fmt: skip
    lambdas.get_waiter("function_active_v2").wait(FunctionName="bench")
    lambdas.invoke(FunctionName="bench", Payload=BODY)


def rate(url: str, connections: int, seconds: float, kind: str) -> float:
    """Return calls a second by one boto3 client with so many threads."""
    lambdas = client(url, connections)
    until_ = time.monotonic() + seconds

    def work(_: int) -> int:
        done = 0
        while time.monotonic() < until_:
            answer = lambdas.invoke(FunctionName="bench", Payload=BODY, InvocationType=kind)
            answer["Payload"].read()
            assert answer["StatusCode"] in (200, 202), answer
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


def beside(hub: Daemon, seconds: float, rounds: int) -> None:
    """Print invocations a second by boto3, here and by ministack."""
    runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
    sides = {"triggerhub": f"http://127.0.0.1:{hub.admin}"}
    with ExitStack() as stack:
        try:
            sides["ministack"] = stack.enter_context(ministack())
            made(sides["ministack"], runtime)
        except Exception as why:
            sides.pop("ministack", None)
            print(f"ministack is left out: {why}")
        made(sides["triggerhub"], runtime)
        for kind, connections in (("RequestResponse", 1), ("RequestResponse", 64), ("Event", 64)):
            figures: dict[str, list[float]] = {name: [] for name in sides}
            for _ in range(rounds):
                for name, url in sides.items():
                    figures[name].append(rate(url, connections, seconds, kind))
            medians = {name: statistics.median(values) for name, values in figures.items()}
            ratio = f", {medians['triggerhub'] / medians['ministack']:.1f} times" if "ministack" in medians else ""
            shown = ", ".join(f"{name} {value:.0f}/s" for name, value in medians.items())
            print(f"boto3 {kind} c={connections:<3} {shown}{ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true", help="only what the API costs over the ingress")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, daemon(Path(folder), TOML, {"echo.py": HANDLER}) as hub:
        cost(hub, chosen.calls)
        if not chosen.no_peers:
            beside(hub, chosen.seconds, chosen.rounds)


if __name__ == "__main__":
    main()
