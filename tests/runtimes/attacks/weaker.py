"""Leave out one layer of the sandbox at a time, to see that it carries weight. Nothing of this is in the product.

A launcher that is started here loads the real one, takes the layer's function away, and serves.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from tests.runtimes.attacks.suite import attacks
from tests.runtimes.attacks.world import named
from triggerhub.runtimes import launch

if TYPE_CHECKING:
    from tests.runtimes.attacks.handlers.attack import Attack

LAUNCHER = Path(launch.__file__).parent / "launcher"

LAYERS = {
    "filter of system calls": "confine.seccomp = nothing",
    "Landlock": "confine.landlock = nothing",
    "resource limits": "confine.limits = nothing",
    "no capabilities": "confine.surrender = only_the_user",
    "network namespace": "init.flags = without(CLONE_NEWNET); confine.loopback_up = nothing",
    "pid namespace": "init.flags = without(CLONE_NEWPID)",
    "ipc namespace": "init.flags = without(CLONE_NEWIPC)",
    "uts namespace": "init.flags = without(CLONE_NEWUTS); socket.sethostname = nothing",
    "user namespace's map": "init.map_ids = as_root; root.build = owned_by_root",
    "read-only binds": "root._restrict = nothing",
    "named binds": "root.build = beside_all_others",
    "sizes of folders in memory": "root._scratch = unbounded",
    "masks over /proc": "root._MASKED = root._FROZEN = ()",
    "closed descriptors": "inside.close_all_but = nothing",
    "few watches": "confine.fewer_watches = kernel.be_effectively = nothing",
}
"""What is run in the launcher to leave a layer out."""

WHERE = {
    "filter of system calls": "calling",
    "Landlock": "writing",
    "resource limits": "filling",
    "no capabilities": "rising",
    "network namespace": "reaching",
    "pid namespace": "outlive-in-a-session-of-its-own",
    "ipc namespace": "reaching",
    "uts namespace": "procfs",
    "user namespace's map": "rising",
    "read-only binds": "writing",
    "named binds": "reading",
    "sizes of folders in memory": "filling",
    "masks over /proc": "procfs",
    "closed descriptors": "find-a-descriptor-that-leaked",
    "few watches": "take-every-watcher-of-its-user",
}
"""Which attacks a layer is there for: a category, or one that has a worker to itself."""


def against(layer: str) -> list[Attack]:
    """Return the attacks that *layer* is there for."""
    return [one for one in attacks() if WHERE[layer] == one.name or (WHERE[layer] == one.category and not one.alone)]


def around(layer: str) -> list[Attack]:
    """Return all attacks but those that need a worker each, and those that *layer* is there for."""
    return [one for one in attacks() if not one.alone or one.name == WHERE[layer]]


_MAIN = """
import dataclasses, importlib.util, os, socket, sys
HERE = {here!r}
spec = importlib.util.spec_from_file_location("launcher", HERE + "/__init__.py", submodule_search_locations=[HERE])
package = importlib.util.module_from_spec(spec)
sys.modules["launcher"] = package
spec.loader.exec_module(package)
serve = importlib.import_module("launcher.serve")
from launcher import confine, init, inside, kernel, root
from launcher.plan import Bind
CLONE_NEWNET, CLONE_NEWPID = kernel.CLONE_NEWNET, kernel.CLONE_NEWPID
CLONE_NEWIPC, CLONE_NEWUTS = kernel.CLONE_NEWIPC, kernel.CLONE_NEWUTS

def nothing(*arguments, **named):
    pass

def without(flag, flags=init.flags):
    return lambda network, **named: flags(network, **named) & ~flag

def only_the_user(uid, *gid, **how):
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if uid is not None:
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)

def as_root(pid, uid, gid, *, deny, real=init.map_ids):
    real(pid, os.getuid(), os.getgid(), deny=deny)

def owned_by_root(plan, owner, real=root.build):
    real(plan, os.getuid())

def beside_all_others(plan, owner, real=root.build):
    folder = next(os.path.dirname(bind.source) for bind in plan.binds if bind.target == "/var/task")
    real(dataclasses.replace(plan, binds=(*plan.binds, Bind(source=folder, target=folder))), owner)

def unbounded(path, size, inodes, owner):
    os.makedirs(path, exist_ok=True)
    kernel.mount("tmpfs", path, "tmpfs", 0, f"mode=0700,uid={{owner}},gid={{owner}}")

{change}
serve.main(int(sys.argv[1]), sys.argv[2])
"""


@contextmanager
def without(layer: str, folder: Path) -> Iterator[None]:
    """Let launchers that are started within leave *layer* out; *folder* takes the program.

    What lives on without the layer is ended on leaving.
    """
    program = folder / "launcher.py"
    program.write_text(_MAIN.format(here=str(LAUNCHER), change=LAYERS[layer]))
    try:
        with mock.patch.object(launch, "_MAIN", program):
            yield
    finally:
        for pid in named(str(program)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
