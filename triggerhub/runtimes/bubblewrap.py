"""Let bubblewrap make the user namespace that a host refuses to us: a policy may know that program, and not this one.

It makes one for the launcher, which makes each sandbox within it as root makes them: the rest of what a sandbox is
stays the same, and is tried out the same way. Only for an ordinary user: of root's it would leave the uid outside 0.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess

from triggerhub.runtimes import launch
from triggerhub.runtimes.launcher.plan import INSIDE


class Bubblewrap:
    """A ``launch.Starter``."""

    root = False

    def __init__(self, program: str) -> None:
        self.program = program

    def start(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        return launch.execute(theirs, "within", by=command(self.program))


def find() -> Bubblewrap | None:
    """Return it where it is installed, and of use."""
    program = shutil.which("bwrap")
    return Bubblewrap(program) if program and os.geteuid() != 0 else None


def command(program: str) -> list[str]:
    """Return the words before those of the program that is to be in a user namespace, with every right within it."""
    inside = str(INSIDE)
    return [
        program, "--unshare-user", "--uid", inside, "--gid", inside, "--cap-add", "ALL", "--dev-bind", "/", "/", "--",
    ]  # fmt: skip
