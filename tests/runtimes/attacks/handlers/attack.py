"""Say what an attack is, and run some: what is imported inside a worker, the standard library only.

An attack is a function of the world it is let loose on; it returns whether it bit. An OSError is the
host's refusal. It says the weakest level that must stop it; numbers of system calls are x86_64's.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import time
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    World = dict[str, Any]

LIBC = ctypes.CDLL(None, use_errno=True)
PATIENCE = 5.0
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EAFNOSUPPORT)


@dataclass(frozen=True)
class Attack:
    name: str
    category: str
    stops: str
    """The weakest level that must stop it."""
    run: Callable[[World], object]
    alone: bool = False
    """It has a worker to itself, and runs in that worker's own process."""
    ends: bool = False
    """It bites by what it leaves behind: it does not return, and the host looks."""


ATTACKS: dict[str, Attack] = {}


def attack(
    stops: str = "isolated", *, alone: bool = False, ends: bool = False
) -> Callable[[Callable[[World], object]], Callable[[World], object]]:
    def declare(run: Callable[[World], object]) -> Callable[[World], object]:
        name = run.__name__.replace("_", "-")
        if name in ATTACKS:
            raise ValueError(f"two attacks are called {name}")
        ATTACKS[name] = Attack(name, run.__module__.rpartition(".")[2], stops, run, alone or ends, ends)
        return run

    return declare


def call(number: int, *arguments: object) -> int:
    """Make a system call. Raises OSError."""
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result: int = LIBC.syscall(ctypes.c_long(number), *given)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def reached(number: int, *arguments: object) -> bool:
    """Whether the kernel looks at a call at all, and at who makes it; what it says of the arguments is no refusal."""
    try:
        call(number, *arguments)
    except OSError as error:
        if error.errno in REFUSALS:
            raise
    return True


def opens(path: str, flags: int = os.O_RDONLY) -> bool:
    os.close(os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK))
    return True


def holds(path: str, token: str) -> bool:
    with open(path, "rb") as file:
        return token.encode() in file.read()


def run(attack: Attack, world: World) -> dict[str, Any]:
    """Run it in this process."""
    try:
        bit = bool(attack.run(world))
        why = "bit" if bit else "found nothing"
    except OSError as error:
        bit, why = False, errno.errorcode.get(error.errno or 0, str(error))
    except MemoryError:
        bit, why = False, "MemoryError"
    except Exception as error:
        # A mistake of the attack's own, which proves nothing.
        return {"name": attack.name, "bit": None, "why": f"{type(error).__name__}: {error}"}
    return {"name": attack.name, "bit": bit, "why": why}


def run_apart(attack: Attack, world: World) -> dict[str, Any]:
    """Run it in a child, whose end by a signal is a refusal as well."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            os.write(writing, json.dumps(run(attack, world)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    said, end = b"", time.monotonic() + PATIENCE
    while select.select([reading], [], [], max(0, end - time.monotonic()))[0]:
        data = os.read(reading, 65536)
        if not data:
            break
        said += data
    os.close(reading)
    if not said:
        # Stuck, or killed: either way it bit nobody.
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if said:
        result: dict[str, Any] = json.loads(said)
        return result
    late = time.monotonic() >= end
    ended = "stuck" if late else signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "silent"
    return {"name": attack.name, "bit": False if ended != "silent" else None, "why": ended}
