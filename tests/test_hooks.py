"""A source's hooks are anybody's code: what goes wrong there is told with the source, the hook and the place."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from triggerhub import hooks
from triggerhub.errors import BadInput, SourceFailed

CODE = """
import json
from triggerhub.errors import BadInput
def good(): return b"x"
def of_text(): return "x"
def of_nothing(): pass
def raising():
    return b"x" if 1 / 0 else b"y"
def raising_in_a_library():
    return json.loads("{")
def refusing(): raise BadInput("no such line")
def exiting(): raise SystemExit(3)
def taking(one): pass
borrowed = json.dumps
"""


@pytest.fixture
def module(tmp_path: Path) -> ModuleType:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    spec = importlib.util.spec_from_file_location("sources.mine", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(
    ("hook", "says", "bare"),
    [
        ("of_text", "it returned str, expected bytes (mine.py:5)", "it returned str, expected bytes (mine.py:5)"),
        ("of_nothing", "it returned NoneType, expected bytes (mine.py:6)", None),
        ("raising", "ZeroDivisionError: division by zero (mine.py:8)", "ZeroDivisionError (mine.py:8)"),
        ("raising_in_a_library", "(mine.py:10)", "JSONDecodeError (mine.py:10)"),
        ("exiting", "SystemExit: 3 (mine.py:12)", "SystemExit (mine.py:12)"),
        ("taking", "missing 1 required positional argument: 'one' (mine.py:13)", "TypeError (mine.py:13)"),
        ("borrowed", "missing 1 required positional argument: 'obj' (__init__.py:", None),
    ],
)
def test_what_goes_wrong_in_a_hook_names_source_hook_and_place(
    module: ModuleType, hook: str, says: str, bare: str | None
) -> None:
    with pytest.raises(SourceFailed) as failed:
        hooks.ask(module, hook, bytes)
    assert failed.value.message.startswith(f"the source mine failed in {hook}: ")
    assert says in failed.value.message
    if bare is not None:
        assert failed.value.bare == f"the source mine failed in {hook}: {bare}"


def test_what_a_hook_returns_and_what_it_tells_a_user_pass(module: ModuleType) -> None:
    assert hooks.ask(module, "good", bytes) == b"x"
    with pytest.raises(BadInput, match="no such line"):
        hooks.ask(module, "refusing", bytes)
