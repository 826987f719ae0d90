"""Every attack that a level must stop is stopped, as root and as an ordinary user; and the attacks are real ones."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtimes.attacks import ordinary, suite, weaker
from tests.runtimes.attacks.world import standing

ROOT = os.geteuid() == 0
AS_ROOT = ("user namespace's map", "pid namespace")
"""What only root can leave out: others are already who they are, and can mount no /proc of the host."""
SECOND = ("Landlock",)
"""A second wall behind the mounts: it holds what they hold, and all of it where there are none."""


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own, which other users cannot enter.
    with tempfile.TemporaryDirectory(prefix="siege-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def ordinary_home() -> Iterator[Path]:
    if why := ordinary.why_not():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="siege-") as folder:
        yield Path(folder)


def test_there_are_enough_attacks_in_every_category() -> None:
    attacks = suite.attacks()
    assert len(attacks) >= 100
    assert min(Counter(one.category for one in attacks).values()) >= 10
    assert {one.stops for one in attacks} == set(suite.LEVELS)


def test_no_attack_bites_an_isolated_worker() -> None:
    (siege,) = suite.all_sieges(["isolated"])
    print(suite.table([siege]))
    assert siege.broken() == []


def test_no_attack_bites_where_the_kernel_holds_the_whole_tree() -> None:
    if "contained" not in suite.offered():
        pytest.skip("this host gives no control groups to this user")
    (siege,) = suite.all_sieges(["contained"])
    print(suite.table([siege]))
    assert siege.broken() == []
    assert siege.bit == []


def test_without_a_sandbox_more_than_half_of_them_bite() -> None:
    (siege,) = suite.all_sieges(["trusted"], quick=True)
    print(suite.table([siege]))
    assert siege.broken() == []
    assert len(siege.bit) > len(siege.results) / 2


@pytest.mark.parametrize(
    "arguments", [["isolated"], ["confined"], ["trusted", "--quick"]], ids=["isolated", "confined", "trusted"]
)
def test_the_same_as_an_ordinary_user(ordinary_home: Path, arguments: list[str]) -> None:
    done = ordinary.run(ordinary_home, ["-m", "tests.runtimes.attacks.suite", *arguments, "--json"], timeout=100)
    assert done.returncode == 0, done.stderr
    siege = suite.from_json(json.loads(done.stdout)[0])
    print(suite.table([siege]))
    assert siege.broken() == []
    if siege.level == "trusted":
        assert len(siege.bit) > len(siege.results) / 2


def test_without_namespaces_no_attack_bites_that_landlock_and_the_filter_are_to_stop(folder: Path) -> None:
    if not ROOT:
        pytest.skip("it runs as an ordinary user as it is")
    if why := ordinary.why_not():
        pytest.skip(why)
    siege = suite.as_root("confined")
    print(suite.table([siege]))
    assert siege.broken() == []


@pytest.mark.parametrize("layer", [name for name in weaker.LAYERS if ROOT or name not in AS_ROOT])
def test_every_layer_stops_something(folder: Path, layer: str) -> None:
    with standing(folder / "world") as world, weaker.without(layer, folder):
        siege = asyncio.run(suite.besiege(world, "isolated", weaker.against(layer)))
    print(f"without {layer}: {', '.join(one.attack.name for one in siege.bit)}")
    assert bool(siege.bit) != (layer in SECOND)


def test_where_there_are_no_mounts_landlock_is_the_wall(ordinary_home: Path) -> None:
    arguments = ["-m", "tests.runtimes.attacks.suite", "confined", "--quick", "--without", "Landlock", "--json"]
    done = ordinary.run(ordinary_home, arguments, timeout=100)
    assert done.returncode == 0, done.stderr
    siege = suite.from_json(json.loads(done.stdout)[0])
    let_in = {one.attack.category for one in siege.bit if one.attack.stops == "confined"}
    print(f"without Landlock: {', '.join(one.attack.name for one in siege.bit)}")
    assert let_in >= {"reading", "writing", "signalling"}
