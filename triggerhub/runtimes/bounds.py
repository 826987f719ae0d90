"""Bound what one worker's processes can take of the hub by their connections to the Runtime API.

Descriptors and memory of the hub are everybody's, and a worker's own limits do not count them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from triggerhub.aws.errors import MAX_RESPONSE
from triggerhub.settings import KB

if TYPE_CHECKING:
    from triggerhub.runtimes.listener import Connection, Request

MOST = 32
"""Connections that one worker may have open: a runtime and ten extensions have one or two each."""
SMALL = 256 * KB
"""The most bytes of a body that is not an answer which is waited for."""


class Bounds:
    """What the connections of one worker share."""

    def __init__(self, *, large: Callable[[Request], bool], crowded: Callable[[], None]) -> None:
        """*large* says of a request whose body is to come whether it is an answer that is waited for.

        *crowded* is called whenever there is no place for one more connection.
        """
        self._large = large
        self._crowded = crowded
        self._open: dict[Connection, None] = {}
        """Those that are open, the longest unused first."""
        self._answering: Connection | None = None
        """By which the answer that is waited for comes."""
        self._handed: Connection | None = None
        """By which the last event went out."""

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._open))

    def enter(self, connection: Connection) -> bool:
        """Take one more in, if need be for one that nobody uses; return whether there is a place for it."""
        if len(self._open) >= MOST:
            # By which the event went out, its answer is to come, as a rule.
            unused = next((one for one in self._open if one.idle and one is not self._handed), None)
            if unused is None:
                self._crowded()
                return False
            del self._open[unused]
            unused.abort()
        self._open[connection] = None
        return True

    def used(self, connection: Connection) -> None:
        """Note that it was, just now."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def read(self, connection: Connection) -> None:
        """Note that a request came by it, whole: nobody waits any more for what it brings."""
        if self._answering is connection:
            self._answering = None
        self.used(connection)

    def most(self, connection: Connection, request: Request) -> int:
        """Return how many bytes the body of *request* may have: one at a time may be as long as an answer."""
        if not self._large(request):
            return SMALL
        if self._answering is not None and self._answering is not connection:
            # Who begins anew has given the first one up, whatever became of its connection.
            self._answering.abort()
        self._answering = connection
        return MAX_RESPONSE

    def hands(self, connection: Connection) -> None:
        """Note that an event goes out by *connection*: who has not read the one before will not."""
        if self._handed is not None and self._handed is not connection and self._handed.unread:
            self._handed.abort()
        self._handed = connection

    def leave(self, connection: Connection) -> None:
        """Forget one that has ended."""
        self._open.pop(connection, None)
        if self._answering is connection:
            self._answering = None
        if self._handed is connection:
            self._handed = None
