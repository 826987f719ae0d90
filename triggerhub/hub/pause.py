"""Remember which functions and triggers are paused, across restarts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Literal

from triggerhub.errors import Conflict
from triggerhub.settings import Function
from triggerhub.source import Request, Response, Route, Routes
from triggerhub.store import Store

Kind = Literal["function", "trigger"]
SCOPE = "hub"
REFUSAL = Response(
    status=503,
    body=b'{"message":"This trigger is paused"}',
    headers=(("content-type", "application/json"), ("retry-after", "60")),
)


class Paused:
    """The names that are paused, kept in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: set[str] = set()

    async def load(self) -> None:
        self._names = {key.removeprefix("paused:") for key in await self._store.checkpoints(SCOPE, "paused:")}

    @property
    def names(self) -> list[str]:
        """What is paused, each as ``function:NAME`` or ``trigger:NAME``."""
        return sorted(self._names)

    def __call__(self, kind: Kind, name: str) -> bool:
        return f"{kind}:{name}" in self._names

    async def set(self, kind: Kind, name: str, *, paused: bool) -> None:
        key = f"{kind}:{name}"
        await self._store.set_checkpoints(SCOPE, {f"paused:{key}": "yes" if paused else None})
        (self._names.add if paused else self._names.discard)(key)


def pausable(function: Function, *, paused: bool) -> None:
    """Raise Conflict for a function that is to be resumed, and stands still for want of concurrency."""
    if function.held and not paused:
        base = function.name.partition(":")[0]
        raise Conflict(
            f"no concurrency is reserved for {base}, so nothing of it runs",
            hint=f"Lift that: aws lambda delete-function-concurrency --function-name {base}",
        )


class PausableRoutes:
    """Routes of one trigger: while it is paused they answer 503, so that senders try again."""

    def __init__(self, routes: Routes, paused: Callable[[], bool]) -> None:
        self._routes = routes
        self._paused = paused
        self.open = 0

    @asynccontextmanager
    async def serve(self, *routes: Route) -> AsyncGenerator[None]:
        async with self._routes.serve(*(replace(route, endpoint=self._guard(route.endpoint)) for route in routes)):
            self.open += 1
            try:
                yield
            finally:
                self.open -= 1

    def _guard(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        def guarded(request: Request) -> Awaitable[Response]:
            return _refused() if self._paused() else endpoint(request)

        return guarded


async def _refused() -> Response:
    return REFUSAL
