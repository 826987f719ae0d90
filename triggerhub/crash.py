"""Die at a named point, for tests: free unless the environment asks for it.

``TRIGGERHUB_CRASH_AT=after-claim TRIGGERHUB_CRASH_AFTER=3`` kills the process with SIGKILL the third
time it passes that point.
"""

from __future__ import annotations

import os
import signal

_POINT = os.environ.get("TRIGGERHUB_CRASH_AT", "")
_left = int(os.environ.get("TRIGGERHUB_CRASH_AFTER", "1"))


def _armed(name: str) -> None:
    global _left
    if name == _POINT:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _unarmed(name: str) -> None:
    pass


crash_point = _armed if _POINT else _unarmed
"""Pass a named point; called with its name."""
