"""Stand beside a worker where the host makes no namespaces: the level confined.

Landlock and the filter of system calls hold it, and nothing hides what it may not touch. What it leaves behind falls
to this process, the subreaper of all that comes of it, and is ended by it; or by the launcher, where the hub ended
this one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Container
from typing import NoReturn

from . import confine, init, inside, kernel
from .plan import Plan

_PATIENCE = 5.0
"""Seconds after which what forks faster than it is ended is given up."""


def run(plan: Plan, descriptors: list[int], report: int, *, rooted: bool, template: inside.Template) -> NoReturn:
    """As ``init.run``."""
    try:
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        report, *descriptors = map(inside.lift, (report, *descriptors))
        os.dup2(report, inside.REPORT, inheritable=False)
        inside.close_all_but({*descriptors, inside.REPORT})
        os.setsid()
        kernel.set_name("sandbox")
        uid = plan.uid if rooted else None
        if rooted:
            os.setgroups([])
        worker = os.fork()
        if worker == 0:
            _work(plan, descriptors, uid, template)
        for descriptor in descriptors:
            os.close(descriptor)
        confine.surrender(uid, bounding=rooted)
        signal.signal(signal.SIGTERM, _cut)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
        if init.orphaned():
            _cut()
        _reap(worker)
    except BaseException as error:
        init.tell(error=init.describe(error))
        sweep()
        os._exit(1)


def _work(plan: Plan, descriptors: list[int], uid: int | None, template: inside.Template) -> NoReturn:
    try:
        os.setsid()
        inside.enter(plan, inside.place(plan, descriptors), template, uid=uid)
    except inside.NoProgram as error:
        init.tell(missing=str(error))
    except BaseException as error:
        init.tell(error=init.describe(error))
    os._exit(1)


def _cut(*_: object) -> NoReturn:
    """The launcher is gone."""
    sweep()
    os._exit(1)


def _reap(worker: int) -> NoReturn:
    while True:
        pid, status = os.wait()
        if pid == worker:
            sweep()
            init.tell(status=os.waitstatus_to_exitcode(status))
            os._exit(0)


def sweep(kept: Container[int] = ()) -> None:
    """End every child of this process but *kept*, and what those leave to it."""
    until = time.monotonic() + _PATIENCE
    while (left := [pid for pid in _children() if pid not in kept]) and time.monotonic() < until:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.001)


def _children() -> list[int]:
    with contextlib.suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]
    return []
