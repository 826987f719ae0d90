"""Node code is loaded as Node itself would, whatever kind of module it is, and no more slowly for the heap's size."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from triggerhub.errors import StartFailed
from triggerhub.model import Returned
from triggerhub.settings import MB

from .conftest import Bench, invocation

NODE = shutil.which("node") or ""
pytestmark = pytest.mark.skipif(not NODE, reason="node is not installed on this host")

MODULE = '{"type": "module"}'
COMMON = '{"type": "commonjs"}'
NAMELESS = '{"name": "mine"}'
EXPORTS = "exports.handler = async () => 'ok'"
EXPORT = "export const handler = async () => 'ok'"
BUNDLED = """"use strict";
module.exports = { handler: async () => "ok" };
// Annotate the CommonJS export names for ESM import in node:
0 && (module.exports = { handler });
"""
STARTED = "if (!module.parent) process.exit(1); exports.handler = async () => 'ok'"
THREAD = "require('worker_threads').parentPort.postMessage(require('v8').getHeapStatistics().heap_size_limit)"
HEAPS = f"""
import v8 from "node:v8";
import {{ Worker }} from "node:worker_threads";
const own = () => v8.getHeapStatistics().heap_size_limit;
const threads = () => new Promise((tell) => new Worker("{THREAD}", {{ eval: true }}).on("message", tell));
const loaded = [own(), await threads(), await threads()];
export const handler = async () => [...loaded, own(), await threads()];
"""


def said(program: str, *flags: str) -> str:
    return subprocess.run([NODE, *flags, "-p", program], capture_output=True, text=True, check=True).stdout.strip()


async def ok(bench: Bench, text: str, name: str, package: str | None, **settings: object) -> None:
    if package is not None:
        bench.file("package.json", package)
    outcome = await bench.call(bench.node(text, name=name, **settings))
    assert isinstance(outcome, Returned), outcome
    assert outcome.payload == b'"ok"'


@pytest.mark.parametrize(
    ("name", "text", "package"),
    [
        pytest.param("app.js", EXPORTS, COMMON, id="js of a CommonJS package"),
        pytest.param("app.js", EXPORTS, NAMELESS, id="js of a package that does not say"),
        pytest.param("app.js", EXPORT, MODULE, id="js of a package of modules"),
        pytest.param("app.cjs", EXPORTS, MODULE, id="cjs of a package of modules"),
        pytest.param("app.mjs", EXPORT, COMMON, id="mjs of a CommonJS package"),
        pytest.param("app.js", BUNDLED, None, id="words of modules in a bundle"),
        pytest.param("app.js", f"`\nexport const\n`; {EXPORTS}", None, id="a statement in a string"),
        pytest.param("app.js", f"#!/usr/bin/env node\n{EXPORTS}", None, id="a hashbang"),
        pytest.param("app.js", STARTED, None, id="js that is a program, too"),
        pytest.param("app.cjs", STARTED, None, id="cjs that is a program, too"),
        pytest.param("app.js", STARTED, COMMON, id="a program, too, by its package"),
    ],
)
async def test_any_kind_of_module_is_loaded(bench: Bench, name: str, text: str, package: str | None) -> None:
    await ok(bench, text, name, package)


@pytest.mark.parametrize(
    "text",
    [
        EXPORT,
        "const handler = async () => 'ok';export{handler}",
        "const ok = await Promise.resolve('ok')\nexport const handler = async () => ok",
        "import{basename}from'path';export const handler = async () => basename('/ok')",
        "export/* a comment */const handler = async () => 'ok'",
    ],
)
async def test_js_that_says_nothing_is_a_module_where_node_finds_that_it_is(bench: Bench, text: str) -> None:
    bench.file("probe.js", text)
    if subprocess.run([NODE, bench.code / "probe.js"], capture_output=True, check=False).returncode:
        pytest.skip("this Node does not look for what a file without a type is")
    await ok(bench, text, "app.js", None)


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        ("app.default", "module.exports = async () => 'ok'"),
        ("app.a.b", "exports.a = { b: async () => 'ok' }"),
        ("app.handler", "module.exports = new (class { handler() { return Promise.resolve('ok') } })()"),
    ],
)
async def test_what_commonjs_exports_is_found_as_by_import(bench: Bench, handler: str, text: str) -> None:
    await ok(bench, text, "app.cjs", None, handler=handler)


async def test_a_link_is_what_it_leads_to(bench: Bench) -> None:
    bench.file("real/app.js", EXPORT)
    bench.file("real/package.json", MODULE)
    (bench.code / "app.js").symlink_to("real/app.js")
    outcome = await bench.call(bench.function("node", handler="app."))
    assert outcome.payload == b'"ok"'


async def test_what_node_is_told_to_import_first_sees_the_code_imported(bench: Bench) -> None:
    if "--import" not in said("[...process.allowedNodeEnvironmentFlags].join(' ')"):
        pytest.skip("this Node cannot be told to import something")
    bench.file("first.mjs", "globalThis.first = 'ok'")
    text = "if (module.parent) throw new Error('required'); exports.handler = async () => first"
    await ok(bench, text, "app.js", None, env={"NODE_OPTIONS": f"--import {bench.task}/first.mjs"})


@pytest.mark.parametrize("option", ["--require", "-r"])
async def test_what_is_required_first_may_change_what_is_imported(bench: Bench, option: str) -> None:
    if "register" not in said("Object.keys(require('node:module')).join(' ')"):
        pytest.skip("this Node has no hooks that are registered")
    bench.file(
        "first.cjs", "require('node:module').register('./hooks.mjs', require('node:url').pathToFileURL(__filename))"
    )
    bench.file(
        "hooks.mjs",
        """
        const source = "export const handler = async () => 'hooked'";
        export async function load(url, context, next) {
          return url.endsWith("/app.js") ? { format: "module", shortCircuit: true, source } : next(url, context);
        }
        """,
    )
    first = {"NODE_OPTIONS": f"{option} {bench.task}/first.cjs"}
    outcome = await bench.call(bench.node("exports.handler = async () => 'ok'", name="app.js", env=first))
    assert outcome.payload == b'"hooked"'


@pytest.mark.parametrize("options", ["--no-deprecation", "--pending-deprecation --throw-deprecation", ""])
async def test_what_node_is_told_of_deprecations_stays(bench: Bench, options: str) -> None:
    text = "exports.handler = async () => [process.noDeprecation === true, 'noDeprecation' in process]"
    outcome = await bench.call(bench.node(text, name="app.js", env={"NODE_OPTIONS": options} if options else {}))
    silent = options == "--no-deprecation"
    assert json.loads(outcome.payload) == [silent, silent]


@pytest.mark.parametrize(
    ("text", "files", "kind", "message"),
    [
        pytest.param("\nexports.x = )", {}, "Runtime.UserCodeSyntaxError", "')' (app.js, line 2)", id="its syntax"),
        pytest.param(
            "require('./part.js')", {"part.js": "let a;\n\nlet = ="}, "Runtime.UserCodeSyntaxError", "(part.js, line 3)",
            id="another's",
        ),
        pytest.param("require('no')", {}, "Runtime.ImportModuleError", "Error: Cannot find module 'no'", id="missing"),
        pytest.param("throw new RangeError('early')", {}, "RangeError", "early", id="thrown"),
        pytest.param("JSON.parse('{')", {}, "Runtime.UserCodeSyntaxError", "JSON", id="another syntax"),
        pytest.param(
            "", {"package.json": "{"}, "Error", "Invalid package config", id="an unreadable package"
        ),
    ],
)  # fmt: skip
async def test_commonjs_that_cannot_be_loaded_is_run_once_and_told(
    bench: Bench, text: str, files: dict[str, str], kind: str, message: str
) -> None:
    for name, content in files.items():
        bench.file(name, content)
    with pytest.raises(StartFailed) as caught:
        await bench.call(bench.node(f"console.log('run');{text}", name="app.js"))
    assert caught.value.type == kind
    assert message in caught.value.message
    assert sum(line.endswith("\trun") for line in bench.lines.of(None)) <= 1


async def test_an_await_outside_of_functions_does_not_go_with_exports(bench: Bench) -> None:
    with pytest.raises(StartFailed) as caught:
        await bench.call(bench.node("await 1; exports.handler = async () => 1", name="app.js"))
    # In Node's own words, older or newer, of which none are about a `require` that the code has not.
    words = ("await is only valid in async functions", "exports is not defined")
    assert any(word in caught.value.message for word in words)


async def test_a_thread_has_the_heap_that_its_function_has(bench: Bench) -> None:
    async with bench.worker(bench.node(HEAPS, memory=128 * MB)) as worker:
        limits = json.loads((await worker.invoke(invocation())).payload)
    told = int(said("v8.getHeapStatistics().heap_size_limit", "--max-old-space-size=96"))
    assert limits == [told] * 5


@pytest.mark.parametrize("name", ["app.mjs", "app.cjs"])
async def test_the_heap_s_size_has_nothing_compiled_anew_until_the_first_event(bench: Bench, name: str) -> None:
    text = "const tag = v8.cachedDataVersionTag(); const handler = async () => [tag, v8.cachedDataVersionTag()]; "
    if name == "app.mjs":
        function = bench.node(f"import v8 from 'node:v8'; {text} export {{ handler }}", name=name)
    else:
        function = bench.node(f"const v8 = require('node:v8'); {text} exports.handler = handler", name=name)
    tag = "v8.cachedDataVersionTag()"
    assert json.loads((await bench.call(function)).payload) == [
        int(said(tag)),
        int(said(tag, "--max-old-space-size=224")),
    ]
