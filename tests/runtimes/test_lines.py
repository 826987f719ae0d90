"""What a handler writes belongs to its request, whole, in order and bounded."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from triggerhub.model import Returned
from triggerhub.policy.masking import mask
from triggerhub.settings import Secret

from .conftest import Bench, invocation


async def test_output_belongs_to_its_request_in_the_order_it_was_written(bench: Bench) -> None:
    function = bench.python("""
        import logging, sys
        print("loading")
        log = logging.getLogger("x")
        log.setLevel("INFO")
        logging.basicConfig(level="DEBUG")
        def handler(event, context):
            print("one")
            print("two", file=sys.stderr)
            log.info("three %s", event)
            log.debug("never")
            print("four", end="")
    """)
    async with bench.worker(function) as worker:
        for name in ("r1", "r2"):
            await worker.invoke(invocation(5, request_id=name))
    assert bench.lines.of(None) == ["loading"]
    for name in ("r1", "r2"):
        one, two, three, four = bench.lines.of(name)
        assert (one, two, four) == ("one", "two", "four")
        assert re.fullmatch(rf"\[INFO\]\t\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z\t{name}\tthree 5", three)


async def test_long_lines_binary_and_floods_of_output(bench: Bench) -> None:
    function = bench.python(r"""
        import os, sys
        def handler(event, context):
            match event:
                case "long": print("x" * 100_000)
                case "binary": os.write(1, b"a\xff\x00b\n")
                case "flood":
                    for n in range(20_000): print(f"{n:099d}")
    """)
    async with bench.worker(function) as worker:
        for name in ("long", "binary", "flood", "quiet"):
            assert isinstance(await worker.invoke(invocation(name, request_id=name)), Returned)
    assert bench.lines.of("long") == ["x" * 100_000]
    assert bench.lines.of("binary") == ["a\ufffd\x00b"]
    *kept, last = bench.lines.of("flood")
    assert len(kept) == 512 * 1024 // 100
    assert last == f"{(20_000 - len(kept)) * 100} bytes of output dropped"
    assert bench.lines.of("quiet") == []


@pytest.mark.parametrize(
    ("line", "kept"), [("", 10_000), ("x", 10_000), ("x" * 51, 10_000), ("x" * 63, 8192), ("x" * 64, 8065)]
)
async def test_of_many_short_lines_so_many_are_kept_as_they_come(bench: Bench, line: str, kept: int) -> None:
    function = bench.python("""
        import os
        def handler(event, context):
            data = (event["line"] + "\\n").encode() * 200_000
            while data:
                data = data[os.write(1, data) :]
            os.write(1, b"more")
    """)
    async with bench.worker(function) as worker:
        await worker.invoke(invocation({"line": line}, request_id="flood"))
        await worker.invoke(invocation({"line": "again"}, request_id="next"))
    *lines, told = bench.lines.of("flood")
    assert lines == [line] * kept
    assert told == f"{(200_000 - kept) * (len(line) + 1) + 4} bytes of output dropped"
    assert bench.lines.of("next")[:2] == ["again", "again"]


async def test_what_nobody_keeps_between_two_calls_is_read_slowly_and_is_in_no_calls_way(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggerhub.runtimes.lines.BREATH", 60)
    function = bench.python("""
        import os, threading
        floods = []
        over = threading.Event()
        def flood():
            while not over.is_set():
                os.write(1, b"x" * 65535 + b"\\n")
        def handler(event, context):
            if not floods:
                floods.append(threading.Thread(target=flood, daemon=True))
                return floods[0].start()
            over.set()
            floods[0].join()
            print("its own")
    """)
    async with bench.worker(function) as worker:
        await worker.invoke(invocation(request_id="floods"))
        async with asyncio.timeout(20):
            while len(bench.lines.of(None)) < 8:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        async with asyncio.timeout(20):
            await worker.invoke(invocation(request_id="next"))
    *kept, told = bench.lines.of(None)
    assert kept == ["x" * 65535] * 8
    dropped, _, what = told.partition(" ")
    assert what == "bytes of output dropped"
    assert int(dropped) < 256 * 1024, "the writer waited"
    assert bench.lines.of("next")[-1] == "its own"


async def test_what_is_dropped_of_a_log_in_json_is_told_in_json(bench: Bench) -> None:
    function = bench.python(
        """
        def handler(event, context):
            for n in range(20_000): print(f"{n:099d}")
        """,
        env={"AWS_LAMBDA_LOG_FORMAT": "JSON"},
    )
    async with bench.worker(function) as worker:
        await worker.invoke(invocation(0, request_id="flood"))
    *kept, last = bench.lines.of("flood")
    told = json.loads(last)
    assert (told["type"], told["record"]["requestId"]) == ("platform.logsDropped", "flood")
    assert told["record"]["droppedRecords"] == 20_000 - len(kept)
    assert told["record"]["droppedBytes"] == 100 * told["record"]["droppedRecords"]


async def test_a_line_is_broken_between_characters_and_marked_so_that_a_secret_in_two_is_dots(bench: Bench) -> None:
    function = bench.python("""
        def handler(event, context):
            print("x" * (256 * 1024 - event) + "swördfish" + "y" * 20)
    """)
    masked = mask([Secret("swördfish")])
    assert masked is not None
    async with bench.worker(function) as worker:
        for part in range(4, 8):
            await worker.invoke(invocation(part, request_id=f"r{part}"))
            first, second = bench.lines.of(f"r{part}")
            whole = first.removesuffix("…") + second.removeprefix("…")
            assert whole == "x" * (256 * 1024 - part) + "swördfish" + "y" * 20
            assert masked(first) == "x" * (256 * 1024 - part) + "•••…"
            assert masked(second) == "…•••" + "y" * 20
