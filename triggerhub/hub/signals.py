"""Turn signals into the hub's life: the first asks it to end, the second makes it, SIGHUP reloads."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Awaitable, Callable

import anyio
import structlog

log = structlog.get_logger("signals")


async def heed(stop: anyio.Event, root: anyio.CancelScope, reload: Callable[[], Awaitable[object]]) -> None:
    """Run until cancelled."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        async for number in received:
            if number == signal.SIGHUP:
                log.info("reloading", signal="SIGHUP")
                await reload()
            elif stop.is_set():
                log.warning("stopping at once; running calls are cut and given back", signal=number.name)
                root.cancel()
            else:
                log.info("stopping; a second signal cuts what still runs", signal=number.name)
                notify("STOPPING=1")
                stop.set()


def notify(state: str) -> None:
    """Tell systemd how the service does (sd_notify); nothing where systemd did not start it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.sendall(state.encode())
        except OSError as error:
            log.warning("systemd could not be told", state=state, error=str(error))
