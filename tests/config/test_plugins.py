"""Source types are found by name, in the hub's folder and in the project's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from triggerhub.config.load import load
from triggerhub.config.plugins import BUILT_IN, PluginError, Plugins

Check = Callable[..., list[str]]
Make = Callable[..., Path]

GOOD = """
from triggerhub import source

MARK = {mark!r}

class Options(source.Options):
    word: str = ""

async def run(ctx, options):
    pass
"""
USES = '[triggers.t]\ntype = "mine"\nfunction = "echo"\n'


def good(mark: str = "") -> str:
    return GOOD.format(mark=mark)


def test_a_module_of_the_project_is_a_type(make: Make) -> None:
    project = make(USES, None, {"mine.py": good()})
    loaded = load(project, environ={})
    assert [str(problem) for problem in loaded.problems] == []
    assert Path(str(loaded.sources["mine"].__file__)) == project / "sources" / "mine.py"
    assert str(project) not in sys.path
    assert not list(project.rglob("__pycache__"))


def test_a_package_of_the_project_is_a_type_too(check: Check) -> None:
    assert check(USES, None, {"mine/__init__.py": "from sources.mine.inner import *\n", "mine/inner.py": good()}) == []


def test_only_the_modules_in_use_are_imported(check: Check) -> None:
    assert check(USES, None, {"mine.py": good(), "heavy.py": "raise RuntimeError('imported for nothing')\n"}) == []


def test_a_changed_module_is_read_again_and_an_unchanged_one_is_not(make: Make) -> None:
    project = make(USES, None, {"mine.py": good("one"), "_help.py": "WORD = 1\n"})
    first = load(project, environ={}).sources["mine"]
    assert load(project, environ={}).sources["mine"] is first
    for mark in ("two", "six"):  # of one length, within one second
        (project / "sources" / "mine.py").write_text(good(mark))
        second = load(project, environ={}).sources["mine"]
        assert second is not first
        assert mark == second.MARK
    assert Plugins(project).load("mine") is second
    assert Plugins(project).load("mine", fresh=True) is not second


def test_a_helper_of_a_module_is_read_again_with_it(make: Make) -> None:
    project = make(USES, None, {"mine.py": "from sources._help import WORD\n" + good(), "_help.py": "WORD = 1\n"})
    assert load(project, environ={}).sources["mine"].WORD == 1
    (project / "sources" / "_help.py").write_text("WORD = 2\n")
    assert load(project, environ={}).sources["mine"].WORD == 2


def test_two_projects_do_not_see_each_others_types(tmp_path: Path) -> None:
    for name in ("one", "two", "one"):
        (tmp_path / name / "sources").mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "sources" / "mine.py").write_text(good(name))
        assert name == Plugins(tmp_path / name).load("mine").MARK
    (tmp_path / "three").mkdir()
    with pytest.raises(PluginError, match='no source named "mine"'):
        Plugins(tmp_path / "three").load("mine")


def test_a_name_that_the_hub_has_is_refused_naming_both(check: Check, tmp_path: Path) -> None:
    assert check("", None, {"queue.py": good()}) == [
        (
            f"sources/queue.py: error[duplicate-source]: there are two sources of one name: {BUILT_IN}/queue.py and "
            f"{tmp_path}/project/sources/queue.py; rename your own"
        )
    ]


def test_a_dotted_type_is_an_import_path(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site" / "acme_kafka").mkdir(parents=True)
    (tmp_path / "site" / "acme_kafka" / "source.py").write_text(good("acme"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    loaded = load(make(USES.replace("mine", "acme_kafka.source")), environ={})
    assert loaded.project is not None
    assert loaded.sources["acme_kafka.source"].MARK == "acme"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            "import json\n\nraise RuntimeError('no')\n",
            'the source "mine" cannot be imported: mine.py:3: RuntimeError: no',
            id="raises",
        ),
        pytest.param(
            "import nothing_of_this_name\n",
            "the source \"mine\" cannot be imported: mine.py:1: ModuleNotFoundError: No module named 'nothing_of_this_name'",
            id="imports what is not there",
        ),
        pytest.param("raise SystemExit(3)\n", 'the source "mine" cannot be imported: mine.py:1: SystemExit: 3', id="exits"),
        pytest.param("def x(:\n", 'the source "mine" cannot be imported: mine.py:1: SyntaxError: invalid syntax', id="syntax"),
        pytest.param(
            "",
            'the source "mine" is not one: it needs a class Options derived from triggerhub.source.Options and a coroutine '
            "function: async def run(ctx, options)",
            id="empty",
        ),
        pytest.param(
            good().replace("async def", "def"),
            'the source "mine" is not one: it needs a coroutine function: async def run(ctx, options)',
            id="run is no coroutine",
        ),
        pytest.param(
            good() + "fire = 3\nwrap = 4\n",
            'the source "mine" is not one: its wrap is no function; its fire is no function',
            id="a hook is no function",
        ),
        pytest.param(
            good() + "batch_size = 'ten'\nacks = 'handled'\n",
            'the source "mine" is not one: its batch_size is \'ten\', expected a whole number from 1 to 10000; '
            'its acks are \'handled\', expected a tuple of "stored" and "handled", or of one of them',
            id="values that are none",
        ),
        pytest.param(
            good() + "batch_size = 10_001\nacks = ('stored', 'later')\n",
            'the source "mine" is not one: its batch_size is 10001, expected a whole number from 1 to 10000; '
            "its acks are ('stored', 'later'), expected a tuple of \"stored\" and \"handled\", or of one of them",
            id="values beyond what there is",
        ),
        pytest.param(
            good().replace("word:", "filter:"),
            'the source "mine" has options that every trigger has: filter; give them other names',
            id="takes a common key",
        ),
    ],
)  # fmt: skip
def test_a_module_that_is_no_source_is_told_at_its_type(check: Check, text: str, says: str) -> None:
    assert check(USES, None, {"mine.py": text}) == [
        f"triggerhub.toml:2:8: error[bad-source]: triggers.t.type: {says}",
    ]


def test_a_module_that_is_mended_works_again(make: Make) -> None:
    project = make(USES, None, {"mine.py": "1 / 0\n"})
    assert load(project, environ={}).project is None
    (project / "sources" / "mine.py").write_text(good())
    assert load(project, environ={}).project is not None


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise KeyError('hunter2')", "KeyError (mine.py:12)"),
        ("yield 1 / 0", "ZeroDivisionError (mine.py:12)"),
        ("raise SystemExit(3)", "SystemExit (mine.py:12)"),
        ("return 5", "TypeError (mine.py:11)"),
        ("yield 'hunter2'", "it returned str, expected Finding (mine.py:11)"),
    ],
)
def test_a_check_that_fails_is_a_problem_that_shows_nothing_but_its_place(check: Check, body: str, says: str) -> None:
    text = good() + f"def check(options, trigger):\n    {body}\n"
    assert check(USES, None, {"mine.py": text}) == [
        f"triggerhub.toml:2:8: error[bad-source]: triggers.t: the source mine failed in check: {says}"
    ]


def test_a_validator_that_fails_is_told_with_its_place(check: Check) -> None:
    text = "from pydantic import field_validator\n" + good().replace(
        'word: str = ""',
        'word: str = ""\n    @field_validator("word")\n    def no(cls, word):\n        return {}[word]',
    )
    assert check(USES + 'word = "hunter2"\n', None, {"mine.py": text}) == [
        "triggerhub.toml:2:8: error[bad-source]: triggers.t: the source mine failed in Options: KeyError (mine.py:11)"
    ]


def test_a_foreign_package_called_sources_is_told_with_its_path(make: Make, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    (foreign / "sources").mkdir(parents=True)
    (foreign / "sources" / "__init__.py").write_text("raise SystemExit('must not be imported')\n")
    project = make(USES)
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from triggerhub.config.load import load, render\n"
        "print(render(load(Path(sys.argv[2]), environ={}).problems))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(foreign), str(project)],
        capture_output=True,
        text=True,
        check=True,
        cwd=BUILT_IN.parent,
    )
    assert f"sources: error[foreign-sources]: a package called sources at {foreign}/sources hides" in done.stdout
