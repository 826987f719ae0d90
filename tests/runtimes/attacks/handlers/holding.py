"""More memory than it was given, by every way that leads to some."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import signal
import socket
import time

from attack import LIBC, attack, call

MB = 1024 * 1024
MUCH = 512 * MB
STEP = 16 * MB
NORESERVE = 0x4000
KEPT = 0.7
"""Seconds for which what was got must be kept."""


def touch(memory, size):
    for start in range(0, size, mmap.PAGESIZE):
        memory[start] = 1


def keep():
    time.sleep(KEPT)
    return True


@attack("isolated", alone=True)
def hold_memory_on_the_heap(world):
    held = [bytearray(STEP) for _ in range(MUCH // STEP)]
    for one in held:
        touch(one, STEP)
    return keep()


@attack("isolated", alone=True)
def hold_memory_in_many_children(world):
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            held = bytearray(MUCH // 8)
            touch(held, len(held))
            time.sleep(60)
            os._exit(0)
        children.append(child)
    time.sleep(1.0)
    # Who was killed or refused has ended by now.
    left = [child for child in children if os.waitpid(child, os.WNOHANG)[0] == 0]
    for child in left:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(left) >= 6


@attack("isolated", ends=True)
def hold_memory_after_the_answer(world):
    for _ in range(8):
        if os.fork() == 0:
            LIBC.prctl(15, world["name"].encode(), 0, 0, 0)
            time.sleep(0.5)
            held = bytearray(MUCH // 8)
            touch(held, len(held))
            time.sleep(60)
            os._exit(0)


@attack("isolated", alone=True)
def hold_memory_in_a_file_without_a_name(world):
    file = os.memfd_create("attack")
    for _ in range(MUCH // STEP):
        os.write(file, bytes(STEP))
    return keep()


@attack("isolated", alone=True)
def hold_memory_in_a_segment(world):
    LIBC.shmat.restype = ctypes.c_void_p
    segments = []
    try:
        for _ in range(MUCH // STEP):
            segment = LIBC.shmget(0, STEP, 0o600)
            if segment < 0:
                raise OSError(1, "refused")
            segments.append(segment)
            place = ctypes.c_void_p(LIBC.shmat(segment, None, 0))
            LIBC.memset(place, 1, STEP)
            LIBC.shmdt(place)
        return keep()
    finally:
        for segment in segments:
            LIBC.shmctl(segment, 0, None)


@attack("isolated", alone=True)
def hold_memory_that_is_shared_without_a_file(world):
    held = [mmap.mmap(-1, STEP, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS) for _ in range(MUCH // STEP)]
    for one in held:
        touch(one, STEP)
    return keep()


@attack("isolated", alone=True)
def hold_memory_in_pipes(world):
    ends = []
    for _ in range(400):
        reading, writing = os.pipe()
        ends += [reading, writing]
        fcntl.fcntl(writing, 1031, MB)
        os.set_blocking(writing, False)
        os.write(writing, bytes(MB))
    return keep()


@attack("contained", alone=True)
def hold_memory_in_sockets(world):
    pairs, sent, block = [], 0, bytes(128 * 1024)
    try:
        for _ in range(500):
            pairs.append(socket.socketpair())
            for end in pairs[-1]:
                end.setblocking(False)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MB)
                try:
                    while True:
                        sent += end.send(block)
                except BlockingIOError:
                    continue
    except OSError:
        # No descriptor is left; what is held may be enough.
        pass
    return sent > 160 * MB and keep()


@attack("isolated", alone=True)
def hold_memory_in_dev_shm(world):
    with open("/dev/shm/attack", "wb") as file:
        try:
            for _ in range(MUCH // STEP):
                file.write(bytes(STEP))
                file.flush()
            return keep()
        finally:
            os.unlink("/dev/shm/attack")


@attack("isolated", alone=True)
def hold_memory_that_is_locked(world):
    held = mmap.mmap(-1, MUCH, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # With MCL_CURRENT, so that the kernel fills it at once.
    call(151, 1)
    return bool(held) and keep()


@attack("isolated", alone=True)
def hold_memory_by_dropping_its_own_limit(world):
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError:
        # So Python says that it is not permitted.
        return False
    held = bytearray(MUCH)
    touch(held, MUCH)
    return keep()


@attack("isolated", alone=True)
def hold_memory_in_tables_of_pages(world):
    # One page touched in each gigabyte or two megabytes costs the kernel a page that is nobody's.
    space = mmap.mmap(-1, 1 << 38, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE, mmap.PROT_READ)
    view = memoryview(space)
    total = 0
    for start in range(0, 1 << 38, 1 << 21):
        total += view[start]
    return total == 0 and keep()
