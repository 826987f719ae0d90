"""Tell from the kernel's own tables what a folder can be relied on for.

Pure: the caller reads ``/proc/self/mountinfo`` and catches what inotify said.
"""

from __future__ import annotations

import re

LOCAL = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "tmpfs", "xfs", "zfs"})
"""File systems whose timestamps are fine and come from this machine's own clock."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


def file_system(mountinfo: str, path: str) -> str:
    """Return the type of the file system that holds *path* (absolute, links resolved); empty when unknown.

    Of two mounts on one point the later one is seen. Form: proc_pid_mountinfo(5).
    """
    return _mount(mountinfo, path)[1]


def is_mount(mountinfo: str, path: str) -> bool:
    """Return whether something is mounted at *path* itself."""
    return _mount(mountinfo, path)[0] == path


def _mount(mountinfo: str, path: str) -> tuple[str, str]:
    """Return the point and the type of the mount that holds *path*."""
    length, found = -1, ("", "")
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= length:
            length, found = len(point), (point, right.split(" ")[0])
    return found


def explain_refusal(error: str) -> str:
    """Return what to do about a watch that inotify refused with this text."""
    if "os error 24" in error or "os error 23" in error:
        return (
            "no inotify instance is left for this user; "
            "raise the sysctl fs.inotify.max_user_instances (or the limit of open files)"
        )
    if "os error 28" in error or "watch limit" in error:
        return "no inotify watch is left for this user; raise the sysctl fs.inotify.max_user_watches"
    return f"the folder cannot be watched ({error})"
