"""Say what a source of events is, and what it may touch.

A source is a module: ``sources/imap.py`` is ``type = "imap"``. It has an ``Options`` model and a
``run`` coroutine; nothing is registered and nothing is subclassed but ``Options``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias, runtime_checkable

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo

from triggerhub import settings
from triggerhub.errors import TriggerhubError
from triggerhub.model import Event, Millis, Outcome
from triggerhub.policy import units


def _worded(read: Callable[[str], Any], example: str) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError(f'expected a word with a unit in quotes like "{example}", got {value!r}')
        return read(value)

    return parse


def _resolve(value: Any, info: ValidationInfo) -> settings.Secret:
    """Turn ``{ secret = "NAME" }`` or ``{ file = "…" }`` into its value by the resolver in the context."""
    if not isinstance(value, dict):
        raise ValueError('a secret is written by reference only: { secret = "NAME" } or { file = "PATH" }')
    resolver: SecretResolver = (info.context or {})["secrets"]
    try:
        return resolver.resolve(value)
    except TriggerhubError as error:
        raise ValueError(f"{error.message}{f'; {error.hint}' if error.hint else ''}") from error


class SecretResolver(Protocol):
    """Finds the value behind a reference; lives in ``config``, given as validation context ``secrets``."""

    def resolve(self, reference: Mapping[str, object]) -> settings.Secret: ...


Duration = Annotated[Millis, BeforeValidator(_worded(units.duration, "30s"), json_schema_input_type=str)]
"""``"30s"`` in TOML, milliseconds here."""
Size = Annotated[int, BeforeValidator(_worded(units.size, "256MB"), json_schema_input_type=str)]
"""``"256MB"`` in TOML, bytes here."""
RateLimit = Annotated[settings.Rate, BeforeValidator(_worded(units.rate, "50/s"), json_schema_input_type=str)]
"""``"50/s"`` in TOML."""
SecretValue = Annotated[settings.Secret, BeforeValidator(_resolve, json_schema_input_type=dict[str, str])]
"""``{ secret = "NAME" }`` or ``{ file = "PATH" }`` in TOML, the value here."""


class Options(BaseModel):
    """Base of every source's options: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a source's ``check`` has to say of one option."""

    option: str
    """The key in the trigger's table; empty for the table itself."""
    code: str
    """A short word with dashes, for ``explain``: ``bad-cron``."""
    message: str
    warning: bool = False
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The event is committed; ``deliveries`` holds one id per function."""

    event: str
    deliveries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """The key was seen within its horizon; the ids are the first one's."""

    event: str
    deliveries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """The trigger's filter does not match; ``why`` names the pattern's leaf that failed."""

    why: str


Answer: TypeAlias = Accepted | Duplicate | Filtered


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, whole. Header names are lower case; a repeated header is repeated here."""

    method: str
    path: str
    """Percent-decoded, without the query."""
    raw_path: str
    query: str
    """As it came, without the question mark."""
    headers: Sequence[tuple[str, str]]
    body: bytes
    client: str
    """The caller's address; behind a trusted proxy, the one it names."""
    scheme: str
    host: str
    http_version: str = "1.1"
    params: Mapping[str, str] = field(default_factory=dict)
    """The values of the route's ``{name}`` parts, percent-decoded."""

    def header(self, name: str) -> str | None:
        """Return the first header of that (lower-case) name."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What to answer. Content-Length, Date and Connection are the ingress's own business."""

    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path of the ingress. ``path`` may have ``{name}`` parts (one segment each)."""

    path: str
    methods: tuple[str, ...]
    body_limit: int
    endpoint: Callable[[Request], Awaitable[Response]]
    owner: str = ""
    """Who serves it, for messages: ``triggers.orders``."""


class Routes(Protocol):
    """The ingress as a source sees it."""

    def serve(self, *routes: Route) -> AbstractAsyncContextManager[None]:
        """Answer these routes while the context is open. A path already served is a ConfigError."""
        ...


class Log(Protocol):
    """A structured logger: a short event sentence, then facts as keywords."""

    def debug(self, event: str, **facts: Any) -> Any: ...
    def info(self, event: str, **facts: Any) -> Any: ...
    def warning(self, event: str, **facts: Any) -> Any: ...
    def error(self, event: str, **facts: Any) -> Any: ...


class Context(Protocol):
    """What is lent to a running source; the only thing it can touch."""

    @property
    def trigger(self) -> settings.Trigger: ...

    @property
    def project(self) -> Path:
        """The project's folder: relative paths in options start here."""
        ...

    @property
    def timezone(self) -> tzinfo:
        """The hub's default time zone."""
        ...

    @property
    def log(self) -> Log: ...

    @property
    def routes(self) -> Routes: ...

    async def emit(
        self, *events: Event, checkpoints: Mapping[str, str | None] | None = None, wait: bool = True
    ) -> Sequence[Answer]:
        """Return one answer per event after the commit; *checkpoints* are written in the same commit.

        While the backlog is full it waits, or with ``wait=False`` raises BacklogFull. Raises StoreFull
        when the disk has no room (with ``wait=True`` it waits for room instead). Cancelled: the events
        may have been committed all the same.
        """
        ...

    async def invoke(self, event: Event) -> Outcome:
        """Call the trigger's one function while the caller waits: no queue, no retry.

        The outcome is Crashed with type ``TooManyRequestsException`` when no worker became free in time.
        """
        ...

    async def unfinished(self) -> int:
        """Return how many deliveries of this trigger are queued or running."""
        ...

    async def checkpoint(self, key: str) -> str | None:
        """Return what was stored under *key* for this trigger."""
        ...

    async def checkpoints(self, prefix: str = "") -> Mapping[str, str]:
        """Return all that is stored for this trigger under keys with *prefix*."""
        ...

    async def set_checkpoints(self, values: Mapping[str, str | None]) -> None:
        """Store values for this trigger, durably; None removes a key."""
        ...

    def lease(self, name: str) -> AbstractAsyncContextManager[None]:
        """Hold *name* as its one owner among all hubs of the store; waits until it is free."""
        ...

    def now(self) -> Millis: ...

    async def sleep_until(self, when: Millis) -> None:
        """Sleep by the wall clock: a step of the clock is noticed within a second."""
        ...

    def begun(self) -> None:
        """Say that whatever happens from now on will be told: the hub is ready once every source has said so.

        A source that is degraded counts as begun; one that says neither is waited for two seconds at the start.
        """
        ...

    def degraded(self, why: str | None) -> None:
        """Show the trigger as degraded for this reason; None is well again."""
        ...


@runtime_checkable
class Source(Protocol):
    """What a source module holds.

    Optional besides, all plain functions:

    ``envelope(records: Sequence[bytes]) -> bytes`` makes the payload of one invocation; without it a
    lone record is the payload and a batch is a JSON array of records.
    ``identifier(record: Json) -> str`` names a record in ``batchItemFailures``; without it
    ``batch.partial_failures`` is an error at check.
    ``wrap(options, trigger: str, body: bytes, now: Millis) -> Event`` makes an event of what the outside
    would send (``send -d``, a ``queue:`` destination); without it the body is the record itself, as JSON.
    ``fire(options, trigger: str, now: Millis) -> Event`` makes the event of ``triggers fire``.
    ``samples(options, trigger: str, now: Millis) -> Mapping[str, Event]`` are for ``send --sample NAME``.
    ``check(options, trigger: settings.Trigger) -> Iterable[Finding]`` finds what is wrong with options that
    are each right by themselves.
    ``upcoming(options, trigger: settings.Trigger, now: Millis, timezone: tzinfo) -> Millis | None`` is
    when it will next fire by itself, for ``triggers list``.
    ``serves_routes = True``, a plain value, is of a source that is nothing but its routes: paused, it runs
    all the same and its routes answer 503.
    ``async probe(ctx, options) -> None`` tests the connection for ``check --online``.
    """

    Options: type[Options]

    async def run(self, ctx: Context, options: Any, /) -> None:
        """Emit events until cancelled. An exception is logged and the source restarted with backoff."""
        ...
