"""Say what a sandbox is to be: the one thing that the hub tells the launcher.

A plan is one JSON object in one packet; it holds no secret, for whatever the launcher has read, every
later worker has in its memory. Environment and arguments travel in a file that the worker alone opens.
"""

from __future__ import annotations

import json
import marshal
from dataclasses import dataclass, fields
from typing import Any, Literal

MAX = 64 * 1024
"""The most bytes of a packet."""
GROW = b'{"grow": true}'
"""The packet by which the hub says that functions are called: what handlers import is worth its memory."""
AHEAD = b'{"ahead": true}'
"""The packet by which the hub says that sandboxes are needed: so is one that waits for the next plan."""
INSIDE = 1000
"""The uid and gid that a handler has within its own user namespace."""
FIRST_UID = 400_000
"""The first uid on the host that a launcher started by root gives to a function."""
UIDS = 100_000
"""How many there are."""
OLD = "/.old"
"""Where the host's root is while a sandbox is built."""

Access = Literal["read", "write", "device"]


class BadPlan(ValueError):
    """A packet is no plan; says what was wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Something of the host that a sandbox sees: a folder with all that is mounted below it, a file or a device."""

    source: str
    """Absolute, without links: one on the way is refused, since a handler may have put it there."""
    target: str
    """Absolute, within the sandbox."""
    access: Access = "read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Landlock:
    """Rights as the kernel's bits: all that is ruled, what is allowed everywhere, and what below some paths."""

    ruled: int
    everywhere: int
    below: tuple[tuple[str, int], ...] = ()
    scoped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One sandbox. Sizes in bytes."""

    id: int
    """Names it in what the launcher answers."""
    uid: int
    """The uid on the host, where root started the launcher; otherwise it is the launcher's own."""
    binds: tuple[Bind, ...]
    """Mounted in this order."""
    links: tuple[tuple[str, str], ...] = ()
    """Symbolic links: where, and to what."""
    files: tuple[tuple[str, str], ...] = ()
    """Small read-only files: where, and the text."""
    hidden: tuple[str, ...] = ()
    """Folders below a bind that are seen empty."""
    namespaces: bool = True
    """Whether it is made of namespaces; without, it sees the host, and Landlock says what it may touch of that."""
    hostname: str = "localhost"
    network: Literal["own", "carried", "host"] = "own"
    """Its own loopback and nothing else; or with a way to the world, which pasta carries; or all that the host has."""
    forwards: tuple[tuple[int, str], ...] = ()
    """Ports of its own loopback, and the sockets bound into it to which they lead."""
    tmp: int = 512 * 1024 * 1024
    tmp_inodes: int = 65536
    shm: int = 64 * 1024 * 1024
    limits: tuple[tuple[int, int, int], ...] = ()
    """Resource limits: number, soft, hard."""
    groups: tuple[str, ...] = ()
    """Folders of its control groups, which its worker joins."""
    filter: str = ""
    """The seccomp program, base64."""
    landlock: Landlock | None = None
    listen: int | None = None
    """A port of its loopback that the hub listens on: the socket is made inside and handed out."""
    descriptors: tuple[int, ...] = ()
    """Which numbers the descriptors sent along get; the file with the beginning follows,
    and, where ``listen`` is, a socket by which the listening one is handed out."""
    template: bool = False
    """Whether the launcher's own interpreter goes on as the worker, instead of a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """How the user's side starts; read by the worker, inside."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str


def encode(plan: Plan | Beginning) -> bytes:
    """Return the packet, or the file's content."""
    return json.dumps(plan, separators=(",", ":"), default=_fields).encode()


def _fields(of: Plan | Beginning | Bind | Landlock) -> dict[str, object]:
    # dataclasses.asdict copies all that is within, which takes four times as long.
    return {field: getattr(of, field) for field in of.__slots__}


def decode(packet: bytes) -> Plan:
    """Return the plan. Raises BadPlan for anything that is not exactly one."""
    try:
        return _plan(_object(packet))
    except BadPlan:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise BadPlan(f"a part of the plan has another shape: {error}") from None


def pack(plan: Plan) -> bytes:
    """Return a decoded plan as one process hands it on to another that was forked from it.

    Reading JSON, and looking at it again, would copy some hundred pages of each process that does.
    """
    values = _fields(plan)
    values["binds"] = [_fields(bind) for bind in plan.binds]
    values["landlock"] = None if plan.landlock is None else _fields(plan.landlock)
    return marshal.dumps(values)


def unpack(packed: bytes) -> Plan:
    """Return what :func:`pack` was given."""
    values = marshal.loads(packed)
    values["binds"] = tuple(Bind(**bind) for bind in values["binds"])
    values["landlock"] = None if values["landlock"] is None else Landlock(**values["landlock"])
    return Plan(**values)


def kill(identity: int) -> bytes:
    """Return the packet that ends a sandbox."""
    return json.dumps({"kill": identity}).encode()


def killed(packet: bytes) -> int | None:
    """Return which sandbox a packet ends; None where it is another packet. Raises BadPlan for what is none at all."""
    return _number(_object(packet)["kill"]) if packet.startswith(b'{"kill":') else None


def _plan(given: dict[str, Any]) -> Plan:
    binds = tuple(_made(Bind, bind) for bind in _list(given, "binds"))
    landlock = given.get("landlock")
    if landlock is not None:
        below = tuple((_text(path), _number(bits)) for path, bits in _pairs(landlock, "below"))
        landlock = _made(Landlock, {**landlock, "below": below})
    limits = tuple((_number(a), _number(b), _number(c)) for a, b, c in map(tuple, _list(given, "limits")))
    plan: Plan = _made(
        Plan,
        {
            **given,
            "binds": binds,
            "landlock": landlock,
            "limits": limits,
            "links": tuple((_text(a), _text(b)) for a, b in _pairs(given, "links")),
            "files": tuple((_text(a), _text(b)) for a, b in _pairs(given, "files")),
            "forwards": tuple((_number(port), _text(path)) for port, path in _pairs(given, "forwards")),
            "hidden": tuple(_text(path) for path in _list(given, "hidden")),
            "groups": tuple(_text(path) for path in _list(given, "groups")),
            "descriptors": tuple(_number(number) for number in _list(given, "descriptors")),
        },
    )
    for bind in plan.binds:
        if bind.access not in ("read", "write", "device"):
            raise BadPlan(f"expected an access of read, write or device, got {bind.access!r}")
    if plan.network not in ("own", "carried", "host"):
        raise BadPlan(f"expected a network that is own, carried or the host's, got {plan.network!r}")
    for path in [
        *(path for bind in plan.binds for path in (bind.source, bind.target)),
        *(path for path, _ in (*plan.links, *plan.files)),
        *plan.hidden,
        *plan.groups,
    ]:
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise BadPlan(f"expected an absolute path without .., got {path!r}")
    for path in [
        *(bind.target for bind in plan.binds),
        *(path for path, _ in (*plan.links, *plan.files)),
        *plan.hidden,
    ]:
        parts = path.split("/")[1:]
        # What root makes there, it makes in the host, or in the kernel's settings.
        if f"/{parts[0]}" in (OLD, "/dev", "/proc") or not {"", "."}.isdisjoint(parts):
            raise BadPlan(f"{path!r} is no place in a sandbox")
    if not FIRST_UID <= plan.uid < FIRST_UID + UIDS:
        raise BadPlan(f"expected a uid from {FIRST_UID} up, got {plan.uid}")
    return plan


def begin(content: bytes) -> Beginning:
    """Return what :func:`encode` made of a beginning. Raises BadPlan."""
    given = _object(content)
    beginning: Beginning = _made(Beginning, {**given, "argv": tuple(_text(word) for word in _list(given, "argv"))})
    return beginning


def _object(packet: bytes) -> dict[str, Any]:
    try:
        given = json.loads(packet)
    except (ValueError, RecursionError) as error:
        raise BadPlan(f"that is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise BadPlan(f"expected an object, got {str(given)[:80]!r}")
    return given


def _made(kind: type[Any], given: Any) -> Any:
    known = {field.name: field.type for field in fields(kind)}
    if not isinstance(given, dict) or not given.keys() <= known.keys():
        raise BadPlan(f"expected a {kind.__name__}, got {str(given)[:80]!r}")
    for name, value in given.items():
        wanted = {"int": int, "int | None": int | None, "str": str, "bool": bool}.get(str(known[name]))
        if wanted is not None and (not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool)):
            raise BadPlan(f"expected {name} to be {known[name]}, got {str(value)[:80]!r}")
    try:
        return kind(**given)
    except TypeError as error:
        raise BadPlan(f"{kind.__name__}: {error}") from None


def _list(given: dict[str, Any], name: str) -> list[Any]:
    value = given.get(name, [])
    if not isinstance(value, list):
        raise BadPlan(f"expected {name} to be a list, got {str(value)[:80]!r}")
    return value


def _pairs(given: dict[str, Any], name: str) -> list[tuple[Any, Any]]:
    pairs = _list(given, name)
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise BadPlan(f"expected {name} to be a list of pairs")
    return [(pair[0], pair[1]) for pair in pairs]


def _text(value: Any) -> str:
    if type(value) is not str:
        raise BadPlan(f"expected a text, got {str(value)[:80]!r}")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise BadPlan(f"expected a number, got {str(value)[:80]!r}")
    return value
