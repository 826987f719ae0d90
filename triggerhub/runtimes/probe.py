"""Find out what this host can give by doing it: version numbers and settings lie.

A sandbox is made as for any function, and a canary in it tries to get out; a group is held to a memory
that another canary exceeds. What does not hold is a lack, and the levels that need it are refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Invocation, Outcome, Returned
from triggerhub.policy.sandbox import levels, view
from triggerhub.policy.sandbox.levels import Ability, Lack
from triggerhub.policy.sandbox.shares import Limit
from triggerhub.runtimes import bubblewrap, reach
from triggerhub.runtimes.child import Spawn
from triggerhub.runtimes.groups import Group, Groups, NoGroups
from triggerhub.runtimes.launch import BOOTSTRAP, Launcher, spawner
from triggerhub.runtimes.launcher import pasta
from triggerhub.runtimes.sandbox import Extra, Planner
from triggerhub.runtimes.warm import WarmWorker
from triggerhub.settings import MB, Function

log = structlog.get_logger("sandbox")

_CANARY = Path(__file__).parent / "canary"
_HELD, _HOLD = 48 * MB, 96 * MB
"""What a group may hold, and what is asked of it."""
_SETTINGS = (
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.unprivileged_userns_clone",
    "user.max_user_namespaces",
)
_LANDLOCK = (
    "start the hub as an ordinary user on Linux 6.12 or newer, with landlock in lsm= of the kernel's command line"
)
_PASTA = "install pasta (Debian, Ubuntu: apt install passt)"
_GROUPS = (
    "start the hub as root, or as a service with Delegate=yes: "
    "systemd-run --user --scope -p Delegate=yes triggerhub run"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a host gives; what it lacks, and where its control groups are."""

    lacks: Mapping[Ability, Lack] = field(default_factory=dict)
    groups: Groups | None = None
    carried: bool = False
    """Whether a function that is to reach the world needs not be in the host's own network for it."""


class _Silent:
    def write(self, function: object, request_id: str | None, stream: str, text: str) -> None: ...


async def look(launcher: Launcher, planner: Planner) -> Findings:
    """Do each thing for real, in throw-away sandboxes. Never raises for what the host refuses."""
    lacks: dict[Ability, Lack] = {}
    async with launcher.held():
        groups = await asyncio.to_thread(_groups)
        # Both at once: calls wait for them.
        why, loose, shared = await asyncio.gather(
            _isolates(launcher, planner), _holds(launcher, planner, groups), _carries(launcher, planner)
        )
        if why and await _stands_in(launcher, planner, why):
            why, loose = None, await _holds(launcher, planner, groups)
            shared = await _carries(launcher, planner)
        if why:
            root = launcher.rooted
            lacks[Ability.SANDBOX] = Lack(found=_worded(why, root=root), remedy=_remedy(why, root=root))
            # What stands in where there are no namespaces; with them nothing runs at that level.
            if less := await _confines(launcher, planner):
                lacks[Ability.LANDLOCK] = less
        if isinstance(groups, str):
            lacks[Ability.GROUPS] = Lack(found=groups, remedy=_GROUPS)
        elif loose and not why:
            lacks[Ability.GROUPS] = Lack(found=loose, remedy=_GROUPS)
        if shared and not why:
            lacks[Ability.NETWORK] = Lack(found=shared, remedy=_PASTA)
    carried = not shared and not why
    if isinstance(groups, str) or Ability.GROUPS in lacks:
        return Findings(lacks=lacks, carried=carried)
    return Findings(lacks=lacks, groups=groups, carried=carried)


def _groups() -> Groups | str:
    """Return where control groups can be made, or why nowhere."""
    try:
        return Groups.find()
    except (NoGroups, OSError) as error:
        return str(error)


def _worded(found: str, *, root: bool) -> str:
    """Return what failed in words, where it is the call by which everything begins."""
    kind = "namespace" if root else "user namespace"
    return f"no {kind} can be made ({found})" if found.startswith("clone: ") else found


async def _isolates(launcher: Launcher, planner: Planner) -> str | None:
    """Return why a sandbox does not hold; None where it does."""
    return await _let_loose(launcher, planner, _function())


async def _carries(launcher: Launcher, planner: Planner) -> str | None:
    """Return why no sandbox can reach the world without the host's network; None where one does."""
    if pasta.find() is None:
        return "pasta is not installed"
    return await _let_loose(launcher, planner, replace(_function(), network=True), carried=True)


async def _let_loose(launcher: Launcher, planner: Planner, function: Function, *, carried: bool = False) -> str | None:
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.NamedTemporaryFile() as secret:
        event = {"port": server.getsockname()[1], "pid": os.getpid(), "path": secret.name, "carried": carried}
        try:
            plan = planner.plan(function, _extra(planner, carried=carried))
            outcome = await _invoked(spawner(launcher, plan), event, cwd=Path(view.TASK))
        except (StartFailed, OSError) as error:
            return str(error).removeprefix("the sandbox could not be made: ")
    return _told(outcome)


async def _stands_in(launcher: Launcher, planner: Planner, why: str) -> bool:
    """Whether bubblewrap makes what this host refuses to us; then it is what makes the launcher's namespace."""
    if isinstance(launcher.starter, bubblewrap.Bubblewrap):
        launcher.start_by(None)  # no longer; the next look begins anew
        return False
    other = bubblewrap.find() if launcher.starter is None else None
    if other is None:
        return False
    # Tried by a launcher of its own: what runs confined goes on, unless there is something better.
    trial = Launcher(other)
    async with trial.held():
        still = await _isolates(trial, planner)
    if still:
        log.debug("bubblewrap does not help", program=other.program, why=still)
        return False
    log.info("user namespaces are made by bubblewrap", program=other.program, since=why)
    launcher.start_by(other)
    return True


async def _confines(launcher: Launcher, planner: Planner) -> Lack | None:
    """Return why Landlock and a filter of calls do not hold a handler by themselves; None where they do."""
    if launcher.rooted and os.geteuid() != 0:
        found = "root's launcher gives nothing without namespaces to a hub that is another user"
        return Lack(found=found, remedy="start the hub as that user, or leave [hub] user out")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        tempfile.NamedTemporaryFile() as secret,
        tempfile.TemporaryDirectory() as tmp,
    ):
        event = {"port": server.getsockname()[1], "pid": os.getpid(), "path": secret.name, "confined": True}
        uid = planner.uids.passing()
        try:
            if launcher.rooted:
                for path in (_CANARY, BOOTSTRAP, Path(tmp), *map(Path, planner.python)):
                    reach.let_through(path, Path(tmp))
                reach.give(Path(tmp), uid)
            plan = planner.confined(_function(), Extra(template=True, uid=uid), Path(tmp))
            outcome = await _invoked(spawner(launcher, plan), event, cwd=_CANARY, tmp=tmp)
            why = _told(outcome)
        except reach.OutOfReach as error:
            return Lack(found=error.found, remedy=error.remedy)
        except (StartFailed, OSError) as error:
            why = str(error).removeprefix("sandbox: ").removeprefix("the sandbox could not be made: ")
    return Lack(found=why, remedy=_LANDLOCK) if why else None


def _told(outcome: Outcome) -> str | None:
    if not isinstance(outcome, Returned):
        return f"a handler in a sandbox did not answer: {outcome}"
    held: list[str] = json.loads(outcome.payload)
    return f"a sandbox does not hold: {', '.join(held)}" if held else None


async def _holds(launcher: Launcher, planner: Planner, groups: Groups | str) -> str | None:
    """Return why a group does not hold what is in it; None where it does, or there is none."""
    if isinstance(groups, str):
        return None
    try:
        group = await asyncio.to_thread(groups.make, Limit(memory=_HELD, processes=64, cpu=1.0))
    except OSError as error:
        return str(error)
    try:
        plan = planner.plan(_function(), _extra(planner, group=group))
        outcome = await _invoked(spawner(launcher, plan, group=group), {"hold": _HOLD}, cwd=Path(view.TASK))
    except (StartFailed, OSError) as error:
        return str(error)
    finally:
        await asyncio.to_thread(group.remove)
    if isinstance(outcome, Crashed):
        return None
    return f"a group held to {_HELD // MB} MB was let have {_HOLD // MB} MB"


def _function() -> Function:
    return Function(
        name="triggerhub-canary", runtime="python", handler="canary.", code=_CANARY, memory=512 * MB, timeout=10_000
    )


def _extra(planner: Planner, *, group: Group | None = None, carried: bool = False) -> Extra:
    # What a file of uids cannot take says nothing of what this host can isolate.
    return Extra(template=True, group=group, carried=carried, uid=planner.uids.passing())


async def _invoked(spawn: Spawn, event: object, *, cwd: Path, tmp: str = "/tmp") -> Outcome:
    function = _function()
    env = {"TZ": ":UTC", "LANG": "C.UTF-8", "TMPDIR": tmp}
    worker = WarmWorker(function, _Silent(), [function.handler], cwd=cwd, env=env, spawn=spawn)
    try:
        await worker.ready()
        payload = json.dumps(event).encode()
        return await worker.invoke(
            Invocation(request_id="canary", function=function.name, payload=payload, deadline=0, arn="")
        )
    finally:
        await worker.close()


def _remedy(found: str, *, root: bool) -> str:
    settings: dict[str, str] = {}
    for name in _SETTINGS:
        with suppress(OSError):
            settings[name] = Path("/proc/sys", *name.split(".")).read_text().strip()
    container = Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()
    return levels.remedy(found, root=root, container=container, settings=settings)
