"""Decide Landlock's rules: what may be done below which path of a sandbox.

The bits and the versions that brought them: include/uapi/linux/landlock.h.
"""

from __future__ import annotations

from collections.abc import Iterable

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
MAKE_CHAR, MAKE_BLOCK = 64, 2048
_FIRST = (1 << 13) - 1
REFER, TRUNCATE, IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_BROUGHT = ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEVICE))
ABSTRACT_SOCKETS, SIGNALS = 1, 2
SCOPED_FROM = 6
"""The version since which signals and abstract sockets can be closed in: Linux 6.12."""

OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE
READING = EXECUTE | READ_FILE | READ_DIR
OWN = ("/tmp", "/dev/shm")

_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_KERNEL = ("/proc/cpuinfo", "/proc/loadavg", "/proc/meminfo", "/proc/stat", "/proc/uptime", "/proc/version")
"""What of the host's /proc runtimes ask of the machine, and tells of nobody."""
_SELF = "/proc/self"


def ruled(version: int) -> int:
    """Return every right over files that a kernel with this version of Landlock knows."""
    return _FIRST | sum(right for since, right in _BROUGHT if version >= since)


def scoped(version: int) -> int:
    """Return what else may be closed in: abstract sockets, and signals to whoever is outside."""
    return ABSTRACT_SOCKETS | SIGNALS if version >= SCOPED_FROM else 0


def below(version: int, write: Iterable[tuple[str, bool]]) -> list[tuple[str, int]]:
    """Return what is allowed beyond :data:`READING`; *write* are paths, and whether each is a folder."""
    everything = ruled(version) & ~(MAKE_CHAR | MAKE_BLOCK)
    devices = (WRITE_FILE | READ_FILE | IOCTL_DEVICE | TRUNCATE) & ruled(version)
    rules = [("/dev", devices), ("/proc", WRITE_FILE), *((path, everything) for path in OWN)]
    return rules + [(path, everything if folder else everything & OF_FILES) for path, folder in write]


def alone(version: int, read: Iterable[tuple[str, bool]], write: Iterable[tuple[str, bool]]) -> list[tuple[str, int]]:
    """Return all that is allowed where nothing but Landlock keeps the host away; no right beyond these is anywhere.

    *read* and *write* are paths, and whether each is a folder.
    """
    known = ruled(version)
    everything = known & ~(MAKE_CHAR | MAKE_BLOCK)
    devices = (WRITE_FILE | READ_FILE | IOCTL_DEVICE | TRUNCATE) & known
    rules = [(path, READING if folder else READING & OF_FILES) for path, folder in read]
    rules += [(path, everything if folder else everything & OF_FILES) for path, folder in write]
    return [*rules, (_SELF, READING), *((path, devices) for path in _DEVICES), *((path, READ_FILE) for path in _KERNEL)]
