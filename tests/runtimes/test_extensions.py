"""Extensions register, hear of invocations and of the end, and are refused as AWS's emulator refuses them."""

from __future__ import annotations

import json
import time
from textwrap import dedent

import pytest

from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Returned
from triggerhub.runtimes import extensions

from .conftest import Bench, invocation
from .test_provided import CLIENT, provided

EXTENSION = dedent(
    """
    def extend(method, path, body=None, headers={}):
        own = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        own.request(method, "/2020-01-01/extension/" + path, body, headers)
        response = own.getresponse()
        return response.status, response.headers, response.read()
    def register(name, *events):
        status, headers, body = extend("POST", "register", json.dumps({"events": events}), {"Lambda-Extension-Name": name})
        return {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}, status, json.loads(body)
    """
)


def extended(bench: Bench, text: str, **settings: object):
    return provided(bench, EXTENSION + dedent(text), **settings)


async def test_an_extension_within_the_runtime_hears_of_every_invocation(bench: Bench) -> None:
    text = """
    import threading
    me, status, told = register("mine", "INVOKE")
    heard, more = [], threading.Semaphore(0)
    def listen():
        while True:
            _, headers, body = extend("GET", "event/next", None, me)
            heard.append([json.loads(body), "Lambda-Extension-Event-Identifier" in headers])
            more.release()
    threading.Thread(target=listen, daemon=True).start()
    while True:
        id, _, _ = next()
        more.acquire()
        post(id, "response", json.dumps([status, told, heard[-1]]))
    """
    async with bench.worker(extended(bench, text)) as worker:
        for request in ("r1", "r2"):
            outcome = await worker.invoke(invocation(request_id=request, deadline=77, trace="Root=1"))
            status, told, (event, identified) = json.loads(outcome.payload)
            assert (status, identified) == (200, True)
            assert told == {"functionName": "f", "functionVersion": "0123456789ab", "handler": "bootstrap"}
            assert event == {
                "eventType": "INVOKE",
                "deadlineMs": 77,
                "requestId": request,
                "invokedFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
                "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1"},
            }


async def test_what_does_not_fit_is_refused(bench: Bench) -> None:
    text = """
    said = []
    def note(answer):
        said.append([answer[0], json.loads(answer[2])["errorType"]])
    one = {"Lambda-Extension-Name": "a"}
    note(extend("POST", "register", b'{"events": []}'))
    note(extend("POST", "register", b"nonsense", one))
    note(extend("POST", "register", b'{"events": ["BAD"]}', one))
    note(extend("POST", "register", b'{"events": ["SHUTDOWN"]}', one))
    me, _, _ = register("a", "INVOKE")
    note(extend("POST", "register", b'{"events": []}', one))
    note(extend("GET", "event/next"))
    note(extend("GET", "event/next", None, {"Lambda-Extension-Identifier": "x"}))
    note(extend("GET", "register"))
    note(extend("POST", "exit/error", b"{}", me))
    note(ask("PUT", "/2022-07-01/telemetry", b"{}"))
    import threading
    threading.Thread(target=extend, args=("GET", "event/next", None, me), daemon=True).start()
    id, _, _ = next()
    note(extend("POST", "register", b'{"events": []}', {"Lambda-Extension-Name": "late"}))
    post(id, "response", json.dumps(said))
    next()
    """
    outcome = await bench.call(extended(bench, text))
    assert json.loads(outcome.payload) == [
        [403, "Extension.InvalidExtensionName"],
        [403, "InvalidRequestFormat"],
        [403, "Extension.InvalidEventType"],
        [403, "Extension.InvalidEventType"],
        [403, "Extension.InvalidExtensionState"],
        [403, "Extension.MissingExtensionIdentifier"],
        [403, "Extension.UnknownExtensionIdentifier"],
        [405, "MethodNotAllowed"],
        [403, "Extension.MissingHeader"],
        [202, "Telemetry.NotSupported"],
        [403, "Extension.RegistrationClosed"],
    ]


@pytest.mark.parametrize("when", ["init", "exit"])
async def test_an_extension_that_fails_fails_the_worker(bench: Bench, when: str) -> None:
    text = f"""
    me, _, _ = register("mine", "INVOKE")
    told = {{**me, "Lambda-Extension-Function-Error-Type": "Extension.Broken"}}
    body = b'{{"errorMessage": "no config"}}'
    if "{when}" == "exit":
        import threading
        threading.Thread(target=extend, args=("GET", "event/next", None, me), daemon=True).start()
        next()
    extend("POST", "{when}/error", body, told)
    time.sleep(300)
    """
    function = extended(bench, text)
    if when == "init":
        with pytest.raises(StartFailed, match="no config") as caught:
            await bench.call(function)
        assert caught.value.type == "Extension.Broken"
    else:
        outcome = await bench.call(function)
        assert isinstance(outcome, Crashed)
        assert (outcome.fault.type, outcome.fault.message) == ("Extension.Broken", "no config")


def beside(bench: Bench, text: str, name: str = "watcher"):
    """A function with one extension of a layer, which runs beside it."""
    opt = bench.root / "opt"
    program = opt / "extensions" / name
    program.parent.mkdir(parents=True)
    program.write_text(CLIENT + EXTENSION + dedent(text))
    program.chmod(0o755)
    echo = 'while True:\n    id, _, event = next()\n    post(id, "response", json.dumps(event))\n'
    return provided(bench, echo, opt=opt)


async def test_an_extension_of_a_layer_starts_first_and_hears_of_the_end(bench: Bench) -> None:
    text = """
    time.sleep(0.3)
    me, _, _ = register("watcher", "INVOKE", "SHUTDOWN")
    own = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        own.request("GET", "/2020-01-01/extension/event/next", None, me)
        event = json.loads(own.getresponse().read())
        print(event["eventType"], event.get("requestId") or event["shutdownReason"], flush=True)
        if event["eventType"] == "SHUTDOWN":
            break
    """
    began = time.monotonic()
    async with bench.worker(beside(bench, text)) as worker:
        assert time.monotonic() - began >= 0.3
        assert isinstance(await worker.invoke(invocation()), Returned)
    said = [text for _, _, text in bench.lines.all]
    assert said[-1] == "SHUTDOWN spindown"
    assert "INVOKE r1" in said


async def test_an_extension_that_ignores_the_end_is_not_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extensions, "GRACE", 0.2)
    text = """
    me, _, _ = register("watcher", "SHUTDOWN")
    own = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    own.request("GET", "/2020-01-01/extension/event/next", None, me)
    own.getresponse().read()
    time.sleep(300)
    """
    async with bench.worker(beside(bench, text)) as worker:
        assert isinstance(await worker.invoke(invocation()), Returned)
        began = time.monotonic()
    assert 0.2 <= time.monotonic() - began < 60
