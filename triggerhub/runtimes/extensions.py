"""Serve the Extensions API to what runs beside a runtime, in its own process or in others.

Extensions hear of every invocation as it begins; nobody waits for them but the start, which is over
once each of them has asked for its first event, and the end, which leaves them a little time.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from triggerhub.aws import extensionsapi, runtimeapi
from triggerhub.aws.extensionsapi import INVOKE, SHUTDOWN, Ask
from triggerhub.aws.runtimeapi import Refusal
from triggerhub.model import Fault, Invocation
from triggerhub.runtimes.listener import Connection, Request
from triggerhub.settings import Function

GRACE = 2.0
"""Seconds that extensions have to end, once they are told to."""
_BEHIND = 100
"""Events that an extension may be behind; the oldest are dropped."""
_JSON = ("Content-Type", "application/json")


_BESIDE = """
opt=$1; shift
for program in "$opt"/extensions/*; do
    if [ -f "$program" ] && [ -x "$program" ]; then "$program" & fi
done
exec "$@"
"""


def of_layers(opt: Path | None) -> list[str]:
    """Name the programs that layers bring to run beside the runtime; *opt* is the folder that they came to."""
    folder = None if opt is None else opt / "extensions"
    if folder is None or not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_file() and os.access(path, os.X_OK))


def beside(opt: str, command: Sequence[str]) -> list[str]:
    """Return the command that starts the extensions, then becomes *command*."""
    return ["/bin/sh", "-c", _BESIDE, "sh", opt, *command]


class _Extension:
    def __init__(self, name: str, events: frozenset[str]) -> None:
        self.name = name
        self.events = events
        self.asked = False
        """Whether it ever asked for an event: until then it is starting."""
        self.waiting: Connection | None = None
        self.served: Connection | None = None
        """By which it got its last event."""
        self.queue: deque[bytes] = deque(maxlen=_BEHIND)

    def tell(self, event: bytes) -> None:
        self.queue.append(event)
        self.feed()

    def feed(self) -> None:
        if self.waiting is not None and self.queue:
            connection, self.waiting = self.waiting, None
            self.served = connection
            headers = (_JSON, ("Lambda-Extension-Event-Identifier", str(uuid.uuid4())))
            connection.answer(200, self.queue.popleft(), headers)


class Extensions:
    """The extensions of one worker."""

    def __init__(
        self,
        function: Function,
        external: Collection[str],
        *,
        settled: Callable[[], None],
        failed: Callable[[Fault, bytes], None],
    ) -> None:
        """*external* are the programs that are started beside the runtime.

        *settled* is called whenever one may have been the last to start, *failed* with the error of one that fails.
        """
        self._function = function
        self._external = frozenset(external)
        self._settled = settled
        self._failed = failed
        self._registered: dict[str, _Extension] = {}
        self._leaving: set[_Extension] = set()
        """Those that were told of the end, or will be when they ask."""
        self._left = asyncio.Event()

    @property
    def started(self) -> bool:
        """Whether all are there that were started, and each has asked for its first event."""
        there = {one.name for one in self._registered.values()}
        return there >= self._external and all(one.asked for one in self._registered.values())

    def take(self, connection: Connection, request: Request, *, starting: bool) -> bool:
        """Answer a request if it is of this API; *starting*: whether extensions may still register."""
        ask = extensionsapi.route(request.method, request.target)
        if ask is None:
            return False
        refusal = ask if isinstance(ask, Refusal) else self._answer(ask, connection, request, starting)
        if refusal is not None:
            connection.answer(refusal.status, refusal.body)
        return True

    def _answer(self, ask: Ask, connection: Connection, request: Request, starting: bool) -> Refusal | None:
        if ask is Ask.REGISTER:
            return self._register(connection, request) if starting else extensionsapi.CLOSED
        identifier = request.headers.get(extensionsapi.IDENTIFIER)
        if identifier is None:
            return extensionsapi.MISSING
        extension = self._registered.get(identifier)
        if extension is None:
            return extensionsapi.unknown(identifier)
        if ask is Ask.NEXT:
            extension.asked, extension.waiting = True, connection
            extension.feed()
            self._settled()
            return None
        kind = request.headers.get(extensionsapi.ERROR_TYPE)
        if kind is None:
            return extensionsapi.UNEXPLAINED
        connection.answer(202, runtimeapi.ACCEPTED)
        self._failed(*runtimeapi.described({runtimeapi.ERROR_TYPE: kind}, bytes(request.body)))
        return None

    def _register(self, connection: Connection, request: Request) -> Refusal | None:
        name = request.headers.get(extensionsapi.NAME, "")
        if not name:
            return extensionsapi.UNNAMED
        if any(one.name == name for one in self._registered.values()):
            return extensionsapi.TAKEN
        if len(self._registered) >= extensionsapi.MOST:
            return extensionsapi.TOO_MANY
        wanted = extensionsapi.events(bytes(request.body), external=name in self._external)
        if isinstance(wanted, Refusal):
            return wanted
        identifier = str(uuid.uuid4())
        self._registered[identifier] = _Extension(name, wanted)
        function = self._function
        body = extensionsapi.registered(function.name, function.version or "$LATEST", function.handler)
        connection.answer(200, body, (_JSON, ("Lambda-Extension-Identifier", identifier)))
        return None

    def invoke(self, invocation: Invocation) -> None:
        """Tell those who want to hear of it that an invocation begins."""
        if self._registered:
            event = extensionsapi.invoked(invocation, invocation.trace or runtimeapi.trace(invocation))
            for extension in self._registered.values():
                if INVOKE in extension.events:
                    extension.tell(event)

    async def shut_down(self, reason: str) -> None:
        """Tell those who want to hear of it that the end has come; wait for theirs, but not for long."""
        event = extensionsapi.ending(reason, int((time.time() + GRACE) * 1000))
        for extension in self._registered.values():
            if SHUTDOWN in extension.events:
                self._leaving.add(extension)
                extension.queue.clear()
                extension.tell(event)
        if self._leaving:
            try:
                async with asyncio.timeout(GRACE):
                    await self._left.wait()
            except TimeoutError:
                pass

    def lost(self, connection: Connection) -> None:
        """A connection has ended, as it does with its process."""
        for extension in self._registered.values():
            if extension.waiting is connection:
                extension.waiting = None
        left = {one for one in self._leaving if one.served is connection and not one.queue}
        if left:
            self._leaving -= left
            if not self._leaving:
                self._left.set()
