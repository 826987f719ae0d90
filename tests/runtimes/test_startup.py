"""Variables of a function that its interpreter reads as it begins do what they do on Lambda."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from triggerhub.runtimes import startup
from triggerhub.settings import MB

from .conftest import Bench

LIBRARIES = [f"/{place}/{os.uname().machine}-linux-gnu/libz.so.1" for place in ("lib", "usr/lib")]
LEVELS = pytest.mark.parametrize("level", ["isolated", "trusted"])
SEEN = """
import sys, json
import {module} as found
def handler(event, context):
    return [found.X, sys.path.index({place!r}), sys.flags.optimize, json.loads("[1]"), sys.path]
"""


@pytest.mark.parametrize(
    ("names", "flags", "first"),
    [
        ((), ["-I", "-B"], False),
        (("WHO", "PYTHONPATH", "PYTHONUNBUFFERED", "TZ"), ["-I", "-B"], False),
        (("PYTHONPATH", "PYTHONOPTIMIZE"), ["-s", "-B"], True),
        (("PYTHONHASHSEED",), ["-s", "-B"], True),
        (("LD_PRELOAD",), ["-I", "-B"], True),
        (("LD_LIBRARY_PATH",), ["-I", "-B"], True),
        (("MALLOC_ARENA_MAX",), ["-I", "-B"], True),
    ],
)
def test_variables_say_how_python_is_started(names: tuple[str, ...], flags: list[str], first: bool) -> None:
    assert (startup.flags(names), startup.from_the_start(names)) == (flags, first)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, ["--max-old-space-size=96"]),
        ({"NODE_OPTIONS": "--require /var/task/a.js"}, ["--max-old-space-size=96"]),
        ({"NODE_OPTIONS": "--max-old-space-size=77"}, []),
        ({"NODE_OPTIONS": "--require a --max_old_space_size=77"}, []),
    ],
)
def test_node_is_told_the_size_of_its_heap_unless_the_function_tells_it(
    options: dict[str, str], told: list[str]
) -> None:
    assert startup.heap(options, 96 * MB) == told


@LEVELS
@pytest.mark.parametrize(
    "more", [{}, {"PYTHONOPTIMIZE": "1"}, {"MALLOC_ARENA_MAX": "1"}], ids=["alone", "optimized", "executed"]
)
async def test_modules_are_found_where_pythonpath_says_behind_the_code(
    bench: Bench, level: str, more: dict[str, str]
) -> None:
    bench.level = level
    place = f"{bench.task}/lib"
    bench.file("lib/mylib.py", "X = 1\n")
    # What a worker itself needs is not looked for there, and the code's own comes first.
    bench.file("lib/struct.py", "raise ImportError('shadowed')\n")
    bench.file("lib/app.py", "raise ImportError('not the handler')\n")
    env = {"PYTHONPATH": f":{bench.task}:{place}:{place}", **more}
    if "PYTHONOPTIMIZE" in more:
        (bench.code / "lib/struct.py").unlink()  # an interpreter that looks at one looks at the other, as on Lambda
    outcome = await bench.call(bench.python(SEEN.format(module="mylib", place=place), env=env))
    optimized = 1 if "PYTHONOPTIMIZE" in more else 0
    assert json.loads(outcome.payload)[:4] == [1, 1, optimized, [1]]
    *others, offered = json.loads(outcome.payload)[4]
    assert offered.endswith("/offered")
    assert offered.removesuffix("/offered") not in others


@LEVELS
async def test_a_relative_pythonpath_is_of_the_code(bench: Bench, level: str) -> None:
    bench.level = level
    bench.file("lib/mylib.py", "X = 2\n")
    text = SEEN.format(module="mylib", place=f"{bench.task}/lib")
    assert json.loads((await bench.call(bench.python(text, env={"PYTHONPATH": "lib"}))).payload)[0] == 2


@LEVELS
async def test_a_handler_may_be_called_as_a_module_of_pythons(bench: Bench, level: str) -> None:
    bench.level = level
    bench.file("queue.py", "import queue\ndef handler(event, context):\n    return queue.Queue.__name__\n")
    function = bench.function("python", handler="queue.", env={"PYTHONPATH": bench.task})
    assert json.loads((await bench.call(function)).payload) == "Queue"


@LEVELS
async def test_what_is_read_as_a_process_begins_is_there_then(bench: Bench, level: str) -> None:
    bench.level = level
    text = """
    import sys
    def handler(event, context):
        with open("/proc/self/environ") as file:
            return [sys.flags.hash_randomization, hash("a"), "MALLOC_ARENA_MAX=1" in file.read().split("\\0")]
    """
    function = bench.python(text, env={"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"})
    answers: list[Any] = [json.loads((await bench.call(function)).payload) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0][0] == 0
    assert answers[0][2] is True


@LEVELS
async def test_node_options_set_the_heap(bench: Bench, level: str) -> None:
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    bench.level = level
    text = 'import v8 from "node:v8";\nexport const handler = async () => v8.getHeapStatistics().heap_size_limit / 1048576;\n'
    own = json.loads((await bench.call(bench.node(text))).payload)
    set_ = json.loads((await bench.call(bench.node(text, env={"NODE_OPTIONS": "--max-old-space-size=77"}))).payload)
    assert 77 <= set_ < 150 < own


@pytest.mark.parametrize(
    ("place", "brought"),
    [
        ("lib/mine.so", True),
        ("lib/libcrypto.so.1.0.2k", True),
        ("libmine.so.1", True),
        ("mine.so", False),
        ("lib/a.source.txt", False),
        ("lib/libmine.so.1.txt", False),
        ("library.sorted.json", False),
    ],
)
def test_a_file_is_taken_for_a_library_by_what_its_name_ends_with(tmp_path: Path, place: str, brought: bool) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / place).touch()
    assert startup.libraries(tmp_path) == brought


@LEVELS
@pytest.mark.parametrize("place", ["lib/libmine.so.1", "libmine.so.1"])
async def test_libraries_that_the_code_brings_are_found(bench: Bench, level: str, place: str) -> None:
    bench.level = level
    text = "import ctypes\ndef handler(event, context):\n    return bool(ctypes.CDLL('libmine.so.1'))\n"
    function = bench.python(text)
    target = bench.code / place
    target.parent.mkdir(exist_ok=True)
    shutil.copy(next(path for path in map(Path, LIBRARIES) if path.exists()), target)
    assert json.loads((await bench.call(function)).payload) is True
