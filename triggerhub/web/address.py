"""Take the addresses to listen on before anything is started, so that one in use starts nothing by half.

From then on clients may connect; they are answered once the server that is lent the sockets accepts.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from triggerhub.errors import ConfigError

BACKLOG = 1024


@contextmanager
def held(setting: str, host: str, port: int) -> Iterator[list[socket.socket]]:
    """Lend a listening socket for each address of *host*. ConfigError names *setting* when one cannot be had.

    Where *port* is 0 the system chooses one, the same for all. :func:`taken` hands the sockets on.
    """
    sockets: list[socket.socket] = []
    try:
        try:
            for family, place in _places(host, port):
                chosen = sockets[0].getsockname()[1] if sockets else place[1]
                sockets.append(_listening(family, (place[0], chosen, *place[2:])))
        except (OSError, UnicodeError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ConfigError(
                f"{setting}: {host}:{port} cannot be listened on: {why}",
                hint=_remedy(error, port, f"[hub] {setting.rpartition('.')[2]}"),
            ) from error
        yield sockets
    finally:
        for one in sockets:
            one.close()


def taken(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """Return copies for a server to own, and let go of the originals: closing the server frees the address."""
    copies = []
    for one in sockets:
        copy = one.dup()
        copy.setblocking(False)
        copies.append(copy)
        one.close()
    return copies


def _remedy(error: Exception, port: int, key: str) -> str:
    match error:
        case OSError(errno=errno.EADDRINUSE):
            return f"Stop what listens there, or set {key} to another address."
        case PermissionError() if 0 < port < 1024:
            return f"Ports below 1024 are not for every user: set {key} to a higher one, with a proxy in front of it."
        case _:
            return f"Set {key} to an address of this machine."


def _places(host: str, port: int) -> list[tuple[int, Any]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, place) for family, _, _, _, place in found))


def _listening(family: int, place: tuple[Any, ...]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(place)
        one.listen(BACKLOG)
    except BaseException:
        one.close()
        raise
    return one
