"""Carry connections from ports of a sandbox's loopback to sockets that the hub bound into it.

Many programs can name a host and a port, and no unix socket: the proxy of a network that is a list, and
Lambda's Runtime API, are reached so. One thread; it ends with the sandbox.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Mapping
from typing import NoReturn

CHUNK = 64 * 1024
MOST = 256
"""Connections carried at a time; more wait in the kernel's queue."""


class Way:
    """One direction of a connection: what was read from one side and not yet written to the other."""

    __slots__ = ("data", "ended", "reads", "shut", "writes")

    def __init__(self, reads: socket.socket, writes: socket.socket) -> None:
        self.reads = reads
        self.writes = writes
        self.data = b""
        self.ended = False
        """Nothing more comes."""
        self.shut = False
        """And the other side was told."""

    def read(self) -> None:
        try:
            self.data = self.reads.recv(CHUNK)
        except BlockingIOError:
            return
        self.ended = not self.data

    def write(self) -> None:
        try:
            self.data = self.data[self.writes.send(self.data) :]
        except BlockingIOError:
            return
        except OSError:
            # Nobody takes it any more; an answer may still come the other way.
            self.data = b""
            self.ended = self.shut = True

    def finish(self) -> None:
        """Tell the other side of the end, once all before it was written."""
        if self.ended and not self.shut:
            self.shut = True
            self.writes.shutdown(socket.SHUT_WR)


class Forwarder:
    """Listens on ports of 127.0.0.1 and carries each connection to the path of its port."""

    def __init__(self, paths: Mapping[int, str]) -> None:
        """Bind the ports. Raises OSError."""
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[socket.socket, str] = {}
        self._listening = False
        self._ways: dict[socket.socket, tuple[Way, Way]] = {}
        """By either end of a connection: what comes from it, and what goes to it."""
        for port, path in paths.items():
            listener = socket.create_server(("127.0.0.1", port), backlog=128)
            listener.setblocking(False)
            self._listeners[listener] = path
        self._listen(True)

    def descriptors(self) -> set[int]:
        """Return what it works with, before it has carried anything."""
        return {self._selector.fileno(), *(listener.fileno() for listener in self._listeners)}

    def close(self) -> None:
        """Let go of everything; what another process has of it stays."""
        for end in [*self._listeners, *self._ways]:
            end.close()
        self._selector.close()

    def run(self) -> NoReturn:
        """Carry for ever."""
        while True:
            self.step(None)

    def step(self, timeout: float | None) -> None:
        """Carry what can be carried now, after waiting for something at most *timeout* seconds."""
        for key, events in self._selector.select(timeout):
            end = key.fileobj
            assert isinstance(end, socket.socket)
            if end in self._listeners:
                self._accept(end)
            elif end in self._ways:
                self._carry(end, events)

    def _listen(self, wanted: bool) -> None:
        if wanted == self._listening:
            return
        self._listening = wanted
        for listener in self._listeners:
            if wanted:
                self._selector.register(listener, selectors.EVENT_READ)
            else:
                self._selector.unregister(listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.connect(self._listeners[listener])
        except OSError:
            client.close()
            server.close()
            return
        there, back = Way(client, server), Way(server, client)
        self._ways[client], self._ways[server] = (there, back), (back, there)
        for end in (client, server):
            end.setblocking(False)
            self._selector.register(end, selectors.EVENT_READ)
        self._listen(len(self._ways) < 2 * MOST)

    def _carry(self, end: socket.socket, events: int) -> None:
        out, into = self._ways[end]
        try:
            if events & selectors.EVENT_READ and not out.data and not out.ended:
                out.read()
                if out.data:
                    out.write()
            if events & selectors.EVENT_WRITE and into.data:
                into.write()
            for way in (out, into):
                if not way.data:
                    way.finish()
        except OSError:
            self._end(out)
            return
        if out.shut and into.shut:
            self._end(out)
            return
        for one in (out.reads, out.writes):
            self._watch(one)

    def _watch(self, end: socket.socket) -> None:
        out, into = self._ways[end]
        events = (0 if out.data or out.ended else selectors.EVENT_READ) | (selectors.EVENT_WRITE if into.data else 0)
        registered = end in self._selector.get_map()
        if not events:
            if registered:
                self._selector.unregister(end)
        elif registered:
            self._selector.modify(end, events)
        else:
            self._selector.register(end, events)

    def _end(self, way: Way) -> None:
        for end in (way.reads, way.writes):
            del self._ways[end]
            if end in self._selector.get_map():
                self._selector.unregister(end)
            end.close()
        self._listen(True)
