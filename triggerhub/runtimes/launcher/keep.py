"""Keep root for the launcher, where the hub has given it up: start launchers for it, all held to one floor.

It has read all that it will ever run before the hub is anybody else: what that user may change later is no
program of root's. It ends with the hub.
"""

from __future__ import annotations

import os
import signal
import socket

from . import floor, groups, serve
from .plan import MAX

_PATIENCE = 5.0
"""Seconds that the launchers' sandboxes may take to end once the hub has."""


def main(descriptor: int, runtime: str) -> None:
    """Serve the hub at the other end of *descriptor*; returns never.

    The first packet is the floor, every other one brings the socket of a launcher that is to be started.
    """
    serve.prepare("triggerhub-keep", whole=True)
    worker = serve.defined(runtime)
    control = socket.socket(fileno=descriptor)
    control.setblocking(True)
    told = control.recv(MAX + 1)
    if not told:
        os._exit(0)
    held = floor.decode(told)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        packet, descriptors, _, _ = socket.recv_fds(control, 16, 1)
        if not packet:
            groups.clear(held.groups, _PATIENCE)
            os._exit(0)
        if descriptors and os.fork() == 0:
            try:
                control.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.setsid()
                serve.serve(socket.socket(fileno=descriptors[0]), worker, held)
            finally:
                os._exit(1)
        for one in descriptors:
            os.close(one)
