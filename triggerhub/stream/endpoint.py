"""Say what a service of streams is asked for, and how it may fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from triggerhub.errors import TriggerhubError
from triggerhub.model import Millis
from triggerhub.policy.streaming import Record
from triggerhub.policy.streaming.tree import Listed


@dataclass(frozen=True, slots=True)
class Oldest:
    """Begin at the oldest record that is kept."""


@dataclass(frozen=True, slots=True)
class Latest:
    """Begin after the newest one."""


@dataclass(frozen=True, slots=True)
class At:
    """Begin at what arrived at this moment; may be earlier, where the service knows no moments."""

    moment: Millis


@dataclass(frozen=True, slots=True)
class After:
    """Begin after the record with this sequence number."""

    sequence: str


Place: TypeAlias = Oldest | Latest | At | After


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A stream as it stands."""

    arn: str
    generation: str
    """Differs between two streams of one name, of which one was deleted."""
    shards: Sequence[Listed]
    now: Millis | None = None
    """The service's own clock."""
    scope: str = ""
    """What stands before the names of its records, as the keeper says: only of a stream that was made anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one read found."""

    records: Sequence[Any]
    """As the service gave them; :meth:`Endpoint.record` reads them."""
    next: str | None
    """Where to read on; None is the end of a closed shard."""
    more: bool
    """Whether there is certainly more to read now."""
    now: Millis | None = None
    """The service's own clock."""


class Endpoint(Protocol):
    """One stream of a service. Its coroutines raise AwsFault, or what is below."""

    @property
    def service(self) -> Literal["dynamodb", "kinesis"]: ...

    @property
    def limit(self) -> int:
        """At most so many records may be asked for in one read."""
        ...

    def owns(self, generation: str) -> bool:
        """Whether a generation is one of this stream, and not of what the trigger read before."""
        ...

    async def describe(self, generation: str | None) -> Described:
        """Return the stream; that *generation* of it, if it is still there. GoneError where there is none."""
        ...

    async def iterator(self, described: Described, shard: str, place: Place) -> str: ...

    async def read(self, iterator: str, limit: int) -> Page: ...

    def record(self, given: Any, described: Described, shard: str) -> Record:
        """Return a record in the shape of a function's event."""
        ...


class ExpiredError(Exception):
    """The iterator was not used for too long: another one is to be had."""


class TrimmedError(Exception):
    """What was to be read is older than the stream keeps."""


class GoneError(TriggerhubError):
    """The stream, or the shard, is not there."""
