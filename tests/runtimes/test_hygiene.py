"""A hardened hub gives its children no way up, and works on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from .conftest import Bench

PYTHONPATH = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])


def test_hardened_children_gain_no_privileges_and_nobody_reads_the_hub(bench: Bench) -> None:
    script = bench.root / "hub.py"
    script.write_text(
        dedent(f"""
        import asyncio
        from pathlib import Path
        from triggerhub.model import Invocation
        from triggerhub.runtimes.hygiene import harden
        from triggerhub.runtimes.process import ProcessRuntime
        from triggerhub.settings import Function

        class Quiet:
            def write(self, *line): pass

        async def main():
            runtime = ProcessRuntime(Quiet(), Path({str(bench.scratch)!r}))
            code = Path({str(bench.code)!r})
            for function in (Function(name="p", runtime="python", handler="app.", code=code),
                             Function(name="x", runtime="executable", command=(str(code / "run"),), code=code)):
                async with runtime.start(function) as worker:
                    call = Invocation(request_id="r", function="f", payload=b"1", deadline=0, arn="")
                    print((await worker.invoke(call)).payload.decode())

        harden()
        import ctypes
        print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
        asyncio.run(main())
    """)
    )
    status = "[l for l in open('/proc/self/status') if l.startswith('NoNewPrivs')][0].split()[1]"
    bench.python(f"def handler(e, c): return {status}")
    bench.program("#!/bin/sh\nsed -n 's/^NoNewPrivs:[^0-9]*\\([0-9]\\)/\"\\1\"/p' /proc/self/status\n")
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )
    assert (done.stdout.split(), done.stderr) == (["0", '"1"', '"1"'], "")
