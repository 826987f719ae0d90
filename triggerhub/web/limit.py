"""Hold what a client of the ingress may take: sizes, times, numbers."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field

from triggerhub.settings import KB, MB

MOST_CONNECTIONS = 10_000
DESCRIPTORS = 65_536
TAKEN = 64 * KB
SMALL = 64 * KB
"""Bytes of a body up to which it has its place whoever sends large ones."""


def raise_descriptors() -> None:
    """Take as many descriptors as the host lets this process have, up to DESCRIPTORS.

    The usual soft limit of 1,024 is for programs that call select(); workers are started with it again.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_allowed() -> int:
    """Return how many connections the process's descriptors bear: half of them, as workers and the store need some."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else max(min(MOST_CONNECTIONS, soft // 2), 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    line: int = 16 * KB
    """Of the request target."""
    head: int = 64 * KB
    """Of all header fields together."""
    fields: int = 100
    head_time: float = 10
    """From the first byte of a request to the end of its header."""
    body_pause: float = 30
    """Between two pieces of a body."""
    body_time: float = 300
    """For a whole body."""
    idle: float = 75
    """For a connection that says nothing, new or between two requests."""
    write_pause: float = 30
    """For a client to take :data:`TAKEN` bytes of its answer, or the rest."""
    linger: float = 2
    """How long what is still being sent is read and thrown away after an early refusal."""
    connections: int = field(default_factory=connections_allowed)
    buffered: int = 256 * MB
    """Of all bodies held at once, over all connections."""

    def full(self, size: int, *, of_peer: int, of_all: int) -> bool:
        """Whether a body that has come to *size* bytes is one too many.

        Who sends more than a quarter of all that may be held is let finish one. Small ones have another quarter, of
        which large ones take nothing.
        """
        if size <= SMALL:
            return of_all > self.buffered + self.part
        return of_all > self.buffered or self.part < of_peer > size

    @property
    def part(self) -> int:
        """What one peer may hold of all bodies, and what small ones have besides."""
        return self.buffered // 4

    @property
    def handshakes(self) -> int:
        """How many clients of a TLS listener may be there, those that have not shaken hands included.

        A few more than connections: a client too many can be answered only once it has.
        """
        return self.connections + max(16, self.connections // 8)

    @property
    def sweep(self) -> float:
        """How often the times are looked at."""
        return min(
            1.0, *(time / 4 for time in (self.head_time, self.body_pause, self.idle, self.write_pause, self.linger))
        )
