"""Look at everything of this host that a hub depends on.

Each look stands alone: what cannot be read is a finding, too. Nothing is changed but a scratch file of
a megabyte, which is made where the data will be and is gone at once.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import os
import platform
import resource
import shutil
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import time
import tomllib
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from triggerhub.cli import words
from triggerhub.config.interpreters import installed
from triggerhub.policy.mounts import file_system
from triggerhub.policy.sandbox import levels
from triggerhub.policy.sandbox.levels import Ability, Lack
from triggerhub.settings import GB, KB, MB

NEEDED = (
    "aiobotocore",
    "aiosqlite",
    "anyio",
    "click",
    "httptools",
    "pydantic",
    "starlette",
    "uvicorn",
    "uvloop",
    "watchfiles",
)
NODE = 18
WATCHES, INSTANCES = 8192, 64
"""Below these a hub that watches folders soon finds none left."""
DESCRIPTORS = 1024
SLOW = 20.0
"""Milliseconds of a sync from which on durable events come slowly."""
LEAST = GB
"""Free disk below which it gets tight."""
REMEDIES = {
    errno.ENOSPC: "Make room, or set [hub] data to a folder on another disk.",
    errno.EDQUOT: "Make room, or have the quota raised, or set [hub] data to a folder on another disk.",
    errno.EROFS: "Mount it for writing, or set [hub] data to a folder on another disk.",
}
"""Of a disk that cannot be written, where it does not lie with who asks."""
SHARED = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "fuse.sshfs"})
"""File systems of other machines: their locks and shared memory are not what SQLite's journal needs."""
PASSING = frozenset({"tmpfs", "ramfs"})
AWS_TYPES = frozenset({"sqs", "s3", "dynamodb", "kinesis"})
AWS_KEYS = ("endpoint_url", "region", "profile", "role")
UNSYNCHRONISED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One thing that was looked at."""

    name: str
    verdict: Literal["good", "note", "bad"]
    """``bad`` is what a hub cannot run on, or cannot keep its promises on."""
    found: str
    remedy: str | None = None


def good(name: str, found: str) -> Reading:
    return Reading(name=name, verdict="good", found=found)


def note(name: str, found: str, remedy: str) -> Reading:
    return Reading(name=name, verdict="note", found=found, remedy=remedy)


def bad(name: str, found: str, remedy: str) -> Reading:
    return Reading(name=name, verdict="bad", found=found, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """This project's hub, where one runs."""

    pid: int
    listen: str
    admin: str


def look(
    project: Path, data: Path, running: Running | None, lacks: Callable[[], Mapping[Ability, Lack]] | None
) -> Iterator[Reading]:
    """Look at everything, in the order in which a person would mend it.

    *lacks* finds out what isolation lacks; None where that is not this process's to find out, since root makes the
    sandboxes of the hub that runs.
    """
    place = next(folder for folder in (data, *data.parents) if folder.is_dir())
    yield python()
    yield packages()
    yield sqlite(sqlite3.sqlite_version_info)
    yield from disk(place)
    yield folder(place, _text("/proc/self/mountinfo"))
    yield descriptors(*resource.getrlimit(resource.RLIMIT_NOFILE))
    yield from watches(lambda name: _text(f"/proc/sys/fs/inotify/{name}"))
    yield memory(_text("/proc/meminfo"))
    yield clock(time.time(), _clock_state())
    yield zones(_zone(project))
    yield node(shutil.which("node"))
    yield interpreters(installed("python", os.environ), installed("node", os.environ))
    yield installers(shutil.which("uv"), importlib.util.find_spec("pip") is not None, shutil.which("npm"))
    yield cryptography()
    if lacks is None:
        yield good("isolation", "made for the running hub by root; triggerhub functions show NAME tells each level")
    else:
        lacking = dict(lacks())
        shared = lacking.pop(Ability.NETWORK, None) or lacking.get(Ability.SANDBOX)
        yield isolation(*_isolation(lacking))
        yield network(shared)
    yield from addresses(project, running)
    yield from aws(project)


def python() -> Reading:
    found = f"{platform.python_version()} on {platform.system()} {platform.release()} ({platform.machine()})"
    if platform.system() != "Linux":
        return bad(
            "python", found, "triggerhub runs on Linux: workers are limited and ended by what its kernel offers."
        )
    return good("python", found)


def packages(needed: tuple[str, ...] = NEEDED) -> Reading:
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        return bad("packages", f"missing: {', '.join(missing)}", "python -m pip install triggerhub")
    return good("packages", "all that are needed")


def sqlite(version: tuple[int, int, int]) -> Reading:
    text = ".".join(map(str, version))
    if version < (3, 37, 0):
        return bad("sqlite", text, "The store needs 3.37 or newer; use a newer Python or distribution.")
    if version < (3, 51, 3):
        fault = "has the WAL-reset fault of 3.7.0 to 3.51.2, which takes two connections that write; the hub has one"
        return note(
            "sqlite", f"{text}: {fault}", "Let nothing but the hub write to hub.db, nor run a checkpoint on it."
        )
    return good("sqlite", text)


def disk(place: Path) -> Iterator[Reading]:
    """Measure what is free and how long the disk takes to make 4 KB durable."""
    try:
        usage = shutil.disk_usage(place)
        free = f"{words.size(usage.free)} free ({usage.free * 100 // max(usage.total, 1)}%) at {place}"
        if usage.free < LEAST:
            yield note("disk", free, "Make room, or lower [hub] keep and keep_size: a full disk refuses new events.")
        else:
            yield good("disk", free)
        median, worst = _synced(place)
        found = f"{median:.2f} ms to make 4 KB durable (worst of 20: {worst:.2f} ms) at {place}"
        if median > SLOW:
            yield note("sync", found, 'Put [hub] data on a faster disk; durability = "normal" gives up power loss.')
        else:
            yield good("sync", found)
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, "Run the hub as a user who may, or set [hub] data.")
        yield bad("disk", f"{place} cannot be written: {error.strerror}", remedy)


def _synced(place: Path) -> tuple[float, float]:
    times = []
    with tempfile.TemporaryFile(dir=place) as file:
        os.posix_fallocate(file.fileno(), 0, MB)
        for number in range(20):
            began = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 4096, number * 4096)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times), max(times)


def folder(place: Path, mountinfo: str | None) -> Reading:
    """Say whether the file system of the data folder keeps what it is given."""
    kind = file_system(mountinfo or "", os.path.realpath(place))
    if kind in SHARED:
        remedy = "Set [hub] data to a folder on a disk of this machine: SQLite's journal breaks on a network's locks."
        return bad("data folder", f"{kind} at {place}: another machine's", remedy)
    if kind in PASSING:
        return note("data folder", f"{kind} at {place}: gone at the next boot", "Set [hub] data to a folder on a disk.")
    if kind == "overlay":
        remedy = "Put [hub] data on a volume: this is a container's own layer, which goes with the container."
        return note("data folder", f"overlay at {place}", remedy)
    return good("data folder", f"{kind or 'a file system of unknown kind'} at {place}")


def descriptors(soft: int, hard: int) -> Reading:
    found = f"{_limit(soft)} open files (hard limit {_limit(hard)})"
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        return note("descriptors", found, "Few connections and workers at once; raise it: ulimit -n 65536")
    return good("descriptors", found)


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value:,}"


def watches(read: Callable[[str], str | None]) -> Iterator[Reading]:
    """Say how many folders may be watched; triggers of type files, and reloading, hang on it."""
    for name, least in (("max_user_watches", WATCHES), ("max_user_instances", INSTANCES)):
        text = read(name)
        if text is None or not text.strip().isdigit():
            remedy = "Without inotify, changes are found by comparing folders only, every [triggers.X] reconcile."
            yield note("inotify", f"{name} cannot be read", remedy)
        elif int(text) < least:
            yield note("inotify", f"{name} {int(text):,}: few", f"sysctl fs.inotify.{name}={least * 8}")
        else:
            yield good("inotify", f"{name} {int(text):,}")


def memory(meminfo: str | None) -> Reading:
    rows = dict(line.split(":", 1) for line in (meminfo or "").splitlines() if ":" in line)
    try:
        total, free = (int(rows[name].split()[0]) * KB for name in ("MemTotal", "MemAvailable"))
    except (LookupError, ValueError):
        return note("memory", "unknown: /proc/meminfo cannot be read", "Mount /proc.")
    found = f"{words.size(free)} available of {words.size(total)}"
    if free < 512 * MB:
        return note("memory", found, "Workers are killed when it runs out; lower memory and concurrency of functions.")
    return good("memory", found)


def clock(now: float, state: int | None) -> Reading:
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if time.gmtime(now).tm_year < 2024:
        return bad("clock", f"{found}: that is past", "Set the clock: schedules, keys and ids go by it.")
    if state == UNSYNCHRONISED:
        return note("clock", f"{found}, not synchronised", "Run a time service (systemd-timesyncd, chrony).")
    return good("clock", found)


def _clock_state() -> int | None:
    """Return what adjtimex(2) says of the clock; None where it may not be asked."""
    with suppress(OSError, AttributeError):
        # All zero asks and sets nothing; the structure has some 208 bytes.
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
        return state if state >= 0 else None
    return None


def zones(name: str) -> Reading:
    """Say whether the data of time zones are there, and the hub's own zone among them."""
    count = len(zoneinfo.available_timezones())
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return bad("time zones", f"there is no zone {name!r} among {count}", "Mend [hub] timezone, or install tzdata.")
    return good("time zones", f"{count}; the hub's is {name}")


def node(path: str | None) -> Reading:
    if path is None:
        return note("node", "not found: .mjs, .js and .cjs handlers cannot run", f"Install Node.js {NODE} or newer.")
    try:
        ran = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
        version = ran.stdout.strip()
        major = int(version.lstrip("v").split(".")[0])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return note("node", f"{path} does not say its version", f"Install Node.js {NODE} or newer.")
    if major < NODE:
        return note("node", f"{version} at {path}: old", f"Install Node.js {NODE} or newer.")
    return good("node", f"{version} at {path}")


def interpreters(pythons: Sequence[str], nodes: Sequence[str]) -> Reading:
    """What ``runtime`` may name."""
    return good("runtimes", ", ".join([*pythons, *nodes]))


def installers(uv: str | None, pip: bool, npm: str | None) -> Reading:
    """What installs the packages that functions depend on."""
    found = [name for name, there in (("uv", uv), ("pip", pip and not uv), ("npm", npm)) if there]
    if not uv and not pip:
        remedy = "Install uv, or pip into the hub's own environment."
        return note("installers", "neither uv nor pip: no dependencies for Python handlers", remedy)
    if not npm:
        return note("installers", f"{', '.join(found)}; no npm: no dependencies for Node handlers", "Install npm.")
    return good("installers", ", ".join(found))


def cryptography() -> Reading:
    if importlib.util.find_spec("cryptography") is None:
        remedy = "pip install 'triggerhub[jwt]', if a webhook is to verify RS256, ES256 or EdDSA; HS256 needs nothing."
        return note("cryptography", "not installed", remedy)
    from importlib.metadata import version

    return good("cryptography", version("cryptography"))


def isolation(offered: Sequence[str], lacks: Sequence[tuple[str, str]]) -> Reading:
    """Say at which levels functions can run; *lacks* are what is missing for more, and what to do."""
    if "contained" in offered:
        return good("isolation", f"levels {', '.join(offered)}")
    found = "; ".join(found for found, _ in lacks)
    remedy = "; ".join(remedy for _, remedy in lacks)
    if "isolated" not in offered:
        return bad("isolation", f"only {' and '.join(offered)}, since {found}", remedy)
    return note("isolation", f"levels {', '.join(offered)}; no kernel-held memory: {found}", remedy)


def network(shared: Lack | None) -> Reading:
    """Say whether functions with ``network = true`` are kept from the host; *shared* is what lacks for that."""
    if shared is None:
        return good("network", "true reaches the world by a network of the function's own, and not this host")
    found = f"true is the host's own network, with the hub's ports and all on its loopback: {shared.found}"
    return note("network", found, shared.remedy)


def kept(hub: int) -> bool:
    """Whether a process that is root stands by the hub, to make its sandboxes."""
    children = (_text(f"/proc/{hub}/task/{hub}/children") or "").split()
    return any("\nUid:\t0\t" in (_text(f"/proc/{pid}/status") or "") for pid in children)


def _isolation(lacks: Mapping[Ability, Lack]) -> tuple[Sequence[str], Sequence[tuple[str, str]]]:
    return levels.offered(lacks), [(lack.found, lack.remedy) for lack in lacks.values()]


def aws(project: Path) -> Iterator[Reading]:
    """Say who the hub is to AWS, for each set of options by which a trigger connects there; nothing without one."""
    used: dict[tuple[Any, ...], list[str]] = {}
    for name, table in _tables(project, "triggers").items():
        if isinstance(table, dict) and table.get("type") in AWS_TYPES and table.get("enabled") is not False:
            used.setdefault(tuple(table.get(key) for key in AWS_KEYS), []).append(name)
    if used:
        from triggerhub import awsclient, awsfault
    for values, names in used.items():
        place = f"for {', '.join(sorted(names))}"
        try:
            options = awsclient.Options(**dict(zip(AWS_KEYS, values, strict=True)))
            yield good("aws", f"{awsclient.who(options)}, {place}")
        except awsfault.AwsFault as fault:
            yield note("aws", f"{fault.message}, {place}", fault.hint or "Mend it; the triggers wait for it.")
        except ValueError:
            yield note("aws", f"the options are wrong {place}", "triggerhub check says what is wrong with them.")


def addresses(project: Path, running: Running | None = None) -> Iterator[Reading]:
    """Say whether the hub's addresses are free, or its own already."""
    hub = _hub(project)
    for key, default in (("listen", "127.0.0.1:8700"), ("admin", "127.0.0.1:8701")):
        address = str(hub.get(key, default))
        host, _, port = address.rpartition(":")
        if running is not None and port != "0":
            own = getattr(running, key)
            if own == f"{host.strip('[]')}:{port}":
                yield good(key, f"{address}: held by this project's hub (pid {running.pid})")
            else:
                found = f"{address}, but this project's hub (pid {running.pid}) is at {own}"
                yield note(key, found, "Restart it: addresses are taken at the start.")
            continue
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host.strip("[]"), int(port)))
        except (OSError, ValueError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            remedy = f"Mend [hub] {key}; triggerhub check says what is wrong with it."
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                remedy = f"Another process has it (ss -ltnp names it); end that, or set [hub] {key} to another."
            yield note(key, f"{address}: {why}", remedy)
        else:
            yield good(key, f"{address} is free")


def _hub(project: Path) -> dict[str, Any]:
    return _tables(project, "hub")


def _tables(project: Path, name: str) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        found = tomllib.loads((project / "triggerhub.toml").read_text("utf-8-sig")).get(name)
        return found if isinstance(found, dict) else {}
    return {}


def _zone(project: Path) -> str:
    return str(_hub(project).get("timezone", "UTC"))


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None
