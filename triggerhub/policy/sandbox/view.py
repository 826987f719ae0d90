"""Decide what of the host a sandbox sees, and where."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

TASK = "/var/task"
"""Where a function's code is, as in Lambda."""
RUNTIME = "/var/runtime"
"""Where the bootstraps are, as in Lambda."""

LAYERS = "/opt"
"""Where a function's layers are, as in Lambda."""

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Programs and libraries. On most hosts all but the first are links into it."""
SETTINGS = (
    "/etc/alternatives", "/etc/ca-certificates", "/etc/crypto-policies", "/etc/gai.conf", "/etc/host.conf",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types",
    "/etc/nsswitch.conf", "/etc/os-release", "/etc/pki/ca-trust", "/etc/pki/tls", "/etc/protocols", "/etc/services",
    "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/timezone",
)  # fmt: skip
"""What of /etc programs need and nobody minds."""
HOSTS, RESOLVERS = "/etc/hosts", "/etc/resolv.conf"
NETWORK = (HOSTS, RESOLVERS)
"""And what they need for a network."""
FILES = {
    "/etc/passwd": "root:x:0:0:root:/:/bin/false\nsandbox:x:1000:1000:sandbox:/tmp:/bin/sh\n",
    "/etc/group": "root:x:0:\nsandbox:x:1000:\n",
}
"""Made up: the host's users are no handler's business."""
RESERVED = (LAYERS, "/dev", "/proc", "/sys", "/etc/passwd", "/etc/group", RUNTIME, TASK)
"""Places of the sandbox's own, which nothing of the host may cover."""


@dataclass(frozen=True, slots=True, order=True)
class Mount:
    """Something of the host, without links in *source*, at a place in the sandbox."""

    target: str
    source: str
    access: Literal["read", "write"] = "read"


def mounts(
    found: Mapping[str, str],
    *,
    prefixes: Iterable[str],
    fixed: Iterable[tuple[str, str]],
    read: Iterable[str] = (),
    write: Iterable[str] = (),
    own: Collection[str] = (),
) -> tuple[list[Mount], list[tuple[str, str]]]:
    """Return the mounts in the order in which they are made, and the links.

    *found* maps each path of the host that is there to where it really is; a path that is not in it is
    left out. *prefixes* are interpreters, seen at their own paths. *fixed* are (source, target), real
    already. *read* and *write* are seen at their own paths; where one is both, it can be written. *own* are folders
    of the hub, which what shows them does not show.
    """
    made: dict[str, Mount] = {}
    links: list[tuple[str, str]] = []
    for path in SYSTEM:
        real = found.get(path)
        if real is not None and real != path and within(real, "/usr"):
            links.append((path, real))
        elif real is not None:
            made[path] = Mount(path, real)
    for path in (*SETTINGS, *prefixes, *read):
        if path in found and path not in made and not any(path == below.target for below in made.values()):
            made[path] = Mount(path, found[path])
    for path in write:
        if path in found:
            made[path] = Mount(path, found[path], "write")
    for source, target in fixed:
        made[target] = Mount(target, source)
    needed = [one for one in made.values() if not _covered(one, made, own)]
    return sorted(needed, key=lambda one: (one.target.count("/"), one.target)), links


def _covered(one: Mount, made: Mapping[str, Mount], own: Collection[str]) -> bool:
    """Whether a mount above it shows the same anyway."""
    above = one.target
    while above != "/":
        above = above.rpartition("/")[0] or "/"
        over = made.get(above)
        if over is not None:
            same = over.source + one.target[len(over.target) :] == one.source
            apart = any(within(one.source, place) and within(place, over.source) for place in own)
            return same and over.access == one.access and not apart
    return False


def hidden(mounts: Collection[Mount], data: str | None, project: str | None, granted: Collection[str]) -> list[str]:
    """Return where *mounts* would show what is the hub's: its *data*, and its *project* to whom that is not *granted*.

    *data* and *project* are without links, *granted* are targets.
    """
    found: dict[str, None] = {}
    for one in mounts:
        for place in (data, None if one.target in granted else project):
            if place is None or not within(place, one.source):
                continue
            target = one.target + place[len(one.source) :]
            over = (other.target for other in mounts if other.target != one.target and within(target, other.target))
            if not any(within(other, one.target) for other in over):  # what is mounted over it is looked at itself
                found[target] = None
    return list(found)


def within(path: str, folder: str) -> bool:
    """Whether *path* is *folder* or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def objection(path: str, data: str) -> str | None:
    """Say why nobody may show this path to a handler; None where one may. *data* is the hub's own folder."""
    if why := taken(path):
        return why
    if within(path, data):
        return "that is the hub's data"
    if within(data, path):
        return f"the hub's data is in it ({data}); name a folder beside it"
    return None


def taken(path: str, *, layers: bool = True) -> str | None:
    """Say why this path cannot be of the host in a sandbox; None where it can. *layers*: it may have some."""
    if path == "/":
        return "that is the whole host; name a folder in it"
    if path in ("/tmp", "/dev/shm", "/var/tmp", "/var", "/etc"):
        return "a handler has its own; name a folder below it"
    for place in RESERVED:
        if within(path, place) and (layers or place != LAYERS):
            return f"{place} is the sandbox's own; name a folder elsewhere"
    return None


def resolvers(text: str, upstream: str, *, stand_in: str, closed: Iterable[str] = ()) -> str:
    """Return the resolv.conf of a sandbox that has not the host's loopback; *text* is the host's.

    *upstream* says whom a resolver on the host's loopback asks, where that is known. Where nobody else is named, or
    only who is in a network that is *closed*, as a cloud's own are, it is *stand_in*, which leads to the host's.
    """
    lost = [ipaddress.ip_network(one) for one in ("127.0.0.0/8", "::1/128", *closed)]
    lines = [line for line in text.splitlines() if line.split()[:1] not in (["nameserver"], [])]
    for known in (text, upstream):
        if named := [one for one in _named(known) if not _within(one, lost)]:
            break
    return "".join(f"{line}\n" for line in (*lines, *(f"nameserver {one}" for one in named or [stand_in])))


def _named(text: str) -> list[str]:
    words = (line.split() for line in text.splitlines())
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]


def _within(address: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(known in network for network in networks)
