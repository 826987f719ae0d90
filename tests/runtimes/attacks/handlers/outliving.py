"""Processes that mean to live on after a timeout, an answer or a crash. The host looks for their name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from attack import LIBC, attack


def named(world):
    LIBC.prctl(15, world["name"].encode(), 0, 0, 0)


def deaf():
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue


def hide(world):
    named(world)
    time.sleep(3600)
    os._exit(0)


def hang():
    while True:
        time.sleep(60)


@attack("trusted", ends=True)
def outlive_as_a_child(world):
    if os.fork() == 0:
        hide(world)
    hang()


@attack("isolated", ends=True)
def outlive_in_a_session_of_its_own(world):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            hide(world)
        os._exit(0)
    hang()


@attack("isolated", ends=True)
def outlive_in_one_session_after_another(world):
    def deeper(left):
        if os.fork() == 0:
            os.setsid()
            if left:
                deeper(left - 1)
            hide(world)

    deeper(8)
    hang()


@attack("isolated", ends=True)
def outlive_deaf_to_every_signal(world):
    deaf()
    if os.fork() == 0:
        os.setsid()
        hide(world)
    hang()


@attack("isolated", ends=True)
def outlive_by_running_away(world):
    # Always a new process: whoever looks for it kills the one before.
    if os.fork() == 0:
        os.setsid()
        named(world)
        for _ in range(2000):
            time.sleep(0.001)
            if os.fork():
                os._exit(0)
            os.setsid()
        hide(world)
    hang()


@attack("isolated", ends=True)
def outlive_as_a_program(world):
    subprocess.Popen(["/bin/sh", "-c", "sleep 3600; :", world["name"]], start_new_session=True)
    hang()


@attack("isolated", ends=True)
def outlive_stopped(world):
    child = os.fork()
    if child == 0:
        os.setsid()
        named(world)
        os.kill(os.getpid(), signal.SIGSTOP)
        hide(world)
    hang()


@attack("isolated", ends=True)
def outlive_without_a_first_thread(world):
    if os.fork() == 0:
        os.setsid()
        named(world)
        threading.Thread(target=hide, args=(world,)).start()
        LIBC.pthread_exit(None)
    hang()


@attack("isolated", ends=True)
def outlive_the_answer(world):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            hide(world)
        os._exit(0)


@attack("isolated", ends=True)
def outlive_a_crash(world):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            hide(world)
        os._exit(0)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGSEGV)


@attack("isolated", ends=True)
def outlive_the_sandbox_s_first_process(world):
    if os.fork() == 0:
        os.setsid()
        hide(world)
    if world["level"] != "trusted":
        os.kill(os.getppid(), signal.SIGKILL)
    hang()


@attack("isolated", ends=True)
def outlive_with_what_the_hub_reads_in_hand(world):
    # It keeps the pipes and the socket open, so that their end does not come.
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            hide(world)
        os._exit(0)
    time.sleep(0.2)
    sys.stdout.flush()
    os._exit(3)
