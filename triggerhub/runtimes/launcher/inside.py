"""Become the worker: the last steps before the user's code, and the first of it."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from . import confine, kernel
from .forward import Forwarder
from .plan import Beginning, Plan, begin

_BEGINNING = 64
REPORT = 65
"""Above every number that a worker's descriptor is given."""


Template = Callable[[list[str]], None]
"""Runs the Python worker in this interpreter, with its arguments."""


class NoProgram(Exception):
    """The program that the sandbox was made for cannot be executed."""


def enter(plan: Plan, start: Beginning, template: Template, *, uid: int | None) -> NoReturn:
    """Confine this process and become the worker, as *uid*.

    Raises what stops it before the user's code begins; after that never returns and never raises.
    """
    os.umask(0o077)
    confine.limits(plan)
    confine.surrender(uid, bounding=plan.namespaces or uid is not None)
    # The process is the handler's own: it may see its /proc/self.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    if not plan.namespaces:
        # By where it began, for who made it may be ended without a word.
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    confine.landlock(plan)
    _forward(plan)
    os.chdir(start.cwd)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    if not plan.template:
        confine.seccomp(plan)
        try:
            os.execvpe(start.argv[0], start.argv, start.env)
        except OSError as error:
            raise NoProgram(f"{start.argv[0]}: {error.strerror}") from None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    time.tzset()
    confine.seccomp(plan)
    os.close(REPORT)
    _live(template, list(start.argv))


def place(plan: Plan, descriptors: list[int], *kept: int) -> Beginning:
    """Give every descriptor its number and close all others but those that are *kept*; return what comes by the last.

    What goes on in this interpreter has its streams and its environment then.
    Stops: descriptors of the hub, the launcher and other sandboxes.
    """
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    wanted = {0: null, 1: null, 2: null, **dict(zip(plan.descriptors, descriptors, strict=False))}
    wanted[_BEGINNING] = descriptors[-1]
    lifted = {number: lift(one) for number, one in wanted.items()}
    for number, one in lifted.items():
        os.dup2(one, number, inheritable=number != _BEGINNING)
    close_all_but({*wanted, REPORT, *kept})
    start = begin(_content(_BEGINNING))
    os.close(_BEGINNING)
    if plan.template:
        _streams()
        os.environ.clear()
        os.environ.update(start.env)
    return start


def _forward(plan: Plan) -> None:
    """Carry the plan's forwards in a process that is process 1's to reap, confined as the worker is."""
    if not plan.forwards:
        return
    # Bound before the worker goes on: its first connection finds somebody.
    forwarder = Forwarder(dict(plan.forwards))
    between = os.fork()
    if between:
        forwarder.close()
        os.waitpid(between, 0)
        return
    try:
        if os.fork() == 0:
            close_all_but(forwarder.descriptors())
            kernel.set_name("forwarder")
            confine.seccomp(plan)
            forwarder.run()
    finally:
        os._exit(0)


def lift(descriptor: int) -> int:
    """Return a copy above every number that is given here."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, REPORT + 1)


def close_all_but(kept: set[int]) -> None:
    """Close every other descriptor."""
    low = 0
    for descriptor in sorted(kept):
        # An empty range from 0 would be taken for all of them.
        if low < descriptor:
            os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def _content(file: int) -> bytes:
    parts, there = [], 0
    while data := os.pread(file, 1 << 20, there):
        parts.append(data)
        there += len(data)
    return b"".join(parts)


def _streams() -> None:
    """Make the interpreter's streams anew: those of the launcher remember what they were opened on."""
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        raw = io.FileIO(number, "w" if number else "r", closefd=False)
        raw.name = f"<{name}>"
        buffer = io.BufferedWriter(raw) if number else io.BufferedReader(raw)
        stream = io.TextIOWrapper(buffer, "utf-8", "backslashreplace" if number == 2 else "strict", line_buffering=True)
        for place in (name, f"__{name}__"):
            setattr(sys, place, stream)


def _live(template: Template, argv: list[str]) -> NoReturn:
    """Run the worker in this interpreter and end as an interpreter ends."""
    import atexit
    import traceback

    status = 0
    try:
        template(argv)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if not isinstance(end.code, int | None):
            sys.stderr.write(f"{end.code}\n")
    except BaseException as error:
        traceback.print_exception(error.with_traceback(_from_worker(error.__traceback__)))
        status = 1
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()  # noqa: SLF001
        atexit._run_exitfuncs()  # noqa: SLF001
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status & 0xFF)


def _from_worker(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the launcher's own calls, which tell where on the host it is installed."""
    while trace is not None and os.path.dirname(trace.tb_frame.f_code.co_filename) == os.path.dirname(__file__):
        trace = trace.tb_next
    return trace
