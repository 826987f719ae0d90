"""Be the launcher: take plans from the hub, make a sandbox of each, and tell of its end.

One thread and no lock: it forks, and what forks must be alone. It ends with the hub, whose socket says
so however the hub went, and with it end all sandboxes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from . import bare, floor, groups, init, kernel
from .ahead import IMPORTED, NEEDED, yield_to
from .floor import Floor
from .plan import AHEAD, GROW, MAX, BadPlan, Plan, decode, killed, pack

_RUNTIME = "/var/runtime"
"""Where a sandbox has the bootstraps."""
_PARTS = ("forking", "logs")
"""What the Python worker has beside it."""
_PATIENCE = 5000
"""Milliseconds that the next of the sandboxes may take to end before this process does without."""
_EMPTY = 1.0
"""Seconds that their control groups may stay busy then."""
_QUIET = 50
"""Milliseconds without a request until the next of these is imported: it takes some, for which none shall wait."""


@dataclass(slots=True)
class _Sandbox:
    id: int
    """0 until there is a plan for it."""
    pid: int
    handle: int
    """Readable when process 1 is gone."""
    report: int
    bare: bool = False
    """Made without namespaces: what it leaves falls to the launcher."""
    orders: socket.socket | None = None
    """Where it waits for its plan."""


class Launcher:
    """The sandboxes that are there, and the socket that asks for more."""

    def __init__(self, hub: socket.socket, worker: types.ModuleType, held: Floor | None, *, within: bool) -> None:
        """*worker* is the module of the Python worker; *held* is what is refused, where the hub is not who this is.

        Then nothing more is imported: what that user may change is no program of this one's.
        """
        self._hub = hub
        self._worker = worker
        self._floor = held
        self._rooted = os.geteuid() == 0
        # In a user namespace that somebody made, nobody maps any: there is INSIDE already.
        self._ids = None if self._rooted or within else (os.geteuid(), os.getegid())
        self._sandboxes: dict[int, _Sandbox] = {}
        self._shares: set[str] = set()
        """The control groups that those of the sandboxes are in."""
        self._lacking: list[str] = [] if held else list(reversed(IMPORTED))
        self._grows = False
        self._ahead: _Sandbox | None = None
        """Begun before its plan is known."""
        self._keeps = self._lacks = False
        """Whether there shall be such a one, and whether one is to be begun as soon as nobody asks for another."""
        self._building: dict[int, socket.socket] = {}
        """Where those that have a plan tell, by closing it, that they are what it asks for."""
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._remounted = select.poll()
        """Says once that something was mounted, or no more."""
        self._remounted.register(self._mounts, select.POLLPRI)
        self._poll = select.poll()
        # Looked for once: a fork that looks at all modules copies the page of each one's name.
        self._mine = [name for name in sys.modules if name == "launcher" or name.startswith("launcher.")]

    def serve(self) -> None:
        """Work until the hub is gone."""
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        # In this order they are told: what was begun ahead goes before it could be given a plan.
        self._poll.register(self._mounts, select.POLLPRI)
        self._poll.register(self._hub, select.POLLIN)
        self._send({"ready": True, "pid": os.getpid()})
        while True:
            ready = self._poll.poll(0 if self._lacks else _QUIET if self._grows else None)
            if not ready and self._lacks:
                self._prepare()
            elif not ready:
                self._grow()
            for descriptor, _ in ready:
                if descriptor == self._mounts:
                    self._discard()
                elif descriptor == self._hub.fileno():
                    self._take()
                elif descriptor in self._building:
                    self._built(descriptor)
                else:
                    self._poll.unregister(descriptor)
                    self._ended(self._sandboxes.pop(descriptor))

    def _take(self) -> None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._hub, MAX + 1, init.DESCRIPTORS)
        except ConnectionResetError:
            # The hub was killed before it had read all that it was told.
            packet, descriptors = b"", []
        if not packet:
            self._leave()
        try:
            if len(packet) > MAX:
                raise BadPlan(f"a plan has at most {MAX} bytes")
            if packet == GROW:
                self._grows = bool(self._lacking)
                return
            if packet == AHEAD:
                self._keeps, self._lacks = True, self._ahead is None
                return
            if (doomed := killed(packet)) is not None:
                self._kill(doomed)
                return
            plan = decode(packet)
            if self._floor is not None:
                floor.hold(plan, self._floor)
            wanted = len(plan.descriptors) + 1 + (plan.listen is not None)
            if len(descriptors) != wanted:
                raise BadPlan(f"expected {wanted} descriptors, got {len(descriptors)}")
            self._make(plan, descriptors)
        except (BadPlan, OSError) as error:
            identity = 0
            with contextlib.suppress(ValueError, TypeError, KeyError):
                identity = int(json.loads(packet)["id"])
            self._send({"id": identity, "error": init.describe(error)})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _make(self, plan: Plan, descriptors: list[int]) -> None:
        above = {os.path.dirname(group) for group in plan.groups}
        self._shares |= above if self._floor is None else above.intersection(self._floor.groups)
        sandbox = self._made(plan, descriptors)
        sandbox.id = plan.id
        self._send({"id": plan.id, "pid": sandbox.pid}, [sandbox.handle])

    def _made(self, plan: Plan, descriptors: list[int]) -> _Sandbox:
        if not plan.namespaces:
            be = partial(bare.run, plan, descriptors, rooted=self._rooted, template=self._live)
            sandbox = self._clone(0, be)
            sandbox.bare = True
            return sandbox
        if plan.network == "own" and (ahead := self._taken()) is not None and self._order(ahead, plan, descriptors):
            return ahead
        sandbox = self._found(plan.network)
        # One that takes no order has ended, and says why.
        self._order(sandbox, plan, descriptors)
        return sandbox

    def _order(self, sandbox: _Sandbox, plan: Plan, descriptors: list[int]) -> bool:
        """Hand a plan on to who waits for one; return whether there is anybody."""
        orders, sandbox.orders = sandbox.orders, None
        if orders is None:
            return False
        try:
            socket.send_fds(orders, [pack(plan)], descriptors)
        except OSError:
            orders.close()
            return False
        if plan.network == "own":
            self._building[orders.fileno()] = orders
            self._poll.register(orders, 0)
        else:
            orders.close()
        return True

    def _built(self, orders: int) -> None:
        """One is what its plan asks for: the next takes no processor from it any more, and is begun."""
        self._poll.unregister(orders)
        self._building.pop(orders).close()
        self._lacks = self._keeps and self._ahead is None

    def _found(self, network: str) -> _Sandbox:
        """Begin a sandbox that waits for its plan. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                flags = init.flags(network, alone=self._ids is not None)
                be = partial(
                    init.run, theirs.fileno(), network, rooted=self._rooted, ids=self._ids, template=self._live
                )
                sandbox = self._clone(flags, be)
            except OSError:
                ours.close()
                raise
        sandbox.orders = ours
        return sandbox

    def _clone(self, flags: int, be: Callable[[int], NoReturn]) -> _Sandbox:
        """Begin a process that does *be* with the descriptor that takes its report. Raises OSError."""
        reading, writing = os.pipe()
        try:
            pid, handle = kernel.clone(flags)
        except OSError:
            os.close(reading)
            os.close(writing)
            raise
        if pid == 0:
            try:
                be(writing)
            finally:
                # Whatever happens, there is one launcher.
                os._exit(1)
        os.close(writing)
        sandbox = _Sandbox(0, pid, handle, reading)
        self._sandboxes[handle] = sandbox
        self._poll.register(handle, select.POLLIN)
        return sandbox

    def _prepare(self) -> None:
        """Begin a sandbox ahead; where that cannot be, the next plan is told why."""
        self._lacks = False
        self._remounted.poll(0)
        with contextlib.suppress(OSError):
            self._ahead = self._found("own")

    def _taken(self) -> _Sandbox | None:
        """Take the sandbox that was begun ahead, where there is one that lives and sees what is mounted now."""
        if self._remounted.poll(0) or (self._ahead is not None and _gone(self._ahead.handle)):
            self._discard()
        sandbox, self._ahead = self._ahead, None
        return sandbox

    def _discard(self) -> None:
        """End the sandbox that was begun ahead."""
        if self._ahead is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._ahead.handle, signal.SIGKILL)
            if self._ahead.orders is not None:
                self._ahead.orders.close()
        self._ahead = None

    def _grow(self) -> None:
        """Import the next of what handlers import most."""
        with contextlib.suppress(ImportError):
            importlib.import_module(self._lacking.pop())
        if not self._lacking:
            self._grows = False
            _settle()
            self._discard()
            self._lacks = self._keeps

    def _kill(self, identity: int) -> None:
        """End a sandbox for a hub that may not: its process 1 is another user's."""
        for sandbox in self._sandboxes.values():
            if sandbox.id == identity:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(sandbox.handle, signal.SIGKILL)

    def _ended(self, sandbox: _Sandbox) -> None:
        """Reap process 1, with which all others of its sandbox are gone, and tell how it went."""
        _, status, used = os.wait4(sandbox.pid, 0)
        if sandbox is self._ahead:
            self._discard()
        if sandbox.bare:
            bare.sweep({one.pid for one in self._sandboxes.values()})
        told: dict[str, object] = {"status": os.waitstatus_to_exitcode(status), "peak": used.ru_maxrss * 1024}
        os.set_blocking(sandbox.report, False)
        with contextlib.suppress(OSError, ValueError):
            for line in os.read(sandbox.report, MAX).splitlines():
                told = {**json.loads(line), **told} if "error" in told else {**told, **json.loads(line)}
        os.close(sandbox.report)
        os.close(sandbox.handle)
        if sandbox.id:
            self._send({"id": sandbox.id, **told})

    def _send(self, what: dict[str, object], descriptors: list[int] | None = None) -> None:
        try:
            socket.send_fds(self._hub, [json.dumps(what).encode()], descriptors or [])
        except OSError:
            self._leave()

    def _leave(self) -> NoReturn:
        """End with the hub, sandboxes first: they would wait until this process has let go of all its memory.

        To end takes a processor, too, of which their groups have a small share where others want it: until then they
        have the largest.
        """
        usual = groups.hasten(self._shares) if self._sandboxes else {}
        poll = select.poll()
        for handle in self._sandboxes:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            poll.register(handle, select.POLLIN)
        if usual:
            while self._sandboxes and (ended := poll.poll(_PATIENCE)):
                for handle, _ in ended:
                    poll.unregister(handle)
                    del self._sandboxes[handle]
            groups.restore(usual)
        if self._floor is None:
            # Otherwise who keeps root does it: another launcher of the same hub may need them.
            groups.clear(self._shares, _EMPTY)
        os._exit(0)

    def _live(self, argv: list[str]) -> None:
        """Be the Python worker: in the child, with the interpreter that the launcher has warmed up."""
        for name in self._mine:
            del sys.modules[name]
        sys.modules["__main__"] = self._worker
        sys.argv = [f"{_RUNTIME}/worker.py", *argv]
        names = self._worker.__dict__
        names["YIELD"] = partial(yield_to, lacking=self._lacking[::-1])
        names["main"]()


def _gone(handle: int) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))


def _settle() -> None:
    """Let what is there be looked through no more: a look of a fork would copy its pages."""
    gc.collect()
    gc.freeze()


def main(descriptor: int, runtime: str, *, within: bool = False) -> None:
    """Serve the hub at the other end of *descriptor*; returns never.

    *runtime* is the folder of the bootstraps; *within*: this process is in a user namespace of its own.
    """
    prepare("triggerhub-launcher")
    serve(socket.socket(fileno=descriptor), defined(runtime), within=within)


def prepare(name: str, *, whole: bool = False) -> None:
    """Make this process one that sandboxes are forked from; *whole*: with all that handlers import most."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A terminal's Ctrl-C is for the hub, which lets running calls finish.
        signal.signal(number, signal.SIG_IGN)
    kernel.set_name(name)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    os.chdir("/")
    # Two descriptors for each sandbox.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for module in (*NEEDED, *(IMPORTED if whole else ())):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def defined(runtime: str) -> types.ModuleType:
    """Return the module of the Python worker, with its parts, as it is before its ``main`` is called.

    Defined here, all workers share its memory. *runtime* is the folder of the bootstraps.
    """
    main = types.ModuleType("__main__")
    parts = {name: {"__name__": f"_triggerhub_{name}", "__file__": f"{_RUNTIME}/{name}.py"} for name in _PARTS}
    main.__dict__.update(__file__=f"{_RUNTIME}/worker.py", PARTS=parts)
    for name, names in (("worker", main.__dict__), *parts.items()):
        with open(f"{runtime}/{name}.py", "rb") as file:
            exec(compile(file.read(), f"{_RUNTIME}/{name}.py", "exec", dont_inherit=True), names)
    return main


def serve(hub: socket.socket, worker: types.ModuleType, held: Floor | None = None, *, within: bool = False) -> None:
    """Serve *hub*; returns never."""
    kernel.set_name("triggerhub-launcher")
    hub.setblocking(True)
    _settle()
    Launcher(hub, worker, held, within=within).serve()
