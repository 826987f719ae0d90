"""What `triggerhub init` writes is the repository's own demonstration, and it is right."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from triggerhub.config.load import load
from triggerhub.config.scaffold import TEMPLATE, scaffold
from triggerhub.errors import ConfigError, Conflict
from triggerhub.model import Event
from triggerhub.testing import START

ROOT = Path(__file__).parents[2]


def test_the_repositorys_own_demonstration_is_the_template() -> None:
    def files(top: Path) -> dict[str, bytes]:
        found = [top / "triggerhub.toml", *sorted((top / "handlers").iterdir())]
        return {str(path.relative_to(top)): path.read_bytes() for path in found if path.is_file()}

    assert files(ROOT) == files(TEMPLATE)
    assert (ROOT / "inbox" / ".keep").exists()
    assert os.access(ROOT / "handlers" / "count.sh", os.X_OK)


def test_it_writes_a_project_without_a_problem(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "demo"
    written = scaffold(folder)
    assert sorted(str(path) for path in written) == [
        ".gitignore", "handlers/broken.py", "handlers/count.sh", "handlers/greet.py", "handlers/hello.py",
        "handlers/on_file.py", "handlers/tick.py", "inbox/.keep", "triggerhub.toml",
    ]  # fmt: skip
    assert all((folder / path).is_file() for path in written)
    loaded = load(folder, environ={})
    assert [str(problem) for problem in loaded.problems] == []
    assert loaded.project is not None
    assert set(loaded.project.triggers) == {"inbox", "tick", "demo", "greet", "broken"}
    assert len(loaded.project.triggers["demo"].functions) == 2
    assert loaded.project.functions["broken"].retry.initial == 1000


def test_it_writes_over_nothing(tmp_path: Path) -> None:
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "hello.py").write_text("mine\n")
    with pytest.raises(Conflict, match=r"hello\.py is there already"):
        scaffold(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["handlers", "hello.py"]


def test_a_second_time_is_refused(tmp_path: Path) -> None:
    scaffold(tmp_path)
    with pytest.raises(Conflict, match=r"is there already"):
        scaffold(tmp_path)


def test_a_gitignore_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    assert Path(".gitignore") not in scaffold(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"):
        scaffold(tmp_path / "file" / "demo")


def test_the_shell_handler_answers_json(tmp_path: Path) -> None:
    scaffold(tmp_path)
    done = subprocess.run([tmp_path / "handlers" / "count.sh"], input=b"12345", capture_output=True, check=True)
    assert json.loads(done.stdout) == {"bytes": 5}


def test_each_handler_takes_the_events_of_its_trigger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scaffold(tmp_path)
    (tmp_path / "inbox" / "a.txt").write_text("hi\n")
    loaded = load(tmp_path, environ={})
    assert loaded.project is not None

    def run(name: str, trigger: str, event: Event) -> Any:
        source = loaded.sources[loaded.project.triggers[trigger].type]  # type: ignore[union-attr]
        envelope = getattr(source, "envelope", lambda records: records[0])
        spec = importlib.util.spec_from_file_location(f"demo_{name}", tmp_path / "handlers" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        answer = module.handler(json.loads(envelope([event.data])), None)
        return asyncio.run(answer) if inspect.iscoroutine(answer) else answer

    def event(trigger: str, hook: str, *args: Any) -> Any:
        found = loaded.project.triggers[trigger]  # type: ignore[union-attr]
        return getattr(loaded.sources[found.type], hook)(found.options, trigger, *args)

    assert run("on_file", "inbox", event("inbox", "wrap", b"a.txt", START)) == {"files": 1}
    assert run("tick", "tick", event("tick", "fire", START)) is None
    assert run("hello", "demo", event("demo", "wrap", b'{"name": "you"}', START)) == {"greeted": "you"}
    assert run("hello", "demo", event("demo", "wrap", b"", START)) == {"greeted": "world"}
    assert run("greet", "greet", event("greet", "wrap", b"", START))["body"] == "Hello name!\n"
    with pytest.raises(ValueError, match="on purpose"):
        run("broken", "broken", event("broken", "wrap", b"", START))
    assert capsys.readouterr().out.splitlines() == [
        "ObjectCreated:Put: a.txt, 3 bytes",
        "it is 2026-01-01T00:00:00Z",
        "hello you!",
        "hello world!",
    ]
