"""Secrets of the hub and of other functions."""

from __future__ import annotations

import ctypes
import os
import re
import socket
import stat

from attack import attack, call, holds, opens


@attack("confined")
def read_the_hub_s_secret(world):
    return holds(world["secret"], world["token"])


@attack("confined")
def read_the_hub_s_secret_by_a_link(world):
    link = os.path.join(os.environ.get("TMPDIR", "/tmp"), "link")
    os.symlink(world["secret"], link)
    try:
        return holds(link, world["token"])
    finally:
        os.unlink(link)


@attack("confined")
def read_the_hub_s_secret_by_a_path_upwards(world):
    return holds("/proc/self/cwd/../../../../../../../../../.." + world["secret"], world["token"])


@attack("confined")
def read_the_database(world):
    return opens(world["database"])


@attack("confined")
def list_the_data_folder(world):
    return "secret" in os.listdir(world["data"])


@attack("confined")
def read_the_project(world):
    return opens(os.path.join(world["project"], "triggerhub.toml"))


@attack("confined")
def read_another_function_s_code(world):
    return holds(os.path.join(world["others_code"], "other.py"), world["token"])


@attack("confined")
def read_another_function_s_temporary_files(world):
    return holds(os.path.join(world["others_tmp"], "note"), world["token"])


@attack("confined")
def read_another_worker_s_temporary_files_through_proc(world):
    return holds(f"/proc/{world['worker']}/root{world['others_tmp']}/note", world["token"])


@attack("confined")
def read_the_hub_s_environment(world):
    return holds(f"/proc/{world['victim']}/environ", world["token"])


@attack("confined")
def read_another_worker_s_environment(world):
    return holds(f"/proc/{world['worker']}/environ", world["token"])


@attack("confined")
def find_a_secret_in_any_environment(world):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if holds(f"/proc/{pid}/environ", world["token"]):
                return True
        except OSError:
            continue
    return False


@attack("isolated")
def find_a_secret_in_any_command_line(world):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if holds(f"/proc/{pid}/cmdline", world["victim_word"]):
                return True
        except OSError:
            continue
    return False


@attack("confined")
def read_the_hub_s_memory(world):
    with open(f"/proc/{world['victim']}/maps") as maps:
        line = next(line for line in maps if "[stack]" in line)
    with open(f"/proc/{world['victim']}/mem", "rb", buffering=0) as memory:
        start, end = (int(one, 16) for one in line.split()[0].split("-"))
        memory.seek(start)
        return world["token"].encode() in memory.read(end - start)


@attack("confined")
def read_the_hub_s_memory_by_a_call(world):
    buffer = ctypes.create_string_buffer(8)
    local = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    with open(f"/proc/{world['victim']}/maps") as maps:
        start = int(maps.readline().split("-")[0], 16)
    remote = (ctypes.c_void_p * 2)(start, 8)
    return call(310, world["victim"], local, 1, remote, 1, 0) == 8


@attack("confined")
def take_a_descriptor_of_the_hub(world):
    pidfd = os.pidfd_open(world["victim"])
    os.close(call(438, pidfd, 0, 0))
    return True


@attack("confined")
def open_a_descriptor_of_the_hub(world):
    return opens(f"/proc/{world['victim']}/fd/0")


@attack("confined")
def walk_into_the_hub_s_root(world):
    return holds(f"/proc/{world['victim']}/root{world['secret']}", world["token"])


@attack("confined")
def walk_into_the_hub_s_folder(world):
    return "secret" in os.listdir(f"/proc/{world['victim']}/cwd")


@attack("confined")
def read_the_shadow_file(world):
    return opens("/etc/shadow")


@attack("isolated")
def read_the_host_s_users(world):
    with open("/etc/passwd") as file:
        return len(file.readlines()) > 4


@attack("confined")
def list_the_hub_s_home_folder(world):
    # One name may be there: the interpreter's, if it lies there.
    return len(set(os.listdir(world["home"])) & set(world["home_names"])) > 1


@attack("confined")
def list_everybody_s_home_folders(world):
    return bool(os.listdir("/home") or True)


@attack("confined")
def read_the_host_s_logs(world):
    return bool(os.listdir("/var/log") or True)


@attack("trusted")
def find_a_secret_of_the_hub_in_its_own_environment(world):
    return any(world["token"] in value for value in os.environ.values())


@attack("trusted")
def find_another_function_s_secret_in_its_own_memory(world):
    # Of this one nobody told the attacker more than what it looks like.
    secret = re.compile(b"unsaid-[0-9a-f]{16}")
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps:
            place, rights = line.split()[:2]
            if "r" not in rights or "[v" in line:
                continue
            start, end = (int(one, 16) for one in place.split("-"))
            memory.seek(start)
            try:
                if secret.search(memory.read(end - start)):
                    return True
            except OSError:
                continue
    return False


@attack("trusted", alone=True)
def find_a_descriptor_that_leaked(world):
    # Its own are the three, the socket and, at trusted, the tether; and the one that lists them.
    found = {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, 3, 4}
    return len(found) > 1


@attack("confined")
def connect_to_the_control_socket(world):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(world["unix"])
        return client.recv(5) == b"hello"


@attack("isolated")
def read_the_session_s_keys(world):
    # KEYCTL_GET_KEYRING_ID of the session keyring.
    return call(250, 0, -3, 1) != 0


@attack("isolated")
def read_the_keys_in_proc(world):
    with open("/proc/keys") as keys:
        return bool(keys.read(10))


@attack("confined")
def open_a_file_by_its_handle(world):
    # The handle of the root folder needs no name: it is found by asking for it.
    class Handle(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("handle", ctypes.c_char * 128)]

    handle, mount = Handle(128), ctypes.c_int()
    call(303, -100, ctypes.c_char_p(b"/"), ctypes.byref(handle), ctypes.byref(mount), 0)
    root = os.open("/", os.O_RDONLY)
    try:
        os.close(call(304, root, ctypes.byref(handle), os.O_RDONLY))
    finally:
        os.close(root)
    return True


@attack("confined")
def read_a_disk(world):
    for name in os.listdir("/dev"):
        path = os.path.join("/dev", name)
        if stat.S_ISBLK(os.stat(path).st_mode):
            return opens(path)
    return False


@attack("confined")
def read_the_kernel_s_memory(world):
    return any(os.path.exists(path) and opens(path) for path in ("/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore"))


@attack("isolated")
def see_the_host_s_folders_in_the_table_of_mounts(world):
    with open("/proc/self/mountinfo") as table:
        text = table.read()
    return (
        world["data"] in text
        or world["others_code"] in text
        or any(line.split()[3:5] == ["/", "/"] and " - tmpfs " not in line for line in text.splitlines())
    )
