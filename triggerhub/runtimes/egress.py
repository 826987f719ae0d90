"""Let a worker whose network is a list reach what is listed, and nothing else.

The worker has no route out. What it has is one unix socket, bound into its sandbox, behind which this
proxy resolves, checks and connects on its behalf: CONNECT for tunnels, absolute URIs for plain HTTP. A
name is resolved here once for each connection, and the address that was checked is the one connected to.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import resource
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeAlias

from triggerhub.policy import allowlist, forwarding
from triggerhub.policy.allowlist import Address, Entry, Refused
from triggerhub.policy.forwarding import Asked, BadRequest

PORT = 3128
"""Where the sandbox's own loopback offers the proxy."""
SOCKET = "/run/egress.sock"
"""Where the sandbox has the socket behind it."""
MOST = 100
"""Connections that one worker may have open; more wait for one to end."""
SHARE = 8
"""Of the hub's descriptors, one in so many is for all workers' connections; each takes two."""
REST = 3
"""So many more must be left to others for each that a function has of them: so it has a quarter, where it is alone."""
LOOKUPS = 2
"""Names that are looked up at once for one function: the resolver's threads are everybody's."""
PATIENCE = 15.0
"""Seconds that a client has for its request, and a server for being reached."""

_CHUNK = 64 * 1024
_OWN = ("localhost", "127.0.0.1", "::1")
_AGAIN = 0.1
"""Seconds after which a connection is accepted again where none could be."""
_LINGER = 2.0
"""Seconds that a client has to take an answer which it did not expect."""
_TOLD = 100
"""Refusals that are told of in the function's log; more are only answered."""

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[Address]]]


def variables(entries: Sequence[str]) -> dict[str, str]:
    """Return the environment that sends well-behaved clients to the proxy.

    The sandbox's own loopback needs none, unless the list speaks of the host's.
    """
    proxy = f"http://127.0.0.1:{PORT}"
    listed = [allowlist.parse(entry, every=True) for entry in entries]
    own = ",".join(host for host in _OWN if not allowlist.speaks_of(listed, host))
    named = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "ALL_PROXY": proxy, "NO_PROXY": own}
    # Most clients read them in lower case, curl reads http_proxy in no other. Node's own fetch wants to be told.
    return named | {name.lower(): value for name, value in named.items()} | {"NODE_USE_ENV_PROXY": "1"}


async def resolve(host: str, port: int) -> Sequence[Address]:
    """Ask the host's own resolver; none where there is no such name. Cancellable."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found))


class Room:
    """How many connections all of a hub's workers may have open, so that they leave it descriptors."""

    def __init__(self, most: int | None = None) -> None:
        self.left = most or resource.getrlimit(resource.RLIMIT_NOFILE)[0] // (2 * SHARE)
        self._shares: dict[str, Share] = {}

    @contextmanager
    def share(self, name: str) -> Generator[Share]:
        """Lend what the workers of the function *name* have of it together."""
        share = self._shares.setdefault(name, Share(self))
        share.lent += 1
        try:
            yield share
        finally:
            share.lent -= 1
            # Those that are left keep threads busy still, and their function's next workers have that many less.
            self._shares = {name: one for name, one in self._shares.items() if one.lent or one.looking}


class Share:
    """What one function has of a room; however much it is, it leaves some to others."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.lent = 0
        """To so many workers."""
        self.taken = 0
        self.looking: set[asyncio.Future[Sequence[Address]]] = set()
        """Lookups that have not ended, whether anybody still waits for them or not."""
        self._lookups = asyncio.Semaphore(LOOKUPS)

    def lack(self) -> str:
        """Return why there is no place for one more, in words for the function's log; empty where there is."""
        if not self._room.left:
            return "the workers of all functions have as many open as the hub has descriptors for"
        if self._room.left < self.taken * REST:
            return f"the workers of this function have {self.taken} open, which is its share of the hub's descriptors"
        return ""

    async def look_up(self, resolve: Resolve, host: str, port: int) -> Sequence[Address]:
        """Return what *resolve* does, when it is this one's turn. Cancelled: its place is free once that has ended."""
        await self._lookups.acquire()
        lookup = asyncio.ensure_future(resolve(host, port))
        self.looking.add(lookup)
        lookup.add_done_callback(self._looked_up)
        # A thread of the resolver ends no sooner than it has its answer.
        return await asyncio.shield(lookup)

    def _looked_up(self, lookup: asyncio.Future[Sequence[Address]]) -> None:
        self.looking.discard(lookup)
        self._lookups.release()

    def take(self) -> None:
        self.taken += 1
        self._room.left -= 1

    def give(self) -> None:
        self.taken -= 1
        self._room.left += 1


@asynccontextmanager
async def serve(
    path: Path, entries: Sequence[str], tell: Callable[[str], None], share: Share, *, resolve: Resolve = resolve
) -> AsyncGenerator[None]:
    """Serve the proxy on a unix socket at *path* while the block runs; leaving cuts what is open.

    *entries* are valid ``host:port``; *tell* takes each refusal once, in words for the function's log; *share* is
    the function's, of what all have together. Whoever can reach *path* may connect: the folder keeps others out.
    Raises OSError.
    """
    with _listen(path) as listener:
        proxy = _Proxy(listener, [allowlist.parse(entry, every=True) for entry in entries], tell, share, resolve)
        try:
            yield
        finally:
            await proxy.close()
            _remove(path)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A path may be longer than an address of a socket: name it from its opened folder.
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        # The worker has a user of its own.
        path.chmod(0o666)
        listener.listen(MOST)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


class _Proxy:
    """Accepts what one worker connects, and holds what is open of it."""

    def __init__(
        self,
        listener: socket.socket,
        entries: Sequence[Entry],
        tell: Callable[[str], None],
        share: Share,
        resolve: Resolve,
    ) -> None:
        self._listener = listener
        self._entries = tuple(entries)
        self._tell = tell
        self._share = share
        self._resolve = resolve
        self._waited = False
        """Whether it was told that one had to wait."""
        self._told: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._heed()

    async def close(self) -> None:
        """Cut every connection; returns when all have ended."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _heed(self) -> None:
        # Not asyncio's own server or accept, which lose what they accept while they are being cancelled.
        if self._listener.fileno() >= 0 and len(self._tasks) < MOST:
            self._loop.add_reader(self._listener, self._accept)

    def _rest(self) -> None:
        """Accept nothing for a while: there is no room, or no descriptor; there will be."""
        self._loop.remove_reader(self._listener)
        self._loop.call_later(_AGAIN, self._heed)

    def _accept(self) -> None:
        if lack := self._share.lack():
            if not self._waited:
                self._waited = True
                self._tell(f"a connection waits for another one to end: {lack}")
            self._rest()
            return
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:
            self._rest()
            return
        self._share.take()
        client.setblocking(False)
        begun = asyncio.Event()
        task = self._loop.create_task(self._attend(client, begun), name="egress")
        self._tasks.add(task)
        if len(self._tasks) >= MOST:
            self._loop.remove_reader(self._listener)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._share.give()
            self._heed()
            # A task that is cancelled before it began runs none of its code.
            if not begun.is_set():
                client.close()

        task.add_done_callback(done)

    async def _attend(self, client: socket.socket, begun: asyncio.Event) -> None:
        begun.set()
        # OSError: one of the two is gone, and so is the connection.
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(sock=client, limit=forwarding.LONGEST)
            async with _closing(writer):
                await self._exchange(reader, writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                asked = forwarding.read(await reader.readuntil(b"\r\n\r\n"))
        except (asyncio.IncompleteReadError, TimeoutError):
            return
        except (BadRequest, asyncio.LimitOverrunError) as error:
            await _say(reader, writer, 400, str(error))
            return
        try:
            addresses = await self._pinned(asked)
        except Refused as error:
            self._refuse(str(error))
            await _say(reader, writer, 403, str(error))
            return
        server = await _reach(addresses, asked.port)
        if server is None:
            await _say(reader, writer, 502, f"{allowlist.show(asked.host, asked.port)} cannot be reached")
            return
        async with _closing(server[1]):
            if asked.head is None:
                writer.write(forwarding.ESTABLISHED)
            else:
                server[1].write(asked.head)
            await _splice((reader, writer), server)

    async def _pinned(self, asked: Asked) -> Sequence[Address]:
        known = allowlist.admit(self._entries, asked.host, asked.port)
        if known:
            return known
        try:
            async with asyncio.timeout(PATIENCE):
                addresses = await self._share.look_up(self._resolve, asked.host.removesuffix("."), asked.port)
        except TimeoutError:
            addresses = ()
        return allowlist.pin(self._entries, asked.host, asked.port, addresses)

    def _refuse(self, why: str) -> None:
        if why not in self._told and len(self._told) < _TOLD:
            self._told.add(why)
            self._tell(f"refused a connection: {why}")


Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _reach(addresses: Sequence[Address], port: int) -> Streams | None:
    """Connect to the first address that answers, all within one time."""
    end = time.monotonic() + PATIENCE
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        share = (end - time.monotonic()) / left
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(share):
                return await asyncio.open_connection(str(address), port, limit=_CHUNK)
    return None


async def _splice(client: Streams, server: Streams) -> None:
    """Carry bytes both ways until both sides have ended theirs, or either has gone."""
    async with asyncio.TaskGroup() as both:
        both.create_task(_carry(client[0], server[1]))
        both.create_task(_carry(server[0], client[1]))


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (OSError, RuntimeError):
        # The other way has nobody to carry for any more. RuntimeError is what uvloop says of a closed one.
        writer.close()


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int, reason: str) -> None:
    """Answer, and read what is still being sent: a connection closed over it is cut, and the answer with it."""
    writer.write(forwarding.answer(status, reason))
    writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            while await reader.read(_CHUNK):
                pass


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncGenerator[None]:
    """Close in the end, after all was written; cut where that is not to be waited for any more."""
    try:
        yield
        writer.close()
        await writer.wait_closed()
    except BaseException:
        writer.transport.abort()
        raise
