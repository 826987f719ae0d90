"""Signals, tracing and settings of other processes."""

from __future__ import annotations

import fcntl
import os
import resource
import signal

from attack import attack, call


@attack("confined")
def signal_the_hub(world):
    os.kill(world["victim"], 0)
    return True


@attack("confined")
def signal_another_worker(world):
    os.kill(world["worker"], 0)
    return True


@attack("confined")
def signal_a_thread_of_the_hub(world):
    call(234, world["victim"], world["victim"], 0)
    return True


@attack("confined")
def signal_the_hub_s_group(world):
    os.killpg(world["victim_group"], 0)
    return True


@attack("isolated")
def signal_whoever_started_it(world):
    # Inside, that is nobody or the sandbox's own first process.
    parent = os.getppid()
    with open(f"/proc/{parent}/status") as status:
        grand = int(next(line for line in status if line.startswith("PPid")).split()[1])
    if grand <= 1:
        return False
    os.kill(grand, 0)
    return True


@attack("isolated")
def signal_everybody(world):
    # With a signal that does nothing, and only where the host's own processes are among them.
    os.kill(-1, 0)
    return os.path.exists(f"/proc/{world['victim']}")


@attack("confined")
def signal_the_hub_by_a_descriptor(world):
    signal.pidfd_send_signal(os.pidfd_open(world["victim"]), signal.SIGCONT)
    return True


@attack("confined")
def let_the_kernel_signal_the_hub(world):
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETOWN, world["victim"])
    fcntl.fcntl(reading, 10, signal.SIGCONT)
    fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC)
    os.write(writing, b"x")
    os.kill(world["victim"], 0)
    return True


@attack("confined")
def trace_the_hub(world):
    # PTRACE_SEIZE stops nobody.
    call(101, 0x4206, world["victim"], 0, 0)
    return True


@attack("confined")
def trace_another_worker(world):
    call(101, 0x4206, world["worker"], 0, 0)
    return True


@attack("confined")
def compare_itself_with_the_hub(world):
    call(312, os.getpid(), world["victim"], 0, 0, 0)
    return True


@attack("confined")
def limit_the_hub(world):
    resource.prlimit(world["victim"], resource.RLIMIT_CORE, (0, 0))
    return True


@attack("isolated")
def slow_the_hub(world):
    os.setpriority(os.PRIO_PROCESS, world["victim"], 1)
    return True


@attack("isolated")
def bind_the_hub_to_a_processor(world):
    os.sched_setaffinity(world["victim"], os.sched_getaffinity(world["victim"]))
    return True


@attack("isolated")
def slow_the_hub_s_disk(world):
    call(251, 1, world["victim"], 3 << 13)
    return True


@attack("confined")
def take_the_hub_s_pages(world):
    call(256, world["victim"], 1, 0, 0)
    return True


@attack("isolated")
def hurry_before_everybody(world):
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    return True


@attack("isolated")
def run_in_real_time(world):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return True
