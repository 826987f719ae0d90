"""System calls that administer, look into others, or have often broken kernels. Their arguments do no harm."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform

from attack import attack, call, opens, reached

NOWHERE = ctypes.c_char_p(b"/nowhere/at/all")


@attack("confined")
def load_a_program_into_the_kernel(world):
    return reached(321, 0, 0, 0)


@attack("confined")
def set_up_a_ring_of_calls(world):
    return reached(425, 8, ctypes.create_string_buffer(120))


@attack("confined")
def handle_page_faults(world):
    return reached(323, 1)


@attack("confined")
def count_events_of_the_processor(world):
    return reached(298, 0, 0, -1, -1, 0)


@attack("confined")
def load_a_module(world):
    return reached(175, 0, 0, NOWHERE)


@attack("confined")
def load_a_module_from_a_file(world):
    return reached(313, -1, NOWHERE, 0)


@attack("confined")
def unload_a_module(world):
    return reached(176, NOWHERE, os.O_NONBLOCK)


@attack("confined")
def load_another_kernel(world):
    return reached(246, 0, 0, 0, 0xFFFF0000)


@attack("confined")
def restart_the_host(world):
    return reached(169, 0, 0, 0, 0)


@attack("confined")
def swap_to_a_file(world):
    return reached(167, NOWHERE, 0)


@attack("confined")
def account_processes(world):
    return reached(163, NOWHERE)


@attack("confined")
def set_the_clock(world):
    return reached(164, 0, 0)


@attack("confined")
def set_a_clock_by_its_number(world):
    # Nanoseconds that no clock has.
    return reached(227, 0, ctypes.byref((ctypes.c_long * 2)(0, -1)))


@attack("confined")
def rename_the_host(world):
    name = os.uname().nodename.encode()
    return reached(170, ctypes.c_char_p(name), len(name))


@attack("confined")
def read_the_kernel_s_log_by_a_call(world):
    return reached(103, 3, ctypes.create_string_buffer(100), 100)


@attack("confined")
def reach_the_ports_of_devices(world):
    return reached(172, 3)


@attack("confined")
def reach_one_port_of_a_device(world):
    return reached(173, 0x80, 1, 1)


@attack("confined")
def change_the_tables_of_segments(world):
    return reached(154, 0, ctypes.create_string_buffer(16), 16)


@attack("confined")
def change_its_personality(world):
    return reached(135, 0x0040000)


@attack("confined")
def trace_itself(world):
    return reached(101, 0, 0, 0, 0)


@attack("confined")
def store_a_key(world):
    text = ctypes.c_char_p(b"attack")
    return reached(248, ctypes.c_char_p(b"user"), text, text, 6, -2)


@attack("confined")
def ask_for_a_key(world):
    return reached(249, ctypes.c_char_p(b"user"), ctypes.c_char_p(b"attack"), 0, -2)


@attack("confined")
def watch_a_whole_file_system(world):
    return reached(300, 0, 0)


@attack("confined")
def mount_by_the_old_call(world):
    return reached(165, NOWHERE, NOWHERE, 0, 0, 0)


@attack("confined")
def open_a_file_system(world):
    return reached(430, ctypes.c_char_p(b"tmpfs"), 1)


@attack("confined")
def copy_a_tree_of_mounts(world):
    return reached(428, -100, ctypes.c_char_p(b"/"), 0x80001)


@attack("confined")
def move_a_mount(world):
    return reached(429, -1, ctypes.c_char_p(b""), -1, ctypes.c_char_p(b""), 4)


@attack("confined")
def change_a_mount(world):
    return reached(442, -100, ctypes.c_char_p(b"/usr"), 0, ctypes.byref((ctypes.c_uint64 * 4)(0, 1, 0, 0)), 32)


@attack("confined")
def list_the_mounts(world):
    request = (ctypes.c_uint64 * 3)(24, 0xFFFFFFFFFFFFFFFF, 0)
    return reached(458, request, ctypes.create_string_buffer(80), 10, 0)


@attack("confined")
def exchange_the_root(world):
    return reached(155, ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))


@attack("confined")
def change_the_root(world):
    return reached(161, ctypes.c_char_p(b"/"))


@attack("confined")
def limit_what_a_disk_holds(world):
    return reached(179, 0x80000100, NOWHERE, 0, 0)


@attack("confined")
def hide_memory_from_the_kernel(world):
    return reached(447, 0)


@attack("confined")
def move_pages_between_nodes(world):
    return reached(279, 0, 0, 0, 0, 0, 0)


@attack("confined")
def type_into_a_terminal(world):
    import fcntl

    master, slave = os.openpty()
    try:
        # Inserted by the kernel as if a person had typed it.
        fcntl.ioctl(slave, 0x5412, b"x")
    except OSError as error:
        if error.errno != 5:
            raise
    finally:
        os.close(master)
        os.close(slave)
    return True


@attack("confined")
def paste_into_a_console(world):
    import fcntl

    master, slave = os.openpty()
    try:
        fcntl.ioctl(slave, 0x541C, b"\x02")
    except OSError as error:
        if error.errno not in (22, 25):
            raise
    finally:
        os.close(master)
        os.close(slave)
    return True


@attack("confined")
def call_as_a_32_bit_program(world):
    if platform.machine() != "x86_64":
        return False
    # mov eax, 20 (getpid); int 0x80; ret
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    place = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return ctypes.CFUNCTYPE(ctypes.c_int)(place)() == os.getpid()


@attack("confined")
def open_as_a_32_bit_program(world):
    if platform.machine() != "x86_64":
        return False
    # unshare(CLONE_NEWUTS) by its 32-bit number: mov eax, 310; mov ebx, 0x04000000; int 0x80; ret
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\x53\xb8\x36\x01\x00\x00\xbb\x00\x00\x00\x04\xcd\x80\x5b\xc3")
    place = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return ctypes.CFUNCTYPE(ctypes.c_int)(place)() == 0


@attack("confined")
def call_as_an_x32_program(world):
    return call(0x40000000 | 39) == os.getpid()


@attack("confined")
def call_what_nobody_knows(world):
    for number in (400, 423, 512, 547, 600, 1000, 2**31 - 1):
        try:
            call(number, 0, 0, 0, 0, 0, 0)
        except OSError as error:
            if error.errno != 38:
                return True
        else:
            return True
    return False


@attack("confined")
def open_a_device_of_the_kernel_s(world):
    for name in ("kvm", "fuse", "vhost-net", "vhost-vsock", "loop-control", "mapper/control", "userfaultfd", "hpet"):
        path = f"/dev/{name}"
        if os.path.exists(path) and opens(path, os.O_RDWR):
            return True
    return False
