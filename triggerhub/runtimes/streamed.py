"""Take an answer that its handler writes in parts: pass it on, or gather it where nobody takes it so."""

from __future__ import annotations

from collections.abc import Callable

from triggerhub.aws import errors, runtimeapi
from triggerhub.model import Fault, Sink

BYTES = "application/octet-stream"
"""The type of a stream that says none."""


class Overflow(Exception):
    """The parts are more than an answer may have; ``fault`` says so as AWS does."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.fault: Fault = errors.too_large(most)


class Streamed:
    """What one call has written so far."""

    def __init__(
        self, sink: Sink | None, content_type: str, *, room: Callable[[], None], leave: Callable[[], None]
    ) -> None:
        """*room* and *leave* are what the sink calls, see ``model.Sink``."""
        self._type = content_type or BYTES
        self._sink = sink
        self._size = 0
        self._gathered = bytearray()
        if sink is not None:
            sink.begin(self._type, room, leave)

    def take(self, data: bytes) -> bool:
        """Take a part; return whether another may come now. Raises Overflow."""
        if not data:
            return True
        self._size += len(data)
        most = errors.MAX_RESPONSE if self._sink is None else errors.MAX_STREAM
        if self._size > most:
            raise Overflow(most)
        if self._sink is not None:
            return self._sink.write(data)
        self._gathered += data
        return True

    def payload(self) -> bytes:
        """Return what the answer comes to as a whole; empty where it was passed on."""
        if self._sink is not None:
            return b""
        gathered = bytes(self._gathered)
        if self._type.partition(";")[0].strip() == runtimeapi.INTEGRATION:
            gathered = runtimeapi.integrated(gathered)
        return gathered or b"null"
