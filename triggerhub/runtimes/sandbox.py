"""Plan the sandbox of a function: its level made concrete for this host."""

from __future__ import annotations

import base64
import os
import platform
import resource
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from triggerhub.policy.sandbox import filter as calls
from triggerhub.policy.sandbox import rights, view
from triggerhub.runtimes import installation
from triggerhub.runtimes.groups import Group
from triggerhub.runtimes.launch import BOOTSTRAP
from triggerhub.runtimes.launcher import kernel, pasta
from triggerhub.runtimes.launcher.plan import Bind, Landlock, Plan
from triggerhub.runtimes.uids import Uids
from triggerhub.settings import MB, Function

PROCESSES = 1024
"""Processes and threads of one worker, and descriptors of each process, as Lambda allows."""
_MARGIN = 128 * MB
"""What one process may reserve beyond the function's memory before it is refused more."""
_UNITS = 8 * 1024 * 1024
_RESOLVERS = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
"""Where the host says whom it asks for names; the second, where systemd answers on its loopback, whom that asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What a runtime adds to a function's sandbox."""

    binds: tuple[Bind, ...] = ()
    prefixes: tuple[str, ...] = ()
    """What an interpreter is made of, seen at its own paths."""
    template: bool = False
    """Whether the launcher's own Python is the worker."""
    group: Group | None = None
    """The control groups that hold it; None leaves its memory to be measured."""
    listen: int | None = None
    """The port within at which the hub serves it."""
    forwards: tuple[tuple[int, str], ...] = ()
    """Ports within, and the sockets among *binds* to which they lead."""
    carried: bool = False
    """Whether there is a network beside the host's own by which the world is reached."""
    uid: int | None = None
    """As whom it runs; None is the function's own user."""


class Missing(OSError):
    """A path that a function's sandbox is to show is not there; says which."""


class Planner:
    """Knows the host."""

    def __init__(self, data: Path | None = None, project: Path | None = None, uids: Uids | None = None) -> None:
        """*data* and *project* are the hub's folders; *uids* are those of functions, by default none is kept."""
        self.uids = uids or Uids()
        self._programs: dict[tuple[str, str, tuple[str, ...]], tuple[str, ...]] = {}
        self._java = _java()
        self._found = _found(of_host())
        self._data, self._project = (None if place is None else os.path.realpath(place) for place in (data, project))
        self.private = installation.private(place for place in (self._data, self._project) if place)
        """What no interpreter is shown with."""
        self.python = installation.python(self.private)
        """What the hub's own is made of."""

    def plan(self, function: Function, extra: Extra) -> Plan:
        """Return the plan of a worker of *function*. Raises Missing."""
        network = network_of(function, carried=extra.carried)
        fixed = [(str(function.code), view.TASK), (str(BOOTSTRAP), view.RUNTIME)]
        if function.opt is not None:
            fixed.append((str(function.opt), view.LAYERS))
        if function.needs is not None:
            fixed.append((str(function.needs.folder), str(function.needs.folder)))
        read = [str(path) for path in function.read]
        write = [str(path) for path in function.write]
        prefixes = [*self.python, *self._java, *extra.prefixes]
        shown = [str(path) for path in function.shown]
        settings = {"own": (), "carried": (view.HOSTS,), "host": view.NETWORK}[network]
        found = {**self._found, **_found(prefixes), **_granted(function)}
        mounts, links = view.mounts(
            found,
            prefixes=(*prefixes, *settings),
            fixed=[(os.path.realpath(source), target) for source, target in fixed],
            read=(*read, *shown),
            write=write,
            own=[place for place in (self._data, self._project) if place is not None],
        )
        binds = [Bind(source=one.source, target=one.target, access=one.access) for one in mounts]
        hostname = function.name.replace(":", "-").replace("_", "-")[:63]
        files = dict(view.FILES)
        if network == "carried":
            closed = (pasta.LINK, *pasta.CLOSED)
            files[view.RESOLVERS] = view.resolvers(*map(_text, _RESOLVERS), stand_in=pasta.RESOLVER, closed=closed)
        elif network == "own":
            files[view.HOSTS] = f"127.0.0.1 localhost {hostname}\n::1 localhost\n"
        return Plan(
            id=0,
            uid=self.uids.of(function.name) if extra.uid is None else extra.uid,
            binds=(*binds, *extra.binds),
            links=(*links, ("/var/tmp", "/tmp")),
            files=tuple(files.items()),
            hidden=tuple(view.hidden(mounts, self._data, self._project, {*read, *write, *shown})),
            hostname=hostname,
            network=network,
            forwards=extra.forwards,
            tmp=function.tmp,
            tmp_inodes=max(function.tmp // 16384, 1024),
            shm=min(function.memory // 2, function.tmp),
            limits=limits(function, soft=extra.group is None),
            filter=seccomp(soft=extra.group is None),
            landlock=_landlock([(one.target, found[one.target]) for one in mounts if one.access == "write"]),
            listen=extra.listen,
            template=extra.template,
        )

    def confined(self, function: Function, extra: Extra, tmp: Path) -> Plan:
        """Return the plan of a worker without namespaces, at the host's own paths; *tmp* is its own. Raises Missing."""
        version = _landlock_version()
        if version < rights.SCOPED_FROM:
            raise Missing(f"sandbox: Landlock is of version {version}, and of use here from {rights.SCOPED_FROM}")
        if function.opt is not None:
            raise Missing(f"sandbox: functions.{function.name} has layers, and there is no /opt of its own at confined")
        needed = (*([] if function.needs is None else [function.needs.folder]), function.code, tmp)
        found = {
            **self._found,
            **_found((*self.python, *extra.prefixes, *map(str, needed))),
            **_granted(function),
        }
        for path, real in found.items():
            if self._data is not None and view.within(self._data, real):
                raise Missing(
                    f"sandbox: functions.{function.name} is to see {path}, in which the hub's data is ({self._data}), "
                    "and nothing hides it at confined"
                )
        write = {found[str(path)] for path in (*function.write, tmp)}
        read = {*found.values(), os.path.realpath(BOOTSTRAP)} - write
        kinds = [[(path, Path(path).is_dir()) for path in sorted(paths)] for paths in (read, write)]
        return Plan(
            id=0,
            uid=self.uids.of(function.name) if extra.uid is None else extra.uid,
            binds=(),
            namespaces=False,
            network="host",
            limits=limits(function, soft=True),
            filter=seccomp(soft=True, namespaces=False),
            landlock=Landlock(
                ruled=rights.ruled(version),
                everywhere=0,
                below=tuple(rights.alone(version, *kinds)),
                scoped=rights.scoped(version),
            ),
            template=extra.template,
        )

    def of_program(self, path: str, prefixes: Sequence[str] = ()) -> tuple[str, ...]:
        """Return what an interpreter at *path* is made of, as far as it may be shown."""
        key = (path, os.path.realpath(path), tuple(prefixes))
        known = self._programs.get(key)
        if known is None:
            known = tuple(installation.of_program(path, self.private, prefixes))
            if Path(path).exists():
                self._programs[key] = known
        return known

    def uid(self, function: Function) -> int:
        """Return the uid on the host that a function has where root makes its sandboxes."""
        return self.uids.of(function.name)


def network_of(function: Function, *, carried: bool) -> Literal["own", "carried", "host"]:
    """Return whose network a function is in; *carried*: there is one beside the host's own that leads out."""
    if function.network == "host":
        return "host"
    return "own" if function.network is not True else "carried" if carried else "host"


def limits(function: Function, *, soft: bool) -> tuple[tuple[int, int, int], ...]:
    """Return the resource limits: number, soft, hard; *soft*: no control group counts memory."""
    reserve = function.memory + _MARGIN
    data = ((resource.RLIMIT_DATA, reserve, reserve),) if soft else ()
    return (
        *data,
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NOFILE, PROCESSES, PROCESSES),
        (resource.RLIMIT_NPROC, PROCESSES, PROCESSES),
        (resource.RLIMIT_STACK, _UNITS, _UNITS),
    )


@cache
def seccomp(*, soft: bool, namespaces: bool = True) -> str:
    """Return the filter of this machine, as a plan holds it."""
    machine = platform.machine()
    if machine not in ("x86_64", "aarch64"):
        return ""
    return base64.b64encode(calls.assemble(calls.program(machine, soft=soft, namespaces=namespaces))).decode()  # type: ignore[arg-type]


def of_host() -> list[str]:
    """Return what of the host a sandbox may show whatever its function is."""
    return [*view.SYSTEM, *view.SETTINGS, *view.NETWORK, *_java()]


def _java() -> list[str]:
    # Debian's Java keeps what it cannot start without there, a folder for each version.
    return sorted(str(path) for path in Path("/etc").glob("java-*"))


@cache
def _landlock_version() -> int:
    return kernel.landlock_version()


def _landlock(write: Sequence[tuple[str, str]]) -> Landlock | None:
    version = _landlock_version()
    if not version:
        return None
    below = rights.below(version, [(path, Path(real).is_dir()) for path, real in write])
    return Landlock(
        ruled=rights.ruled(version), everywhere=rights.READING, below=tuple(below), scoped=rights.scoped(version)
    )


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _granted(function: Function) -> dict[str, str]:
    """Map the paths that a function is to see to where they were when the configuration was read. Raises Missing."""
    links = dict(function.links)
    found = {}
    for path in (*function.read, *function.write, *function.shown):
        real = str(links.get(path, path))
        if os.path.realpath(real) != real:
            raise Missing(
                f"sandbox: on the way to {path}, which functions.{function.name} is to see, there is a link that was "
                "not there when the configuration was read, or that lies in what a function may write; take it away, "
                "or let the configuration name the place that is meant"
            )
        if _shows(real):
            found[str(path)] = real
        elif path not in function.shown:
            raise Missing(f"sandbox: there is no {path}, which functions.{function.name} is to see")
    return found


def _found(paths: Sequence[str]) -> dict[str, str]:
    """Map each path that is a folder or a file to where it really is."""
    found = {}
    for path in paths:
        real = os.path.realpath(path)
        if _shows(real):
            found[path] = real
    return found


def _shows(real: str) -> bool:
    """Whether there is a folder, a file or a socket."""
    try:
        mode = os.lstat(real).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)
