"""What handlers do wrong, as users meet it: Lambda's name for it, what to do, its retries; and nobody else is disturbed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, daemon, until
from tests.e2e.toml import queue, webhook
from triggerhub.config import fitting
from triggerhub.config.load import load
from triggerhub.settings import GB

BAD = {
    "import.py": ("import no_such_module\n", "Runtime.ImportModuleError", "name the package in the handler's inline"),
    "syntax.py": ("def handler(\n", "Runtime.UserCodeSyntaxError", "mend the file and save it"),
    "metadata.py": (
        '# /// script\n# dependencies = ["./_lib"]\n# ///\ndef handler(event, context): return 1\n',
        "Runtime.InvalidMetadata",
        "mend that and save it",
    ),
    "missing.py": ("x = 1\n", "Runtime.HandlerNotFound", "define handler(event, context)"),
    "marshal.py": ("def handler(event, context): return {1}\n", "Runtime.MarshalError", "return what JSON can hold"),
    "exits.py": ("import os\ndef handler(event, context): os._exit(3)\n", "Runtime.ExitError", "what it wrote before is in the log"),
    "killed.py": ("import os\ndef handler(event, context): os.kill(os.getpid(), 9)\n", "Runtime.ExitError", "what it wrote before"),
    "speaks.py": ("import os\ndef handler(event, context): os.write(3, b'x' * 64)\n", "Runtime.BrokenProtocol", "descriptors 3"),
    "closes.py": ("import os\ndef handler(event, context): os.closerange(0, 256)\n", "Runtime.ExitError", "what it wrote before"),
    "ignores.py": (
        "import signal, time\ndef handler(event, context):\n    signal.signal(15, signal.SIG_IGN)\n    time.sleep(300)\n",
        "Sandbox.Timedout",
        "raise its timeout",
    ),
    "hoards.py": (
        "def handler(event, context):\n    held = []\n    while True: held.append(b'x' * (8 << 20))\n",
        "",  # by its own interpreter where each process is bounded, by the kernel where the whole tree is
        "",
    ),
    "large.py": ("def handler(event, context): return 'x' * 7_000_000\n", "Function.ResponseSizeTooLarge", "6 MB"),
    "program.sh": ("#!/bin/sh\nexit 7\n", "Runtime.ExitError", "what it wrote before is in the log"),
    "lacks.sh": ("#!/no/such/interpreter\n", "Runtime.InvalidEntrypoint", "triggerhub check names"),
}  # fmt: skip
STEMS = [name.partition(".")[0] for name in BAD]
HOARDED = {"Runtime.OutOfMemory": "raise its memory", "MemoryError": ""}
GOOD = "def handler(event, context): return 'well'\n"


TOML = """
[defaults]
timeout = "2s"
memory = "128MB"
retry = { attempts = 2, initial = "10ms", max = "10ms" }
""" + webhook("good", "good", answers=True)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    handlers = {name: text for name, (text, _, _) in BAD.items()}
    toml = TOML + "".join(queue(stem, stem) for stem in STEMS)
    with daemon(tmp_path_factory.mktemp("project"), toml, {**handlers, "good.py": GOOD}) as running:
        # All at once, so that each has the others for neighbours.
        for stem in STEMS:
            running.api("POST", f"/api/v1/triggers/{stem}/send", b"1")
        yield running


@pytest.mark.parametrize("name", BAD)
def test_a_bad_handler_is_told_by_name_with_a_remedy_and_follows_its_retries(hub: Daemon, name: str) -> None:
    _, kind, remedy = BAD[name]
    stem = name.partition(".")[0]
    (row,) = until(lambda: hub.deliveries(function=stem, state="dead"), f"{stem} is dead")
    assert row["attempts"] == 2
    told = row["error"]["type"]
    if not kind:
        assert told in HOARDED
        kind, remedy = told, HOARDED[told]
    assert told == kind, row
    shown = hub.cli("dlq", "show", row["id"], check=True).stdout
    assert kind in shown
    assert remedy in " ".join(shown.split())


def test_a_handler_that_is_not_started_is_told_at_the_start(hub: Daemon) -> None:
    lines = [line for line in (hub.project / "daemon.log").read_text().splitlines() if "a function is not run" in line]
    assert len(lines) == 1
    why = "handlers/metadata.py:2: dependencies: expected a requirement"
    assert why in lines[0]
    told = [one for one in hub.api("GET", "/api/v1/status")["problems"] if why in one]
    assert len(told) == 1
    hub.api("POST", "/api/v1/reload")
    (told,) = [one for one in hub.api("GET", "/api/v1/status")["problems"] if why in one]
    assert told.endswith("until that is mended, calls of metadata fail")


def test_nobody_else_is_disturbed(hub: Daemon) -> None:
    for _ in range(20):
        assert hub.post("/good", b"") == (200, b"well")
    assert hub.settled()["dead"] == len(BAD)
    assert hub.post("/good", b"") == (200, b"well")
    rows = {row["function"]: row["state"] for row in hub.deliveries(state="dead")}
    assert rows.keys() == {name.partition(".")[0] for name in BAD}


def test_an_interpreter_that_this_host_has_not_is_named_with_what_to_install(hub: Daemon) -> None:
    project = hub.project.parent / "lacking"
    shutil.copytree(hub.project / "handlers", project / "handlers")
    (project / "triggerhub.toml").write_text('[functions.good]\nruntime = "python3.99"\n')
    done = hub.cli("-C", str(project), "check")
    said = done.stdout + done.stderr
    assert "python3.99, which is not installed here" in said
    assert "apt install python3.99, or uv python install 3.99" in said
    answer = hub.cli("-C", str(project), "invoke", "good", "--local", "-d", "1")
    assert answer.returncode == 1
    assert json.loads(answer.stdout)["errorType"] == "Runtime.InvalidEntrypoint"


def test_more_memory_than_the_host_has_is_told_by_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_memory_of_host", lambda: 4 * GB)
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers/f.py").write_text(GOOD)
    (tmp_path / "triggerhub.toml").write_text('[functions.f]\nmemory = "8GB"\n')
    (problem,) = load(tmp_path, environ={}).problems
    assert (problem.code, problem.hint) == ("much-memory", "lower it, or a call that uses it is killed by the kernel")
    assert "functions.f.memory is 8GB, but this host has 4.0 GB in all" in problem.message
