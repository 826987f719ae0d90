"""Node handlers of every style run, and their faults are Lambda's."""

from __future__ import annotations

import json
import re
import shutil

import anyio
import pytest

from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Raised, Returned, TimedOut
from triggerhub.settings import MB

from .conftest import ARN, Bench, invocation, living, until

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed on this host")


@pytest.mark.parametrize(
    ("name", "text", "handler"),
    [
        ("app.mjs", "export const handler = async () => 'ok'", "app."),
        ("app.cjs", "exports.handler = async () => 'ok'", "app."),
        ("app.js", "exports.handler = async () => 'ok'", "app."),
        ("app.js", "module.exports = { handler: () => Promise.resolve('ok') }", "app."),
        ("app.js", "exports.handler = (event, context, callback) => callback(null, 'ok')", "app."),
        ("app.js", "exports.handler = (event, context, callback) => setTimeout(callback, 5, null, 'ok')", "app."),
        ("app.js", "exports.handler = (event, context) => { context.succeed('ok') }", "app."),
        ("app.mjs", "export const handler = () => 'ok'", "app."),
        ("app.mjs", "export const mine = async () => 'ok'", "app.mine"),
        ("app.mjs", "export const a = { b: async () => 'ok' }", "app.a.b"),
        ("app.mjs", "export default { handler: async () => 'ok' }", "app."),
        ("lib/deep.mjs", "export const f = async () => 'ok'", "lib/deep.f"),
    ],
)
async def test_handlers_are_found(bench: Bench, name: str, text: str, handler: str) -> None:
    outcome = await bench.call(bench.node(text, name=name, handler=handler))
    assert isinstance(outcome, Returned), outcome
    assert outcome.payload == b'"ok"'


async def test_js_is_a_module_where_the_nearest_package_says_so(bench: Bench) -> None:
    bench.file("package.json", '{"type": "module"}')
    bench.file("node_modules/dep/index.js", "exports.ok = 'ok'")
    bench.file("node_modules/dep/package.json", '{"name": "dep"}')
    text = "import dep from 'dep'\nexport const handler = async () => dep.ok"
    assert (await bench.call(bench.node(text, name="app.js"))).payload == b'"ok"'


async def test_the_context_is_lambdas(bench: Bench) -> None:
    function = bench.node(
        """
        export const handler = async (event, context) => ({
          event, ...context, remaining: context.getRemainingTimeInMillis(), trace: process.env._X_AMZN_TRACE_ID,
          env: process.env.AWS_EXECUTION_ENV, cwd: process.cwd(), heap: process.execArgv,
        })
        """,
        timeout=60_000,
    )
    outcome = await bench.call(function, {"a": 1}, client_context='{"custom": 1}', trace="Root=1")
    shown = json.loads(outcome.payload)
    assert 50_000 < shown.pop("remaining") <= 60_000
    assert shown.pop("logStreamName")
    assert re.fullmatch(r"AWS_Lambda_nodejs\d+\.x", shown.pop("env"))
    assert shown == {
        "event": {"a": 1},
        "callbackWaitsForEmptyEventLoop": True,
        "functionVersion": "0123456789ab",
        "functionName": "f",
        "memoryLimitInMB": "256",
        "logGroupName": "/aws/lambda/f",
        "clientContext": {"custom": 1},
        "invokedFunctionArn": ARN,
        "awsRequestId": "r1",
        "trace": "Root=1",
        "cwd": bench.task,
        "heap": ["--max-old-space-size=224"],
    }


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("throw new TypeError('wrong')", "TypeError", "wrong"),
        ("throw 'text'", "string", "text"),
        (
            "return 1n",
            "Runtime.MarshalError",
            "Unable to stringify response body: Do not know how to serialize a BigInt",
        ),
        ("const a = {}; a.a = a; return a", "Runtime.MarshalError", "Unable to stringify response body: Converting"),
        ("return 'x'.repeat(6291555)", "Function.ResponseSizeTooLarge", "Response payload size exceeded"),
    ],
)
async def test_an_error_is_described_and_the_worker_lives_on(bench: Bench, code: str, kind: str, message: str) -> None:
    function = bench.node(f"export const handler = async (event) => {{ if (!event) return 'alive'; {code} }}")
    async with bench.worker(function) as worker:
        outcome = await worker.invoke(invocation(1))
        assert isinstance(outcome, Raised), outcome
        told = json.loads(outcome.payload)
        assert (told["errorType"], outcome.fault.type) == (kind, kind)
        assert told["errorMessage"].startswith(message)
        assert outcome.fault.message == told["errorMessage"]
        assert (await worker.invoke(invocation(0, request_id="r2"))).payload == b'"alive"'
    if kind == "TypeError":
        assert told["trace"][0] == "TypeError: wrong"
        assert f"{bench.task}/app.mjs" in told["trace"][1]


@pytest.mark.parametrize("event", [b"{", b"\xff", b""])
async def test_an_event_that_cannot_be_read_leaves_the_worker_alive(bench: Bench, event: bytes) -> None:
    async with bench.worker(bench.node("export const handler = async (e) => e")) as worker:
        outcome = await worker.invoke(invocation(event))
        assert isinstance(outcome, Raised)
        assert outcome.fault.type == "Runtime.UnmarshalError"
        assert (await worker.invoke(invocation(7))).payload == b"7"


@pytest.mark.parametrize(
    ("text", "handler", "kind", "message"),
    [
        ("import 'nowhere'", "app.", "Runtime.ImportModuleError", "Cannot find package 'nowhere'"),
        ("export const x = 1", "gone.handler", "Runtime.ImportModuleError", "Cannot find module 'gone'"),
        ("export const x = 1", "app.", "Runtime.HandlerNotFound", "app.handler is undefined or not exported"),
        ("export const handler = 1", "app.", "Runtime.HandlerNotFound", "app.handler is not a function"),
        ("export const = 1", "app.", "Runtime.UserCodeSyntaxError", "SyntaxError: "),
        ("let a;\nexport const = 1", "app.", "Runtime.UserCodeSyntaxError", "'=' (app.mjs, line 2)"),
        ("throw new RangeError('early')", "app.", "RangeError", "early"),
        ("process.exit(3)", "app.", "Runtime.ExitError", "Runtime exited with error: exit status 3"),
    ],
)
async def test_code_that_cannot_be_loaded_fails_the_start(
    bench: Bench, text: str, handler: str, kind: str, message: str
) -> None:
    with pytest.raises(StartFailed) as caught:
        await bench.call(bench.node(text, handler=handler))
    assert caught.value.type == kind
    assert message in caught.value.message
    assert json.loads(caught.value.payload)["errorType"] == kind


async def test_a_syntax_error_in_commonjs_has_its_place(bench: Bench) -> None:
    bench.file("part.cjs", "let a;\n\nexports.x = )\n")
    with pytest.raises(StartFailed, match=r"Unexpected token '\)' \(part.cjs, line 3\)"):
        await bench.call(bench.node("exports.handler = require('./part.cjs')", name="app.cjs"))


async def test_a_missing_node_is_named(bench: Bench) -> None:
    function = bench.node("export const handler = async () => 1")
    runtime = bench.runtime()
    runtime._node = None
    with pytest.raises(StartFailed, match="node is not installed") as caught:
        async with runtime.start(function):
            pass
    assert caught.value.type == "Runtime.InvalidEntrypoint"


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (
            "setTimeout(() => { throw new Error('late') }, 1); return new Promise(() => setTimeout(() => {}, 60000))",
            "Error",
            "late",
        ),
        (
            "Promise.reject(new Error('late')); return new Promise(() => setTimeout(() => {}, 60000))",
            "Runtime.UnhandledPromiseRejection",
            "Error: late",
        ),
        (
            "Promise.reject({ late: 1 }); return new Promise(() => setTimeout(() => {}, 60000))",
            "Runtime.UnhandledPromiseRejection",
            "{ late: 1 }",
        ),
    ],
)
async def test_an_uncaught_error_answers_its_request_and_ends_the_worker(
    bench: Bench, code: str, kind: str, message: str
) -> None:
    async with bench.worker(bench.node(f"export const handler = () => {{ {code} }}")) as worker:
        outcome = await worker.invoke(invocation())
        assert isinstance(outcome, Raised)
        assert (outcome.fault.type, outcome.fault.message) == (kind, message)
        assert not worker.alive
        pid = worker.pid
        with anyio.fail_after(20):
            while worker.pid is not None:
                await anyio.sleep(0.01)
    assert pid is None or not living(pid)


async def test_exit_in_a_handler_is_a_crash(bench: Bench) -> None:
    outcome = await bench.call(bench.node("export const handler = async () => process.exit(4)"))
    assert isinstance(outcome, Crashed)
    assert outcome.fault.message == "RequestId: r1 Error: Runtime exited with error: exit status 4"


async def test_a_handler_that_waits_for_nothing_has_answered_null(bench: Bench) -> None:
    async with bench.worker(bench.node("export const handler = () => new Promise(() => {})")) as worker:
        for number in range(3):
            assert (await worker.invoke(invocation(request_id=f"r{number}"))).payload == b"null"


async def test_a_callback_waits_for_the_loop_to_run_dry_unless_told_otherwise(bench: Bench) -> None:
    function = bench.node("""
        let done = false
        export const handler = (wait, context, callback) => {
          context.callbackWaitsForEmptyEventLoop = wait
          setTimeout(() => { done = true }, 50)
          callback(null, { get done() { return done } })
        }
    """)
    async with bench.worker(function) as worker:
        assert (await worker.invoke(invocation(False))).payload == b'{"done":false}'
    async with bench.worker(function) as worker:
        assert (await worker.invoke(invocation(True))).payload == b'{"done":true}'


async def test_a_handler_that_never_yields_is_killed_at_its_timeout(bench: Bench) -> None:
    function = bench.node("export const handler = async () => { for (;;); }", timeout=200)
    outcome = await bench.call(function)
    assert isinstance(outcome, TimedOut)


async def test_output_is_lambdas_and_belongs_to_its_request(bench: Bench) -> None:
    function = bench.node("""
        console.log("loading")
        export const handler = async (event) => {
          console.log("one", { event })
          process.stderr.write("two\\n")
          console.error("three")
        }
    """)
    async with bench.worker(function) as worker:
        for name in ("r1", "r2"):
            await worker.invoke(invocation(5, request_id=name))
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf"{stamp}\tundefined\tINFO\tloading", *bench.lines.of(None))
    for name in ("r1", "r2"):
        one, two, three = bench.lines.of(name)
        assert re.fullmatch(rf"{stamp}\t{name}\tINFO\tone {{ event: 5 }}", one)
        assert two == "two"
        assert re.fullmatch(rf"{stamp}\t{name}\tERROR\tthree", three)


async def test_large_events_and_answers_pass(bench: Bench) -> None:
    event = json.dumps("ü" * 1_500_000, ensure_ascii=False).encode()
    async with bench.worker(bench.node("export const handler = async (e) => e")) as worker:
        for _ in range(2):
            assert (await worker.invoke(invocation(event))).payload == event


async def test_a_worker_ends_with_its_context(bench: Bench) -> None:
    async with bench.worker(bench.node("export const handler = async (e) => e")) as worker:
        pid = worker.pid
        assert living(pid)
    until(lambda: not living(pid), "the end of the worker")


async def test_all_that_a_handler_wrote_comes_before_its_answer(bench: Bench) -> None:
    function = bench.node("""
        export const handler = async (event) => {
          for (let n = 0; n < 20; n++) process.stdout.write("x".repeat(20_000) + "\\n")
          console.log("last")
          return event
        }
    """)
    async with bench.worker(function) as worker:
        for name in ("r1", "r2"):
            await worker.invoke(invocation(request_id=name))
            lines = bench.lines.of(name)
            assert len(lines) == 21, "a pipe holds less than this"
            assert lines[-1].endswith("last")
    assert bench.lines.of(None) == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("const e = new Error('why'); e.name = 'N'.repeat(100_000); throw e", "N" * 255 + "…"),
        ("JSON.stringify = () => 'x'; throw new TypeError('why')", "TypeError"),
        ("process.stdout.destroy(); throw new TypeError('why')", "TypeError"),
    ],
)
async def test_the_error_is_told_whatever_the_handler_did_before(bench: Bench, code: str, kind: str) -> None:
    outcome = await bench.call(bench.node(f"export const handler = async () => {{ {code} }}"))
    assert isinstance(outcome, Raised), outcome
    assert (outcome.fault.type, outcome.fault.message) == (kind, "why")


FILLING = "for (const kept = []; ; ) kept.push(new Array(1e5).fill(7));"


async def test_a_heap_that_is_full_is_memory_that_ran_out(bench: Bench) -> None:
    outcome = await bench.call(bench.node(f"export const handler = () => {{ {FILLING} }}", memory=64 * MB))
    assert isinstance(outcome, Crashed)
    told = "RequestId: r1 Error: Runtime exited with error: signal: aborted"
    assert (outcome.fault.type, outcome.fault.message) == ("Runtime.OutOfMemory", told)


async def test_so_it_is_while_the_code_is_loaded(bench: Bench) -> None:
    with pytest.raises(StartFailed) as caught:
        await bench.call(bench.node(f"{FILLING} export const handler = () => 1", memory=64 * MB))
    assert caught.value.type == "Runtime.OutOfMemory"


async def test_an_abort_of_the_handlers_own_is_none(bench: Bench) -> None:
    outcome = await bench.call(bench.node("export const handler = () => process.abort()"))
    assert isinstance(outcome, Crashed)
    assert outcome.fault.type == "Runtime.ExitError"
