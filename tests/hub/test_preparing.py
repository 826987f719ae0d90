"""What a function depends on is built away from every event: its predecessor serves, or its deliveries wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.hub.rig import echoing, function, project, rig, trigger
from triggerhub.errors import ConfigError
from triggerhub.hub import preparing
from triggerhub.settings import Function, Needs


@dataclass
class Builder:
    """Environments that are there when the test says so."""

    there: set[str] = field(default_factory=set)
    fails: dict[str, ConfigError] = field(default_factory=dict)
    go: anyio.Event = field(default_factory=anyio.Event)
    says: str = ""
    begun: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)

    def ready(self, function: Function) -> bool:
        return function.needs is None or function.needs.folder.name in self.there

    async def build(self, function: Function, tell: Callable[[str], None]) -> None:
        assert function.needs is not None
        if self.says:
            tell(self.says)
        name = function.needs.folder.name
        self.begun.append(name)
        try:
            await self.go.wait()
        except BaseException:
            self.cut.append(name)
            raise
        if name in self.fails:
            raise self.fails[name]
        self.there.add(name)


def needing(name: str, **settings: Any) -> Function:
    needs = Needs(kind="python", folder=Path("/environments") / name, packages=("x",))
    return function(version=f"work-{name}", source="handlers/work.py", needs=needs, **settings)


async def test_deliveries_of_a_new_function_wait_until_it_can_run(tmp_path: Path) -> None:
    builder = Builder()
    async with rig(tmp_path, {"work": echoing}, functions=[needing("one")], environments=builder) as r:
        (answer,) = await r.emit("hand", 1)
        await r.until(lambda: builder.begun == ["one"], "a build")
        (row,) = await r.hub.functions()
        assert row["preparing"] == "its dependencies are being built, for 0 s by now"
        await r.hub.pause("function", "work")
        await r.hub.resume("function", "work")
        await r.idle()
        assert (await r.row(answer.deliveries[0])).state == "queued"
        r.wanted.append((project([needing("one")], [trigger()], tmp_path), r.modules, []))
        builder.go.set()
        assert await r.states(1) == ["succeeded"]
        (row,) = await r.hub.functions()
        assert row["preparing"] is None


async def test_a_function_that_was_paused_meanwhile_stays_so(tmp_path: Path) -> None:
    builder = Builder()
    async with rig(tmp_path, {"work": echoing}, functions=[needing("one")], environments=builder) as r:
        (answer,) = await r.emit("hand", 1)
        await r.hub.pause("function", "work")
        r.wanted.append((project([needing("one")], [trigger()], tmp_path), r.modules, []))
        builder.go.set()
        await r.until(lambda: not r.wanted, "the reload after the build")
        await r.idle()
        assert (await r.row(answer.deliveries[0])).state == "queued"
        await r.hub.resume("function", "work")
        assert await r.states(1) == ["succeeded"]


async def test_the_old_version_serves_until_the_new_one_can(tmp_path: Path) -> None:
    builder = Builder()
    async with rig(tmp_path, {"work": echoing}, functions=[function()], environments=builder) as r:
        (problem,) = await r.reload([needing("two")], [trigger()])
        assert problem == "handlers/work.py: what it depends on is not built yet; version work-1 goes on serving"
        await r.emit("hand", 1)
        assert await r.states(1) == ["succeeded"]
        assert {one.version for one in r.runtime.started} == {"work-1"}
        r.wanted.append((project([needing("two")], [trigger()], tmp_path), r.modules, []))
        builder.go.set()
        await r.until(lambda: r.hub.project.functions["work"].version == "work-two", "the new version")
        assert (await r.hub.status())["problems"] == []


async def test_a_build_that_fails_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "FIRST", 0.01)
    builder = Builder(fails={"two": ConfigError("pip failed", hint="read on")})
    builder.go.set()
    async with rig(tmp_path, {"work": echoing}, functions=[function()], environments=builder) as r:
        await r.reload([needing("two")], [trigger()])
        await r.until(lambda: len(builder.begun) > 2, "another try")
        problems = (await r.hub.status())["problems"]
        assert "handlers/work.py: its dependencies could not be built: pip failed; read on" in problems
        await r.emit("hand", 1)
        assert await r.states(1) == ["succeeded"]
        r.wanted.append((project([needing("two")], [trigger()], tmp_path), r.modules, []))
        builder.fails.clear()
        await r.until(lambda: r.hub.project.functions["work"].version == "work-two", "the new version")


async def test_what_nobody_wants_any_more_is_not_built_on(tmp_path: Path) -> None:
    builder = Builder()
    async with rig(tmp_path, {"work": echoing}, functions=[needing("one")], environments=builder) as r:
        await r.until(lambda: builder.begun == ["one"], "a build")
        await r.reload([needing("two")], [trigger()])
        await r.until(lambda: builder.begun == ["one", "two"], "the other build")
        assert builder.cut == ["one"]
        (answer,) = await r.emit("hand", 1)
        await r.reload([function()], [trigger()])
        assert (await r.hub.deliveries.wait(answer.deliveries[0], 20)).state == "succeeded"
    assert builder.cut == ["one", "two"]


async def test_what_the_installer_says_is_shown(tmp_path: Path) -> None:
    builder = Builder(says="Downloading x-1.0.tar.gz (5.1 MB)")
    async with rig(tmp_path, {"work": echoing}, functions=[needing("one")], environments=builder) as r:
        await r.until(lambda: builder.begun == ["one"], "a build")
        (row,) = await r.hub.functions()
        assert row["preparing"].endswith("s by now: Downloading x-1.0.tar.gz (5.1 MB)")
        builder.go.set()
