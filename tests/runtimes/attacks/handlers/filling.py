"""Disk, inodes, processes, threads, descriptors, watches and processor time."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import threading
import time

from attack import LIBC, attack, call

MB = 1024 * 1024
TMP = os.environ.get("TMPDIR", "/tmp")
IO_SETUP, IO_DESTROY = (206, 207) if platform.machine() == "x86_64" else (0, 1)
PROCESSES = 1100
"""More than the 1,024 that a function of Lambda's may have."""


def fill(path, size):
    with open(path, "wb", buffering=0) as file:
        try:
            return all(file.write(bytes(MB)) == MB for _ in range(size // MB))
        finally:
            os.unlink(path)


def scatter(folder, count):
    made = []
    try:
        for number in range(count):
            path = os.path.join(folder, f"inode-{number}")
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            made.append(path)
        return True
    finally:
        for path in made:
            os.unlink(path)


@attack("isolated")
def fill_its_temporary_folder(world):
    return fill(os.path.join(TMP, "filler"), world["tmp"] + 8 * MB)


@attack("isolated")
def fill_the_other_temporary_folder(world):
    return fill("/var/tmp/filler", world["tmp"] + 8 * MB)


@attack("isolated")
def fill_the_folder_of_shared_memory(world):
    return fill("/dev/shm/filler", 160 * MB)


@attack("isolated")
def fill_its_temporary_folder_through_a_deleted_file(world):
    file = os.open(os.path.join(TMP, "gone"), os.O_RDWR | os.O_CREAT)
    os.unlink(os.path.join(TMP, "gone"))
    return all(os.write(file, bytes(MB)) >= MB for _ in range(world["tmp"] // MB + 8))


@attack("isolated")
def use_up_the_inodes_of_its_temporary_folder(world):
    return scatter(TMP, world["inodes"] + 100)


@attack("isolated")
def use_up_the_inodes_of_shared_memory(world):
    return scatter("/dev/shm", world["inodes"] + 100)


@attack("isolated")
def fill_dev(world):
    return fill("/dev/filler", MB)


@attack("isolated")
def fill_the_root(world):
    return fill("/filler", MB)


@attack("isolated", alone=True)
def start_processes_without_end(world):
    children = []
    try:
        for _ in range(PROCESSES):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
        return True
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)


@attack("isolated", alone=True)
def start_threads_without_end(world):
    stop = threading.Event()
    threading.stack_size(64 * 1024)
    threads = []
    try:
        for _ in range(PROCESSES):
            thread = threading.Thread(target=stop.wait, daemon=True)
            thread.start()
            threads.append(thread)
        return True
    except RuntimeError:
        return False
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@attack("confined")
def open_descriptors_without_end(world):
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = []
    try:
        held.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(4200))
        return True
    finally:
        for one in held:
            os.close(one)


@attack("confined")
def raise_its_own_limits(world):
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 16, 1 << 16))
    except ValueError:
        # So Python says that it is not permitted.
        return False
    return True


@attack("confined")
def leave_a_core(world):
    return resource.getrlimit(resource.RLIMIT_CORE)[1] != 0


@attack("isolated", alone=True)
def take_every_watcher_of_its_user(world):
    # Whether the hub can still watch is for the hub to say, meanwhile. What it gives back, having looked, is taken too.
    held, until = [], time.monotonic() + 0.3
    while time.monotonic() < until and len(held) < 600:
        one = LIBC.inotify_init1(0)
        if one < 0:
            time.sleep(0.001)
        else:
            held.append(one)
    for one in held:
        os.close(one)
    return False


@attack("isolated", alone=True)
def watch_more_than_is_left_to_others(world):
    names = [os.path.join(TMP, f"watched-{number}") for number in range(500)]
    for name in names:
        open(name, "w").close()
    held, count = [LIBC.inotify_init1(0) for _ in range(20)], 0
    try:
        for one in held:
            count += sum(LIBC.inotify_add_watch(one, name.encode(), 2) > 0 for name in names)
        # They are counted for the user: a uid of its own takes them from nobody.
        return count == len(held) * len(names) and not _has_a_uid_of_its_own()
    finally:
        for one in held:
            os.close(one)
        for name in names:
            os.unlink(name)


def _has_a_uid_of_its_own():
    with open("/proc/self/uid_map") as file:
        inside, outside, _count = map(int, file.readline().split())
    return os.getuid() - inside + outside >= 400_000


@attack("confined")
def take_what_the_host_has_of_asynchronous_requests(world):
    # One number for the whole host, for as long as the process is there.
    taken = ctypes.c_ulong(0)
    try:
        call(IO_SETUP, 64, ctypes.byref(taken))
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return False
        raise
    call(IO_DESTROY, taken)
    return True


@attack("contained", alone=True)
def burn_the_processors(world):
    # A small function may have one processor at most, and that only while nobody else wants it.
    began, children = time.monotonic(), []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            while time.monotonic() < began + 1.5:
                pass
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime > 1.25 * (time.monotonic() - began)


@attack("isolated")
def wait_for_ever_in_the_kernel(world):
    # A process that no signal ends: a vfork whose child does not go on.
    child = os.fork()
    if child == 0:
        LIBC.prctl(1, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] != signal.SIGKILL
