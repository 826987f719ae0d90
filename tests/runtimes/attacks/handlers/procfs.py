"""What the kernel shows and lets be set by files."""

from __future__ import annotations

import os

from attack import attack, holds, opens


@attack("confined")
def set_where_the_kernel_sends_cores(world):
    return opens("/proc/sys/kernel/core_pattern", os.O_WRONLY)


@attack("confined")
def set_which_program_loads_modules(world):
    return opens("/proc/sys/kernel/modprobe", os.O_WRONLY)


@attack("confined")
def press_the_magic_key(world):
    return opens("/proc/sysrq-trigger", os.O_WRONLY)


@attack("confined")
def drop_the_caches(world):
    return opens("/proc/sys/vm/drop_caches", os.O_WRONLY)


@attack("confined")
def set_how_addresses_are_spread(world):
    return opens("/proc/sys/kernel/randomize_va_space", os.O_WRONLY)


@attack("isolated")
def read_the_kernel_s_addresses(world):
    with open("/proc/kallsyms") as symbols:
        return int(symbols.readline().partition(" ")[0] or "0", 16) != 0


@attack("isolated")
def read_the_kernel_s_log(world):
    return opens("/dev/kmsg")


@attack("isolated")
def read_the_timers_of_all(world):
    with open("/proc/timer_list") as timers:
        return bool(timers.read(10))


@attack("isolated")
def read_the_interrupts_of_the_host(world):
    with open("/proc/interrupts") as file:
        return bool(file.read(10))


@attack("isolated")
def read_what_the_host_was_started_with(world):
    # A boot argument may be a password; locks and partitions tell of its files.
    return any(_reads(f"/proc/{name}") for name in ("cmdline", "locks", "partitions"))


def _reads(path):
    with open(path) as file:
        return bool(file.read(1))


@attack("isolated")
def read_the_devices_in_sys(world):
    return bool(os.listdir("/sys/class")) or bool(os.listdir("/sys/block"))


@attack("confined")
def write_into_sys(world):
    return opens("/sys/kernel/mm/transparent_hugepage/enabled", os.O_WRONLY)


@attack("confined")
def leave_the_control_group(world):
    for top in ("/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/tasks", "/sys/fs/cgroup/unified/cgroup.procs"):
        if os.path.exists(top) and opens(top, os.O_WRONLY):
            return True
    return False


@attack("confined")
def make_a_control_group(world):
    for top in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        if os.path.isdir(top):
            os.mkdir(f"{top}/attack")
            os.rmdir(f"{top}/attack")
            return True
    return False


@attack("isolated")
def be_spared_when_memory_runs_out(world):
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-900")
    return True


@attack("confined")
def let_the_hub_be_killed_when_memory_runs_out(world):
    return opens(f"/proc/{world['victim']}/oom_score_adj", os.O_WRONLY)


@attack("isolated")
def see_the_hub_in_proc(world):
    return holds(f"/proc/{world['victim']}/status", f"Pid:\t{world['victim']}")


@attack("isolated")
def see_the_host_s_ports(world):
    with open("/proc/net/tcp") as table:
        return f":{world['tcp']:04X} " in table.read()


@attack("confined")
def write_to_the_hub_s_terminal(world):
    return opens(world["terminal"], os.O_WRONLY | os.O_NOCTTY)


@attack("isolated")
def count_the_processes_of_the_host(world):
    return any(int(pid) == world["victim"] for pid in filter(str.isdigit, os.listdir("/proc")))


@attack("isolated")
def see_the_host_s_name(world):
    return os.uname().nodename == world["hostname"]
