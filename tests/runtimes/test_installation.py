"""An interpreter is shown by what it is made of, wherever it lies; never with the home or the project around it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from triggerhub.model import Returned
from triggerhub.policy.sandbox import view
from triggerhub.runtimes import installation
from triggerhub.settings import Interpreter

from .conftest import Bench, invocation

NODE = shutil.which("node", path="/usr/local/bin:/usr/bin:/bin")
PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
SEEN = """
import os, sys
def handler(event, context):
    import json, ssl
    return [path for path in event if os.path.exists(path)]
"""


@pytest.fixture
def home(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with secrets, a project in it, and the hub's data in that."""
    home = bench.root / "home"
    for name in (".ssh/id", ".local/share/keyrings/k", "proj/triggerhub.toml", "proj/secret.env", "proj/var/hub.db"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("secret")
    for folder in ("bin", ".local/bin", ".local/lib"):
        (home / folder).mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    return home


def secrets(home: Path) -> list[str]:
    return [str(path) for path in home.rglob("*") if path.is_file() and path.read_bytes() == b"secret"]


async def seen(bench: Bench, home: Path, function: object, **options: object) -> object:
    runtime = bench.runtime(data=home / "proj" / "var", project=home / "proj", **options)
    async with runtime.start(function) as worker:
        outcome = await worker.invoke(invocation(secrets(home), function=function))
    assert isinstance(outcome, Returned), outcome
    return json.loads(outcome.payload)


@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.parametrize("copied", [False, True], ids=["a link", "a copy"])
async def test_node_in_a_home_shows_nothing_of_it(bench: Bench, home: Path, copied: bool) -> None:
    assert NODE is not None
    node = home / "bin" / "node"
    if copied:
        shutil.copy(NODE, node)
    else:
        node.symlink_to(NODE)
    function = bench.node(
        "import fs from 'fs'; export const handler = async (event) => event.filter((path) => fs.existsSync(path))"
    )
    assert await seen(bench, home, function, node=str(node)) == []


@pytest.mark.skipif(PYTHON is None, reason="there is no Python of the system's")
@pytest.mark.parametrize("place", ["bin", ".local/bin"])
async def test_python_in_a_home_shows_nothing_of_it(bench: Bench, home: Path, place: str) -> None:
    python = home / place / "python3"
    python.symlink_to(str(PYTHON))
    interpreter = Interpreter(runtime="python", program=str(python), name="python3")
    assert await seen(bench, home, bench.python(SEEN, interpreter=interpreter)) == []


@pytest.mark.skipif(PYTHON is None, reason="there is no Python of the system's")
@pytest.mark.parametrize("place", ["proj", "."], ids=["the project", "the home"])
async def test_a_virtual_environment_that_is_more_shows_its_own_parts_alone(
    bench: Bench, home: Path, place: str
) -> None:
    folder = home / place
    subprocess.run([str(PYTHON), "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "brought.py").write_text("x = 1")
    interpreter = Interpreter(runtime="python", program=str(folder / "bin" / "python3"), name="python3")
    function = bench.python(f"import brought{SEEN}", interpreter=interpreter)
    assert await seen(bench, home, function) == []


async def test_the_hubs_own_environment_in_its_project_shows_its_own_parts_alone(
    bench: Bench, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(home / "proj"))
    (home / "proj" / "pyvenv.cfg").touch()
    (home / "proj" / "lib" / "python3.11").mkdir(parents=True)
    assert await seen(bench, home, bench.python(SEEN)) == []
    expected = [f"{home}/proj/{part}" for part in ("lib/python3.11", "pyvenv.cfg")]
    shown = installation.python(installation.private([home / "proj"]))
    assert [path for path in shown if path.startswith(str(home))] == expected


@pytest.mark.parametrize(
    ("landmark", "whole"),
    [
        ("pyvenv.cfg", True),
        ("lib/python3.12/os.py", True),
        ("include/node/node.h", True),
        ("share/man/man1/x.1", False),
        ("lib/node_modules/x", False),
    ],
)
def test_all_of_an_installation_is_shown_and_of_another_folder_the_program(
    tmp_path: Path, landmark: str, whole: bool
) -> None:
    program = tmp_path / "x" / "bin" / "node"
    for path in (program, tmp_path / "x" / landmark):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    shown = installation.of_program(str(program), installation.private())
    assert (shown == [str(tmp_path / "x")]) == whole
    assert any(str(program).startswith(one) for one in shown)
    # With something of the hub's in it, it is no installation alone.
    apart = installation.private([tmp_path / "x" / "project"])
    assert str(tmp_path / "x") not in installation.of_program(str(program), apart)


def test_what_every_sandbox_shows_is_no_interpreters() -> None:
    assert installation.of_program("/usr/bin/env", ()) == installation.of_program("/bin/sh", ()) == []


async def test_a_project_among_the_systems_folders_is_not_seen(
    bench: Bench, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As /usr/local is: shown to all.
    monkeypatch.setattr(view, "SYSTEM", (*view.SYSTEM, str(home)))
    inbox = home / "proj" / "inbox"
    inbox.mkdir()
    (inbox / "letter").write_text("hello")
    function = bench.python(
        f"""
        import os
        def handler(event, context):
            return [os.listdir({str(home / "proj")!r}), [os.path.exists(one) for one in event], open({str(inbox / "letter")!r}).read()]
        """,
        read=(inbox,),
    )
    runtime = bench.runtime(data=home / "proj" / "var", project=home / "proj")
    async with runtime.start(function) as worker:
        event = [str(home / "bin"), str(home / "proj" / "triggerhub.toml")]
        outcome = await worker.invoke(invocation(event, function=function))
    assert isinstance(outcome, Returned), outcome
    assert json.loads(outcome.payload) == [["inbox"], [True, False], "hello"]


@pytest.mark.skipif(PYTHON is None, reason="there is no Python of the system's")
async def test_an_interpreter_of_a_project_among_the_systems_folders_is_seen(
    bench: Bench, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As /usr/src/app is in many images.
    monkeypatch.setattr(view, "SYSTEM", (*view.SYSTEM, str(home)))
    folder = home / "proj" / ".venv"
    subprocess.run([str(PYTHON), "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "brought.py").write_text("x = 1")
    interpreter = Interpreter(runtime="python", program=str(folder / "bin" / "python3"), name="python3")
    function = bench.python(f"import brought{SEEN}", interpreter=interpreter)
    shown = await seen(bench, home, function)
    assert isinstance(shown, list)
    assert shown
    assert [path for path in shown if path.startswith(str(home / "proj"))] == []


def test_the_hubs_own_environment_in_a_project_among_the_systems_folders_is_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "SYSTEM", (*view.SYSTEM, str(home)))
    environment = home / "proj" / ".venv"
    environment.mkdir()
    (environment / "pyvenv.cfg").touch()
    monkeypatch.setattr(sys, "prefix", str(environment))
    assert str(environment) in installation.python(installation.private([home / "proj"]))
    assert str(environment) not in installation.python(())
