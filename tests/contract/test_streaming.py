"""Answers that handlers stream reach their readers while they are written: by URL and by the API, from any runtime."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import stat
import subprocess
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.contract import package
from tests.contract.conftest import client
from tests.contract.package import create, zipped
from tests.e2e.daemon import Daemon, daemon, until

NODE = """
import { writeFileSync } from "node:fs";
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
export const handler = awslambda.streamifyResponse(async (request, stream, context) => {
  const event = request.body ? JSON.parse(request.body) : request;
  switch (event.do) {
    case "slowly":
      stream.write("one");
      await wait(event.ms);
      stream.end("two");
      break;
    case "http": {
      const head = { statusCode: 201, headers: { "x-own": "a", "content-type": "text/html" }, cookies: ["a=1", "b=2"] };
      stream = awslambda.HttpResponseStream.from(stream, head);
      stream.write("<p>");
      stream.write({ n: 1 });
      stream.end();
      break;
    }
    case "empty":
      awslambda.HttpResponseStream.from(stream, { statusCode: 204 }).end();
      break;
    case "broken":
      stream.write("half");
      await wait(event.ms);
      throw new Error("torn");
    case "late":
      stream.write("half");
      await wait(60000);
      break;
    case "large":
      for (let sent = 0; sent < event.mb; sent++) {
        if (!stream.write(Buffer.alloc(1048576, 97))) await new Promise((done) => stream.once("drain", done));
      }
      stream.end();
      break;
    case "forever": {
      let closed = false;
      stream.on("close", () => (closed = true));
      while (!closed) {
        stream.write("x".repeat(1000));
        await wait(20);
      }
      console.log("the stream was closed");
      break;
    }
    case "deaf":
      for (;;) {
        stream.write("x");
        await wait(20);
      }
  }
});
"""
PYTHON = """
def handler(event, context):
    return {"statusCode": 202, "headers": {"x-own": "whole"}, "body": "made"}
"""
SHELL = """#!/bin/bash
set -u
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  id=$(curl -sS -o /dev/null -D - "$api/next" | tr -d '\\r' | sed -n 's/^Lambda-Runtime-Aws-Request-Id: //Ip')
  { printf one; sleep 0.5; printf two; } | curl -sS -X POST -T - -H "Lambda-Runtime-Function-Response-Mode: streaming" \\
    -H "Content-Type: text/plain" "$api/$id/response" > /dev/null
done
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("streaming"), "", {}) as made:
        yield made


@pytest.fixture(scope="module")
def node(hub: Daemon) -> str:
    if shutil.which("node") is None:
        pytest.skip("node is not installed on this host")
    major = _node_version()
    create(
        client(hub), "node", zipped({"app.mjs": NODE}), Runtime=f"nodejs{major}.x", Timeout=8,
    )  # fmt: skip
    return opened(hub, "node")


def _node_version() -> int:
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.strip().removeprefix("v").partition(".")[0])


def opened(hub: Daemon, name: str, mode: str = "RESPONSE_STREAM") -> str:
    """Make a function's URL, and open it."""
    lambdas = client(hub)
    made = lambdas.create_function_url_config(FunctionName=name, AuthType="NONE", InvokeMode=mode)
    assert made["InvokeMode"] == mode
    package.opened(lambdas, name)
    url: str = made["FunctionUrl"]
    return url


class Reader:
    """One request to a URL, read as it comes."""

    def __init__(self, url: str, **event: Any) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        self.connection.request("POST", parts.path, json.dumps(event), {"Content-Type": "application/json"})
        self.answer = self.connection.getresponse()

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def test_a_url_sends_what_is_written_before_the_rest_is_there(node: str, hub: Daemon) -> None:
    before = ended(hub, "node")
    reader = Reader(node, do="slowly", ms=1500)
    assert reader.answer.status == 200
    assert reader.answer.getheader("content-type") == "application/octet-stream"
    assert reader.answer.getheader("transfer-encoding") == "chunked"
    assert reader.answer.read1(100) == b"one"
    assert ended(hub, "node") == before, "the handler has not returned yet"
    assert reader.answer.read() == b"two"
    reader.close()


def ended(hub: Daemon, name: str) -> int:
    """How many calls of a function are over."""
    _, page = hub.api("GET", "/metrics", raw=True)
    found = re.search(rf'triggerhub_invocations_total{{function="{name}"}} (\d+)', page.decode())
    return int(found[1]) if found else 0


def test_status_headers_and_cookies_come_first(node: str) -> None:
    reader = Reader(node, do="http")
    assert (reader.answer.status, reader.answer.getheader("x-own")) == (201, "a")
    assert reader.answer.getheader("content-type") == "text/html"
    assert reader.answer.headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert reader.answer.read() == b'<p>{"n":1}'
    reader.close()
    reader = Reader(node, do="empty")
    assert (reader.answer.status, reader.answer.read()) == (204, b"")
    reader.close()


@pytest.mark.parametrize("event", [{"do": "broken", "ms": 100}, {"do": "late"}])
def test_an_answer_that_breaks_off_does_not_look_whole(node: str, event: dict[str, Any]) -> None:
    reader = Reader(node, **event)
    assert reader.answer.status == 200
    with pytest.raises(http.client.IncompleteRead) as caught:
        reader.answer.read()
    assert caught.value.partial == b"half"
    reader.close()


def test_far_more_than_a_whole_answer_may_have_goes_through(node: str) -> None:
    reader = Reader(node, do="large", mb=40)
    size = 0
    while data := reader.answer.read1(1 << 20):
        size += len(data)
    assert size == 40 << 20
    reader.close()


def test_who_leaves_ends_the_handlers_stream(node: str, hub: Daemon) -> None:
    """A handler that looks hears of it; one that does not is ended."""
    for event, says in (({"do": "forever"}, "the stream was closed"), ({"do": "deaf"}, "")):
        before = ended(hub, "node")
        reader = Reader(node, **event)
        assert reader.answer.read1(10)
        reader.close()
        until(lambda was=before: ended(hub, "node") == was + 1, "the handler has ended")
        if says:
            until(lambda said=says: said in hub.cli("logs", "node").stdout, "it says so")


def test_a_handler_that_answers_at_once_is_answered_whole(hub: Daemon) -> None:
    create(client(hub), "python", zipped({"app.py": PYTHON}))
    reader = Reader(opened(hub, "python"))
    assert (reader.answer.status, reader.answer.getheader("x-own")) == (202, "whole")
    assert reader.answer.getheader("content-length") == "4"
    assert reader.answer.read() == b"made"
    reader.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed on this host")
def test_a_custom_runtime_streams(hub: Daemon) -> None:
    lambdas = client(hub)
    bootstrap = zipfile.ZipInfo("bootstrap")
    bootstrap.external_attr = (stat.S_IFREG | 0o755) << 16
    code = zipped({bootstrap: SHELL})  # type: ignore[dict-item]
    create(lambdas, "shell", code, Runtime="provided.al2023", Handler="any", Timeout=20)
    url = opened(hub, "shell")
    reader = Reader(url)
    assert reader.answer.getheader("content-type") == "text/plain"
    assert reader.answer.read1(100) == b"one"
    assert reader.answer.read() == b"two"
    reader.close()
    stream = lambdas.invoke_with_response_stream(FunctionName="shell")["EventStream"]
    assert events(stream) == ([b"one", b"two"], {})
    # Who wants it whole gets it whole.
    assert lambdas.invoke(FunctionName="shell")["Payload"].read() == b"onetwo"
    lambdas.update_function_url_config(FunctionName="shell", InvokeMode="BUFFERED")


def events(stream: Any) -> tuple[list[bytes], dict[str, Any]]:
    """The chunks of an event stream, and what is told of its end."""
    chunks: list[bytes] = []
    end: dict[str, Any] = {"ErrorCode": "the stream has no end"}
    for event in stream:
        if "PayloadChunk" in event:
            chunks.append(event["PayloadChunk"]["Payload"])
        else:
            end = event["InvokeComplete"]
    stream.close()
    return chunks, end


@pytest.mark.usefixtures("node")
def test_the_api_streams_too(hub: Daemon) -> None:
    lambdas = client(hub)

    def asked(**event: Any) -> Any:
        return lambdas.invoke_with_response_stream(FunctionName="node", LogType="Tail", Payload=json.dumps(event))

    before = ended(hub, "node")
    answer = asked(do="slowly", ms=1500)
    assert answer["ExecutedVersion"] == "$LATEST"
    stream = answer["EventStream"]
    assert next(iter(stream))["PayloadChunk"]["Payload"] == b"one"
    assert ended(hub, "node") == before, "the handler has not returned yet"
    chunks, end = events(stream)
    assert (chunks, list(end)) == ([b"two"], ["LogResult"])
    chunks, end = events(asked(do="broken", ms=1)["EventStream"])
    assert (chunks, end["ErrorCode"]) == ([b"half"], "Unhandled")
    assert json.loads(end["ErrorDetails"])["errorMessage"] == "torn"
    chunks, end = events(asked(do="late")["EventStream"])
    assert "Task timed out after 8.00 seconds" in end["ErrorDetails"]
    chunks, end = events(asked(do="large", mb=20)["EventStream"])
    assert sum(map(len, chunks)) == 20 << 20
    before = ended(hub, "node")
    answer = asked(do="forever")
    assert next(iter(answer["EventStream"]))
    answer["EventStream"].close()
    until(lambda: ended(hub, "node") == before + 1, "the handler has ended")
    whole = lambdas.invoke(FunctionName="node", Payload=b'{"do": "http"}')
    assert json.loads(whole["Payload"].read())["body"] == '<p>{"n":1}'


def test_a_client_of_http_1_0_reads_to_the_end(node: str) -> None:
    parts = urlsplit(node)
    assert parts.hostname is not None
    body = b'{"do": "slowly", "ms": 10}'
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as raw:
        raw.sendall(f"POST {parts.path} HTTP/1.0\r\nContent-Type: application/json\r\n".encode())
        raw.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        said = b""
        while data := raw.recv(65536):
            said += data
    head, _, text = said.partition(b"\r\n\r\n")
    assert text == b"onetwo"
    assert b"chunked" not in head


def test_a_head_asks_for_no_body(node: str) -> None:
    parts = urlsplit(node)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.request("HEAD", parts.path)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    assert answer.headers["content-length"] is None, "nobody knows how long a GET's would be"
    connection.request("POST", parts.path, b'{"do": "http"}', {"Content-Type": "application/json"})
    assert connection.getresponse().read() == b'<p>{"n":1}', "the connection goes on"
    connection.close()
