"""Give a sandbox a network of its own from which the world is reached, and the host is not: pasta carries it.

pasta (of the package passt) copies the host's address and route into a network namespace, and makes there what a
connection says again by a socket of its own user outside. It is process 1's child, and so ends with the sandbox.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
from collections.abc import Callable
from typing import NoReturn

from . import inside, kernel

PLACES = ("/usr/local/bin", "/usr/bin", "/bin")
"""Where it is looked for: what root executes is nobody's to name."""
RESOLVER = "169.254.1.1"
"""Where a sandbox finds the host's resolver, where that listens on the host's loopback only."""
LINK = "169.254.0.0/16"
"""Where most clouds tell a machine its secrets and keep its volumes; closed but for RESOLVER."""
CLOSED = (
    "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
    "fd00:ec2::/32", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128", "fd00:42::42/128", "fe80::a9fe:a9fe/128",
)  # fmt: skip
"""Where others do, and the same by IPv6: AWS's, Google's, Oracle's, Scaleway's and OpenStack's."""
_NEWROUTE, _NEWRULE, _UNREACHABLE, _DESTINATION, _PRIORITY = 24, 32, 7, 1, 6
_REQUEST, _ACKNOWLEDGE, _CREATE, _REPLACE, _EXCLUSIVE = 0x1, 0x4, 0x400, 0x100, 0x200
_FIRST = 1
"""The place of a rule before all routes but those to the namespace's own addresses."""
_EXISTS, _NO_RULES = 17, (93, 95, 97)
"""What the kernel says of a rule that is there, and where it has none, or none for IPv6."""
_MAIN, _STATIC = 254, 4
_STACK = 8 * 1024 * 1024


def find() -> str | None:
    """Return the program; None where it is not installed."""
    return next((path for path in (f"{place}/pasta" for place in PLACES) if os.access(path, os.X_OK)), None)


def words(program: str, pid: int) -> list[str]:
    """Return the command that carries the network namespace of a process, from which no port of the host is reached."""
    ports = [word for option in ("-t", "-u", "-T", "-U") for word in (option, "none")]
    return [program, "--quiet", "--config-net", "--no-map-gw", *ports, "--dns-forward", RESOLVER, str(pid)]


def enter(uid: int | None, map_ids: Callable[..., None]) -> None:
    """Join a network namespace that pasta carries, as *uid* where root makes it. Raises OSError.

    *map_ids* is ``init.map_ids``.

    Stops: connections to what listens on the host's loopback, at its other addresses, and at a cloud's metadata.
    """
    program = find()
    if program is None:
        raise OSError(2, "pasta is not installed")
    closed = [
        *but(LINK, RESOLVER),
        *CLOSED,
        *addresses(_text("/proc/self/net/fib_trie"), _text("/proc/self/net/if_inet6")),
    ]
    ready, go = os.pipe(), os.pipe()
    holder = os.fork()
    if holder == 0:
        os.close(go[1])
        _hold(uid, map_ids, ready[1], go[0])
    os.close(ready[1])
    os.close(go[0])
    try:
        pid = int(os.read(ready[0], 16) or 0)
        if not pid:
            raise OSError(1, "no network namespace can be made for pasta")
        _carry(program, uid, pid)
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.setns(namespace, kernel.CLONE_NEWNET)
        finally:
            os.close(namespace)
    finally:
        os.close(go[1])
        os.close(ready[0])
        os.waitpid(holder, 0)
    close(closed)


def _hold(uid: int | None, map_ids: Callable[..., None], ready: int, go: int) -> NoReturn:
    """Be who the namespace belongs to, until it is carried."""
    try:
        _be(uid)
        # Whoever is this user may look in: pasta must.
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
        own, group = os.getuid(), os.getgid()
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET)
        map_ids("self", own, group, deny=True)
        # As the host's /proc numbers it.
        os.write(ready, os.readlink("/proc/self").encode())
        os.read(go, 1)
    finally:
        os._exit(0)


def _carry(program: str, uid: int | None, pid: int) -> None:
    """Start pasta for the namespaces of a process, and wait until it works. Raises OSError with what it says."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _be(uid)
            # It takes a signal that is ignored already for one that it could not ignore.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            # And it has whole stacks on its own.
            resource.setrlimit(resource.RLIMIT_STACK, (_STACK, resource.getrlimit(resource.RLIMIT_STACK)[1]))
            # Process 1 has none of these three, so that they may be any of its others.
            null, writing = inside.lift(os.open("/dev/null", os.O_RDWR)), inside.lift(writing)
            for number, one in ((0, null), (1, null), (2, writing)):
                os.dup2(one, number)
            os.execve(program, words(program, pid), {"PATH": ":".join(PLACES), "LANG": "C.UTF-8"})
        finally:
            os._exit(127)
    os.close(writing)
    said = b""
    # It goes on in the background, and lets go of this once it is ready.
    while data := os.read(reading, 4096):
        said += data
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        last = said.decode(errors="replace").strip().splitlines()[-1:] or [f"it ended with {status}"]
        raise OSError(None, f"pasta: {last[0][:200]}")


def _be(uid: int | None) -> None:
    """Be an ordinary user of the host, where root makes the sandbox."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def addresses(trie: str, inet6: str) -> list[str]:
    """Return the host's own addresses; *trie* is its ``/proc/net/fib_trie``, *inet6* its ``/proc/net/if_inet6``.

    pasta would reach from outside what listens at one that the sandbox has not.
    """
    found, last = [], ""
    for line in trie.splitlines():
        text = line.strip()
        if text.startswith("|-- "):
            last = text[4:]
        elif text.startswith("/32 host LOCAL") and not last.startswith("127."):
            found.append(f"{last}/32")
    for line in inet6.splitlines():
        packed = bytes.fromhex(line.split()[0])
        if packed != bytes(15) + b"\1":
            found.append(f"{socket.inet_ntop(socket.AF_INET6, packed)}/128")
    return list(dict.fromkeys(found))


def but(network: str, address: str) -> list[str]:
    """Return the networks that together are *network* without one of its addresses, of IPv4."""
    length = int(network.partition("/")[2])
    number = int.from_bytes(socket.inet_aton(address), "big")
    halves = ((number >> 32 - bits ^ 1) << 32 - bits for bits in range(length + 1, 33))
    return [f"{socket.inet_ntoa(half.to_bytes(4, 'big'))}/{bits}" for bits, half in enumerate(halves, length + 1)]


def close(networks: list[str]) -> None:
    """Let nothing of this network namespace reach *networks*, unless they are its own. Raises OSError.

    By rules, which come before every route: pasta copies the host's, which may lead to one of these addresses alone.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel_side:
        for network in networks:
            error = _asked(kernel_side, rule(network))
            if error in _NO_RULES:
                error = _asked(kernel_side, route(network))
            if error not in (0, _EXISTS) and ":" not in network:  # where there is no IPv6, nothing is reached by it
                raise OSError(error, f"{network} cannot be closed: {os.strerror(error)}")


def _asked(kernel_side: socket.socket, message: bytes) -> int:
    kernel_side.send(message)
    number: int = struct.unpack_from("=i", kernel_side.recv(4096), 16)[0]
    return -number


def rule(network: str) -> bytes:
    """Return the message that asks the kernel to call *network* unreachable, whatever routes say."""
    family, packed, length = _packed(network)
    body = struct.pack("=8BI", family, length, 0, 0, 0, 0, 0, _UNREACHABLE, 0)
    body += struct.pack("=HHI", 8, _PRIORITY, _FIRST)
    body += struct.pack("=HH", 4 + len(packed), _DESTINATION) + packed
    return _message(_NEWRULE, _EXCLUSIVE, body)


def route(network: str) -> bytes:
    """Return the message that asks the kernel to call *network* unreachable where no route is more exact."""
    family, packed, length = _packed(network)
    body = struct.pack("=8BI", family, length, 0, 0, _MAIN, _STATIC, 0, _UNREACHABLE, 0)
    body += struct.pack("=HH", 4 + len(packed), _DESTINATION) + packed
    return _message(_NEWROUTE, _REPLACE, body)


def _packed(network: str) -> tuple[int, bytes, int]:
    address, _, length = network.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address), int(length)


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACKNOWLEDGE | _CREATE | flags, 1, 0) + body


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
