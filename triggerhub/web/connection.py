"""Serve one client of the ingress: requests in order, one at a time.

While a request is being answered the next ones stay unparsed and the socket unread, so a client
cannot pile up work; one that does not read its answers, or is slow to ask, is cut off.
"""

from __future__ import annotations

import asyncio
from typing import cast

import structlog

from triggerhub.errors import TriggerhubError
from triggerhub.source import Parts, Request, Response, Route
from triggerhub.web import http
from triggerhub.web.limit import TAKEN
from triggerhub.web.parser import SLICE, Item, Peer, RequestParser, Shared
from triggerhub.web.proxy import from_here, peer_address

log = structlog.get_logger("ingress")


LOOK = 0.1
"""Seconds between two looks for connections that rest: not each stranger may have all of them gone through."""


class _BrokenOff(Exception):
    """An answer that was begun cannot be ended."""


class Crowd(set["Connection"]):
    """The connections of a listener."""

    def __init__(self) -> None:
        super().__init__()
        self._resting: list[tuple[float, Connection]] = []
        """Those that rested when that was looked at, and since when: who did for the longest time is last."""
        self._looked = -LOOK

    def make_room(self, now: float) -> bool:
        """Whether there is room for one more, since the one went that has asked for nothing for the longest time."""
        if not self._resting and now - self._looked >= LOOK:
            self._looked = now
            found = ((one.since, one) for one in self if one.rests)
            self._resting = sorted(found, key=lambda entry: entry[0], reverse=True)
        while self._resting:
            since, one = self._resting.pop()
            if one in self and one.rests and one.since == since:
                one.leave()
                return True
        return False


class Connection(asyncio.Protocol):
    """One client. The listener that made it calls :meth:`check` every second."""

    def __init__(self, shared: Shared, connections: Crowd) -> None:
        self._shared = shared
        self._limits = shared.limits
        self._loop = shared.loop
        self._connections = connections
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._parser: RequestParser = None  # type: ignore[assignment]
        self._task: asyncio.Task[None] | None = None
        self._unparsed = b""
        self._writable: asyncio.Future[None] | None = None
        self._parts: Parts | None = None
        """What is being written as it comes."""
        self._stalled = (0, 0.0)
        """What a client who does not take all at once had not taken, and when that was."""
        self._paused = self._ended = self._lingering = self._lost = False

    # what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = transport = cast("asyncio.Transport", transport)
        if len(self._connections) >= self._limits.connections and not self._connections.make_room(self._loop.time()):
            answer = http.message(503, "Too many connections", ("retry-after", "1"))
            transport.write(http.encode(answer, head=False, close=True))
            self._lost = True
            transport.close()
            return
        address = peer_address(transport.get_extra_info("peername"))
        name = transport.get_extra_info("sockname")
        local = f"{name[0]}:{name[1]}" if isinstance(name, tuple) and ":" not in name[0] else "localhost"
        trusted = self._shared.proxies.trusts(address)
        bounded = not trusted and not from_here(address, ())
        self._parser = RequestParser(self._shared, Peer(address, trusted, local, bounded))
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._lost or self._parser.closing:
            return
        if self._task is not None:
            self._unparsed += data
            self._pause()
            return
        self._feed(data)

    def eof_received(self) -> bool:
        # A client that has said all it wants may still wait for its answer; TLS has no half-open state.
        self._ended = True
        return self._task is not None and not self._shared.secure

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._unparsed = b""
        self.resume_writing()
        if self._parts is not None:
            self._parts.leave()
        self._go()

    def _go(self) -> None:
        if self in self._connections:
            self._connections.discard(self)
            self._parser.end()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()
        self._stalled = (self._transport.get_write_buffer_size(), self._loop.time())

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def _pause(self) -> None:
        if not self._paused and not self._lost:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._lost and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _feed(self, data: bytes) -> None:
        if len(data) <= SLICE:
            self._parser.feed(data)
        else:
            view = memoryview(data)
            for start in range(0, len(data), SLICE):
                if self._parser.queue:
                    self._unparsed = bytes(view[start:])
                    self._pause()
                    break
                self._parser.feed(view[start : start + SLICE])
                if self._parser.closing:
                    break
        if self._parser.queue and self._task is None:
            self._task = self._loop.create_task(self._serve())
        elif self._parser.expects and self._task is None:
            self._go_on()

    # answering

    async def _serve(self) -> None:
        try:
            while self._parser.queue:
                item = self._parser.queue.popleft()
                response = item[0] if item[1] is None else await self._answer(item[0], item[1])
                self._parser.release(item[2])
                if response.parts is not None:
                    await self._stream(item, response, response.parts)
                    if self._lost:
                        break
                    continue
                if self._lost:
                    break
                self._write(item, response)
                if self._writable is not None:
                    await self._writable
        except BaseException:
            self._transport.abort()
            raise
        finally:
            self._task = None
        self._served()

    async def _answer(self, request: Request, route: Route) -> Response:
        if route.cors is None:
            return await self._asked(request, route)
        return route.preflight(request) or route.across(request.headers, await self._asked(request, route))

    async def _asked(self, request: Request, route: Route) -> Response:
        try:
            return await route.endpoint(request)
        except TriggerhubError as error:
            response = http.of_error(error)
            if response.status >= 500:
                self._shared.failed(route.path, error.message)
            else:
                self._shared.refused(response.status, error.message, request.client)
            return response
        except Exception:
            log.exception("an endpoint failed", path=route.path, owner=route.owner)
            return http.message(500, "Internal Server Error")

    def _write(self, item: Item, response: Response) -> None:
        last = self._is_last
        _, _, _, head, old = item
        try:
            data = http.encode(response, head=head, close=last, keep=old)
        except http.BadHeader as error:
            log.error("an endpoint's answer cannot be sent", error=str(error))
            data = http.encode(http.message(500, "Internal Server Error"), head=head, close=last, keep=old)
        self._parser.closing = self._parser.closing or last
        self._transport.write(data)

    async def _stream(self, item: Item, response: Response, parts: Parts) -> None:
        """Write an answer as it comes. One that breaks off ends the connection without its end being told."""
        request, _, _, head, _ = item
        chunked = not isinstance(request, Response) and request.http_version != "1.0"
        self._parts = parts
        try:
            if self._lost:
                return
            if http.bodiless(response.status):
                self._write(item, Response(status=response.status, headers=response.headers))
                return
            if head:
                response = Response(status=response.status, headers=response.headers)
            try:
                start = http.begin(response, close=not chunked or self._is_last, chunked=chunked)
            except http.BadHeader as error:
                log.error("an endpoint's answer cannot be sent", error=str(error))
                self._write(item, http.message(500, "Internal Server Error"))
                return
            if not chunked:
                self._parser.queue.clear()  # the end of the connection is that of the answer
            self._parser.closing = self._parser.closing or not chunked or self._is_last
            self._transport.write(start)
            if head:
                return
            while (data := await self._next(parts)) is not None and not self._lost:
                if data:
                    self._transport.write(http.chunk(data) if chunked else data)
                if self._writable is not None:
                    await self._writable
            if chunked and not self._lost:
                self._transport.write(http.LAST)
        except _BrokenOff:
            # Without chunks only a reset tells that it is not whole.
            (self._transport.close if chunked else self._transport.abort)()
            self._lost = True
        finally:
            self._parts = None
            parts.leave()

    @property
    def _is_last(self) -> bool:
        """Whether the connection ends with the answer that is being written."""
        ends = self._parser.closing or (self._shared.draining and not self._unparsed)
        return ends and not self._parser.queue

    async def _next(self, parts: Parts) -> bytes | None:
        try:
            return await parts.next()
        except Exception as error:
            log.warning("an answer broke off", why=str(error))
            raise _BrokenOff from error

    def _served(self) -> None:
        """Go on with what came meanwhile, once every request is answered."""
        if self._lost:
            return
        self._parser.since = self._parser.progress = self._loop.time()
        if self._parser.closing:
            self._finish()
            return
        if self._unparsed:
            data, self._unparsed = self._unparsed, b""
            self._feed(data)
        if self._task is not None:
            return
        if self._ended:
            self._transport.close()
            return
        self._go_on()
        self._resume()

    def _go_on(self) -> None:
        if self._parser.expects:
            self._parser.expects = False
            self._transport.write(http.CONTINUE)

    def _finish(self) -> None:
        if self._ended or not self._parser.early:
            self._transport.close()
            return
        # Closing with input unread makes the kernel reset the connection, and the client may never see the answer.
        self._lingering = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._resume()

    # time

    def check(self, now: float) -> None:
        """End what has taken too long by *now*, the loop's time."""
        limits, waited = self._limits, now - self._parser.since
        if self._transport.is_closing() or self._lingering:
            if waited > (limits.linger if self._lingering else limits.write_pause):
                self._transport.abort()
        elif self._task is not None:
            if self._writable is not None:
                self._check_reader(now)
        elif not self._parser.in_head:
            if now - self._parser.progress > limits.body_pause or waited > limits.body_time:
                self._late("The body took too long")
        elif self._parser.partial:
            # Of a request without its header nothing is lost: nobody waits for it when the hub stops.
            if waited > (min(limits.linger, limits.head_time) if self._shared.draining else limits.head_time):
                self._late("The header took too long")
        elif waited > limits.idle:
            self._transport.close()

    def _check_reader(self, now: float) -> None:
        left = self._transport.get_write_buffer_size()
        if self._stalled[0] - left >= TAKEN:
            self._stalled = (left, now)
        elif now - self._stalled[1] > self._limits.write_pause:
            self._transport.abort()

    def _late(self, text: str) -> None:
        self._parser.refuse(408, text)
        self._task = self._loop.create_task(self._serve())

    @property
    def rests(self) -> bool:
        """Whether nothing is asked, and all that was is answered."""
        return self._task is None and self._parser.in_head and not self._parser.partial and not self._lingering

    @property
    def since(self) -> float:
        """Since when it has been as it is, by the loop's time."""
        return self._parser.since

    def drain(self) -> None:
        """Close if nothing is under way; otherwise the answer to what is will be the last."""
        if self.rests:
            self._transport.close()

    def leave(self) -> None:
        """Go at once, whatever of an answer is not taken: the place is somebody else's."""
        self._lost = True
        self._go()
        self._transport.abort()

    def abort(self) -> asyncio.Task[None] | None:
        """Cut the connection; return the task that was answering, cancelled."""
        self._transport.abort()
        if self._task is not None:
            self._task.cancel()
        return self._task
