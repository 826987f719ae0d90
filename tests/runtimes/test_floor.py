"""What a launcher that is root refuses to a hub that is not, whatever that hub sends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.errors import StartFailed
from triggerhub.runtimes.launch import Launcher
from triggerhub.runtimes.launcher import floor
from triggerhub.runtimes.launcher.floor import Floor
from triggerhub.runtimes.launcher.plan import FIRST_UID, BadPlan, Beginning, Bind, Plan, decode, encode
from triggerhub.runtimes.privilege import Keeper
from triggerhub.runtimes.sandbox import Extra, Planner

from .conftest import Bench

FLOOR = Floor(
    uid=FIRST_UID + 7,
    read=("/usr", "/srv/code"),
    write=("/srv/out",),
    groups=("/sys/fs/cgroup/pids/triggerhub-9",),
    filters=("", "c29mdA=="),
)
WORDS = st.lists(st.text(max_size=6), max_size=3).map(tuple)
PLAN = Plan(id=1, uid=FIRST_UID, binds=(Bind(source="/usr", target="/usr"),))


def plan(**changes: object) -> Plan:
    return replace(PLAN, **changes)


def shown(source: str, access: str = "read", target: str = "/mnt/x") -> Plan:
    return plan(binds=(Bind(source=source, target=target, access=access),))


@pytest.mark.parametrize(
    "asked",
    [
        PLAN,
        shown("/usr/lib/x"),
        shown("/srv/code"),
        shown("/srv/out/a", "write"),
        shown("/srv/out/a"),
        plan(groups=("/sys/fs/cgroup/pids/triggerhub-9/worker-1-2",)),
        plan(filter="c29mdA=="),
        plan(listen=9001),
        plan(network="host"),
        plan(network="carried", listen=9001),
        plan(files=(("/etc/passwd", "x"),), links=(("/var/tmp", "/tmp"),)),
    ],
)
def test_what_is_above_it_is_let_through(asked: Plan) -> None:
    floor.hold(asked, FLOOR)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (shown("/etc/shadow"), "/etc/shadow may not be shown: nothing named it when the hub started"),
        (shown("/"), "may not be shown"),
        (shown("/usrx"), "may not be shown"),
        (shown("/srv"), "may not be shown"),
        (shown("/usr/lib", "write"), "may not be shown to be changed"),
        (shown("/srv/code", "write"), "may not be shown to be changed"),
        (shown("/dev/sda", "device"), "as a device"),
        (shown("/usr", "device"), "as a device"),
        (plan(uid=FLOOR.uid), "the hub's own uid"),
        (plan(namespaces=False, binds=()), "nothing without namespaces"),
        (plan(filter="YWxs"), "none of the filters"),
        (plan(groups=("/sys/fs/cgroup/pids",)), "no control group of the hub's"),
        (plan(groups=("/etc",)), "no control group of the hub's"),
        (plan(listen=80), "port 80 may not be listened on"),
        (plan(listen=9001, network="host"), "port 9001 may not be listened on"),
        (plan(files=(("/usr/bin/sh", "#!"),)), "within what is shown of the host"),
        (plan(links=(("/usr/x", "/etc"),)), "within what is shown of the host"),
        (plan(files=(("/usr", "x"),)), "within what is shown of the host"),
    ],
)
def test_what_is_below_it_is_refused(asked: Plan, says: str) -> None:
    with pytest.raises(BadPlan, match=says):
        floor.hold(asked, FLOOR)


@pytest.mark.parametrize("uid", [0, 1, 1000, FIRST_UID - 1, FIRST_UID + 100_000, -1])
def test_no_plan_has_a_uid_that_is_somebodys(uid: int) -> None:
    with pytest.raises(BadPlan, match="expected a uid"):
        decode(encode(plan(uid=uid)))


@pytest.mark.parametrize(
    "path",
    ["/.old", "/.old/etc/cron.d/x", "//.old/x", "/./.old/x", "/a/../.old", "/x//y", "/x/", "/proc/sys/x", "/proc"],
)
def test_nothing_is_made_where_the_host_or_the_kernel_is_behind(path: str) -> None:
    makers = [{"files": ((path, "x"),)}, {"links": ((path, "/tmp"),)}, {"hidden": (path,)}]
    for asked in [*(plan(**changes) for changes in makers), shown("/usr", target=path)]:
        with pytest.raises(BadPlan, match=r"is no place in a sandbox|without \.\."):
            decode(encode(asked))


@given(
    st.builds(
        Floor,
        uid=st.integers(0, 70_000),
        read=WORDS,
        write=WORDS,
        groups=WORDS,
        filters=WORDS,
    )
)
def test_it_is_told_as_it_is(held: Floor) -> None:
    assert floor.decode(floor.encode(held)) == held


PATHS = st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(PATHS, st.lists(PATHS, max_size=3), st.lists(PATHS, max_size=3), st.sampled_from(["read", "write"]))
def test_nothing_is_shown_that_no_listed_folder_holds(
    source: str, read: list[str], write: list[str], access: str
) -> None:
    holders = [*write, *(read if access == "read" else [])]
    held = any(Path(source).is_relative_to(one) for one in holders)
    try:
        floor.hold(shown(source, access), Floor(uid=1, read=tuple(read), write=tuple(write), filters=("",)))
    except BadPlan:
        assert not held
    else:
        assert held


# a real launcher with a floor


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    if os.geteuid() != 0:
        pytest.skip("only root has something to keep")
    keeper = Keeper(uid=61_777)
    yield keeper
    keeper.close()


async def made(launcher: Launcher, asked: Plan, *command: str) -> str:
    """Return why a sandbox could not be made; empty where it was."""
    gone = asyncio.get_running_loop().create_future()
    beginning = Beginning(argv=command or ("/bin/true",), env={}, cwd="/")
    null = os.open("/dev/null", os.O_RDWR)
    async with launcher.held():
        sandbox = launcher.make(asked, beginning, {0: null, 1: null, 2: null}, gone.set_result)
        os.close(null)
        await asyncio.wait_for(gone, 30)
    return sandbox.fault.message if sandbox.fault else ""


def real(bench: Bench, **changes: object) -> Plan:
    asked = Planner().plan(bench.python("def handler(e, c): return 1"), Extra())
    return replace(asked, **changes)


async def test_a_hub_that_was_taken_over_gets_nothing_of_roots(bench: Bench, keeper: Keeper) -> None:
    mine = bench.root / "mine"
    mine.mkdir()
    goal = bench.root / "goal"
    goal.mkdir()
    (mine / "link").symlink_to(f"/.old{goal}")
    keeper.allow([bench.function("python", write=(mine,))])
    keeper.allow((), [Path("/")])  # comes too late
    launcher = Launcher(keeper)
    own = Bind(source=str(mine), target="/mnt/mine", access="write")
    asked = real(bench)
    assert await made(launcher, asked) == ""
    wider = replace(asked, binds=(*asked.binds, Bind(source="/etc", target="/mnt/etc")))
    assert "/etc may not be shown" in await made(launcher, wider)
    through = Bind(source=str(bench.code), target="/mnt/mine/link/made")
    assert "link" in await made(launcher, replace(asked, binds=(*asked.binds, own, through)))
    within = replace(asked, binds=(*asked.binds, own), files=(("/mnt/mine/link/made", "by root"),))
    assert "within what is shown" in await made(launcher, within)
    swapped = replace(asked, binds=(*asked.binds, Bind(source=str(mine / "link"), target="/mnt/swapped")))
    assert "link" in await made(launcher, swapped)
    for old in ("/.old", "//.old", "/./.old"):
        made_there = f"{old}{goal}/made"
        behind = Bind(source=str(bench.code), target=made_there)
        for asking in ({"files": ((made_there, "by root"),)}, {"links": ((made_there, "/"),)}):
            assert "is no place in a sandbox" in await made(launcher, replace(asked, **asking))
        assert "is no place in a sandbox" in await made(launcher, replace(asked, binds=(*asked.binds, behind)))
    assert list(goal.iterdir()) == []


async def test_root_makes_no_place_in_a_folder_of_the_host(bench: Bench, keeper: Keeper) -> None:
    mine = bench.root / "mine"
    (mine / "there").mkdir(parents=True)
    os.chown(mine, 61_777, 61_777)
    keeper.allow([bench.function("python", write=(mine,))])
    asked = real(bench)
    own = Bind(source=str(mine), target="/mnt/mine", access="write")
    code, file = str(bench.code), str(next(bench.code.iterdir()))
    for launcher in (Launcher(keeper), Launcher()):
        for target, source in (("/mnt/mine/by/root", code), ("/mnt/mine/file", file), ("/mnt/mine/there/x", file)):
            nested = replace(asked, binds=(*asked.binds, own, Bind(source=source, target=target)))
            assert "would be made within what is shown of the host" in await made(launcher, nested)
        over = replace(asked, binds=(replace(own, target="/dev"), *asked.binds))
        assert "is no place in a sandbox" in await made(launcher, over)
        at_place = replace(asked, binds=(*asked.binds, own, Bind(source=code, target="/mnt/mine/there")))
        assert await made(launcher, at_place) == ""
    assert [path.name for path in mine.rglob("*")] == ["there"]


async def test_a_taken_over_hub_gets_no_process_beside_a_sandbox(bench: Bench, keeper: Keeper) -> None:
    keeper.allow([bench.function("python")])
    bare = replace(
        real(bench), namespaces=False, binds=(), files=(), links=(), landlock=None, network="host", template=False
    )
    told = bench.root / "told"
    told.mkdir(mode=0o777)
    told.chmod(0o777)
    assert "nothing without namespaces" in await made(Launcher(keeper), bare, "/bin/touch", str(told / "by-somebody"))
    assert list(told.iterdir()) == []
    unfiltered = replace(real(bench), filter="")
    assert "none of the filters" in await made(Launcher(keeper), unfiltered)


async def test_without_a_list_it_shows_nothing_but_the_system(bench: Bench, keeper: Keeper) -> None:
    launcher = Launcher(keeper)
    with pytest.raises(StartFailed, match=f"{bench.code} may not be shown"):
        async with bench.runtime(launcher=launcher).start(bench.python("def handler(e, c): return 1")):
            raise AssertionError


async def test_a_keeper_that_is_gone_is_said(bench: Bench, keeper: Keeper) -> None:
    os.kill(keeper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, keeper.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(
        StartFailed, match="what kept root for the launcher of sandboxes has ended; start the hub again"
    ):
        async with bench.runtime(launcher=Launcher(keeper)).start(bench.python("def handler(e, c): return 1")):
            raise AssertionError
