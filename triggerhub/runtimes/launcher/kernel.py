"""Call the kernel where Python has no name for it.

Every call raises OSError that names the call. The library is held without giving up the interpreter's
lock: :func:`clone` returns twice, and the second time nobody else is there to take it back.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from collections.abc import Callable

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000
_CLONE_PIDFD = 0x1000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_SLAVE = 32, 4096, 8192, 16384, 1 << 19
MNT_DETACH = 2
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_CAPBSET_DROP = 1, 4, 15, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47

_X86 = platform.machine() == "x86_64"
_CLONE, _PIVOT_ROOT, _SECCOMP = (56, 155, 317) if _X86 else (220, 41, 277)
_CAPGET, _CAPSET = (125, 126) if _X86 else (90, 91)
_OPENAT2, _MOUNT_SETATTR = 437, 442
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446

_RESOLVE_NO_SYMLINKS = 0x04
_AT_FDCWD = -100


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(number: int, what: str, *arguments: object) -> int:
    converted = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *converted), what)


def clone(flags: int) -> tuple[int, int]:
    """Fork into new namespaces; return the child's pid and a descriptor for it, and (0, -1) in the child.

    Nothing that a fork tells the C library is told here: the child must not call ``raise`` or ``abort``.
    """
    handle = ctypes.c_int(-1)
    pid = _syscall(_CLONE, "clone", flags | _CLONE_PIDFD | signal.SIGCHLD, 0, ctypes.byref(handle), 0, 0)
    return pid, handle.value if pid else -1


def unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(namespace: int, kind: int) -> None:
    _check(_libc.setns(ctypes.c_int(namespace), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    data = None if options is None else options.encode()
    _check(_libc.mount(*words, ctypes.c_ulong(flags), data), f"mount {kind or source} on {target}")


def umount(target: str, flags: int = 0) -> None:
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    _syscall(_PIVOT_ROOT, "pivot_root", os.fsencode(new), os.fsencode(old))


def mount_setattr(target: str, attributes: int, *, recursive: bool) -> None:
    """Linux 5.12 and later."""
    packed = struct.pack("=4Q", attributes, 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    _syscall(_MOUNT_SETATTR, f"mount_setattr {target}", _AT_FDCWD, os.fsencode(target), flags, packed, len(packed))


def open_without_links(path: str) -> int:
    """Open *path* for naming only; a symbolic link anywhere on it is an error. Linux 5.6 and later."""
    how = struct.pack("=3Q", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_NO_SYMLINKS)
    return _syscall(_OPENAT2, f"open {path}", _AT_FDCWD, os.fsencode(path), how, len(how))


def open_named(path: str) -> int:
    """The same, also where the kernel has no such call."""
    try:
        return open_without_links(path)
    except OSError as error:
        if error.errno != 38:  # ENOSYS: before Linux 5.6, or a host that filters the call
            raise
    if os.path.realpath(path) != path:
        raise OSError(40, f"{path}: there is a link on the way")
    return os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)


def prctl(option: int, value: int, second: int = 0) -> None:
    arguments = [ctypes.c_ulong(one) for one in (value, second, 0, 0)]
    _check(_libc.prctl(ctypes.c_int(option), *arguments), f"prctl {option}")


def set_name(name: str) -> None:
    """Name the process as ``ps`` shows it; at most 15 bytes."""
    _check(_libc.prctl(ctypes.c_int(PR_SET_NAME), name.encode()[:15]), "prctl name")


def clear_capabilities() -> None:
    """Give up every effective, permitted and inheritable capability."""
    header = struct.pack("=Ii", 0x2008_0522, 0)
    _syscall(_CAPSET, "capset", header, bytes(24))


def be_effectively(uid: int) -> None:
    """Let the effective user be *uid*, and keep the capabilities that such a change takes."""
    os.setresuid(-1, uid, -1)
    header, held = struct.pack("=Ii", 0x2008_0522, 0), ctypes.create_string_buffer(24)
    _syscall(_CAPGET, "capget", header, held)
    words = struct.unpack("=6I", held.raw)
    # Effective, permitted, inheritable, for the low and for the high numbers: what is permitted becomes effective.
    regained = struct.pack("=6I", words[1], words[1], words[2], words[4], words[4], words[5])
    _syscall(_CAPSET, "capset", header, regained)


def filter_calls(program: bytes) -> None:
    """Load a seccomp program for this process and all that it becomes or starts."""
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a short, padding, a pointer.
    head = struct.pack("@HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    _syscall(_SECCOMP, "seccomp", 1, 0, head)


def landlock(ruled: int, scoped: int, rules: list[tuple[str, int]], opened: Callable[[str], int]) -> None:
    """Restrict this process to *rules*: what may be done below which path; *opened* opens one for naming only."""
    attributes = struct.pack("=3Q", ruled, 0, scoped)
    size = 24 if scoped else 8
    ruleset = _syscall(_LANDLOCK_CREATE, "landlock", attributes, size, 0)
    try:
        for path, allowed in rules:
            place = opened(path)
            try:
                rule = struct.pack("=Qi", allowed, place)
                _syscall(_LANDLOCK_ADD, f"landlock {path}", ruleset, 1, rule, 0)
            finally:
                os.close(place)
        _syscall(_LANDLOCK_RESTRICT, "landlock", ruleset, 0)
    finally:
        os.close(ruleset)


def landlock_version() -> int:
    """Return the version of Landlock's interface; 0 where there is none."""
    try:
        return _syscall(_LANDLOCK_CREATE, "landlock", 0, 0, 1)
    except OSError:
        return 0
