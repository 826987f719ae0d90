"""Where no user namespace can be made: what is missing is named with what to do, and the rest is served."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.daemon import until
from tests.e2e.ports import free_port
from tests.e2e.toml import webhook
from tests.runtimes.attacks import ordinary

ROOT = Path(__file__).parents[2]
TOML = (
    """
[hub]
listen = "127.0.0.1:{listen}"
admin = "127.0.0.1:{admin}"

[functions.free]
sandbox = {{ level = "trusted" }}

[functions.bare]
sandbox = {{ level = "confined" }}

[functions.shell]
sandbox = {{ level = "confined" }}

[functions.script]
sandbox = {{ level = "confined" }}

[functions.netted]
sandbox = {{ level = "confined", network = true }}
"""
    + "".join(webhook(name, name, answers=True) for name in ("bare", "free", "kept"))
    + webhook("later", "kept")
)


@dataclass
class Host:
    """A project of an ordinary user's, on a host that answers EPERM to whoever asks for a namespace."""

    home: Path
    listen: int

    @property
    def project(self) -> Path:
        return self.home / "project"

    def command(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        words, environment = ordinary.command(self.home, "tests/e2e/denied.py")
        return [
            *words,
            words[words.index("tests/e2e/denied.py") - 1],
            "-m",
            "triggerhub",
            "-C",
            str(self.project),
            *arguments,
        ], environment

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        words, environment = self.command(*arguments)
        return subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    def ask(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.listen}{path}", b"{}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def host() -> Iterator[Host]:
    if os.geteuid() == 0 and (why := ordinary.why_not()):
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="denied-") as folder:
        host = Host(Path(folder), free_port())
        (host.project / "handlers").mkdir(parents=True)
        (host.project / "triggerhub.toml").write_text(TOML.format(listen=host.listen, admin=free_port()))
        for name in ("free", "kept", "bare", "netted"):
            (host.project / "handlers" / f"{name}.py").write_text(f"def handler(event, context): return {name!r}\n")
        (host.project / "handlers" / "shell").write_text("#!/bin/sh\nread event; echo shell\n")
        (host.project / "handlers" / "shell").chmod(0o755)
        (host.project / "handlers" / "script.mjs").write_text("export const handler = async () => 'script';\n")
        if os.geteuid() == 0:
            for path in (host.project, *host.project.rglob("*")):
                os.chown(path, ordinary.UID, ordinary.UID)
        yield host


def test_the_doctor_names_what_is_missing_and_what_to_do(host: Host) -> None:
    done = host.run("doctor")
    assert done.returncode == 1, done.stdout + done.stderr
    said = done.stdout[done.stdout.index("isolation") :]
    assert "only confined and trusted, since no user namespace can be made" in said
    assert "Operation not permitted" in said
    assert "--security-opt seccomp=unconfined" in said


def test_a_hub_runs_what_it_can_and_says_what_it_does_not(host: Host) -> None:
    words, environment = host.command("run")
    with (
        (host.home / "log").open("w+") as log,
        subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log) as hub,
    ):
        try:
            until(lambda: '"ready"' in Path(log.name).read_text() or hub.poll() is not None, "the hub is ready")
            assert host.ask("/free") == (200, "free")
            assert host.ask("/bare") == (200, "bare")
            status, body = host.ask("/kept")
            assert status in (500, 502), body
            assert host.ask("/later")[0] == 202
            until(lambda: json.loads(host.run("status", "--json").stdout)["problems"], "the status tells it")
            state = json.loads(host.run("status", "--json").stdout)
            assert host.ask("/free") == (200, "free")
            assert state["counts"]["queued"] == 1
            assert state["counts"]["dead"] == 0
            shown = json.loads(host.run("functions", "show", "bare", "--json").stdout)
            assert shown["level"] == "confined"
            for name in ("shell", *(["script"] if shutil.which("node") else [])):
                done = host.run("invoke", name)
                assert (done.returncode, done.stdout.strip()) == (0, f'"{name}"'), done.stderr
            done = host.run("invoke", "netted")
            assert done.returncode == 1
            assert 'nothing stronger than the level "confined", which has no sockets' in done.stderr
            assert any("function kept is not run" in problem for problem in state["problems"])
        finally:
            hub.terminate()
            hub.wait(60)
    told = [json.loads(line) for line in Path(log.name).read_text().splitlines()]
    refused, netted = sorted(
        (line for line in told if line["event"] == "a function is not run"), key=lambda line: line["function"]
    )
    assert (refused["function"], netted["function"]) == ("kept", "netted")
    assert 'cannot give the level "isolated"' in refused["why"]
    assert "user namespace" in refused["why"]
    assert "or choose the level" in refused["do"]
    assert [line for line in told if "exception" in line] == []
