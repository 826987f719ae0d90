"""What handlers do wrong, by runtime: the error of Lambda's own name, and the worker's fate."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from triggerhub.errors import StartFailed
from triggerhub.settings import Interpreter

from .conftest import Bench, invocation
from .test_provided import provided

needs_node = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")

AT_START = [
    ("python", "import no_such_module\n", {}, "Runtime.ImportModuleError", "No module named 'no_such_module'"),
    ("python", "def handler(\n", {}, "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'"),
    ("python", "x = 1\n", {}, "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
    ("python", "x = 1\n", {"handler": "app.go"}, "Runtime.HandlerNotFound", "Handler 'go' missing on module 'app'"),
    ("python", "x = 1\n", {"handler": "app"}, "Runtime.MalformedHandlerName", "Bad handler 'app'"),
    ("python", "import os\nos._exit(3)\n", {}, "Runtime.ExitError", "Runtime exited with error: exit status 3"),
    ("python", "import os\nos.kill(os.getpid(), 9)\n", {}, "Runtime.ExitError", "signal: killed"),
    ("python", "import os\nprint('no key')\nos._exit(3)\n", {}, "Runtime.ExitError", "exit status 3\nno key"),
    ("python", "1 / 0\n", {}, "ZeroDivisionError", "division by zero"),
    ("node", 'import "no-such";\n', {}, "Runtime.ImportModuleError", "Cannot find package 'no-such'"),
    ("node", "export const handler = (\n", {}, "Runtime.UserCodeSyntaxError", "SyntaxError"),
    ("node", "export const x = 1\n", {}, "Runtime.HandlerNotFound", "app.handler is undefined or not exported"),
    ("node", "export const x = 1\n", {"handler": "app"}, "Runtime.MalformedHandlerName", "Bad handler"),
    ("node", "process.exit(3)\n", {}, "Runtime.ExitError", "Runtime exited with error: exit status 3"),
]


@pytest.mark.parametrize(
    ("runtime", "text", "settings", "kind", "message"),
    [pytest.param(*row, marks=needs_node if row[0] == "node" else ()) for row in AT_START],
)
async def test_at_the_start(bench: Bench, runtime: str, text: str, settings: Any, kind: str, message: str) -> None:
    function = getattr(bench, runtime)(text, **settings)
    with pytest.raises(StartFailed) as caught:
        await bench.call(function)
    payload = json.loads(caught.value.payload)
    assert (caught.value.type, payload["errorType"]) == (kind, kind)
    assert message in caught.value.message
    assert message in payload["errorMessage"]


IN_A_CALL = [
    ("python", "return {1, 2}", "Runtime.MarshalError", "Object of type set is not JSON serializable", True),
    ("python", "return 'x' * 7_000_000", "Function.ResponseSizeTooLarge", "Response payload size exceeded", True),
    ("python", "raise KeyError('k')", "KeyError", "'k'", True),
    ("python", "sys.exit(2)", "Runtime.ExitError", "Runtime exited with error: exit status 2", False),
    ("python", "sys.exit()", "Runtime.ExitError", "Runtime exited without providing a reason", False),
    ("python", "os.kill(os.getpid(), 9)", "Runtime.ExitError", "Runtime exited with error: signal: killed", False),
    ("python", "os.closerange(0, 256)", "Runtime.", "", False),
    ("python", "os.write(3, b'nonsense ' * 4)", "Runtime.BrokenProtocol", "Runtime broke its protocol", False),
    (
        "python", "signal.signal(15, signal.SIG_IGN); time.sleep(300)",
        "Sandbox.Timedout", "Task timed out after 1.00 seconds", False,
    ),
    ("node", "return 1n", "Runtime.MarshalError", "Unable to stringify response body", True),
    ("node", "throw new TypeError('no')", "TypeError", "no", True),
    ("node", "process.exit(2)", "Runtime.ExitError", "Runtime exited with error: exit status 2", False),
    ("node", "while (true);", "Sandbox.Timedout", "Task timed out after 1.00 seconds", False),
    ("executable", "exit 2", "Runtime.ExitError", "Runtime exited with error: exit status 2", True),
    ("executable", "kill -9 $$", "Runtime.ExitError", "Runtime exited with error: signal: killed", True),
    ("executable", "trap '' TERM; sleep 300", "Sandbox.Timedout", "Task timed out after 1.00 seconds", True),
    ("provided", "sys.exit(2)", "Runtime.ExitError", "Runtime exited with error: exit status 2", False),
    ("provided", "os.closerange(0, 256); time.sleep(300)", "Sandbox.Timedout", "Task timed out after 1.00", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("runtime", "text", "kind", "message", "survives"),
    [pytest.param(*row, marks=needs_node if row[0] == "node" else ()) for row in IN_A_CALL],
)
async def test_in_a_call(bench: Bench, runtime: str, text: str, kind: str, message: str, survives: bool) -> None:
    timeout = 1000 if kind == "Sandbox.Timedout" else 30_000
    match runtime:
        case "python":
            body = f"import os, signal, sys, time\ndef handler(event, context):\n    {text}\n"
            function = bench.python(body, timeout=timeout)
        case "node":
            function = bench.node(f"export const handler = async () => {{ {text} }}\n", timeout=timeout)
        case "executable":
            function = bench.program(f"#!/bin/sh\n{text}\n", timeout=timeout)
        case _:
            function = provided(bench, f"id, _, _ = next()\n{text}\nnext()\n", timeout=timeout)
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation(function=function))
        assert outcome.fault.type.startswith(kind), outcome
        assert message in outcome.fault.message
        payload = json.loads(outcome.payload)
        assert payload["errorType"] == outcome.fault.type
        assert message in payload["errorMessage"]
        assert worker.alive == survives


async def test_what_ends_the_worker_tells_nothing_of_where_the_hub_is_installed(bench: Bench) -> None:
    with pytest.raises(StartFailed, match="KeyboardInterrupt") as caught:
        await bench.call(bench.python("raise KeyboardInterrupt\n"))
    assert "/var/task/app.py" in caught.value.message
    assert "/launcher/" not in caught.value.message


@needs_node
async def test_a_callback_that_answers_twice_answers_once(bench: Bench) -> None:
    text = "export const handler = (event, context, done) => { done(null, 1); done(null, 2); }\n"
    async with bench.worker(bench.node(text)) as worker:
        for request in ("r1", "r2"):
            assert (await worker.invoke(invocation(request_id=request))).payload == b"1"


@pytest.mark.parametrize("runtime", ["python", "node"])
async def test_an_interpreter_that_is_not_there(bench: Bench, runtime: Any) -> None:
    missing = Interpreter(runtime=runtime, program="", name=f"{runtime}99")
    with pytest.raises(StartFailed, match=f"{runtime}99 is not installed on this host") as caught:
        await bench.call(bench.function(runtime, handler="app.", interpreter=missing))
    assert caught.value.type == "Runtime.InvalidEntrypoint"


async def test_python_logs_in_json_where_it_is_told_to(bench: Bench) -> None:
    text = """
    import logging
    def handler(event, context):
        logging.getLogger("mine").error("said %s", 1, extra={"order": 7})
        raise ValueError("no")
    """
    await bench.call(bench.python(text, env={"AWS_LAMBDA_LOG_FORMAT": "JSON"}))
    first, second = (json.loads(line) for line in bench.lines.of("r1"))
    stamp = first.pop("timestamp")
    assert len(stamp) == len("2026-01-01T00:00:00Z")
    assert first == {"level": "ERROR", "message": "said 1", "logger": "mine", "requestId": "r1", "order": 7}
    assert (second["log_level"], second["errorType"], second["errorMessage"]) == ("ERROR", "ValueError", "no")
    assert len(second["stackTrace"]) == 1


@pytest.mark.parametrize(("level", "logged"), [("TRACE", 2), ("debug", 2), ("WARN", 1), ("FATAL", 0), ("no level", 1)])
async def test_python_logs_from_the_level_that_it_is_told(bench: Bench, level: str, logged: int) -> None:
    text = """
    import logging
    def handler(event, context):
        logging.getLogger().debug("little")
        logging.getLogger().error("much")
    """
    await bench.call(bench.python(text, env={"AWS_LAMBDA_LOG_LEVEL": level}))
    assert len(bench.lines.of("r1")) == logged


@needs_node
async def test_node_logs_in_json_where_it_is_told_to(bench: Bench) -> None:
    text = """
    export const handler = async () => {
      console.debug("not this");
      console.log({ order: 7 });
      console.warn("said", 1, new Error("no"));
    };
    """
    await bench.call(bench.node(text, env={"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "info"}))
    first, second = (json.loads(line) for line in bench.lines.of("r1"))
    assert (first["level"], first["requestId"], first["message"]) == ("INFO", "r1", {"order": 7})
    assert (second["level"], second["errorType"], second["errorMessage"]) == ("WARN", "Error", "no")
