"""Python handlers find what Lambda gives them, and their faults are Lambda's."""

from __future__ import annotations

import json
import re
import sys

import pytest

from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Raised, Returned
from triggerhub.policy.masking import mask
from triggerhub.settings import MB, Secret

from .conftest import ARN, Bench, invocation

FUNCTIONS = "def handler(event, context):\n    return event\n"


@pytest.mark.parametrize(
    ("name", "text", "handler"),
    [
        ("app.py", "def handler(e, c): return 'ok'", "app."),
        ("app.py", "def lambda_handler(e, c): return 'ok'", "app."),
        ("app.py", "def handler(e, c): return 'ok'\ndef lambda_handler(e, c): return 'no'", "app."),
        ("app.py", "def mine(e, c): return 'ok'", "app.mine"),
        ("app.py", "async def handler(e, c):\n    import asyncio\n    await asyncio.sleep(0)\n    return 'ok'", "app."),
        ("app.py", "class C:\n    async def __call__(self, e, c): return 'ok'\nhandler = C()", "app."),
        ("pkg/mod.py", "from . import other\ndef f(e, c): return other.ok", "pkg/mod.f"),
        ("pkg/mod.py", "from . import other\ndef f(e, c): return other.ok", "pkg.mod.f"),
        ("with-dash.py", "def handler(e, c): return 'ok'", "with-dash."),
        ("queue.py", "import queue\ndef handler(e, c): return 'ok' if queue.Queue else 'no'", "queue."),
        ("json.py", "def handler(e, c): return 'ok'", "json."),
        ("app.py", "import pickle\nclass K: pass\ndef handler(e, c): return pickle.loads(pickle.dumps('ok'))", "app."),
        ("app/__init__.py", "def handler(e, c): return 'ok'", "app.handler"),
    ],
)
async def test_handlers_are_found(bench: Bench, name: str, text: str, handler: str) -> None:
    bench.file("pkg/other.py", "ok = 'ok'")
    bench.file(name, text)
    outcome = await bench.call(bench.function("python", handler=handler))
    assert isinstance(outcome, Returned), outcome
    assert outcome.payload == b'"ok"'


async def test_a_worker_keeps_its_globals_and_its_loop(bench: Bench) -> None:
    function = bench.python("""
        import asyncio
        seen = []
        async def handler(event, context):
            seen.append(id(asyncio.get_running_loop()))
            return [len(seen), len(set(seen))]
    """)
    async with bench.worker(function) as worker:
        answers = [await worker.invoke(invocation(request_id=f"r{n}")) for n in range(3)]
    assert [json.loads(answer.payload) for answer in answers] == [[1, 1], [2, 1], [3, 1]]
    assert [answer.usage.init_ms is not None for answer in answers] == [True, False, False]


async def test_the_context_is_lambdas(bench: Bench) -> None:
    function = bench.python(
        """
        import os, sys
        def handler(event, context):
            shown = {name: getattr(context, name) for name in dir(context) if not name.startswith("_")}
            shown["identity"] = [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id]
            client = context.client_context
            shown["client_context"] = client and [client.client.app_title, client.custom, client.env]
            shown["remaining"] = shown.pop("get_remaining_time_in_millis")()
            shown["log"] = callable(shown["log"])
            shown["trace"] = os.environ.get("_X_AMZN_TRACE_ID")
            shown["cwd"] = [os.getcwd(), sys.path[0], os.environ["LAMBDA_TASK_ROOT"]]
            return shown
        """,
        memory=512 * MB,
        timeout=60_000,
    )
    given = json.dumps({"client": {"app_title": "t"}, "custom": {"a": 1}, "env": {"b": 2}})
    async with bench.worker(function) as worker:
        first = await worker.invoke(invocation(function=function, client_context=given, trace="Root=1"))
        second = await worker.invoke(invocation(function=function, request_id="r2"))
    shown = json.loads(first.payload)
    assert 50_000 < shown.pop("remaining") <= 60_000
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[0123456789ab\][0-9a-f]{32}", shown.pop("log_stream_name"))
    assert shown == {
        "aws_request_id": "r1",
        "function_name": "f",
        "function_version": "0123456789ab",
        "invoked_function_arn": ARN,
        "memory_limit_in_mb": "512",
        "log_group_name": "/aws/lambda/f",
        "identity": [None, None],
        "client_context": ["t", {"a": 1}, {"b": 2}],
        "tenant_id": None,
        "log": True,
        "trace": "Root=1",
        "cwd": [bench.task] * 3,
    }
    assert json.loads(second.payload)["client_context"] is None
    assert re.fullmatch(
        r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0", json.loads(second.payload)["trace"]
    )


async def test_an_exception_is_described_from_the_users_code_on(bench: Bench) -> None:
    function = bench.python("""
        class Odd(Exception): pass
        def inner():
            raise Odd("wrong")
        def handler(event, context):
            inner()
    """)
    outcome = await bench.call(function)
    assert isinstance(outcome, Raised)
    path = f"{bench.task}/app.py"
    told = json.loads(outcome.payload)
    # From Python 3.13 on a frame points at its call, too.
    told["stackTrace"] = [re.sub(r"\n +[~^]+\n", "\n", frame) for frame in told["stackTrace"]]
    assert told == {
        "errorMessage": "wrong",
        "errorType": "Odd",
        "requestId": "r1",
        "stackTrace": [
            f'  File "{path}", line 5, in handler\n    inner()\n',
            f'  File "{path}", line 3, in inner\n    raise Odd("wrong")\n',
        ],
    }
    assert (outcome.fault.type, outcome.fault.message) == ("Odd", "wrong")
    assert bench.lines.of("r1")[:3] == [
        "[ERROR] Odd: wrong",
        "Traceback (most recent call last):",
        f'  File "{path}", line 5, in handler',
    ]


async def test_an_async_exception_begins_in_the_users_code_too(bench: Bench) -> None:
    outcome = await bench.call(bench.python("async def handler(e, c):\n    raise KeyError('k')\n"))
    told = json.loads(outcome.payload)
    assert (told["errorType"], told["errorMessage"]) == ("KeyError", "'k'")
    assert len(told["stackTrace"]) == 1
    assert "in handler" in told["stackTrace"][0]


@pytest.mark.parametrize(
    ("text", "handler", "kind", "message"),
    [
        (
            "import nowhere",
            "app.",
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No module named 'nowhere'",
        ),
        (
            "x = 1",
            "gone.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'gone': No module named 'gone'",
        ),
        ("x = 1", "app.", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
        ("x = 1", "app.nope", "Runtime.HandlerNotFound", "Handler 'nope' missing on module 'app'"),
        (
            "def x(:",
            "app.",
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module 'app': invalid syntax (app.py, line 1)",
        ),
        (
            "x = 1",
            "app",
            "Runtime.MalformedHandlerName",
            "Bad handler 'app': not enough values to unpack (expected 2, got 1)",
        ),
        ("raise ValueError('early')", "app.", "ValueError", "early"),
        ("import sys; sys.exit(3)", "app.", "Runtime.ExitError", "Runtime exited with error: exit status 3"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "app.",
            "Runtime.ExitError",
            "Runtime exited with error: signal: killed",
        ),
    ],
)
async def test_code_that_cannot_be_loaded_fails_the_start(
    bench: Bench, text: str, handler: str, kind: str, message: str
) -> None:
    with pytest.raises(StartFailed) as caught:
        await bench.call(bench.python(text, handler=handler))
    told = json.loads(caught.value.payload)
    assert (caught.value.type, caught.value.message) == (kind, message)
    assert (told["errorType"], told["errorMessage"]) == (kind, message)
    if kind != "Runtime.ExitError":
        assert told["requestId"] == ""
        assert any(text.startswith(f"[ERROR] {kind}: ") for text in bench.lines.of(None))
    if kind == "ValueError":
        assert told["stackTrace"] == [
            f"  File \"{bench.task}/app.py\", line 1, in <module>\n    raise ValueError('early')\n"
        ]


@pytest.mark.parametrize(
    ("expression", "payload"),
    [
        ("None", b"null"),
        ("__import__('decimal').Decimal('1.10')", b"1.10"),
        ("[__import__('decimal').Decimal('NaN'), 'x']", b'[NaN, "x"]'),
        ("{'a': __import__('decimal').Decimal(12345678901234567890123)}", b'{"a": 12345678901234567890123}'),
        ("float('nan')", b"NaN"),
        ("'\\u00fc'", '"ü"'.encode()),
        ("'\\ud800'", b'"\\ud800"'),
        ("b'raw \\xff'", b"raw \xff"),
        ("(1, 2)", b"[1, 2]"),
    ],
)
async def test_answers_are_marshalled_as_lambda_does(bench: Bench, expression: str, payload: bytes) -> None:
    outcome = await bench.call(bench.python(f"def handler(e, c): return {expression}"))
    assert isinstance(outcome, Returned), outcome
    assert outcome.payload == payload


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("{1, 2}", "Unable to marshal response: Object of type set is not JSON serializable"),
        ("(lambda a: a.append(a) or a)([])", "Unable to marshal response: Circular reference detected"),
    ],
)
async def test_an_answer_that_is_no_json_is_a_marshal_error(bench: Bench, expression: str, message: str) -> None:
    function = bench.python(f"def handler(e, c): return {expression} if e else 'alive'")
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation(1))
        assert isinstance(outcome, Raised)
        assert (outcome.fault.type, outcome.fault.message) == ("Runtime.MarshalError", message)
        assert (await worker.invoke(invocation(0))).payload == b'"alive"'


@pytest.mark.parametrize("event", [b"[" * 100_000, b"{", b"\xff", b""])
async def test_an_event_that_cannot_be_read_leaves_the_worker_alive(bench: Bench, event: bytes) -> None:
    async with bench.worker(bench.python(FUNCTIONS)) as worker:
        outcome = await worker.invoke(invocation(event))
        assert isinstance(outcome, Raised)
        assert outcome.fault.type == "Runtime.UnmarshalError"
        assert outcome.fault.message.startswith("Unable to unmarshal input: ")
        assert (await worker.invoke(invocation(7))).payload == b"7"


@pytest.mark.parametrize(
    ("over", "expected"), [(0, Returned), (1, Raised)], ids=["as large as may be", "one byte more"]
)
async def test_the_size_of_an_answer_is_limited(bench: Bench, over: int, expected: type) -> None:
    function = bench.python(f"def handler(e, c): return 'x' * (6291556 - 2 + {over}) if e else 'alive'")
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation(1))
        assert isinstance(outcome, expected)
        if isinstance(outcome, Raised):
            assert outcome.fault.type == "Function.ResponseSizeTooLarge"
            assert outcome.fault.message == (
                "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
            )
        assert (await worker.invoke(invocation(0))).payload == b'"alive"'


async def test_large_events_and_answers_pass(bench: Bench) -> None:
    event = json.dumps("ü" * 1_000_000, ensure_ascii=False).encode()
    outcome = await bench.call(bench.python(FUNCTIONS), event)
    assert outcome.payload == event


async def test_an_error_too_large_to_send_is_cut(bench: Bench) -> None:
    outcome = await bench.call(bench.python("def handler(e, c): raise ValueError('x' * 8_000_000)"))
    assert isinstance(outcome, Raised)
    assert (outcome.fault.type, outcome.fault.message) == ("ValueError", "x" * 4095 + "…")
    assert json.loads(outcome.payload)["errorMessage"] == "x" * 4095 + "…"


async def test_a_secret_that_an_error_is_cut_in_is_dots(bench: Bench) -> None:
    masked = mask([Secret("hunter2-and-more")])
    assert masked is not None
    function = bench.python("def handler(e, c): raise ValueError('x' * (4095 - e) + 'hunter2-and-more')")
    async with bench.worker(function) as worker:
        for part in (3, 7, 12):
            outcome = await worker.invoke(invocation(part))
            assert masked(outcome.fault.message) == "x" * (4095 - part) + "•••…"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("sys.exit(3)", "Runtime exited with error: exit status 3"),
        ("sys.exit()", "Runtime exited without providing a reason"),
        ("sys.exit('why')", "Runtime exited with error: exit status 1"),
        ("os._exit(127)", "Runtime exited with error: exit status 127"),
        ("os.kill(os.getpid(), 11)", "Runtime exited with error: signal: segmentation fault"),
    ],
)
async def test_a_handler_that_ends_its_process_crashes(bench: Bench, code: str, message: str) -> None:
    function = bench.python(f"import os, sys\ndef handler(e, c):\n    print('last words')\n    {code}\n")
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation())
        assert not worker.alive
    assert isinstance(outcome, Crashed)
    assert json.loads(outcome.payload) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: r1 Error: {message}",
    }
    assert "last words" in bench.lines.of("r1")


async def test_a_cancelled_error_is_an_error_of_the_handler(bench: Bench) -> None:
    function = bench.python("import asyncio\nasync def handler(e, c): raise asyncio.CancelledError")
    outcome = await bench.call(function)
    assert isinstance(outcome, Raised)
    assert outcome.fault.type == "CancelledError"


async def test_the_hubs_python_runs_it_and_writes_no_cache(bench: Bench) -> None:
    bench.file("other.py", "x = 1")
    outcome = await bench.call(bench.python("import sys, other\ndef handler(e, c): return sys.executable"))
    assert json.loads(outcome.payload) == sys.executable
    assert not list(bench.code.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("sys.stdout.close(); raise ValueError('why')", "ValueError", "why"),
        ("sys.stdout = None; raise ValueError('why')", "ValueError", "why"),
        ("os.close(1); raise ValueError('why')", "ValueError", "why"),
        ("json.dumps = lambda *_, **__: 'x'; raise ValueError('why')", "ValueError", "why"),
        ("raise Leaving", "Leaving", "<the message of Leaving could not be made>"),
        ("raise type('N' * 100_000, (Exception,), {})('why')", "N" * 255 + "…", "why"),
        ("raise BaseException('why')", "BaseException", "why"),
        ("raise GeneratorExit('why')", "GeneratorExit", "why"),
        ("raise ExceptionGroup('why', [ValueError()])", "ExceptionGroup", "why (1 sub-exception)"),
    ],
)
async def test_the_error_is_told_whatever_the_handler_did_before(
    bench: Bench, code: str, kind: str, message: str
) -> None:
    function = bench.python(
        "import json, os, sys\n"
        "class Leaving(Exception):\n    def __str__(self): sys.exit(3)\n"
        f"def handler(e, c):\n    {code}\n"
    )
    outcome = await bench.call(function)
    assert isinstance(outcome, Raised), outcome
    assert (outcome.fault.type, outcome.fault.message) == (kind, message)
    assert json.loads(outcome.payload)["errorMessage"] == message
