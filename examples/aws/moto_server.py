"""Be AWS on loopback: print the port, and end with the standard input.

moto's server, but for one thing: it gives messages of one group of a FIFO queue to two requests that ask at once, which
SQS does not. So one looks at a time.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Any

from moto.server import ThreadedMotoServer
from moto.sqs.models import SQSBackend

LOOK = 0.05
"""Seconds between looks at an empty queue."""
_looking = threading.Lock()
_look = SQSBackend.receive_message


def receive_message(backend: SQSBackend, queue_name: str, count: int, wait: float, *more: Any) -> list[Any]:
    until = time.monotonic() + (wait or 0)
    while True:
        with _looking:
            found = _look(backend, queue_name, count, 0, *more)
        if found or time.monotonic() >= until:
            return found
        time.sleep(LOOK)


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    SQSBackend.receive_message = receive_message
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
