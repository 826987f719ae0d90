"""Be process 1 of a sandbox: build it, start the worker in it, reap, and end with it.

When process 1 ends, the kernel ends every process of the pid namespace: nothing can outlive it, by no
session of its own and no double fork. It ends with the worker, with the launcher, and by the hub's kill.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Callable
from typing import NoReturn

from . import confine, inside, kernel, pasta, root
from .plan import INSIDE, Plan

NAMESPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS


def flags(plan: Plan, *, alone: bool) -> int:
    """Return the namespaces that process 1 is born into.

    *alone*: it has no right to any but by a user namespace of its own. Root makes that last, so that all the others
    belong to the host's root and not to the sandbox.
    """
    wanted = NAMESPACES | kernel.CLONE_NEWUSER if alone else NAMESPACES
    return wanted | (kernel.CLONE_NEWNET if plan.network == "own" else 0)


def run(
    plan: Plan,
    descriptors: list[int],
    report: int,
    *,
    rooted: bool,
    ids: tuple[int, int] | None,
    template: Callable[[list[str]], None],
) -> NoReturn:
    """Never returns. *descriptors* are the worker's, the beginning's file last; *report* takes JSON lines.

    *ids* are the launcher's uid and gid, where this is born into its own user namespace; *template* runs the Python
    worker in this interpreter.
    """
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        # The launcher's numbers may be any, those that are wanted here among them.
        report, *descriptors = map(inside.lift, (report, *descriptors))
        os.dup2(report, inside.REPORT, inheritable=False)
        inside.close_all_but({*descriptors, inside.REPORT})
        os.setsid()
        kernel.set_name("sandbox")
        if ids is not None:
            map_ids("self", ids[0], ids[1], deny=True)
        gate = descriptors.pop() if plan.gated else _join(plan.groups) if plan.groups else None
        socket.sethostname(plan.hostname)
        if plan.network == "carried":
            if gate is not None:
                # First: what carries it is held to the function's memory, too.
                _wait_at(gate)
                gate = None
            pasta.enter(plan.uid if rooted else None, map_ids)
        if plan.network != "host":
            confine.loopback_up()
        if plan.listen is not None:
            _hand_out(plan.listen, descriptors.pop())
        if not rooted:
            confine.fewer_watches()
        root.build(plan, plan.uid if rooted else INSIDE)
        if gate is not None:
            _wait_at(gate)
        kernel.unshare(kernel.CLONE_NEWCGROUP)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        worker = _start(plan, descriptors, null, rooted=rooted, template=template)
        for descriptor in (*descriptors, null):
            os.close(descriptor)
        _reap(worker)
    except BaseException as error:
        tell(error=describe(error))
        os._exit(1)


def _wait_at(gate: int) -> None:
    """Wait until the hub has put this process into its control groups, and so all that it starts.

    Joining takes the kernel longer than all else here, without a processor: it goes on meanwhile.
    """
    if not os.read(gate, 1):
        raise OSError(None, "the hub could not put it into its control groups")
    os.close(gate)


def _join(groups: tuple[str, ...]) -> int:
    """Put this process into *groups* from a child, which has the time; return where a byte says that it is done."""
    # Opened here: the host's paths will be gone soon.
    files = [os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in groups]
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            for file in files:
                os.write(file, b"1")  # its parent, as its own namespace numbers it
            os.write(writing, b"1")
        finally:
            os._exit(0)
    for file in files:
        os.close(file)
    os.close(writing)
    return reading


def _hand_out(port: int, door: int) -> None:
    """Give the hub a socket that listens within this sandbox's network: it serves there, and nothing is let out."""
    with socket.create_server(("127.0.0.1", port), backlog=128) as listening, socket.socket(fileno=door) as out:
        socket.send_fds(out, [b"here"], [listening.fileno()])


def _start(
    plan: Plan, descriptors: list[int], null: int, *, rooted: bool, template: Callable[[list[str]], None]
) -> int:
    """Fork the worker, write its user namespace's map, and be nobody before it begins."""
    unshared, mapped = os.pipe(), os.pipe()
    worker = os.fork()
    if worker == 0:
        try:
            os.setsid()
            if rooted:
                os.setgroups([])
                # What the namespace uses up is counted as its maker's: not root's, of which the hub needs some.
                kernel.be_effectively(plan.uid)
                kernel.unshare(kernel.CLONE_NEWUSER)
            os.write(unshared[1], b"1")
            os.close(mapped[1])
            if not os.read(mapped[0], 1):
                os._exit(1)
            for end in (*unshared, mapped[0]):
                os.close(end)
            inside.enter(plan, descriptors, null, template, uid=INSIDE)
        except inside.NoProgram as error:
            tell(missing=str(error))
        except BaseException as error:
            tell(error=describe(error))
        os._exit(1)
    os.close(unshared[1])
    if not os.read(unshared[0], 1):
        return worker  # it is gone, and has said why
    if rooted:
        map_ids(str(worker), plan.uid, plan.uid, deny=False)
        os.setgroups([])
    confine.surrender(plan.uid if rooted else None)
    # The change of user forgot it; and the launcher may be gone by now.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if orphaned():
        os._exit(1)
    os.write(mapped[1], b"1")
    for end in (unshared[0], *mapped):
        os.close(end)
    return worker


def map_ids(pid: str, uid: int, gid: int, *, deny: bool) -> None:
    """Let one uid and one gid of the host be ``INSIDE`` in the user namespace of *pid*. Stops: being outer root."""
    if deny:
        with open(f"/proc/{pid}/setgroups", "w") as file:
            file.write("deny")
    for name, outer in (("uid_map", uid), ("gid_map", gid)):
        try:
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(f"{INSIDE} {outer} 1")
        except OSError as error:
            raise OSError(error.errno, f"{name}: {os.strerror(error.errno or 0)}") from None


def orphaned() -> bool:
    """Whether the launcher is gone."""
    poll = select.poll()
    poll.register(inside.REPORT, 0)
    return bool(poll.poll(0))


def _reap(worker: int) -> NoReturn:
    while True:
        pid, status = os.wait()
        if pid == worker:
            tell(status=os.waitstatus_to_exitcode(status))
            os._exit(0)


def tell(**what: object) -> None:
    """Write a line of the report."""
    os.write(inside.REPORT, json.dumps(what).encode() + b"\n")


def describe(error: BaseException) -> str:
    """Return one line that names what failed, and which step it was."""
    if isinstance(error, OSError):
        # The wrappers name the call in the error's own text.
        text = f"{error.strerror}" if error.filename is None else f"{error.filename}: {error.strerror}"
    else:
        text = f"{type(error).__name__}: {error}"
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None or ":" in text:
        return text
    return f"{text} (in {step.tb_frame.f_code.co_name}, line {step.tb_lineno})"
