"""Measure what a worker's processes hold, and find those it left behind.

Cheap first: resident pages overstate shared ones, so only a worker that seems over its limit is
measured exactly.
"""

from __future__ import annotations

import os

_PAGE = os.sysconf("SC_PAGE_SIZE")
_ENTRY = 8
"""Bytes of a page's entry in the kernel's tables."""


def family(pid: int) -> list[int]:
    """Return *pid* and its descendants, of whichever thread; one that dies meanwhile is left out."""
    found, open_ends = [pid], [pid]
    while open_ends:
        parent = open_ends.pop()
        try:
            threads = os.listdir(f"/proc/{parent}/task")  # noqa: PTH208 - names only
        except OSError:
            continue
        for thread in threads:
            children = [int(child) for child in _read(f"/proc/{parent}/task/{thread}/children").split()]
            found += children
            open_ends += children
    return found


def session(leader: int) -> list[int]:
    """Return the living processes of a session, those that changed their group or lost their parent included."""
    members = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - names only
        if name.isdigit():
            # The name of a program may hold anything; the fields begin after its last bracket.
            fields = _read(f"/proc/{name}/stat").rpartition(b")")[2].split()
            if len(fields) > 3 and int(fields[3]) == leader and fields[0] not in (b"Z", b"X"):
                members.append(int(name))
    return members


def resident(pids: list[int]) -> tuple[int, int]:
    """Return two bounds in bytes: the resident memory, a page once for each process that maps it, and its tables.

    The kernel's tables of a process's pages are in no resident size. They are little unless a process means
    it: one page read of every two megabytes costs a page of tables, which is nobody's.
    """
    total = tables = 0
    for pid in pids:
        fields = _read(f"/proc/{pid}/statm").split()
        if len(fields) > 1:
            total += int(fields[1]) * _PAGE
            tables += int(fields[0]) * _ENTRY
    return total, tables


def most(pids: list[int]) -> tuple[int, int]:
    """Return the most bytes that each of these processes ever had resident, all together, and what they have now."""
    ever = now = 0
    for pid in pids:
        status = _read(f"/proc/{pid}/status")
        ever += int(_field(status, b"VmHWM").split()[0]) * 1024
        now += int(_field(status, b"VmRSS").split()[0]) * 1024
    return ever, now


def held(pids: list[int]) -> int:
    """Return the bytes that these processes alone keep in use: shared pages once, file pages not at all, tables too."""
    return sum(_held(pid) for pid in pids)


def _held(pid: int) -> int:
    parts = {}
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        name, _, rest = line.partition(b":")
        if name.startswith(b"Pss") or name == b"SwapPss":
            parts[name] = int(rest.split()[0]) * 1024
    tables = _tables(pid)
    if b"Pss_Anon" in parts:
        return parts[b"Pss_Anon"] + parts.get(b"Pss_Shmem", 0) + parts.get(b"SwapPss", 0) + tables
    # Of another user's process no more is told: what it shares with others counts whole.
    return (parts.get(b"Pss") or _own(pid)) + tables


def _own(pid: int) -> int:
    """Return the resident bytes of a process that are no file's."""
    fields = dict(line.split(b":", 1) for line in _read(f"/proc/{pid}/status").splitlines() if b":" in line)
    sizes = (fields.get(name, b"0 kB") for name in (b"RssAnon", b"RssShmem", b"VmSwap"))
    return sum(int(size.split()[0]) * 1024 for size in sizes)


def _tables(pid: int) -> int:
    return int(_field(_read(f"/proc/{pid}/status"), b"VmPTE").split()[0]) * 1024


def _field(status: bytes, name: bytes) -> bytes:
    """Return a field of a process's status; "0" where it has none, or is gone."""
    return status.partition(b"\n" + name + b":")[2] or b"0"


def _read(path: str) -> bytes:
    # os calls throughout: this runs ten times a second for every busy worker.
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, 65536)
    except OSError:
        return b""
    finally:
        os.close(file)
