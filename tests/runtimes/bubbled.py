"""Be an ordinary user's hub on a host that lets bubblewrap, and nobody else, make user namespaces.

``python -m tests.runtimes.bubbled found`` says as JSON what was found out and done; with the arguments of
``tests.runtimes.attacks.suite`` it lays siege.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.runtimes.attacks import suite, world
from tests.runtimes.conftest import Bench, invocation, living, until
from triggerhub.runtimes import bubblewrap, launch, memory, probe
from triggerhub.runtimes.launch import Launcher
from triggerhub.runtimes.sandbox import Planner

launch._MAIN = Path(__file__).parent / "refused_users.py"


async def found() -> dict[str, object]:
    launcher, told = Launcher(), {}
    async with launcher.held():
        findings = await probe.look(launcher, Planner())
        told["lacks"] = sorted(set(findings.lacks) - {"network"})
        told["starter"] = type(launcher.starter).__name__
        launcher.findings = findings
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), launcher)
            bench.code.mkdir()
            function = bench.python(
                "import os, time\ndef handler(e, c):\n    if e: os.fork() or os.setsid(); time.sleep(60)\n    return os.getuid()\n",
                timeout=500,
            )
            async with bench.worker(function) as worker:
                outcome = await worker.invoke(invocation(0, function=function))
                told["uid"] = json.loads(outcome.payload)
                family = memory.family(worker.pid)
                outcome = await worker.invoke(invocation(1, function=function))
                told["late"] = outcome.fault.type
            told["gone"] = bool(until(lambda: not any(map(living, family)), "all of it is gone"))
            first = launcher.pid
            launcher.start_by(None)
            launcher.start_by(bubblewrap.find())
            until(lambda: not living(first), "the launcher is gone")
            outcome = await bench.call(function, 0)
            told["again"] = json.loads(outcome.payload)
    return told


if __name__ == "__main__":
    if sys.argv[1:] == ["found"]:
        print(json.dumps(asyncio.run(found())))
    else:
        world.STARTER = bubblewrap.find()
        sys.exit(suite.main())
