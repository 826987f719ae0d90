"""Run a program where no user namespace can be made, as in a container: ``python denied.py PROGRAM ARGUMENT…``.

A filter answers EPERM to unshare, setns and to clone with a namespace's flag, and ENOSYS to clone3, whose
flags no filter can see. What docker's own filter does, for x86_64 and aarch64.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

EPERM, ENOSYS = 1, 38
CALLS = {"x86_64": {"unshare": 272, "setns": 308, "clone": 56}, "aarch64": {"unshare": 97, "setns": 268, "clone": 220}}
NAMESPACES = 0x7E020000
CLONE3 = 435


def program(calls: dict[str, int]) -> bytes:
    refuse = [(0x06, 0, 0, 0x50000 | EPERM)]
    steps = [(0x20, 0, 0, 0)]
    for name in ("unshare", "setns"):
        steps += [(0x15, 0, 1, calls[name]), *refuse]
    steps += [(0x15, 0, 1, CLONE3), (0x06, 0, 0, 0x50000 | ENOSYS)]
    steps += [(0x15, 0, 3, calls["clone"]), (0x20, 0, 0, 16), (0x45, 0, 1, NAMESPACES), *refuse]
    steps += [(0x06, 0, 0, 0x7FFF0000)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def deny() -> None:
    code = program(CALLS[platform.machine()])
    buffer = ctypes.create_string_buffer(code, len(code))
    whole = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, whole, 0, 0):
        raise OSError(ctypes.get_errno(), "the filter cannot be set")


if __name__ == "__main__":
    deny()
    os.execvp(sys.argv[1], sys.argv[1:])
