"""What a handler puts in the place of a folder that another one is shown leads that one nowhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from triggerhub.config.load import load
from triggerhub.errors import StartFailed
from triggerhub.model import Returned
from triggerhub.settings import Project

from .conftest import Bench, invocation

FETCH = """
import os
def handler(event, context):
    for name, target in event:
        os.rename(name, name + ".old")
        os.symlink(target, name)
"""
SORT = """
import os
def handler(event, context):
    return [os.listdir(one) for one in event]
"""
WRITTEN = """
[functions.fetch]
sandbox = { write = ["work"] }
[functions.sort]
sandbox = { read = ["work/incoming"], write = ["work/out"] }
[functions.told]
[triggers.t]
type = "files"
path = "work/incoming"
function = "told"
"""


@pytest.fixture
def project(bench: Bench) -> Path:
    project = bench.root / "project"
    for name, text in (("fetch", FETCH), ("sort", SORT), ("told", SORT)):
        path = project / "handlers" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (project / "triggerhub.toml").write_text(WRITTEN)
    for name in ("work", "work/incoming", "work/out"):
        (project / name).mkdir()
        (project / name).chmod(0o777)
    (project / "work" / "incoming" / "letter").touch()
    return project


def read(project: Path) -> Project:
    found = load(project, environ=os.environ, versions=Path("versions")).project
    assert found is not None
    return found


async def called(bench: Bench, project: Project, name: str, event: object) -> object:
    runtime = bench.runtime(data=project.hub.data, project=project.hub.project)
    function = project.functions[name]
    async with runtime.start(function) as worker:
        outcome = await worker.invoke(invocation(event, function=function))
    assert isinstance(outcome, Returned), outcome
    return json.loads(outcome.payload)


@pytest.mark.parametrize("place", ["incoming", "out"])
async def test_a_link_that_a_handler_made_is_followed_for_nobody(bench: Bench, project: Path, place: str) -> None:
    loaded = read(project)
    incoming, out = str(project / "work" / "incoming"), str(project / "work" / "out")
    assert await called(bench, loaded, "sort", [incoming, out]) == [["letter"], []]
    assert await called(bench, loaded, "told", [incoming]) == [["letter"]]
    await called(bench, loaded, "fetch", [[f"{project}/work/{place}", str(project / "var")]])
    for again in (loaded, read(project)):  # before a reload, and after it
        with pytest.raises(StartFailed, match=f"on the way to {project}/work/{place}, which functions.sort is to see"):
            await called(bench, again, "sort", [])
        if place == "incoming":
            with pytest.raises(StartFailed, match=r"functions\.told is to see, there is a link"):
                await called(bench, again, "told", [])


async def test_a_link_of_the_owners_is_seen_where_it_led(bench: Bench, project: Path) -> None:
    for release in ("1", "2"):
        (project / release).mkdir()
        (project / release / f"of-{release}").touch()
    (project / "current").symlink_to("1")
    (project / "triggerhub.toml").write_text('[functions.sort]\nsandbox = { read = ["current"] }\n')
    loaded = read(project)
    assert await called(bench, loaded, "sort", [str(project / "current")]) == [["of-1"]]
    (project / "current").unlink()
    (project / "current").symlink_to("2")
    assert await called(bench, loaded, "sort", [str(project / "current")]) == [["of-1"]]
    assert await called(bench, read(project), "sort", [str(project / "current")]) == [["of-2"]]
