"""Hold what a stranger may take of the admin address before anybody knows who he is: headers, time, connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from triggerhub.settings import KB
from triggerhub.web import http
from triggerhub.web.proxy import from_here, peer_address
from triggerhub.web.short import Peer, Short, Shortcut, Taken

log = structlog.get_logger("admin")

HEAD = 64 * KB
"""Bytes of a request's line and headers; what one read brings may go beyond it."""
HEAD_TIME = 30.0
"""Seconds from the beginning of a connection, or of a request, to the end of its headers."""
BODY_TIME = 900.0
"""Seconds for all of a body."""
PIECE_TIME = 30.0
"""Seconds in which a stranger sends the rest of a body, or PIECE bytes of it."""
PIECE = 128 * KB
IDLE_TIME = 30
"""Seconds between two requests of a connection."""
TAKE_TIME = 30.0
"""Seconds in which a client takes the rest of an answer, or TAKEN bytes of it."""
TAKEN = 64 * KB
CONNECTIONS = 500
"""Clients at once: where there are more, the one goes that has asked for nothing for the longest time."""
FIELDS = 200
"""Header fields of a request."""
PIPELINED = 16
"""Requests of a connection that wait for the answers to those before them."""
FRAMED = 4, 6
"""How many times HEAD, and times the bytes of a body, may come beside it: as sizes of its chunks and trailers."""
_UNSAID = -1.0
"""Stands for no word on how long to wait, where None is a word."""


class Patient(HttpToolsProtocol):
    """uvicorn's side of a connection, which waits for ever and takes whatever comes, within bounds.

    *crowd* are the connections of this listener; None where all are of the hub's own user. What the *shortcut* takes
    uvicorn does not see.
    """

    def __init__(self, crowd: set[Patient] | None, shortcut: Shortcut, **given: Any) -> None:
        super().__init__(**given)
        self._crowd = crowd
        self._shortcut = shortcut
        self._peer = Peer("", secure=False, here=False)
        self._timer: asyncio.TimerHandle | None = None
        self._until: float | None = None
        self._in_head = True
        self._head = 0
        self._came, self._left = 0, BODY_TIME
        self._body = self._framing = 0
        """Bytes of a body, and of what came beside it."""
        self._why: tuple[int, str] | None = None
        """Why a request is refused of which the parser was told that it is none."""
        self._bound: float | None = None
        """For how many seconds to wait after what is being read, None for as long as it takes; _UNSAID is as before."""
        self._untaken = 0
        """Bytes that a client had not taken when that was looked at."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = peer_address(self.client)
        self._peer = Peer(address, secure=self.scheme == "https", here=self._crowd is None or from_here(address, ()))
        if self._crowd is not None:
            if len(self._crowd) >= CONNECTIONS and not self._make_room(self._crowd):
                self._refuse(503, "Too many connections")
                return
            self._crowd.add(self)
        self._wait(HEAD_TIME)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        if self._timer is not None:
            self._timer.cancel()
        if self._crowd is not None:
            self._crowd.discard(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._left_to_send()
        if self._until is None and self._crowd is not None:
            self._wait(TAKE_TIME)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head += len(data)
        else:
            self._came += len(data)
            self._framing += len(data)
        self._bound = _UNSAID
        super().data_received(data)
        if self.transport.is_closing():
            self.end()
            return
        # Who takes nothing of an answer gains no time by asking again.
        if self._bound != _UNSAID and (self._until is None or not self.flow.write_paused):
            self._wait(self._bound)
        if self._in_head and self._head > HEAD:
            self._refuse(431, "The request's header is too large")
        elif not self._in_head and self._framing > FRAMED[0] * HEAD + FRAMED[1] * self._body:
            self._refuse(431, "The request has more trailers, or sizes of chunks, than fit its body")

    def send_400_response(self, msg: str) -> None:
        if self._why is None:
            super().send_400_response(msg)
        else:
            self._refuse(*self._why)

    @staticmethod
    def _make_room(crowd: set[Patient]) -> bool:
        """Whether there is room for one more, since one of a *crowd* was closed that rests."""
        resting = min((one for one in crowd if one.rests), key=lambda one: one.until, default=None)
        if resting is None:
            return False
        crowd.discard(resting)
        resting.leave()
        return True

    def leave(self) -> None:
        """Close the connection now: what was answered and not taken would go on to lie here, uncounted."""
        if self._left_to_send():
            self.transport.abort()
        else:
            self.transport.close()

    @property
    def until(self) -> float:
        """When this is closed if nothing happens."""
        return self._until or 0.0

    @property
    def rests(self) -> bool:
        """Whether nothing is asked, and all that was is answered."""
        answered = self.cycle is None or self.cycle.response_complete
        return self._in_head and not self._head and not self.pipeline and answered

    def on_header(self, name: bytes, value: bytes) -> None:
        # uvicorn would keep trailers, too, of which nobody here knows any.
        if self._in_head:
            if len(self.headers) >= FIELDS:
                self._why = 431, f"The request has more than {FIELDS} header fields"
                raise ValueError(self._why[1])
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._framing -= len(body)
        self._body += len(body)
        super().on_body(body)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED:
            self._why = 429, f"More than {PIPELINED} requests wait on this connection"
            raise ValueError(self._why[1])
        # What uvicorn makes here for its own cycle waits until there is one.
        self._bound = HEAD_TIME
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        self._in_head, self._head = False, 0
        self._body = self._framing = 0
        self._came, self._left = 0, BODY_TIME
        self._bound = BODY_TIME if self._crowd is None else PIECE_TIME
        before = self.cycle
        if (before is None or before.response_complete) and (taken := self._taken()) is not None:
            keep = self.parser.should_keep_alive()
            self.cycle = Short(taken, self.transport, self.flow, self._answered, keep=keep)  # type: ignore[assignment]
            return
        self._begin_late()
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.transport = _Joined(self.transport, self.end, self.loop)  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        self._in_head = True
        # An answer may be there before the last of a body is.
        self._bound = IDLE_TIME if self.cycle is not None and self.cycle.response_complete else None
        super().on_message_complete()
        if isinstance(self.cycle, Short):
            task = self.loop.create_task(self.cycle.answer())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def _begin_late(self) -> None:
        """Do what uvicorn does as a request begins, for one whose head has been read."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)

    def _taken(self) -> Taken | None:
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or parser.should_upgrade():
            return None
        try:
            return self._shortcut.takes(self.url, self.headers, self._peer)
        except Exception:
            # Out of a callback of llhttp's it would be the client's fault. The long way fails at the same, and says so.
            log.exception("the shortcut failed", path=self.url[:200].decode("latin-1"))
            return None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline:
            # What waits is answered before more is read.
            self.flow.pause_reading()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self._idle()

    def _answered(self) -> None:
        """Go on after an answer by the shortcut, as uvicorn does after its own."""
        if self.pipeline:
            self.on_response_complete()
        else:
            self.flow.resume_reading()
            self._idle()

    def _idle(self) -> None:
        """Wait for the next request, unless one is there, or for what is left of an answer to be taken."""
        if self.transport.is_closing():
            self.end()
        elif self._until is None and not self.pipeline:
            self._left_to_send()
            self._wait(IDLE_TIME)

    def _left_to_send(self) -> int:
        """Return, and remember, how much a client has not taken; whoever is the hub's own user has all the time."""
        self._untaken = 0 if self._crowd is None else self.transport.get_write_buffer_size()
        return self._untaken

    def _wait(self, seconds: float | None) -> None:
        """Close the connection after so long, and not as it was said before."""
        if seconds is None:
            self._until = None
            return
        self._until = until = self.loop.time() + seconds
        # A timer that comes too early is set anew when it does: most requests need none of their own.
        if self._timer is None or self._timer.when() > until:
            self._arm(until)

    def _arm(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(until, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._until is None:
            return
        before = self._untaken
        if self._until > self.loop.time():
            self._arm(self._until)
        elif left := self._left_to_send():
            # More than before was written since.
            if 0 <= before - left < TAKEN:
                self.transport.abort()
            else:
                self._wait(TAKE_TIME)
        elif self._answering():
            self._until = None
        elif before:
            self._wait(IDLE_TIME)
        elif self._comes_on():
            self._came = 0
            self._wait(PIECE_TIME)
        else:
            self.end()

    def _answering(self) -> bool:
        """Whether a request is there as a whole, and its answer not yet."""
        return self._in_head and self.cycle is not None and not self.cycle.response_complete

    def _comes_on(self) -> bool:
        """Whether a body comes fast enough, or lies here unread."""
        if self._in_head or self._crowd is None:
            return False
        self._left -= PIECE_TIME
        return self._left > 0 and (self._came >= PIECE or self.flow.read_paused)

    def end(self) -> None:
        """Close the connection once what is left to send is taken, or nobody takes it."""
        self.transport.close()
        if self._left_to_send():
            self._wait(TAKE_TIME)

    def _refuse(self, status: int, text: str) -> None:
        self._wait(None)
        self.transport.write(http.encode(http.message(status, text), head=False, close=True))
        self.end()


class _Joined:
    """What an answer is written to: its head goes with what follows in the same turn of the loop, by one system call.

    uvicorn writes the two apart, and each wakes the client.
    """

    __slots__ = ("_begun", "_end", "_head", "_later", "_loop", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, end: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """*end* closes the transport."""
        self.is_closing = transport.is_closing
        self._transport, self._end = transport, end
        self._loop = loop
        self._begun = False
        self._head = b""
        self._later: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if not self._begun:
            self._begun, self._head = True, data
            self._later = self._loop.call_soon(self._send)
        elif self._later is None:
            self._transport.write(data)
        else:
            self._head += data
            self._send()

    def close(self) -> None:
        self._send()
        self._end()

    def _send(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
            self._transport.write(self._head)
            self._head = b""
