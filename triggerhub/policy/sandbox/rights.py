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
_SCOPED_FROM = 6

OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE
READING = EXECUTE | READ_FILE | READ_DIR
OWN = ("/tmp", "/dev/shm")


def ruled(version: int) -> int:
    """Return every right over files that a kernel with this version of Landlock knows."""
    return _FIRST | sum(right for since, right in _BROUGHT if version >= since)


def scoped(version: int) -> int:
    """Return what else may be closed in: abstract sockets, and signals to whoever is outside."""
    return ABSTRACT_SOCKETS | SIGNALS if version >= _SCOPED_FROM else 0


def below(version: int, write: Iterable[tuple[str, bool]]) -> list[tuple[str, int]]:
    """Return what is allowed beyond :data:`READING`; *write* are paths, and whether each is a folder."""
    everything = ruled(version) & ~(MAKE_CHAR | MAKE_BLOCK)
    devices = (WRITE_FILE | READ_FILE | IOCTL_DEVICE | TRUNCATE) & ruled(version)
    rules = [("/dev", devices), ("/proc", WRITE_FILE), *((path, everything) for path in OWN)]
    return rules + [(path, everything if folder else everything & OF_FILES) for path, folder in write]
