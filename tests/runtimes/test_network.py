"""What a worker reaches: nothing, what is listed, or all; by real workers and real servers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.runtimes.conftest import Bench
from tests.runtimes.test_egress import echoing
from triggerhub.model import Returned

PYTHON = """
import json, os, socket, urllib.request, urllib.error
def fetch(url):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, b"hello"), timeout=5) as answer:
            return answer.read().decode().split()[-1]
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.reason}"
    except OSError as error:
        return str(getattr(error, "reason", error))
def direct(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return "reached"
    except OSError as error:
        return error.strerror
def handler(event, context):
    return [*map(fetch, event["urls"]), direct(event["port"]), os.environ.get("HTTPS_PROXY")]
"""
NODE = """
export const handler = async (event) => {
    const http = await import("node:http");
    return new Promise((resolve) => {
        const request = http.request({ host: "127.0.0.1", port: 3128, method: "POST", path: event.url }, (answer) => {
            let text = "";
            answer.on("data", (piece) => (text += piece)).on("end", () => resolve(answer.statusCode + " " + text));
        });
        request.on("error", (error) => resolve(error.code)).end("hello");
    });
};
"""


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with echoing() as port:
        yield port


def told(outcome: object) -> object:
    assert isinstance(outcome, Returned), outcome
    return json.loads(outcome.payload)


async def test_a_list_opens_what_is_listed_and_the_log_says_what_was_refused(bench: Bench, server: int) -> None:
    function = bench.python(PYTHON, level="isolated", network=(f"localhost:{server}",))
    urls = [
        f"http://localhost:{server}/",
        f"http://127.0.0.1.example:{server}/",
        "https://a.example/",
    ]
    said = told(await bench.call(function, {"urls": urls, "port": server}))
    assert said[0] == "hello"
    why = f'127.0.0.1.example:{server} is not in sandbox.network; add "127.0.0.1.example:{server}" to it to allow it'
    assert said[1] == f"403 {why}"
    assert said[2] == (
        'Tunnel connection failed: 403 a.example:443 is not in sandbox.network; add "a.example:443" to it to allow it'
    )
    assert said[3:] == ["Connection refused", "http://127.0.0.1:3128"]
    assert f"refused a connection: {why}" in bench.lines.of(None)
    assert list(bench.scratch.glob("worker-*")) == []


async def test_without_a_network_there_is_no_proxy_either(bench: Bench, server: int) -> None:
    function = bench.python(PYTHON, level="isolated", network=False)
    said = told(await bench.call(function, {"urls": [f"http://localhost:{server}/"], "port": server}))
    assert said == ["[Errno 111] Connection refused", "Connection refused", None]


async def test_a_handler_that_waits_for_its_children_is_not_told_of_the_forwarder(bench: Bench, server: int) -> None:
    code = """
    import os
    def handler(event, context):
        try:
            return os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return "none"
    """
    function = bench.python(code, level="isolated", network=(f"127.0.0.1:{server}",))
    assert told(await bench.call(function)) == "none"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: apt install nodejs")
async def test_node_reaches_what_is_listed(bench: Bench, server: int) -> None:
    function = bench.node(NODE, level="isolated", network=(f"127.0.0.1:{server}",))
    said = told(await bench.call(function, {"url": f"http://127.0.0.1:{server}/x"}))
    assert said == f"200 /x 127.0.0.1:{server} None hello"
