"""Say in docs/security.md what every attack came to on this host: ``python docs/make.py security`` writes it there."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.runtimes.attacks import ordinary, suite, weaker
from tests.runtimes.attacks.suite import Siege
from tests.runtimes.attacks.world import standing

SHOWN = 4
"""How many attacks are named of those that a missing layer lets in."""


def page() -> str:
    """Return the tables as Markdown; takes a few minutes, and needs root for what only root can try."""
    sieges = list(_sieges(suite.offered()))
    return "\n".join([*_host(), *_results(sieges), *_layers()])


def _sieges(levels: Sequence[str]) -> Iterator[tuple[str, Siege]]:
    for level in levels:
        if os.geteuid() == 0:
            yield "root", suite.as_root(level) if level == "confined" else suite.all_sieges([level])[0]
        else:
            yield "user", suite.all_sieges([level])[0]
        if level != "contained" and not ordinary.why_not():
            with tempfile.TemporaryDirectory(prefix="siege-") as home:
                arguments = ["-m", "tests.runtimes.attacks.suite", level, "--json"]
                done = ordinary.run(Path(home), arguments, timeout=300)
                if done.returncode:
                    raise SystemExit(done.stderr)
                yield "user", suite.from_json(json.loads(done.stdout)[0])


def _host() -> Iterator[str]:
    kernel = ".".join(platform.release().split(".")[:2])
    groups = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
    yield f"On Linux {kernel}, {platform.machine()}, cgroup {groups}, Python {platform.python_version()}.\n"


def _results(sieges: Sequence[tuple[str, Siege]]) -> Iterator[str]:
    attacks = suite.attacks()
    heads = [f"`{siege.level}`, {who}" for who, siege in sieges]
    yield "| attacks | number | " + " | ".join(heads) + " |"
    yield "|---|---|" + "---|" * len(heads)
    for category in [*sorted({one.category for one in attacks}), ""]:
        number = sum(category in ("", one.category) for one in attacks)
        bit = [sum(category in ("", one.attack.category) for one in siege.bit) for _, siege in sieges]
        yield f"| {category or '**all**'} | {number} | " + " | ".join(map(str, bit)) + " |"
    yield ""
    for who, siege in sieges:
        if siege.level != "trusted" and siege.bit:
            names = ", ".join(sorted(one.attack.name for one in siege.bit))
            yield f"At `{siege.level}`, as {who}, these bit, which only a stronger level must stop: {names}.\n"
        if broken := siege.broken():
            raise SystemExit(f"{who}, {siege.level}: {broken}")


def _layers() -> Iterator[str]:
    yield "| without | attacks that bite then | such as |\n|---|---|---|"
    with tempfile.TemporaryDirectory(prefix="siege-") as folder:
        Path(folder).chmod(0o755)
        for layer in weaker.LAYERS:
            with standing(Path(folder) / layer.replace(" ", "-")) as world, weaker.without(layer, world.root):
                siege = asyncio.run(suite.besiege(world, "isolated", weaker.around(layer)))
            yield _row(layer, [one.attack.name for one in siege.bit if one.attack.stops != "contained"])
    if not ordinary.why_not():
        with tempfile.TemporaryDirectory(prefix="siege-") as home:
            words = ["confined", "--quick", "--without", "Landlock", "--json"]
            done = ordinary.run(Path(home), ["-m", "tests.runtimes.attacks.suite", *words], timeout=300)
            siege = suite.from_json(json.loads(done.stdout)[0])
            bit = [one.attack.name for one in siege.bit if one.attack.stops == "confined"]
            yield _row("Landlock, at `confined`, as user", bit)


def _row(layer: str, bit: Sequence[str]) -> str:
    names = sorted(bit)
    more = ", …" if len(names) > SHOWN else ""
    return f"| {layer} | {len(names)} | {', '.join(names[:SHOWN])}{more} |"
