"""Be process 1 of a sandbox: build it, start the worker in it, reap, and end with it.

When process 1 ends, the kernel ends every process of the pid namespace: nothing can outlive it, by no
session of its own and no double fork. It ends with the worker, with the launcher, and by the hub's kill.
What is the same for all is made first, for it may be there before anybody knows for whom.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from typing import NamedTuple, NoReturn

from . import confine, inside, kernel, pasta, root
from .plan import INSIDE, MAX, OLD, Plan, unpack

NAMESPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
DESCRIPTORS = 16
"""The most that come with a plan."""
_KILLED = "its worker is gone: it was killed before it began"


def flags(network: str, *, alone: bool) -> int:
    """Return the namespaces that process 1 is born into, for a plan of this network.

    *alone*: it has no right to any but by a user namespace of its own. Root makes that last, so that all the others
    belong to the host's root and not to the sandbox.
    """
    wanted = NAMESPACES | kernel.CLONE_NEWUSER if alone else NAMESPACES
    return wanted | (kernel.CLONE_NEWNET if network == "own" else 0)


def run(
    orders: int,
    network: str,
    report: int,
    *,
    rooted: bool,
    ids: tuple[int, int] | None,
    template: inside.Template,
) -> NoReturn:
    """Make what all plans of a *network* have in common, take one from *orders*, and be its sandbox; never returns.

    *orders* is a socket by which the launcher hands on the plan and its descriptors, later or never: then it closes
    it, and this one does once the plan is carried out. *report* takes JSON lines. *ids* are the launcher's uid and gid,
    where this is born into its own user namespace.
    """
    try:
        asking = socket.socket(fileno=_born(orders, report, ids))
        order = None
        if network == "carried":
            # First, since what carries it is held to the function's memory, too.
            order = _order(asking)
            _join(_opened(order.plan.groups))
            pasta.enter(order.plan.uid if rooted else None, map_ids)
        way, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Before all else: what this process writes to from now on, it has copied once.
        worker = os.fork()
        if worker == 0:
            way.close()
            _work(theirs, rooted=rooted, template=template)
        theirs.close()
        if network != "host":
            confine.loopback_up()
        if not rooted:
            confine.fewer_watches()
        root.found()
        confine.gain_none()
        order = order or _awaited(asking, way)
        try:
            _become(order, way, worker, rooted=rooted)
        except ConnectionError:
            raise OSError(None, _KILLED) from None
        # The launcher sees that, too: who comes next may have the processor now.
        asking.close()
        way.close()
        _reap(worker)
    except BaseException as error:
        tell(error=describe(error))
        os._exit(1)


class _Order(NamedTuple):
    packed: bytes
    plan: Plan
    descriptors: list[int]


def _born(orders: int, report: int, ids: tuple[int, int] | None) -> int:
    """End with the launcher, and have nothing of it but these two; return the new number of *orders*."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    # The launcher's numbers may be any, those that are wanted here among them.
    report, orders = inside.lift(report), inside.lift(orders)
    os.dup2(report, inside.REPORT, inheritable=False)
    inside.close_all_but({orders, inside.REPORT})
    os.setsid()
    kernel.set_name("sandbox")
    if ids is not None:
        map_ids("self", ids[0], ids[1], deny=True)
    return orders


def _order(asking: socket.socket) -> _Order:
    """Wait for the plan; leave where there will be none."""
    packed, descriptors, _, _ = socket.recv_fds(asking, 2 * MAX, DESCRIPTORS)
    if not packed:
        os._exit(0)
    return _Order(packed, unpack(packed), descriptors)


def _awaited(asking: socket.socket, way: socket.socket) -> _Order:
    """Wait for the plan, unless the worker, at the other end of *way*, is gone before."""
    poll = select.poll()
    poll.register(asking, select.POLLIN)
    poll.register(way, 0)
    if any(descriptor == way.fileno() for descriptor, _ in poll.poll()):
        raise OSError(None, _KILLED)
    return _order(asking)


def _become(order: _Order, way: socket.socket, worker: int, *, rooted: bool) -> None:
    """Hand the plan on to the worker, at the other end of *way*; make the rest of it; be nobody before that begins."""
    plan, descriptors = order.plan, order.descriptors
    door = None if plan.listen is None else descriptors.pop()
    socket.send_fds(way, [order.packed], descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    socket.sethostname(plan.hostname)
    if plan.listen is not None and door is not None:
        _hand_out(plan.listen, door)
    if _joins(plan) and not way.recv(1):
        return  # it is gone, and has said why
    root.build(plan, plan.uid if rooted else INSIDE)
    if not way.recv(1):
        return
    if rooted:
        map_ids(str(worker), plan.uid, plan.uid, deny=False)
        os.setgroups([])
    confine.surrender(plan.uid if rooted else None, bounding=False)
    # The change of user forgot it; and the launcher may be gone by now.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if orphaned():
        os._exit(1)
    way.send(b"1")


def _work(way: socket.socket, *, rooted: bool, template: inside.Template) -> NoReturn:
    """Be the worker: take the plan, and a user namespace, of which process 1 writes the map.

    It joins its control groups itself, which takes the kernel longer than all else here, without a processor: process 1
    builds meanwhile.
    """
    try:
        os.setsid()
        _, plan, descriptors = _order(way)
        if _joins(plan):
            groups = _opened(plan.groups, OLD)
            # Process 1 may let go of the host's root.
            way.send(b"1")
            _join(groups)
        kernel.unshare(kernel.CLONE_NEWCGROUP)
        if rooted:
            os.setgroups([])
            # What the namespace uses up is counted as its maker's: not root's, of which the hub needs some.
            kernel.be_effectively(plan.uid)
            kernel.unshare(kernel.CLONE_NEWUSER)
        way.send(b"1")
        with socket.socket(fileno=inside.lift(way.fileno())) as lifted:
            start = inside.place(plan, descriptors, lifted.fileno())
            if not lifted.recv(1):
                os._exit(1)
        inside.enter(plan, start, template, uid=INSIDE)
    except ConnectionError:
        pass  # process 1 is gone, and says why
    except inside.NoProgram as error:
        tell(missing=str(error))
    except BaseException as error:
        tell(error=describe(error))
    os._exit(1)


def _joins(plan: Plan) -> bool:
    """Whether the worker is to join control groups: not those that process 1 was in when it was forked."""
    return bool(plan.groups) and plan.network != "carried"


def _opened(groups: tuple[str, ...], host: str = "") -> list[int]:
    """Open what a process is put into control groups by; *host* is where the host's root is."""
    try:
        return [os.open(f"{host}{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in groups]
    except OSError as error:
        raise OSError(error.errno, f"it could not join its control groups: {error.strerror}") from None


def _join(files: list[int]) -> None:
    """Put this process into control groups. Stops: memory, processes and processor time taken from others."""
    for file in files:
        try:
            os.write(file, b"0")
        except OSError as error:
            raise OSError(error.errno, f"it could not join its control groups: {error.strerror}") from None
        os.close(file)


def _hand_out(port: int, door: int) -> None:
    """Give the hub a socket that listens within this sandbox's network: it serves there, and nothing is let out."""
    with socket.create_server(("127.0.0.1", port), backlog=128) as listening, socket.socket(fileno=door) as out:
        socket.send_fds(out, [b"here"], [listening.fileno()])


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
