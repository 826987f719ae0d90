"""Turn signals into the hub's life: the first asks it to end, the second makes it, SIGHUP reloads.

Systemd is told how the hub does by its own protocol, sd_notify: a datagram to the socket that it names.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable

import anyio
import structlog

log = structlog.get_logger("signals")


async def heed(stop: anyio.Event, root: anyio.CancelScope, reload: Callable[[], Awaitable[object]]) -> None:
    """Run until cancelled. A reload under way keeps no other signal waiting."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        async with anyio.create_task_group() as reloads:
            async for number in received:
                if number == signal.SIGHUP:
                    log.info("reloading", signal="SIGHUP")
                    reloads.start_soon(_reload, stop, reload)
                elif stop.is_set():
                    log.warning("stopping at once; running calls are cut and given back", signal=number.name)
                    root.cancel()
                else:
                    log.info("stopping; a second signal cuts what still runs", signal=number.name)
                    notify("STOPPING=1")
                    stop.set()


async def _reload(stop: anyio.Event, reload: Callable[[], Awaitable[object]]) -> None:
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    await reload()
    if not stop.is_set():
        notify("READY=1")


async def watchdog() -> None:
    """Tell systemd that the hub is alive, twice in the time that WATCHDOG_USEC allows, until cancelled."""
    allowed = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not (allowed.isascii() and allowed.isdigit() and int(allowed)) or meant != str(os.getpid()):
        return
    while True:
        notify("WATCHDOG=1")
        await anyio.sleep(int(allowed) / 2_000_000)


def notify(state: str) -> None:
    """Tell systemd how the service does; nothing where systemd did not start it. It never waits."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.sendall(state.encode())
    except OSError as error:  # also where no descriptor is left
        log.warning("systemd could not be told", state=state.partition("\n")[0], error=str(error))
