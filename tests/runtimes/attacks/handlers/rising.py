"""Namespaces, capabilities, other users and whatever else would make it more than it is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import struct
import subprocess
import time

from attack import LIBC, attack, call

NEW = {"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "network": 0x40000000, "ipc": 0x8000000}
NEW |= {"uts": 0x4000000, "cgroup": 0x2000000}


def unshared(flags):
    call(272, flags)
    return True


@attack("confined")
def make_a_user_namespace(world):
    return unshared(NEW["user"])


@attack("confined")
def make_a_mount_namespace(world):
    return unshared(NEW["mount"])


@attack("confined")
def make_a_network_namespace(world):
    return unshared(NEW["network"])


@attack("confined")
def make_a_pid_namespace(world):
    return unshared(NEW["pid"])


@attack("confined")
def make_an_ipc_namespace(world):
    return unshared(NEW["ipc"])


@attack("confined")
def make_a_uts_namespace(world):
    return unshared(NEW["uts"])


@attack("confined")
def make_a_time_namespace(world):
    return unshared(0x80)


@attack("confined")
def make_a_nest_of_namespaces(world):
    return unshared(NEW["user"] | NEW["mount"] | NEW["network"])


@attack("confined")
def make_a_namespace_by_clone(world):
    child = call(56, NEW["user"] | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


@attack("confined")
def make_a_namespace_by_clone3(world):
    arguments = (ctypes.c_uint64 * 8)(NEW["user"], 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    child = call(435, arguments, ctypes.sizeof(arguments))
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


@attack("confined")
def become_root_in_a_nest_and_mount(world):
    uid, folder = os.getuid(), os.environ.get("TMPDIR", "/tmp").encode()
    call(272, NEW["user"] | NEW["mount"])
    with open("/proc/self/setgroups", "w") as file:
        file.write("deny")
    with open("/proc/self/uid_map", "w") as file:
        file.write(f"0 {uid} 1")
    call(165, ctypes.c_char_p(b"none"), ctypes.c_char_p(folder), ctypes.c_char_p(b"tmpfs"), 0, 0)
    return True


@attack("isolated")
def enter_the_host_s_namespaces(world):
    for kind in ("net", "ipc", "uts"):
        with open(f"/proc/{world['victim']}/ns/{kind}") as file:
            call(308, file.fileno(), 0)
    return True


@attack("confined")
def enter_a_namespace_again(world):
    with open("/proc/self/ns/uts") as file:
        call(308, file.fileno(), 0)
    return True


def status(name, pid="self"):
    with open(f"/proc/{pid}/status") as file:
        return next(line.split(":", 1)[1].split() for line in file if line.startswith(name + ":"))


@attack("confined")
def have_capabilities(world):
    return any(int(status(name)[0], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"))


@attack("isolated")
def have_capabilities_to_gain(world):
    return int(status("CapBnd")[0], 16) != 0


@attack("confined")
def be_able_to_gain_privileges(world):
    return status("NoNewPrivs")[0] == "0"


@attack("confined")
def be_without_a_filter(world):
    return status("Seccomp")[0] != "2"


@attack("isolated")
def be_root_in_the_host(world):
    with open("/proc/self/uid_map") as file:
        _inside, outside, count = map(int, file.readline().split())
    return os.getuid() == 0 or (outside == 0 and count < 2**32 - 1)


@attack("confined")
def be_in_a_group_of_the_hub_s(world):
    with open("/proc/self/gid_map") as file:
        groups = file.read().split()
    return 0 in os.getgroups() or (groups[1] == "0" and os.getgid() == 0)


@attack("isolated")
def become_another_user(world):
    os.setresuid(world["other_uid"], world["other_uid"], world["other_uid"])
    return True


@attack("isolated")
def become_another_group(world):
    os.setresgid(world["other_uid"], world["other_uid"], world["other_uid"])
    return True


@attack("isolated")
def leave_its_groups(world):
    os.setgroups([])
    return True


@attack("isolated")
def keep_its_capabilities(world):
    if LIBC.prctl(28, 0x2F, 0, 0, 0):
        raise OSError(1, "refused")
    return True


@attack("isolated")
def give_itself_a_capability(world):
    # PR_CAP_AMBIENT, RAISE, CAP_NET_RAW; and by capset.
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    every = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    if LIBC.prctl(47, 2, 13, 0, 0) and LIBC.capset(header, every):
        raise OSError(1, "refused")
    return int(status("CapEff")[0], 16) != 0


def rises(command, world):
    """Whether a program whose file belongs to root runs as somebody else than who started it."""
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            try:
                if status("Uid", child.pid)[1] != str(os.getuid()):
                    return True
            except OSError:
                break
            time.sleep(0.005)
        return False
    finally:
        with contextlib.suppress(OSError):
            child.kill()
        child.stdin.close()
        child.wait()


@attack("confined")
def rise_by_a_program_of_the_host(world):
    return rises(["/usr/bin/su"], world)


@attack("confined")
def rise_by_a_program_of_its_own(world):
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), "rise")
    with open("/bin/sleep", "rb") as source, open(path, "wb") as target:
        target.write(source.read())
    os.chmod(path, 0o4755)
    try:
        child = subprocess.Popen([path, "0.1"])
        real, effective, saved, _ = status("Uid", child.pid)
        child.wait()
        return not real == effective == saved
    finally:
        os.unlink(path)


@attack("confined")
def leave_a_program_that_runs_as_its_owner(world):
    folder = os.environ.get("TMPDIR", "/tmp")
    path, descriptor = os.path.join(folder, "rises"), -100
    how = struct.pack("=QQQ", os.O_WRONLY | os.O_CREAT, 0o4755, 0)
    ways = [
        lambda: os.chmod(path, 0o4755),
        lambda: os.chmod(path, 0o2755),
        lambda: call(91, os.open(path, os.O_RDONLY), 0o6755),
        lambda: call(268, descriptor, path.encode(), 0o4755),
        lambda: call(452, descriptor, path.encode(), 0o4755, 0),
        lambda: (os.unlink(path), os.open(path, os.O_WRONLY | os.O_CREAT, 0o4755)),
        lambda: (os.unlink(path), call(2, path.encode(), os.O_WRONLY | os.O_CREAT, 0o4755)),
        lambda: (os.unlink(path), call(85, path.encode(), 0o4755)),
        lambda: (os.unlink(path), os.mknod(path, stat.S_IFREG | 0o4755)),
        lambda: (os.unlink(path), call(437, descriptor, path.encode(), how, len(how))),
        lambda: os.link(f"/proc/self/fd/{os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o4755)}", path),
    ]
    for way in ways:
        with open(path, "w"):
            pass
        with contextlib.suppress(OSError):
            way()
        with contextlib.suppress(FileNotFoundError):
            mode = os.stat(path).st_mode
            os.unlink(path)
            if mode & 0o6000:
                return True
    # A folder of one's own is made without them, and given them by no call.
    os.mkdir(path, 0o6755)
    mode = os.stat(path).st_mode
    os.rmdir(path)
    return mode & 0o6000


@attack("isolated")
def rise_by_a_program_in_its_code(world):
    if not world["setuid"]:
        return False
    return rises([world["setuid"], "1"], world)
