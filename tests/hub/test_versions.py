"""What is kept of versions starts them again as they were, and goes when its time is over."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from triggerhub.config.earlier import Earlier
from triggerhub.config.load import VERSIONS, load
from triggerhub.errors import Conflict, NotFound
from triggerhub.hub.versions import SCOPE, FolderVersions
from triggerhub.policy.versions import AGE, MOST
from triggerhub.settings import HOUR, Function, Project
from triggerhub.stores.memory import MemoryStore


class Folder:
    """A project folder whose content comes into force at once."""

    def __init__(self, path: Path) -> None:
        self.path, self.store, self.now, self.toml = path, MemoryStore(), 1_000, ""
        self.versions: FolderVersions
        self.project: Project

    def write(self, name: str, text: str) -> None:
        path = self.path / "handlers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if text.startswith("#!"):
            path.chmod(0o755)
        (self.path / "triggerhub.toml").write_text(self.toml)

    def read(self) -> Project:
        loaded = load(self.path, environ={"PATH": "/usr/bin:/bin"}, versions=VERSIONS)
        assert loaded.project is not None, loaded.problems
        return loaded.project

    async def start(self) -> None:
        self.versions = FolderVersions(self.store, lambda: self.now, Earlier(self.path / "var"))
        self.project = await self.versions.begin(self.read())

    async def save(self, name: str, text: str) -> Function:
        """Save a file; return its function as it is in force then."""
        self.now += 1_000
        self.write(name, text)
        self.project = self.versions.applied(self.read())
        await self.versions.settled(self.project)
        return self.project.functions[Path(name).parts[0].split(".")[0]]

    def states(self, name: str) -> list[str]:
        return [row["state"] for row in self.versions.rows(name)]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "texts", "toml"),
    [
        pytest.param("f.py", ("def handler(e, c): return 1", "def handler(e, c): return 2"), "", id="python"),
        pytest.param(
            "f.py", ("def main(e, c): return 1", "def main(e, c): return 2"),
            '[functions.f]\nhandler = "f.py:main"', id="a named handler",
        ),
        pytest.param("f/bootstrap", ("#!/bin/sh\nexit 1", "#!/bin/sh\nexit 2"), "", id="provided"),
        pytest.param("f.sh", ("#!/bin/sh\nexit 1", "#!/bin/sh\nexit 2"), "", id="an executable"),
        pytest.param(
            "f.sh", ("#!/bin/sh\nexit 1", "#!/bin/sh\nexit 2"),
            '[functions.f]\ncommand = ["sh", "-e", "handlers/f.sh", "x"]', id="a command",
        ),
        pytest.param(
            "f/main.py",
            ("# /// script\n# dependencies = ['one']\n# ///\n", "# /// script\n# dependencies = ['two']\n# ///\n"),
            "", id="packages",
        ),
        pytest.param(
            "f/package.json", ('{"dependencies": {"one": "1"}}', '{"dependencies": {"two": "2"}}'), "", id="node",
        ),
        pytest.param("f.py", ("x = 1", "x = 2"), '[functions.f]\nlayers = ["layer"]', id="layers"),
    ],
)  # fmt: skip
async def test_an_earlier_version_is_what_it_was(folder: Folder, name: str, texts: tuple[str, str], toml: str) -> None:
    folder.toml = toml
    (folder.path / "layer").mkdir()
    if name == "f/package.json":
        folder.write("f/index.mjs", "export const handler = () => 1")
    folder.write(name, texts[0])
    await folder.start()
    first = folder.project.functions["f"]
    second = await folder.save(name, texts[1])
    assert first.version != second.version
    assert first.content != second.content
    again = await folder.versions.earlier("f", None)
    assert again == first
    await folder.versions.pin(again)
    await folder.start()
    assert folder.project.functions["f"] == first, "after a restart"
    assert await folder.versions.earlier("f", second.version) == second


async def test_a_version_that_was_mended_elsewhere_can_be_gone_back_to(folder: Folder) -> None:
    folder.write("f.py", '# /// script\n# [tool.triggerhub]\n# on_success = ["function:b"]\n# ///\n')
    await folder.start()
    faulty = folder.project.functions["f"]
    assert 'there is no function "b"' in faulty.faulty
    await folder.save("b.py", "")
    await folder.save("f.py", "x = 2")
    again = await folder.versions.earlier("f", None)
    assert (again.version, again.faulty) == (faulty.version, "")


async def test_another_python_leaves_a_pin_in_force_and_needs_its_packages_anew(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("f.py", "# /// script\n# dependencies = ['one']\n# ///\n")
    await folder.start()
    then = folder.project.functions["f"]
    lay = await folder.save("f.py", "# /// script\n# dependencies = ['two']\n# ///\n")
    await folder.versions.pin(await folder.versions.earlier("f", None))
    other = SimpleNamespace(executable=sys.executable, version_info=(3, 99, 0))
    monkeypatch.setattr("triggerhub.config.needs.sys", other)
    assert folder.read().functions["f"].version != lay.version
    await folder.start()
    function = folder.project.functions["f"]
    assert (function.version, function.code) == (then.version, then.code)
    assert function.needs is not None
    assert function.needs.packages == ("one",)
    assert function.needs != then.needs


async def test_a_moved_data_folder_leaves_a_pin_in_force(folder: Folder) -> None:
    folder.write("f/index.mjs", "export const handler = () => 1")
    folder.write("f/package.json", '{"dependencies": {"one": "1"}}')
    await folder.start()
    await folder.save("f/index.mjs", "export const handler = () => 2")
    await folder.versions.pin(await folder.versions.earlier("f", None))
    moved = Folder(folder.path.with_name("moved"))
    folder.path.rename(moved.path)
    moved.store = folder.store
    await moved.start()
    function = moved.project.functions["f"]
    assert moved.versions.pinned("f") is not None
    assert function.needs is not None
    assert (function.code / "node_modules").readlink() == function.needs.folder / "node_modules"
    assert function.code.is_relative_to(moved.path)


async def test_an_edit_while_the_hub_is_down_lifts_the_pin(folder: Folder) -> None:
    folder.write("f.py", "x = 1")
    await folder.start()
    await folder.save("f.py", "x = 2")
    await folder.versions.pin(await folder.versions.earlier("f", None))
    folder.write("f.py", "x = 3")
    await folder.start()
    assert folder.versions.pinned("f") is None
    assert folder.states("f") == ["runs, lies in the folder", "earlier", "earlier"]
    await folder.start()
    assert folder.versions.pinned("f") is None


async def test_a_function_that_was_away_comes_back_without_its_pin(folder: Folder) -> None:
    folder.write("f.py", "x = 1")
    folder.write("other.py", "x = 1")
    await folder.start()
    await folder.save("f.py", "x = 2")
    await folder.versions.pin(await folder.versions.earlier("f", None))
    (folder.path / "handlers" / "f.py").unlink()
    await folder.save("other.py", "x = 2")
    function = await folder.save("f.py", "x = 2")
    assert folder.versions.pinned("f") is None
    assert folder.states("f") == ["runs, lies in the folder", "earlier"]
    assert function.code.is_dir()


async def test_another_runtime_is_not_gone_back_to(folder: Folder) -> None:
    folder.write("f.py", "x = 1")
    await folder.start()
    first = folder.project.functions["f"].version
    (folder.path / "handlers" / "f.py").unlink()
    await folder.save("f.mjs", "export const handler = () => 2")
    with pytest.raises(Conflict, match="was for python, and f is for node now"):
        await folder.versions.earlier("f", first)


async def test_too_many_versions_go_with_their_code_but_not_under_calls(folder: Folder) -> None:
    folder.write("f.py", "x = 0")
    await folder.start()
    for number in range(1, MOST + 4):
        await folder.save("f.py", f"x = {number}")
    assert await folder.versions.prune() == 0, "calls may still be on them"
    folder.now += HOUR
    assert await folder.versions.prune() == 4
    assert len(folder.versions.rows("f")) == MOST
    assert len(list((folder.path / "var" / "versions" / "f").iterdir())) == MOST
    await folder.start()
    assert len(folder.versions.rows("f")) == MOST
    folder.now += AGE
    assert await folder.versions.prune() == MOST - 2
    assert folder.states("f") == ["runs, lies in the folder", "earlier"]


async def test_what_is_pinned_and_what_lies_in_the_folder_stay(folder: Folder) -> None:
    folder.write("f.py", "x = 0")
    await folder.start()
    first = folder.project.functions["f"].version
    for number in range(1, MOST + 4):
        await folder.save("f.py", f"x = {number}")
    await folder.versions.pin(await folder.versions.earlier("f", first))
    folder.now += HOUR + AGE
    await folder.versions.prune()
    assert {"runs, pinned", "lies in the folder"} <= set(folder.states("f"))
    await folder.start()
    assert folder.project.functions["f"].version == first


async def test_records_that_cannot_be_read_are_left_out(folder: Folder) -> None:
    folder.write("f.py", "x = 1")
    junk = {"pin:f": "[]", "pin:g": "nonsense", "version:f:x": '{"first": 1}', "version:g:y": json.dumps({"a": 1})}
    await folder.store.set_checkpoints(SCOPE, junk)
    await folder.start()
    assert folder.states("f") == ["runs, lies in the folder"]
    assert not set(junk) & set(await folder.store.checkpoints(SCOPE))
    with pytest.raises(NotFound):
        await folder.versions.earlier("f", "x")


async def test_check_says_what_is_pinned_while_no_hub_runs(folder: Folder) -> None:
    folder.write("f.py", "x = 1")
    await folder.start()
    first = folder.project.functions["f"].version
    second = (await folder.save("f.py", "x = 2")).version

    def said() -> list[str]:
        found = load(folder.path, environ={})
        return [one.message for one in found.problems if one.code == "pinned-version"]

    assert said() == []
    await folder.versions.pin(await folder.versions.earlier("f", None))
    assert said() == [f"function f is pinned to {first}; the folder holds {second}"]
    folder.write("f.py", "x = 3")
    assert said() == []
