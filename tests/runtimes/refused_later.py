"""Be the launcher on a host that has no user namespace left for the worker that root makes one for."""

import importlib.util
import struct
from pathlib import Path

LAUNCHER = Path(__file__).parents[2] / "triggerhub" / "runtimes" / "launcher"


def load(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kernel = load("refused_kernel", LAUNCHER / "kernel.py")
STEPS = (
    (0x20, 0, 0, 0),  # the number
    (0x15, 0, 3, 272 if kernel._X86 else 97),  # unshare
    (0x20, 0, 0, 16),  # the flags
    (0x45, 0, 1, 0x10000000),  # a user namespace
    (0x06, 0, 0, 0x5001C),  # ENOSPC
    (0x06, 0, 0, 0x7FFF0000),
)
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
kernel.filter_calls(b"".join(struct.pack("=HBBI", code, then, other, value) for code, then, other, value in STEPS))
load("launcher_main", LAUNCHER / "main.py")._launcher()
