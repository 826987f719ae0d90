"""A bootstrap fetches its events from the Lambda Runtime API, whatever it is written in."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from textwrap import dedent

import pytest

from triggerhub.aws.errors import MAX_RESPONSE
from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Interrupted, Invocation, Outcome, Raised, Returned, TimedOut
from triggerhub.runtimes.listener import owner
from triggerhub.settings import Function

from .conftest import ARN, Bench, invocation, living, until

CLIENT = f"#!{sys.executable} -IS\n" + dedent(
    """
    import http.client, json, os, sys, time
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    BASE = "/2018-06-01/runtime/"
    def ask(method, path, body=None, headers={}, **extra):
        api.request(method, path if path.startswith("/") else BASE + path, body, headers, **extra)
        response = api.getresponse()
        return response.status, response.headers, response.read()
    def next():
        status, headers, body = ask("GET", "invocation/next")
        assert status == 200, body
        return headers["Lambda-Runtime-Aws-Request-Id"], dict(headers), json.loads(body)
    def post(id, what, body=b"null", headers={}, **extra):
        return ask("POST", f"invocation/{id}/{what}", body, headers, **extra)
    def fail(id, type, message):
        body = json.dumps({"errorType": type, "errorMessage": message, "stackTrace": []})
        return post(id, "error", body, {"Lambda-Runtime-Function-Error-Type": type})
    """
)


def provided(bench: Bench, text: str, **settings: object) -> Function:
    path = bench.file("bootstrap", CLIENT + dedent(text), 0o755)
    return bench.function("provided", command=(str(path),), handler="bootstrap", **settings)


ECHO = """
while True:
    id, headers, event = next()
    post(id, "response", json.dumps({"event": event, "headers": headers, "env": dict(os.environ)}))
"""


async def test_an_invocation_is_handed_out_as_lambda_does(bench: Bench) -> None:
    function = provided(bench, ECHO, env={"MINE": "1"})
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(
            invocation({"n": 1}, deadline=1234567, trace="Root=1-2-3", client_context='{"custom": {"ü": "\\n"}}')
        )
        assert isinstance(outcome, Returned)
        got = json.loads(outcome.payload)
        assert got["event"] == {"n": 1}
        assert {k: v for k, v in got["headers"].items() if k.startswith("Lambda-Runtime-")} == {
            "Lambda-Runtime-Aws-Request-Id": "r1",
            "Lambda-Runtime-Deadline-Ms": "1234567",
            "Lambda-Runtime-Invoked-Function-Arn": ARN,
            "Lambda-Runtime-Trace-Id": "Root=1-2-3",
            "Lambda-Runtime-Client-Context": '{"custom": {"\\u00fc": "\\n"}}',
        }
        env = got["env"]
        assert (env["_HANDLER"], env["MINE"], env["LAMBDA_TASK_ROOT"]) == ("bootstrap", "1", bench.task)
        assert "AWS_EXECUTION_ENV" not in env
        assert outcome.usage.init_ms > 0
        second = await worker.invoke(invocation(2, request_id="r2"))
        assert json.loads(second.payload)["headers"]["Lambda-Runtime-Trace-Id"].startswith("Root=1-")
        assert second.usage.init_ms is None
        assert worker.alive


async def test_what_was_written_belongs_to_the_request(bench: Bench) -> None:
    text = (
        'print("loading", flush=True)\nid, _, _ = next()\nprint("working", flush=True)\npost(id, "response")\nnext()\n'
    )
    assert (await bench.call(provided(bench, text))).payload == b"null"
    assert bench.lines.all == [(None, "stdout", "loading"), ("r1", "stdout", "working")]


@pytest.mark.parametrize(
    ("text", "outcome", "fault", "payload"),
    [
        pytest.param(
            'fail(id, "My.Error", "why")',
            Raised,
            ("My.Error", "why"),
            {"errorType": "My.Error", "errorMessage": "why", "stackTrace": []},
            id="error",
        ),
        pytest.param(
            'post(id, "error", b"no json")',
            Raised,
            ("Runtime.Unknown", "no json"),
            {"errorType": "Runtime.Unknown", "errorMessage": "no json"},
            id="error that is no JSON",
        ),
        pytest.param(
            "sys.exit(3)",
            Crashed,
            ("Runtime.ExitError", "RequestId: r1 Error: Runtime exited with error: exit status 3"),
            None,
            id="exit",
        ),
        pytest.param(
            "os.kill(os.getpid(), 9)",
            Crashed,
            ("Runtime.ExitError", "RequestId: r1 Error: Runtime exited with error: signal: killed"),
            None,
            id="killed",
        ),
        pytest.param(
            "time.sleep(300)",
            TimedOut,
            ("Sandbox.Timedout", "RequestId: r1 Error: Task timed out after 1.00 seconds"),
            None,
            id="timeout",
        ),
        pytest.param(
            f'assert post(id, "response", b"x" * {MAX_RESPONSE + 1})[0] == 413',
            Raised,
            ("Function.ResponseSizeTooLarge", f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE} bytes)."),
            None,
            id="too large",
        ),
    ],
)  # fmt: skip
async def test_failures(bench: Bench, text: str, outcome: type, fault: tuple[str, str], payload: object) -> None:
    got = await bench.call(provided(bench, f"id, headers, event = next()\n{text}\nnext()\n", timeout=1000))
    assert type(got) is outcome
    assert (got.fault.type, got.fault.message) == fault
    assert json.loads(got.payload) == payload or {"errorType": fault[0], "errorMessage": fault[1]}


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            'ask("POST", "init/error", b\'{"errorType": "Boot.Broken", "errorMessage": "no database"}\'); sys.exit(1)',
            "Boot.Broken",
            "no database",
        ),
        ("sys.exit(1)", "Runtime.ExitError", "Runtime exited with error: exit status 1"),
        ("pass", "Runtime.ExitError", "Runtime exited without providing a reason"),
        ("sys.exit('no key')", "Runtime.ExitError", "Runtime exited with error: exit status 1\nno key"),
    ],
)
async def test_a_start_that_fails(bench: Bench, text: str, kind: str, message: str) -> None:
    with pytest.raises(StartFailed) as caught:
        await bench.call(provided(bench, text))
    assert (caught.value.type, caught.value.message) == (kind, message)
    assert json.loads(caught.value.payload) == {"errorType": kind, "errorMessage": message}


async def test_requests_that_do_not_fit_are_refused_and_harm_nothing(bench: Bench) -> None:
    text = """
    said = []
    def note(answer):
        status, _, body = answer
        said.append([status, json.loads(body)["errorType"]])
    id, _, _ = next()
    assert json.loads(post("other", "response")[2]) == {"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"}
    note(post("other", "response"))
    note(ask("GET", "invocation/next"))
    note(ask("POST", "init/error", b"{}"))
    note(ask("GET", "invocation/x/response"))
    note(ask("GET", "nothing"))
    post(id, "response", json.dumps(said))
    first = id
    said.clear()
    note(post(first, "response"))
    id, _, _ = next()
    note(post(first, "response"))
    post(id, "response", json.dumps(said))
    next()
    """
    async with bench.worker(provided(bench, text)) as worker:
        first = await worker.invoke(invocation())
        assert json.loads(first.payload) == [
            [400, "InvalidRequestID"],
            [403, "InvalidStateTransition"],
            [403, "InvalidStateTransition"],
            [405, "MethodNotAllowed"],
            [404, "NotFound"],
        ]
        second = await worker.invoke(invocation(request_id="r2"))
        assert json.loads(second.payload) == [[403, "InvalidStateTransition"], [400, "InvalidRequestID"]]


STREAM = """
import socket
def stream(id, pieces, trailers="", type="application/octet-stream"):
    host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall((f"POST {BASE}invocation/{id}/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: {type}\\r\\n"
            "Lambda-Runtime-Function-Response-Mode: streaming\\r\\nTransfer-Encoding: chunked\\r\\n"
            "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\\r\\n\\r\\n").encode())
        for piece in pieces:
            raw.sendall(f"{len(piece):x}\\r\\n".encode() + piece + b"\\r\\n")
        raw.sendall(f"0\\r\\n{trailers}\\r\\n".encode())
        assert b" 202 " in raw.recv(4096)
"""


async def test_a_streamed_answer_is_gathered_and_its_error_told(bench: Bench) -> None:
    text = f"""{STREAM}
import base64
id, _, _ = next()
stream(id, [b'"a', b'b"'])
id, _, _ = next()
body = base64.b64encode(b'{{"errorType": "Late", "errorMessage": "torn"}}').decode()
stream(id, [b"half"], f"Lambda-Runtime-Function-Error-Type: Late\\r\\nLambda-Runtime-Function-Error-Body: {{body}}\\r\\n")
id, _, _ = next()
prelude = json.dumps({{"statusCode": 201, "headers": {{"x": "y"}}}}).encode()
stream(id, [prelude, bytes(8), b"made"], type="application/vnd.awslambda.http-integration-response")
next()
"""
    async with bench.worker(provided(bench, text)) as worker:
        assert (await worker.invoke(invocation())).payload == b'"ab"'
        torn = await worker.invoke(invocation(request_id="r2"))
        assert isinstance(torn, Raised)
        assert (torn.fault.type, torn.fault.message) == ("Late", "torn")
        made = await worker.invoke(invocation(request_id="r3"))
        assert json.loads(made.payload) == {
            "statusCode": 201,
            "headers": {"x": "y"},
            "body": "made",
            "isBase64Encoded": False,
        }


async def test_a_runtime_that_ends_between_two_events_fails_none(bench: Bench) -> None:
    function = provided(bench, 'id, _, _ = next()\npost(id, "response")\n')
    async with bench.worker(function) as worker:
        assert isinstance(await worker.invoke(invocation()), Returned)
        assert isinstance(await worker.invoke(invocation(request_id="r2")), Interrupted)


@pytest.mark.usefixtures("trusting")
async def test_strangers_and_browsers_get_no_event(bench: Bench) -> None:
    function = provided(bench, "print(os.environ['AWS_LAMBDA_RUNTIME_API'], flush=True)\n" + ECHO)
    async with bench.worker(function) as worker:
        (address,) = bench.lines.of(None)
        url = f"http://{address}/2018-06-01/runtime/invocation/next"
        curl = ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url]
        for more in (["-H", "Origin: http://evil.example"], ["-H", "Sec-Fetch-Mode: no-cors"]):
            process = await asyncio.create_subprocess_exec(*curl, *more, stdout=subprocess.PIPE)
            assert (await process.communicate())[0] == b"400"
        if shutil.which("setpriv") and sys.platform == "linux" and __import__("os").geteuid() == 0:
            as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *curl]
            process = await asyncio.create_subprocess_exec(*as_nobody, stdout=subprocess.PIPE)
            assert (await process.communicate())[0] == b"000"
        assert isinstance(await worker.invoke(invocation()), Returned)


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize(
    "bytes_",
    [b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"\x16\x03\x01nonsense\r\n\r\n",
     b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 70_000 + b"\r\n\r\n"],
    ids=["bad length", "no HTTP", "long head"],
)  # fmt: skip
async def test_what_is_no_http_is_refused(bench: Bench, bytes_: bytes) -> None:
    function = provided(bench, "print(os.environ['AWS_LAMBDA_RUNTIME_API'], flush=True)\n" + ECHO)
    async with bench.worker(function) as worker:
        host, _, port = bench.lines.of(None)[0].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(bytes_)
        async with asyncio.timeout(20):
            assert b"400" in await reader.readline()
        writer.close()
        assert isinstance(await worker.invoke(invocation()), Returned)


async def test_ending_the_worker_ends_its_process_and_frees_what_it_held(bench: Bench, open_files) -> None:
    function = provided(bench, ECHO)
    async with bench.worker(function):
        pass
    before = open_files()
    async with bench.worker(function) as worker:
        pid = worker.pid
        call = asyncio.create_task(worker.invoke(invocation()))
        await call
    until(lambda: not living(pid), "the end of the process")
    await asyncio.sleep(0)
    assert open_files() == before


async def test_a_cancelled_call_ends_the_worker(bench: Bench) -> None:
    function = provided(bench, 'id, _, _ = next()\nprint("busy", flush=True)\ntime.sleep(300)\n')
    async with bench.worker(function) as worker:
        call = asyncio.create_task(worker.invoke(invocation()))
        async with asyncio.timeout(20):
            while "busy" not in bench.lines.of("r1"):
                await asyncio.sleep(0.01)
        pid = worker.pid
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not worker.alive
    assert not living(pid)


@pytest.mark.skipif(not shutil.which("gcc"), reason="no compiler")
async def test_a_bootstrap_need_not_be_a_script(bench: Bench) -> None:
    source = bench.root / "bootstrap.c"
    source.write_text(C_BOOTSTRAP)
    target = bench.code / "bootstrap"
    subprocess.run(["gcc", "-O1", "-o", str(target), str(source)], check=True, timeout=120)
    function = bench.function("provided", command=(str(target),), handler="bootstrap")
    async with bench.worker(function) as worker:
        for number in range(3):
            outcome: Outcome = await worker.invoke(invocation({"n": number}, request_id=f"r{number}"))
            assert outcome.payload == f'{{"n": {number}}}'.encode()


C_BOOTSTRAP = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static char buffer[65536], id[128];

static char *ask(const char *head, const char *body) {
    char address[64];
    strncpy(address, getenv("AWS_LAMBDA_RUNTIME_API"), 63);
    char *colon = strchr(address, ':');
    *colon = 0;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
    inet_aton(address, &to.sin_addr);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(s, (void *)&to, sizeof to)) exit(1);
    dprintf(s, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", head, strlen(body), body);
    size_t there = 0;
    ssize_t got;
    while ((got = read(s, buffer + there, sizeof buffer - 1 - there)) > 0) there += got;
    close(s);
    buffer[there] = 0;
    return strstr(buffer, "\r\n\r\n") + 4;
}

int main(void) {
    for (;;) {
        char *event = strdup(ask("GET /2018-06-01/runtime/invocation/next", ""));
        char *found = strcasestr(buffer, "lambda-runtime-aws-request-id: ");
        sscanf(found + 31, "%127[^\r]", id);
        char head[256];
        snprintf(head, sizeof head, "POST /2018-06-01/runtime/invocation/%s/response", id);
        ask(head, event);
        free(event);
    }
}
""".replace("#include <arpa", "#define _GNU_SOURCE\n#include <arpa")


def test_the_owner_of_a_connection_is_read_from_the_kernels_table() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0\n"
        "   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 112 1 0 20 4 30 10 -1\n"
    )
    assert owner(table, ("127.0.0.1", 50000), ("127.0.0.1", 8080)) == 1000
    assert owner(table, ("127.0.0.1", 50001), ("127.0.0.1", 8080)) is None
    mapped = table.replace("0100007F", "0000000000000000FFFF00000100007F")
    assert owner(mapped, ("127.0.0.1", 50000), ("127.0.0.1", 8080)) == 1000


def test_invocations_without_a_trace_are_given_one_of_their_own() -> None:
    from triggerhub.aws.runtimeapi import next_head

    def heads(request_id: str) -> dict[str, str]:
        return dict(next_head(Invocation(request_id=request_id, function="f", payload=b"", deadline=0, arn=ARN)))

    assert heads("a")["Lambda-Runtime-Trace-Id"] != heads("b")["Lambda-Runtime-Trace-Id"]
