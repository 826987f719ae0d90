"""AWS_LAMBDA_EXEC_WRAPPER names a script that starts the runtime."""

from __future__ import annotations

import json
import shutil

import pytest

from triggerhub.errors import StartFailed
from triggerhub.runtimes import layers

from .conftest import Bench
from .test_layers import zipped

WRAPPER = '#!/bin/sh\nexport WRAPPED="$(basename "$1")"\nexec "$@"\n'
PYTHON = "import os\ndef handler(event, context):\n    return os.environ['WRAPPED']\n"
NODE = "export const handler = async () => process.env.WRAPPED;\n"


@pytest.mark.parametrize("level", ["isolated", "trusted"])
@pytest.mark.parametrize("runtime", ["python", "node"])
async def test_a_script_of_the_code_starts_the_runtime(bench: Bench, level: str, runtime: str) -> None:
    if runtime == "node" and not shutil.which("node"):
        pytest.skip("node is not installed")
    bench.level = level
    bench.file("wrap", WRAPPER, 0o755)
    env = {"AWS_LAMBDA_EXEC_WRAPPER": f"{bench.task}/wrap"}
    function = bench.python(PYTHON, env=env) if runtime == "python" else bench.node(NODE, env=env)
    assert json.loads((await bench.call(function)).payload).startswith(runtime)


async def test_a_script_of_a_layer_starts_the_runtime(bench: Bench) -> None:
    layer = zipped(bench.root / "a.zip", {"wrap": WRAPPER}, 0o755)
    opt = layers.assemble(bench.root / "home", [layer])
    function = bench.python(PYTHON, opt=opt, env={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"})
    assert json.loads((await bench.call(function)).payload).startswith("python")


@pytest.mark.parametrize("level", ["isolated", "trusted"])
async def test_one_that_is_not_there_fails_the_start(bench: Bench, level: str) -> None:
    bench.level = level
    function = bench.python(PYTHON, env={"AWS_LAMBDA_EXEC_WRAPPER": "/no/such/wrap"})
    with pytest.raises(StartFailed, match="/no/such/wrap") as caught:
        await bench.call(function)
    assert caught.value.type == "Runtime.InvalidEntrypoint"


async def test_libraries_of_a_layer_are_found_from_the_start(bench: Bench) -> None:
    layer = zipped(bench.root / "a.zip", {"lib/mark": ""})
    opt = layers.assemble(bench.root / "home", [layer])
    text = """
    def handler(event, context):
        with open("/proc/self/environ") as file:
            return [line for line in file.read().split("\\0") if line.startswith("LD_LIBRARY_PATH=")]
    """
    (line,) = json.loads((await bench.call(bench.python(text, opt=opt))).payload)
    assert line.endswith(":/opt/lib")
