"""A function's layers are named in its table or in the defaults, and show nothing of the hub's."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from triggerhub.config.load import load
from triggerhub.settings import Function

Check = Callable[..., list[str]]
Make = Callable[..., Path]


def layer(project: Path, text: str = "x") -> None:
    with zipfile.ZipFile(project / "lib.zip", "w") as archive:
        archive.writestr("python/lib.py", text)


def function(project: Path) -> Function:
    loaded = load(project, environ={}, versions=Path("versions"))
    assert loaded.project is not None, loaded.problems
    return loaded.project.functions["echo"]


@pytest.mark.parametrize("toml", ['[functions.echo]\nlayers = ["lib.zip"]\n', '[defaults]\nlayers = ["lib.zip"]\n'])
def test_layers_are_put_together_when_the_project_is_read(make: Make, toml: str) -> None:
    project = make(toml)
    layer(project)
    made = function(project)
    assert made.opt is not None
    assert made.opt.parent == project / "var" / "layers"
    assert (made.opt / "python/lib.py").read_text() == "x"


def test_a_changed_layer_is_a_changed_function(make: Make) -> None:
    plain = function(make(""))
    assert plain.opt is None
    project = make('[functions.echo]\nlayers = ["lib.zip"]\n')
    layer(project)
    one = function(project)
    layer(project, "another")
    two = function(project)
    assert len({plain.version, one.version, two.version}) == 3
    assert plain.code == one.code == two.code


def test_check_looks_and_writes_nothing(make: Make) -> None:
    project = make('[functions.echo]\nlayers = ["lib.zip"]\n')
    layer(project)
    assert not load(project, environ={}).problems
    assert not (project / "var").exists()


def test_a_layer_that_cannot_be_used_is_told_where_it_was_written(make: Make, check: Check) -> None:
    (line,) = check('[functions.echo]\nlayers = ["no.zip"]\n')
    assert line.startswith("triggerhub.toml:2:10: error[bad-layer]: functions.echo.layers: there is no ")
    assert "a layer is a zip archive or a folder" in line
    (line,) = check('[defaults]\nlayers = ["no.zip"]\n')
    assert line.startswith("triggerhub.toml:2:10: error[bad-layer]: defaults.layers: ")


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (".", "the hub's data is in it"),
        ("..", "the hub's data is in it"),
        ("/", "the hub's data is in it"),
        ("var", "that is the hub's data"),
        ("var/versions", "that is the hub's data"),
        ("behind", "that is the hub's data"),
        ("handlers", "every handler is in it"),
    ],
)
def test_no_layer_shows_the_hubs_data_or_all_handlers(make: Make, layer: str, why: str) -> None:
    project = make(f'[functions.echo]\nlayers = ["{layer}"]\n')
    (project / "var" / "versions").mkdir(parents=True)
    (project / "behind").symlink_to("var")
    for loaded in (load(project, environ={}), load(project, environ={}, versions=Path("versions"))):
        (line,) = map(str, loaded.problems)
        assert "triggerhub.toml:2:10: error[bad-layer]: functions.echo.layers: " in line
        assert line.endswith(
            f"{project / layer} cannot be a layer: {why}; name a folder beside it, such as layers/tools"
        )


def test_what_a_folder_has_that_no_layer_can_hold_is_to_leave_that_folder(make: Make) -> None:
    project = make('[functions.echo]\nlayers = ["lib"]\n')
    (project / "lib").mkdir()
    os.mkfifo(project / "lib" / "pipe")
    (line,) = map(str, load(project, environ={}).problems)
    assert line.endswith(f"{project}/lib/pipe is neither a file nor a folder. Take it out of {project}/lib.")


def test_what_a_function_will_not_find_is_told(make: Make) -> None:
    project = make('[functions.echo]\nlayers = ["lib"]\nsandbox = { level = "trusted" }\n')
    (project / "lib" / "extensions").mkdir(parents=True)
    (project / "lib" / "extensions" / "watcher").write_text("")
    lines = [str(problem) for problem in load(project, environ={}).problems]
    assert len(lines) == 2
    assert "2:10: warning[no-opt]: functions.echo: at level trusted its layers are on the same paths" in lines[0]
    assert "functions.echo: its layers bring extensions (watcher), which run beside a bootstrap only" in lines[1]


def test_the_extensions_of_an_archive_are_seen_too(make: Make) -> None:
    project = make('[functions.echo]\nlayers = ["lib.zip"]\n')
    with zipfile.ZipFile(project / "lib.zip", "w") as archive:
        archive.writestr("extensions/watcher", "")
        archive.writestr("extensions/lib/no", "")
    (problem,) = load(project, environ={}).problems
    assert problem.code == "no-extensions"
    assert "(watcher)" in problem.message
