"""Build what a sandbox sees: a new root of named binds, its own /proc, /tmp and a few devices.

What is not bound is not there: there is no path to the hub's data, other functions' code or anybody's
home. Called by process 1 of the sandbox, in its own mount namespace; what is the same for all comes first, for it
may be there before anybody knows for whom.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from . import kernel
from .plan import OLD, Bind, Plan

_STAGES = ("/tmp", "/run", "/var", "/mnt")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_MASKED = (
    "acpi", "asound", "cmdline", "config.gz", "diskstats", "interrupts", "kallsyms", "kcore", "key-users", "keys",
    "kmsg", "kpagecgroup", "kpagecount", "kpageflags", "latency_stats", "locks", "modules", "partitions", "sched_debug",
    "scsi", "sysrq-trigger", "timer_list", "timer_stats",
)  # fmt: skip
"""What of /proc tells of the host, or acts on it."""
_FROZEN = ("bus", "fs", "irq", "sys")
"""What of /proc can be read and never written."""
_MADE = "/.made"
"""Where an empty folder is until it covers another."""
_OWN_DEVICES: set[int] = set()
"""The file systems that are the sandbox's alone: in this process, there is one sandbox."""
_OWN = (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"))


def found() -> None:
    """Make the new root, with what every sandbox has; the host's is still there, too."""
    os.umask(0o022)
    _leave_host()
    _OWN_DEVICES.add(os.stat("/").st_dev)
    _devices()
    _proc()


def build(plan: Plan, owner: int) -> None:
    """Make a founded root the plan's, and the only one.

    *owner* is the uid of /tmp and /dev/shm as this process sees it.
    """
    _scratch("/tmp", plan.tmp, plan.tmp_inodes, owner)
    _OWN_DEVICES.add(os.stat("/tmp").st_dev)
    _show(plan)
    _scratch("/dev/shm", plan.shm, plan.tmp_inodes, owner)
    for path, target in plan.links:
        # Where something is bound below it, it is a folder.
        if not os.path.lexists(path):
            with _parent(path) as (folder, name):
                os.symlink(target, name, dir_fd=folder)
    for path, text in plan.files:
        _write(path, text)
    _seal()


def _leave_host() -> None:
    """Make an empty tmpfs the root; the host's is at ``OLD`` until the end. Stops: every path of the host."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_SLAVE)
    stage = next((path for path in _STAGES if os.path.isdir(path) and not os.path.islink(path)), "/proc")
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", stage, "tmpfs", flags, "size=1m,nr_inodes=8192,mode=0755")
    os.chdir(stage)
    os.mkdir(stage + OLD)
    kernel.pivot_root(".", "." + OLD)
    os.chdir("/")


def _scratch(path: str, size: int, inodes: int, owner: int) -> None:
    """Mount a folder in memory, bounded in bytes and in files. Stops: a filled disk, and memory lost to inodes."""
    os.makedirs(path, exist_ok=True)
    options = f"size={size},nr_inodes={inodes},mode=0700,uid={owner},gid={owner}"
    kernel.mount("tmpfs", path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)


def _show(plan: Plan) -> None:
    """Show what is named, and nothing of what is hidden but what is named within it: what is above comes first."""
    steps: list[tuple[int, Bind | str]] = [(bind.target.count("/"), bind) for bind in plan.binds]
    steps += [(path.count("/"), path) for path in plan.hidden]
    hidden = []
    for _, step in sorted(steps, key=lambda one: one[0]):
        if isinstance(step, Bind):
            _bind(step)
        elif os.path.isdir(step):
            _hide(step)
            hidden.append(step)
    for path in hidden:
        _freeze(path)


def _bind(bind: Bind) -> None:
    """Show one thing of the host, without setuid and, unless asked for, without writing.

    Stops: changes to anything, setuid programs, and links that lead elsewhere than was meant.
    """
    handle = _open(OLD + bind.source)
    try:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            os.close(_folder(bind.target))
        elif not os.path.exists(bind.target):
            _write(bind.target, "")
        source = f"{OLD}/proc/self/fd/{handle}"
        try:
            kernel.mount(source, bind.target, None, kernel.MS_BIND | kernel.MS_REC)
        except OSError as error:
            raise OSError(error.errno, f"bind {bind.source}: {os.strerror(error.errno or 0)}") from None
    finally:
        os.close(handle)
    attributes = kernel.MOUNT_ATTR_NOSUID
    if bind.access != "device":
        attributes |= kernel.MOUNT_ATTR_NODEV
    if bind.access == "read":
        attributes |= kernel.MOUNT_ATTR_RDONLY
    _restrict(bind.target, attributes)


def _hide(path: str) -> None:
    """Cover a folder with an empty one. Stops: the sight of the hub's data within a folder that is shown."""
    os.makedirs(_MADE, exist_ok=True)
    kernel.mount("tmpfs", _MADE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=64k,nr_inodes=256,mode=0755")
    # Looked at where nobody else can put something else in its place.
    _OWN_DEVICES.add(os.stat(_MADE).st_dev)
    kernel.mount(_MADE, path, None, kernel.MS_MOVE)
    os.rmdir(_MADE)


def _freeze(path: str) -> None:
    """Let nobody change one mount."""
    try:
        kernel.mount_setattr(path, kernel.MOUNT_ATTR_RDONLY, recursive=False)
    except OSError as error:
        if error.errno != 38:  # ENOSYS: before Linux 5.12
            raise
        flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_RDONLY
        kernel.mount("none", path, None, kernel.MS_REMOUNT | kernel.MS_BIND | flags)


def _open(path: str) -> int:
    try:
        return kernel.open_named(path)
    except OSError as error:
        raise OSError(error.errno, f"{path.removeprefix(OLD)}: {os.strerror(error.errno or 0)}") from None


def _restrict(target: str, attributes: int) -> None:
    """Take rights from a mount and from all below it."""
    try:
        kernel.mount_setattr(target, attributes, recursive=True)
        return
    except OSError as error:
        if error.errno != 38:  # ENOSYS: before Linux 5.12
            raise
    # The numbers of the old flags are those of the new attributes.
    with open("/proc/self/mountinfo" if os.path.exists("/proc/self") else f"{OLD}/proc/self/mountinfo") as lines:
        points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    for point in points:
        if point == target or point.startswith(target + "/"):
            kept = os.statvfs(point).f_flag & (kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
            kernel.mount("none", point, None, kernel.MS_REMOUNT | kernel.MS_BIND | kept | attributes)


def _devices() -> None:
    """Make a /dev of five harmless devices. Stops: disks, terminals, kernel memory."""
    for name in _DEVICES:
        _bind(Bind(source=f"/dev/{name}", target=f"/dev/{name}", access="device"))
    for name, target in _OWN:
        os.symlink(target, f"/dev/{name}")


def _proc() -> None:
    """Mount this pid namespace's own /proc, and cover what tells of the host or acts on it.

    Stops: the sight of other processes, their environment and memory, and changes to the kernel's settings.
    """
    os.makedirs("/proc", exist_ok=True)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("proc", "/proc", "proc", flags, "hidepid=2")
    for name in _MASKED:
        path = f"/proc/{name}"
        if os.path.isdir(path):
            kernel.mount("tmpfs", path, "tmpfs", flags | kernel.MS_RDONLY, "size=0,nr_inodes=2,mode=0555")
        elif os.path.exists(path):
            kernel.mount("/dev/null", path, None, kernel.MS_BIND)
    for name in _FROZEN:
        path = f"/proc/{name}"
        if os.path.exists(path):
            kernel.mount(path, path, None, kernel.MS_BIND | kernel.MS_REC)
            _restrict(path, kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV)


def _seal() -> None:
    """Let go of the host's root and freeze the new one. Stops: the way back, and files beside the binds."""
    kernel.umount(OLD, kernel.MNT_DETACH)
    os.rmdir(OLD)
    _freeze("/")


def _write(path: str, text: str) -> None:
    with _parent(path) as (folder, name):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=folder)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


@contextlib.contextmanager
def _parent(path: str) -> Iterator[tuple[int, str]]:
    """Lend the folder that *path* is to be made in, and its name there."""
    folder = _folder(os.path.dirname(path))
    try:
        _own(folder, path)
        yield folder, os.path.basename(path)
    finally:
        os.close(folder)


def _folder(path: str) -> int:
    """Open a folder, made where it is missing, for naming only.

    Stops: a link in something shown, by which root would write elsewhere; what the host's root holds is still there.
    """
    try:
        return kernel.open_without_links(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOSYS):
            raise
    handle = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    for name in filter(None, path.split("/")):
        try:
            try:
                within = os.open(name, flags, dir_fd=handle)
            except FileNotFoundError:
                _own(handle, path)
                os.mkdir(name, dir_fd=handle)
                within = os.open(name, flags, dir_fd=handle)
        finally:
            os.close(handle)
        handle = within
    return handle


def _own(folder: int, path: str) -> None:
    """Refuse to make *path* in a folder of the host. Stops: files of root's in what others may write."""
    if os.fstat(folder).st_dev not in _OWN_DEVICES:
        raise OSError(errno.EROFS, f"{path} would be made within what is shown of the host")
