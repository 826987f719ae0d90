"""Have ``triggerhub doctor`` look at the machine, in a process of its own: what it looks at may hang."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from triggerhub.model import Json, Millis

PATIENCE = 60.0
"""Seconds after which it is ended."""
FRESH: Millis = 5_000
"""What was found is given again for so long, however many ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a look found."""

    time: Millis
    readings: Sequence[Mapping[str, Json]] = ()
    """``name``, ``verdict`` (good, note, bad), ``found``, ``remedy`` each."""
    trouble: str | None = None
    """Why there are none."""


class Doctor:
    """Looks once at a time, and remembers the latest look."""

    def __init__(self) -> None:
        self._one = anyio.Lock()
        self.latest: Findings | None = None

    async def look(self, project: Path) -> Findings:
        """Return what is found now. Cancelled, it ends the process."""
        async with self._one:
            if self.latest is None or _now() - self.latest.time > FRESH:
                self.latest = await _look(project)
            return self.latest


async def _look(project: Path) -> Findings:
    # -P: nothing that lies in the current folder is imported.
    command = (sys.executable, "-P", "-m", "triggerhub", "-C", str(project), "doctor", "--json")
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        return Findings(time=_now(), trouble=f"it could not be started: {error.strerror or error}")
    try:
        with anyio.fail_after(PATIENCE):
            told, wrong = await process.communicate()
    except TimeoutError:
        return Findings(time=_now(), trouble=f"it was not through within {PATIENCE:.0f} s: a disk may hang")
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await process.wait()
    try:
        return Findings(time=_now(), readings=json.loads(told))
    except ValueError:
        tail = wrong.decode("utf-8", "replace").strip()[-2000:]
        return Findings(time=_now(), trouble=tail or f"it ended with status {process.returncode}")


def _now() -> Millis:
    return time.time_ns() // 1_000_000
