"""Writes outside of what is its own. What is there is opened for writing, and not written to."""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
import sys

from attack import LIBC, attack, opens

TASK = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
MARK = "attack-was-here"


def makes(folder):
    path = os.path.join(folder, MARK)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)
    return True


@attack("confined")
def write_into_the_project(world):
    return makes(world["project"])


@attack("confined")
def write_into_the_data_folder(world):
    return makes(world["data"])


@attack("confined")
def write_into_a_folder_that_is_open_to_all(world):
    with open(os.path.join(world["outside"], MARK), "w"):
        return True


@attack("confined")
def write_into_what_it_may_only_read(world):
    return makes(world["shared"])


@attack("confined")
def stall_whoever_opens_a_file(world):
    # A lease: the kernel lets an opener wait for up to a minute until its holder gives it up.
    with open(os.path.join(world["shared"], "note")) as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    return True


@attack("confined")
def make_a_folder_outside(world):
    os.mkdir(os.path.join(world["outside"], "made"))
    os.rmdir(os.path.join(world["outside"], "made"))
    return True


@attack("confined")
def write_without_a_name_outside(world):
    return opens(world["outside"], os.O_TMPFILE | os.O_WRONLY)


@attack("confined")
def write_into_the_database(world):
    return opens(world["database"], os.O_RDWR)


@attack("confined")
def lock_the_database(world):
    with open(world["database"], "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


@attack("confined")
def shorten_the_database(world):
    os.truncate(world["database"], os.stat(world["database"]).st_size)
    return True


@attack("confined")
def rename_the_database(world):
    os.rename(world["database"], world["database"] + "-")
    os.rename(world["database"] + "-", world["database"])
    return True


@attack("confined")
def link_to_the_database(world):
    target = os.path.join(world["outside"], "database")
    os.link(world["database"], target)
    os.unlink(target)
    return True


@attack("confined")
def write_into_another_function_s_code(world):
    return opens(os.path.join(world["others_code"], "other.py"), os.O_WRONLY)


@attack("confined")
def write_into_its_own_code(world):
    return opens(os.path.join(TASK, "app.py"), os.O_WRONLY)


@attack("confined")
def add_to_its_own_code(world):
    return makes(TASK)


@attack("confined")
def rename_its_own_code(world):
    path = os.path.join(TASK, "app.py")
    os.rename(path, path + "-")
    os.rename(path + "-", path)
    return True


@attack("isolated")
def change_the_mode_of_its_own_code(world):
    os.chmod(os.path.join(TASK, "app.py"), stat.S_IMODE(os.stat(os.path.join(TASK, "app.py")).st_mode))
    return True


@attack("isolated")
def change_the_time_of_its_own_code(world):
    os.utime(os.path.join(TASK, "app.py"))
    return True


@attack("isolated")
def note_something_on_its_own_code(world):
    os.setxattr(os.path.join(TASK, "app.py"), "user.attack", b"1")
    return True


@attack("confined")
def write_into_the_bootstrap(world):
    return opens(os.path.join(os.environ["LAMBDA_RUNTIME_DIR"], "worker.py"), os.O_WRONLY)


@attack("confined")
def write_into_the_standard_library(world):
    return opens(os.__file__, os.O_WRONLY)


@attack("confined")
def leave_compiled_code_in_the_standard_library(world):
    return makes(os.path.dirname(os.__file__))


@attack("confined")
def write_into_its_own_interpreter(world):
    return opens(os.path.realpath(sys.executable), os.O_RDWR) or opens("/proc/self/exe", os.O_RDWR)


@attack("confined")
def write_into_a_program_of_the_host(world):
    return makes("/usr/bin")


@attack("confined")
def write_into_the_host_s_settings(world):
    return makes("/etc")


@attack("confined")
def write_beside_the_root(world):
    return makes("/")


@attack("confined")
def make_a_device(world):
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), "device")
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(254, 0))
    os.unlink(path)
    return True


@attack("isolated")
def mount_over_its_own_folder(world):
    folder = os.environ.get("TMPDIR", "/tmp").encode()
    if LIBC.mount(b"none", folder, b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "refused")
    LIBC.umount2(folder, 2)
    return True


@attack("isolated")
def climb_out_by_a_second_root(world):
    folder = os.environ.get("TMPDIR", "/tmp")
    top = os.open("/", os.O_RDONLY)
    try:
        os.chroot(folder)
        os.fchdir(top)
        for _ in range(20):
            os.chdir("..")
        os.chroot(".")
        return os.path.exists(world["secret"])
    finally:
        os.close(top)


@attack("confined")
def watch_the_data_folder(world):
    watcher = LIBC.inotify_init1(0)
    try:
        if LIBC.inotify_add_watch(watcher, world["data"].encode(), 2) < 0:
            raise OSError(13, "refused")
        return True
    finally:
        os.close(watcher)


@attack("confined")
def write_into_another_worker_s_folder_through_proc(world):
    return makes(f"/proc/{world['worker']}/cwd")
