"""Take from a process what it must not have; each function is one layer, and none can be undone."""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import os
import resource
import socket
import struct

from . import kernel
from .plan import Plan

_IFF_UP = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_LAST_CAPABILITY = 63


def loopback_up() -> None:
    """Give an own network namespace its 127.0.0.1; up already is well. Stops nothing: it is all there is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack_from("16sH", fcntl.ioctl(probe, _SIOCGIFFLAGS, request))[1]
        if not flags & _IFF_UP:
            fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


def fewer_watches() -> None:
    """Bound what an own user namespace takes of its user's inotify instances and of what they watch.

    Stops: a handler that leaves none to the hub or to others of its user, who is the same where no root started it.
    """
    most_of = {"max_inotify_instances": "32", "max_inotify_watches": "8192", "max_user_namespaces": "0"}
    for name, most in most_of.items():
        with contextlib.suppress(OSError), open(f"/proc/sys/user/{name}", "w") as setting:
            setting.write(most)


def limits(plan: Plan) -> None:
    """Set resource limits. Stops: fork bombs, floods of descriptors, files without end, core dumps."""
    for number, soft, hard in plan.limits:
        highest = resource.getrlimit(number)[1]
        if highest != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or hard > highest):
            hard = highest
            soft = min(soft, hard) if soft != resource.RLIM_INFINITY else hard
        resource.setrlimit(number, (soft, hard))


def gain_none() -> None:
    """Empty the set of capabilities that could ever be gained; what this process has stays its own."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:  # there are no more
                break
            raise


def surrender(uid: int | None, gid: int | None = None, *, bounding: bool = True) -> None:
    """Be *uid* (None: stay) with no capabilities and no way to gain any; nobody may look in.

    *gid* is by default the same number; other groups are the caller's to give up. *bounding*: the set of what could
    ever be gained is emptied, too, as who never had a capability cannot.

    Stops: mounts, raw sockets, set clocks, foreign signals, and setuid programs: whatever root may do, in
    any namespace. The bounding set goes first, since nobody may empty it afterwards.
    """
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_CAP_AMBIENT, 4)
    if bounding:
        gain_none()
    if uid is not None:
        gid = uid if gid is None else gid
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    kernel.clear_capabilities()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def landlock(plan: Plan) -> None:
    """Rule what may be done below which path. Stops the same writes as the mounts, by another mechanism.

    Without namespaces it is what keeps files and processes of others away.
    """
    if plan.landlock is not None:
        everywhere = [("/", plan.landlock.everywhere)] if plan.landlock.everywhere else []
        rules = [*everywhere, *plan.landlock.below]
        kernel.landlock(plan.landlock.ruled, plan.landlock.scoped, rules, _any if plan.namespaces else _named)


def _any(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def _named(path: str) -> int:
    # Those of /proc are the kernel's; any other link a handler may have put there.
    return _any(path) if path.startswith("/proc/") else kernel.open_named(path)


def seccomp(plan: Plan) -> None:
    """Filter system calls. Stops: calls that no handler needs and that kernels have been broken by."""
    if plan.filter:
        kernel.filter_calls(base64.b64decode(plan.filter))
