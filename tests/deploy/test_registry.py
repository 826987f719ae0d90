"""What was deployed is there after a restart; what cannot be read or run takes nothing else with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.contract.package import RUNTIME, answering, zipped
from triggerhub.archive import BadArchive
from triggerhub.aws import arn
from triggerhub.deploy.record import Alias, Deployed, EventConfig, LayerUse, Provisioned, Version, written
from triggerhub.deploy.registry import SCOPE, Registry
from triggerhub.deploy.shelf import Shelf, StorageExceeded
from triggerhub.errors import StoreFull
from triggerhub.policy.retry import backoff
from triggerhub.runtimes.layers import assemble
from triggerhub.settings import HOUR, MINUTE, Destination, Function
from triggerhub.stores.memory import MemoryStore


def nothing(home: Path, layers: Sequence[Path], before: Callable[[], None]) -> Path:
    raise AssertionError("there are no layers here")


def registry(store: Any, folder: Path) -> Registry:
    return Registry(store, folder / "functions", assemble=nothing)


async def deploy(made: Registry, name: str, answer: Any, **facts: Any) -> Deployed:
    code = await made.put(answering(answer))
    version = Version(
        runtime=RUNTIME, handler="app.handler", role="r", code=code, code_size=1, modified=1, revision="r"
    )
    wanted = Deployed(name=name, latest=replace(version, **facts))
    changed = await made.change(name, lambda _: wanted)
    assert changed == wanted
    return changed


async def test_a_restart_brings_back_what_was_served_and_removes_what_nothing_needs(tmp_path: Path) -> None:
    store = MemoryStore()
    made = registry(store, tmp_path)
    told: list[set[str]] = []
    made.serve_by(lambda _, changed: told.append(changed))
    kept = await deploy(made, "kept", 1)
    await deploy(made, "gone", 2)
    await made.change("gone", lambda _: None)
    assert told == [{"kept"}, {"gone"}, {"gone"}]
    again = registry(store, tmp_path)
    await again.load()
    assert (again.functions, again.served) == ({"kept": kept}, made.served)
    assert [path.name for path in again.shelf.archives.iterdir()] == [kept.latest.code]
    assert (again.served["kept"].code / "app.py").exists()


async def test_a_record_of_a_newer_hub_keeps_its_code(tmp_path: Path) -> None:
    store = MemoryStore()
    made = registry(store, tmp_path)
    one, two = await deploy(made, "one", 1), await deploy(made, "two", 2)
    await store.set_checkpoints(SCOPE, {"two": json.dumps({**json.loads(written(two)), "newer": True})})
    again = registry(store, tmp_path)
    await again.load()
    assert list(again.served) == ["one"]
    assert {path.name for path in again.shelf.archives.iterdir()} == {one.latest.code, two.latest.code}


async def test_a_runtime_that_is_gone_takes_its_own_versions_alone(tmp_path: Path) -> None:
    store = MemoryStore()
    made = registry(store, tmp_path)
    one = await deploy(made, "one", 1)
    odd = replace(
        one, latest=replace(one.latest, runtime="nodejs99.x"), versions={"1": replace(one.latest, number="1")}
    )
    await store.set_checkpoints(SCOPE, {"one": written(odd)})
    again = registry(store, tmp_path)
    await again.load()
    assert list(again.served) == ["one:1"]
    await again.change("one", lambda before: before and before.revised("", "another"))
    assert list(again.served) == ["one:1"], "what does not change how it runs need not run"
    mended = await again.change("one", lambda _: replace(odd, latest=one.latest))
    assert mended is not None
    assert list(again.served) == ["one:1", "one"]


async def test_events_are_tried_again_as_lambda_does_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    made = registry(MemoryStore(), tmp_path)
    one = await deploy(made, "one", 1)
    policy = made.served["one"].retry
    assert [backoff(attempt, policy, draw=0.9) for attempt in (1, 2)] == [MINUTE, 2 * MINUTE]
    assert (policy.attempts, policy.max_age) == (3, 6 * HOUR)
    said = replace(
        one, events={"$LATEST": EventConfig(retries=0, age=60, on_failure=arn.function("other"), modified=1)}
    )
    await made.change("one", lambda _: said)
    function = made.served["one"]
    assert (function.retry.attempts, function.retry.max_age) == (1, MINUTE)
    assert function.on_failure == (Destination(kind="function", target="other"),)


async def test_what_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    made = registry(store, tmp_path)
    served: list[dict[str, Function]] = []
    made.serve_by(lambda functions, _: served.append(dict(functions)))
    one = await deploy(made, "one", 1)

    async def full(scope: str, values: Any) -> None:
        raise StoreFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(store, "set_checkpoints", full)
        with pytest.raises(StoreFull):
            await made.change("one", lambda _: None)
    with pytest.raises(BadArchive):
        await made.put(b"no archive")
    assert made.functions == {"one": one}
    assert len(served) == 1
    assert len(list(made.shelf.archives.iterdir())) == 1


def test_archives_take_no_more_than_they_may_and_leave_the_disk_its_spare(tmp_path: Path) -> None:
    one, two = answering("one"), answering("two")
    shelf = Shelf(tmp_path / "functions", total=len(one) + len(two) - 1)
    shelf.put(one)
    with pytest.raises(StorageExceeded, match="all archives may take"):
        shelf.put(two)
    assert shelf.put(one) in [path.name for path in shelf.archives.iterdir()], "what is there takes no more"
    again = Shelf(tmp_path / "functions", total=len(one) + len(two))
    with pytest.raises(BadArchive):
        again.put(two[:-1])
    again.put(two)
    with pytest.raises(StorageExceeded):
        again.put(answering("three"))


def test_archives_leave_the_disk_what_it_must_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = os.statvfs(tmp_path)
    scarce = SimpleNamespace(f_blocks=true.f_blocks, f_frsize=true.f_frsize, f_bavail=true.f_blocks // 21)
    monkeypatch.setattr("triggerhub.deploy.shelf.os.statvfs", lambda _: scarce)
    with pytest.raises(StorageExceeded, match="the disk must keep"):
        Shelf(tmp_path / "functions", spare=2**60).put(answering(1))
    assert list((tmp_path / "functions" / "archives").iterdir()) == []
    Shelf(tmp_path / "functions", spare=0).put(answering(1))


def lying(made: Registry) -> list[set[str]]:
    """The names of archives, of what is unpacked of them, and of layers that are put together."""
    unpacked = next((made.shelf.archives.parent / "unpacked").iterdir())
    return [
        {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        for folder in (made.shelf.archives, unpacked, made.opt)
    ]


async def swept(made: Registry, *held: Path) -> list[set[str]]:
    """What lies there after two sweeps."""
    for _ in range(2):
        await made.sweep(lambda: set(held))
    return lying(made)


async def test_code_that_nothing_needs_any_more_is_removed_once_its_workers_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = registry(MemoryStore(), tmp_path)
    await made.load()
    old = (await deploy(made, "one", 1)).latest.code
    held = {made.served["one"].code}
    new = (await deploy(made, "one", 2)).latest.code
    sent = await made.put(answering("on its way"))
    assert await swept(made) == [{old, new, sent}, {old, new, sent}, set()], "each was sent a moment ago"
    monkeypatch.setattr("triggerhub.deploy.shelf.CLAIMED", 0)
    assert (await swept(made, *held))[0] == {old, new}, "a worker runs the old one"
    assert await made.sweep(set) == 0, "only what the last sweep found, too"
    draft = tmp_path / "backup.draft"
    draft.touch()
    assert await swept(made) == [{old, new}, {old, new}, set()], "a backup may need it"
    draft.unlink()
    assert await swept(made) == [{new}, {new}, set()]
    assert (made.served["one"].code / "app.py").exists()
    await made.change("one", lambda _: None)
    sent = await made.put(code := answering("again"))
    assert await swept(made) == [set(), set(), set()]
    assert await made.put(code) == sent, "what was removed may come again"
    assert lying(made) == [{sent}, {sent}, set()]


async def test_where_a_record_could_not_be_read_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggerhub.deploy.shelf.CLAIMED", 0)
    store = MemoryStore()
    two = (await deploy(registry(store, tmp_path), "two", 2)).latest.code
    await store.set_checkpoints(SCOPE, {"two": "?"})
    again = registry(store, tmp_path)
    await again.load()
    assert (await swept(again))[0] == {two}


async def test_layers_are_put_together_where_the_disk_has_room_and_go_when_no_function_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Registry(MemoryStore(), tmp_path / "functions", assemble=assemble)
    await made.load()
    layers = [
        LayerUse(arn=name, code=await made.put(zipped({name: name})), code_size=1) for name in ("first", "second")
    ]
    one = await deploy(made, "one", 1, layers=tuple(layers))
    other = replace(one, latest=replace(one.latest, layers=tuple(reversed(layers))))
    opt = made.served["one"].opt
    assert opt is not None
    await made.change("one", lambda _: other)
    assert len(lying(made)[2]) == 2
    assert (await swept(made, opt))[2] == {path.name for path in made.opt.iterdir()}, "a worker sees them"
    now = made.served["one"].opt
    assert now is not None
    assert (await swept(made))[2] == {now.name}
    true = os.statvfs(tmp_path)
    scarce = SimpleNamespace(f_blocks=true.f_blocks, f_frsize=true.f_frsize, f_bavail=0)
    monkeypatch.setattr("triggerhub.deploy.shelf.os.statvfs", lambda _: scarce)
    with pytest.raises(StorageExceeded, match="the disk must keep"):
        await made.change("one", lambda _: one)
    await made.change("one", lambda _: replace(other, latest=replace(other.latest, timeout=9)))
    assert lying(made)[2] == {now.name}


CHANGES: dict[str, tuple[Callable[[Deployed], Deployed], set[str]]] = {
    "$LATEST": (lambda one: replace(one, latest=replace(one.latest, timeout=9)), {"$LATEST"}),
    "one version's events": (
        lambda one: replace(one, events={"2": EventConfig(retries=0, modified=1)}), {"2"},
    ),
    "an alias with workers": (
        lambda one: replace(
            one, aliases={"live": Alias(version="3", revision="r")}, provisioned={"live": Provisioned(count=2, modified=1)}
        ),
        {"3"},
    ),
    "what all have in common": (lambda one: replace(one, reserved=5), {"$LATEST", "1", "2", "3"}),
    "loops": (lambda one: replace(one, recursive=True), {"$LATEST", "1", "2", "3"}),
    "tags": (lambda one: replace(one, tags={"a": "b"}), set()),
    "a new version": (
        lambda one: replace(one, versions={**one.versions, "4": replace(one.latest, number="4")}), {"4"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_makes_anew_what_it_changes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    change, expected = CHANGES[what]
    store = MemoryStore()
    made = registry(store, tmp_path)
    one = await deploy(made, "one", 1)
    versions = {number: replace(one.latest, number=number) for number in "123"}
    await made.change("one", lambda before: replace(one, versions=versions))
    looked_at: list[str] = []
    function = made._function

    def looking(deployed: Deployed, version: Version) -> Function:
        looked_at.append(version.number)
        return function(deployed, version)

    monkeypatch.setattr(made, "_function", looking)
    await made.change("one", lambda before: None if before is None else change(before))
    assert set(looked_at) == expected
    again = registry(store, tmp_path)
    await again.load()
    assert again.served == made.served, "a restart finds the same"
