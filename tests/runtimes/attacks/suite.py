"""Let every attack loose on a worker of a level, and say which bit.

Run as ``python -m tests.runtimes.attacks.suite isolated``: prints the table, and exits with 1 when an attack
bit that the level must stop. See ``handlers/attack.py`` for what an attack is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.runtimes.attacks import ordinary
from tests.runtimes.attacks.world import HANDLERS, World, named, peopled, settle, standing
from tests.runtimes.conftest import invocation
from triggerhub.cli import words
from triggerhub.errors import StartFailed
from triggerhub.model import Crashed, Outcome, Raised, Returned, TimedOut
from triggerhub.policy.sandbox import levels
from triggerhub.policy.sandbox.levels import Ability, Lack
from triggerhub.runtime import Worker
from triggerhub.runtimes import memory, probe
from triggerhub.runtimes.launch import Launcher
from triggerhub.runtimes.sandbox import Planner
from triggerhub.settings import MB

if TYPE_CHECKING:
    from tests.runtimes.attacks.handlers.attack import Attack

LEVELS = ("trusted", "confined", "isolated", "contained")
"""From the weakest to the strongest."""
AT_ONCE = 6
PATIENCE = 10.0
"""Seconds in which an attack that takes its time has begun."""
SOON = 0.5
"""Seconds after which what outlives its sandbox is taken for a survivor."""
GROWN = 256 * MB
"""Bytes that tell what holds memory beyond its limit."""
LET = 3.0
"""Seconds that it may hold it for between calls."""
LOUDEST = 2 * 1024 * 1024
"""Bytes of output that a flood may leave in the hub."""
RECORD = 100
"""Bytes of a line's record in the hub's logs, beside its text."""
GREEDY = ("take-every-watcher-of-its-user",)
"""Would take from everybody on this host, so that they are not let loose where nothing stops them."""


def attacks() -> list[Attack]:
    """Return them all, as the handlers declare them."""
    sys.path.insert(0, str(HANDLERS))
    try:
        import app
        from attack import ATTACKS
    finally:
        sys.path.remove(str(HANDLERS))
    assert app.MODULES
    return list(ATTACKS.values())


@dataclass(frozen=True)
class Result:
    attack: Attack
    bit: bool | None
    """None: it proved nothing, by a mistake of its own."""
    why: str


@dataclass
class Siege:
    """What came of all attacks at one level."""

    level: str
    results: list[Result] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    @property
    def bit(self) -> list[Result]:
        return [one for one in self.results if one.bit]

    def broken(self) -> list[str]:
        """Return what the level promises and did not keep, and attacks that prove nothing."""
        order = LEVELS.index(self.level)
        found = [f"{one.attack.name}: {one.why}" for one in self.results if one.bit is None]
        found += [f"{one.attack.name} bit: {one.why}" for one in self.bit if LEVELS.index(one.attack.stops) <= order]
        return found + (self.damage if self.level != "trusted" else [])

    def as_json(self) -> dict[str, Any]:
        results = [[one.attack.name, one.bit, one.why] for one in self.results]
        return {"level": self.level, "results": results, "damage": self.damage}


def from_json(given: dict[str, Any]) -> Siege:
    known = {one.name: one for one in attacks()}
    return Siege(
        given["level"], [Result(known[name], bit, why) for name, bit, why in given["results"]], given["damage"]
    )


def table(sieges: Sequence[Siege]) -> str:
    """Return the attacks that bit, by category and level, as Markdown."""
    categories = sorted({one.attack.category for one in sieges[0].results})
    lines = [
        "| attacks | " + " | ".join(["number", *(f"bit at `{siege.level}`" for siege in sieges)]) + " |",
        "|---|" + "---|" * (len(sieges) + 1),
    ]
    for category in [*categories, ""]:
        counts = [[one for one in siege.results if category in ("", one.attack.category)] for siege in sieges]
        row = [str(len(counts[0])), *(str(sum(bool(one.bit) for one in each)) for each in counts)]
        lines.append(f"| {category or '**all**'} | " + " | ".join(row) + " |")
    return "\n".join(lines)


async def besiege(world: World, level: str, chosen: Sequence[Attack]) -> Siege:
    """Let loose the *chosen* attacks."""
    siege = Siege(level)
    some = [one for one in chosen if level != "trusted" or one.name not in GREEDY]
    together: dict[str, list[Attack]] = {}
    for one in some:
        if not one.alone:
            together.setdefault(one.category, []).append(one)
    async with peopled(world, level):
        # Without namespaces all have one number of processes between them, which some use up.
        room = asyncio.Semaphore(1 if level == "confined" else AT_ONCE)

        async def within(work: Any) -> list[Result]:
            async with room:
                return await work

        work = [_batch(world, level, batch) for batch in together.values()]
        work += [_alone(world, level, one) for one in some if one.alone]
        for results in await asyncio.gather(*map(within, work)):
            siege.results += results
    siege.damage += world.damage()
    world.repair()
    return siege


async def _batch(world: World, level: str, batch: list[Attack]) -> list[Result]:
    """Run harmless ones in children of one worker."""
    function = world.attacker(level)
    event = {"attacks": [one.name for one in batch], "world": told(world)}
    assert world.runtime is not None
    async with world.runtime.start(function) as worker:
        outcome = await worker.invoke(invocation(event, function=function))
    if not isinstance(outcome, Returned):
        return [Result(one, None, f"its worker: {outcome}"[:200]) for one in batch]
    return [Result(one, said["bit"], said["why"]) for one, said in zip(batch, json.loads(outcome.payload), strict=True)]


async def _alone(world: World, level: str, attack: Attack) -> list[Result]:
    # Timeouts are what the outliving attack is about; the others have time for what they do.
    timeout = 1000 if attack.ends else 20_000
    function = world.attacker(level, timeout=timeout)
    name = f"atk-{secrets.token_hex(5)}"
    facts = {**told(world), "name": name, "next": f"{name}-2"}
    event = {"attacks": [attack.name], "world": facts}
    watch = Watch(attack)
    assert world.runtime is not None
    try:
        async with world.runtime.start(function) as worker:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(watch.run())
                outcome = await worker.invoke(invocation(event, function=function, request_id=f"{name}-1"))
                watching.cancel()
            if attack.category == "speaking":
                return [Result(attack, *await _judge(world, worker, outcome, name))]
            if attack.category == "holding" and attack.ends:
                return [Result(attack, *await _weigh(worker, name))]
    except StartFailed as error:
        return [Result(attack, None, f"{error.type}: {error}"[:200])]
    if attack.category == "outliving":
        gone = await settle(lambda: not named(name), SOON)
        left = named(name)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return [Result(attack, not gone, f"{len(left)} lived on" if left else "all are gone")]
    if watch.failed:
        return [Result(attack, True, watch.failed)]
    match outcome:
        case Returned():
            (said,) = json.loads(outcome.payload)
            return [Result(attack, said["bit"], said["why"])]
        case Crashed() | TimedOut() | Raised():
            return [Result(attack, False, outcome.fault.type)]
        case _:
            return [Result(attack, None, str(outcome)[:200])]


def told(world: World) -> dict[str, Any]:
    return {name: value for name, value in world.facts.items() if name != "segments"}


async def _judge(world: World, worker: Worker, first: Outcome, name: str) -> tuple[bool, str]:
    """Say whether what a worker said deceived the hub: in its own call, in the next, or by what it left."""
    if isinstance(first, Returned) and b"forged" in first.payload:
        return True, "its own answer was forged by a malformed one"
    if isinstance(first, Returned) and len(first.payload) > 6 * 1024 * 1024 + 100:
        return True, "an answer over the limit was taken"
    function = world.attacker("trusted")
    if worker.alive:
        await asyncio.sleep(0.4)
        second = await worker.invoke(invocation({"echo": name}, function=function, request_id=f"{name}-2"))
        if isinstance(second, Returned) and second.payload != json.dumps(name).encode():
            return True, f"the next answer was forged: {second.payload[:50]!r}"
        fault = getattr(second, "fault", None)
    else:
        fault = getattr(first, "fault", None)
    said = [line for call in (1, 2) for line in world.lines.of(f"{name}-{call}")]
    if (loud := sum(len(line) + RECORD for line in said)) > LOUDEST:
        return True, f"it left {loud} bytes of output in the hub"
    if any(not words.clean(line).replace("\t", "").isprintable() for line in said):
        return True, "a terminal would obey what it wrote"
    return False, fault.type if fault else "nobody was deceived"


async def _weigh(worker: Worker, name: str) -> tuple[bool, str]:
    """Say whether what an answered call left running keeps more memory than its worker may have."""

    def grown() -> bool:
        return memory.resident(named(name))[0] > GROWN

    if not await settle(lambda: grown() or not worker.alive, PATIENCE):
        return False, "the kernel let it grow no further"
    gone = await settle(lambda: not grown(), LET)
    return not gone, "its worker was ended" if gone else "it was let"


class Watch:
    """Looks, while an attack runs, at whether the hub can still do what it must."""

    def __init__(self, attack: Attack) -> None:
        self._attack = attack
        self.failed = ""

    async def run(self) -> None:
        if self._attack.name not in GREEDY:
            return
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        while True:
            one = libc.inotify_init1(os.O_CLOEXEC)
            if one < 0:
                self.failed = "the hub can watch no file any more"
            else:
                os.close(one)
            await asyncio.sleep(0.01)


def offered() -> Sequence[str]:
    """Return the levels at which there is something to be shown on this host, from the weakest."""

    async def look() -> Mapping[Ability, Lack]:
        return (await probe.look(Launcher(), Planner())).lacks

    return [level for level in LEVELS if level in levels.offered(asyncio.run(look()))]


def all_sieges(levels: Sequence[str], *, quick: bool = False, without: str | None = None) -> list[Siege]:
    """Lay siege at each level, to a world of its own; *quick* leaves out the attacks that need a worker each.

    *without* leaves out a layer of the sandbox, by its name in ``weaker``.
    """
    chosen = [one for one in attacks() if not (quick and one.alone)]
    with tempfile.TemporaryDirectory(prefix="siege-") as folder:
        # Functions of root's are users of their own.
        Path(folder).chmod(0o755)
        sieges = []
        for level in levels:
            weakened = _without(without, Path(folder)) if without else nullcontext()
            with standing(Path(folder) / level) as world, weakened:
                sieges.append(asyncio.run(besiege(world, level, chosen)))
        return sieges


def _without(layer: str, folder: Path) -> AbstractContextManager[None]:
    # It asks this module for the attacks.
    from tests.runtimes.attacks import weaker

    return weaker.without(layer, folder)


def as_root(level: str) -> Siege:
    """Lay siege as root by a Python that functions' users can read, which at ``confined`` they must."""
    python = ordinary.interpreter()
    assert python is not None
    done = subprocess.run(
        [python, "-m", "tests.runtimes.attacks.suite", level, "--json"],
        cwd=ordinary.ROOT,
        env={**os.environ, "PYTHONPATH": f"{ordinary.ROOT}:{ordinary.packages()}", "TMPDIR": "/tmp"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return from_json(json.loads(done.stdout)[0])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("levels", nargs="+", choices=LEVELS)
    parser.add_argument("--quick", action="store_true", help="leave out the attacks that need a worker each")
    parser.add_argument("--without", metavar="LAYER", help="leave out a layer of the sandbox, by its name in weaker.py")
    parser.add_argument("--json", action="store_true", help="what came of each attack, for a program")
    parser.add_argument("--each", action="store_true", help="what came of each attack, for people")
    arguments = parser.parse_args()
    sieges = all_sieges(arguments.levels, quick=arguments.quick, without=arguments.without)
    if arguments.json:
        print(json.dumps([siege.as_json() for siege in sieges]))
        return 0
    print(f"as {'root' if os.geteuid() == 0 else 'an ordinary user'} on Linux {os.uname().release}\n")
    print(table(sieges))
    if arguments.each:
        for siege in sieges:
            for one in siege.results:
                print(f"{siege.level:10} {one.attack.stops:10} {one.bit!s:6} {one.attack.name}: {one.why}")
    broken = [f"{siege.level}: {what}" for siege in sieges for what in siege.broken()]
    print("\n".join(broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
