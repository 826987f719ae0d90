"""Test a trigger's connection for ``check --online``: lend its source a context in which nothing happens."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import anyio
import structlog

from triggerhub.errors import Conflict, TriggerhubError
from triggerhub.model import Event, Millis, Outcome
from triggerhub.settings import Project, RetryPolicy, Trigger
from triggerhub.source import Answer, Context, Filtered, Handled, Judge, Log, Route, Routes

PATIENCE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of a probe."""

    why: str | None = None
    """Why the source cannot be reached; None where it can."""
    told: str | None = None
    """What the source has to say of what it reached."""


def probe(module: ModuleType, trigger: Trigger, project: Project) -> Found:
    """Try whether the source can be reached. Runs a loop of its own."""

    async def run() -> str | None:
        with anyio.fail_after(PATIENCE):
            context: Context = _Context(trigger, project)
            told: str | None = await module.probe(context, trigger.options)
            return told

    try:
        return Found(told=anyio.run(run))
    except TimeoutError as error:
        return Found(why=str(error) or f"no answer within {PATIENCE:.0f} s")
    except TriggerhubError as error:
        return Found(why=error.message + (f"; {error.hint}" if error.hint else ""))
    except Exception as error:
        return Found(why=f"{type(error).__name__}: {error}")


class _Context:
    """A ``source.Context`` that reads an empty store and refuses to do anything."""

    def __init__(self, trigger: Trigger, project: Project) -> None:
        self.trigger = trigger
        self.project: Path = project.hub.project
        self.timezone: tzinfo = ZoneInfo(project.hub.timezone)
        self.log: Log = structlog.get_logger("probe")
        self.routes: Routes = self
        self.retry = RetryPolicy()
        self.places = 1
        self.ending = False

    async def emit(
        self, *events: Event, checkpoints: Mapping[str, str | None] | None = None, wait: bool = True
    ) -> Sequence[Answer]:
        raise Conflict("a probe takes no events")

    async def invoke(self, event: Event) -> Outcome:
        raise Conflict("a probe calls no function")

    async def filtered(self, *events: Event) -> Sequence[Filtered | None]:
        raise Conflict("a probe takes no events")

    async def free(self) -> None:
        raise Conflict("a probe calls no function")

    async def handle(
        self,
        *events: Event,
        payload: bytes | None = None,
        judge: Judge | None = None,
        checkpoints: Callable[[Handled], Mapping[str, str | None]] | None = None,
    ) -> Handled:
        raise Conflict("a probe calls no function")

    async def bury(
        self,
        *events: Event,
        why: str,
        outcome: Outcome | None = None,
        checkpoints: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
    ) -> None:
        raise Conflict("a probe takes no events")

    def finish(self) -> AbstractAsyncContextManager[None]:
        return self._lease()

    async def unfinished(self) -> int:
        return 0

    async def checkpoint(self, key: str) -> str | None:
        return None

    async def checkpoints(self, prefix: str = "") -> Mapping[str, str]:
        return {}

    async def set_checkpoints(self, values: Mapping[str, str | None]) -> None:
        raise Conflict("a probe keeps nothing")

    @asynccontextmanager
    async def serve(self, *routes: Route) -> AsyncGenerator[None]:
        raise Conflict("a probe serves nothing")
        yield

    @asynccontextmanager
    async def _lease(self) -> AsyncGenerator[None]:
        yield

    def lease(self, name: str) -> AbstractAsyncContextManager[None]:
        return self._lease()

    def now(self) -> Millis:
        return time.time_ns() // 1_000_000

    async def sleep_until(self, when: Millis) -> None:
        await anyio.sleep(max(0.0, (when - self.now()) / 1000))

    def begun(self) -> None: ...

    def degraded(self, why: str | None) -> None:
        """A probe says what is wrong by raising."""
