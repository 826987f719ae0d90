"""Say what a source of events is, and what it may touch.

A source is a module: ``sources/imap.py`` is ``type = "imap"``. It has an ``Options`` model and a
``run`` coroutine; nothing is registered and nothing is subclassed but ``Options``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias, runtime_checkable

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo

from triggerhub import settings
from triggerhub.errors import TriggerhubError
from triggerhub.model import Crashed, Event, Millis, Outcome, Raised, Returned, TimedOut
from triggerhub.policy import cors, units
from triggerhub.policy.cors import Cors


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

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


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


@dataclass(slots=True, kw_only=True)
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
    leaf: str = field(default="", compare=False)
    """The same without anything that the event says."""
    names: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """How the event's source names it: its key, message id, path or request id."""
    id: str = field(default="", compare=False)
    """What ``explain`` knows it by for a while, though it is not stored."""


Answer: TypeAlias = Accepted | Duplicate | Filtered


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """What became of events that their source keeps until they are handled; see :meth:`Context.handle`."""

    outcome: Outcome
    """What the one call came to; Interrupted where none was made."""
    each: tuple[Outcome | Duplicate | Filtered, ...]
    """What became of each event, in the order given. Returned: it succeeded. Duplicate: the hub has it already, done,
    queued or as a dead letter. Filtered: the trigger does not want it. Raised, TimedOut, Crashed: it failed, with the
    whole call or named by ``batchItemFailures``. Interrupted: it was not run, or cut by the hub; that is no failure."""

    @property
    def done(self) -> tuple[bool, ...]:
        """Which events their source may forget: those that succeeded, are the hub's, or are not wanted."""
        return tuple(isinstance(one, Returned | Duplicate | Filtered) for one in self.each)

    @property
    def failed(self) -> tuple[bool, ...]:
        """Which events the function failed; an event that is neither done nor failed is given again uncounted."""
        return tuple(isinstance(one, Raised | TimedOut | Crashed) for one in self.each)


Judge: TypeAlias = Callable[[Outcome, str, Sequence[int]], Sequence[Outcome]]
"""Reads what became of each event out of what a call came to: given are the outcome of the whole, its request id and
the places of the events that it carried, among those given to ``handle``; returned is an outcome for each of them."""


@dataclass(slots=True, kw_only=True)
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
    heeded: bool = True
    """Whether the route's ``heeds`` asked for the body, which is empty otherwise."""

    def header(self, name: str) -> str | None:
        """Return the first header of that (lower-case) name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Parts(Protocol):
    """The rest of an answer, as it comes."""

    async def next(self) -> bytes | None:
        """Return what has come, or None when that is all. Raises where there should have been more."""
        ...

    def leave(self) -> None:
        """Say that nobody takes the rest."""
        ...


@dataclass(slots=True, kw_only=True)
class Response:
    """What to answer. Content-Length, Date and Connection are the ingress's own business."""

    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    parts: Parts | None = None
    """What comes after the body, where its length is not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path of the ingress. ``path`` may have ``{name}`` parts (one segment each)."""

    path: str
    methods: tuple[str, ...]
    body_limit: int
    endpoint: Callable[[Request], Awaitable[Response]]
    owner: str = ""
    """Who serves it, for messages: ``triggers.orders``."""
    heeds: Callable[[str], bool] | None = None
    """Whether the body of a request to this path, as it came, is looked at; else the endpoint gets an empty one."""
    cors: Cors | None = None
    """Which web pages may call: their preflights are answered without the endpoint, and every answer says so."""

    def preflight(self, request: Request) -> Response | None:
        """Return the answer to a page that asks before it calls; None for any other request."""
        origin = request.header("origin")
        if self.cors is None or origin is None or not cors.is_preflight(request.method, request.headers):
            return None
        return Response(status=204, headers=cors.preflight(self.cors, origin))

    def across(self, headers: Sequence[tuple[str, str]], response: Response) -> Response:
        """Return the *response* to a request with these *headers* as pages of other origins may see it."""
        if self.cors is None:
            return response
        origin = next((value for name, value in headers if name == "origin"), None)
        return replace(response, headers=cors.apply(self.cors, origin, response.headers))


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
    def retry(self) -> settings.RetryPolicy:
        """The policy that the trigger's first function is tried again under, for sources that retry by themselves.

        It may be another one after a reload that left the trigger as it was.
        """
        ...

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

        The outcome is Crashed and ``throttled`` when no worker became free in time.
        """
        ...

    async def filtered(self, *events: Event) -> Sequence[Filtered | None]:
        """Return, by event, why the trigger's filter refuses it; None where it does not. Takes none of them.

        For a source that fills batches: ``emit`` and ``handle`` filter, too.
        """
        ...

    async def free(self) -> None:
        """Wait until the trigger's function could begin another call.

        It is a hint and holds nothing: what is fetched after it may still wait for its turn in ``handle``.
        """
        ...

    @property
    def ending(self) -> bool:
        """Whether the source is stopped once its ``finish`` blocks are left: nothing new should begin in them."""
        ...

    @property
    def places(self) -> int:
        """How many calls of the trigger's function may be this trigger's at once; a reload may change it."""
        ...

    def finish(self) -> AbstractAsyncContextManager[None]:
        """Let the source finish what is inside before it is stopped, for as long as ``[hub] drain`` allows.

        For the way from fetching events to acknowledging them. At a stop of the hub or a change of the trigger, the
        source is cancelled once every such block is left, at the latest two seconds after the drain is over; a block
        that is entered after the stop waits at its door to be cancelled. Without one open the source is cancelled at
        once. A second signal cancels inside, too. Blocks may be open side by side, not one inside another.
        """
        ...

    async def handle(
        self,
        *events: Event,
        payload: bytes | None = None,
        judge: Judge | None = None,
        checkpoints: Callable[[Handled], Mapping[str, str | None]] | None = None,
    ) -> Handled:
        """Call the trigger's one function with *events* as one batch, while the source keeps them.

        For ``ack = "handled"``: nothing is stored before the call. It takes its turn as every call does (concurrency,
        rate, ``maximum_concurrency``, a paused function), writes its log lines and counts. When it is over, one
        delivery per event is written in one commit: succeeded, or cancelled and left to the source; the next call with
        its dedup key goes on with the same delivery. Only then it returns, so that the source may acknowledge what is
        ``done``. Retrying, backoff and giving up are the source's; for the last there is ``bury``. BadInput where the
        trigger's own ``key`` cannot be read out of one of the events.

        An event waits while another call has its dedup key or its key of idempotency, and with it do those after it
        that have its ``ordering_key``: they are Interrupted. One that repeats the dedup key of another in the batch is
        not run, and a Duplicate once that one is done.

        *payload* is what the function receives instead of the events' envelope; with it the call is made also where no
        event is left to run (a window's end), but not while one waits. *judge* reads the outcome of a call where the
        source has rules of its own for that; without it partial failures are read as ``batch.partial_failures`` says.
        *checkpoints* is asked after every call, also one that was not made, for what to write in the same commit. The
        events together must fit into 6 MB (``policy.batching.fit``). The size of a batch is the source's to keep,
        ``input`` the hub's.

        Stopped within ``finish``: a call that runs may end until the drain is over and is cut then; what was cut or
        did not begin is Interrupted. Cancelled: the call is cut and nothing is written. Killed: the same, so the
        source must give again what it did not acknowledge; what was committed by then is a Duplicate and not run.
        """
        ...

    async def bury(
        self,
        *events: Event,
        why: str,
        outcome: Outcome | None = None,
        checkpoints: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
    ) -> None:
        """Give up events that the source kept: they become dead letters, *checkpoints* in the same commit.

        ``on_failure`` destinations get *body* once, or without it one record per event, with what the last call
        (*outcome*) answered. The source may forget the events after it.
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
        """Hold *name* as its one owner among all hubs of the store; waits until it is free.

        What is raised within leaves as it is.
        """
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
    ``retried(record: bytes, attempt: int) -> bytes`` makes of a record what its attempt after the first gets; without
    it each gets the same. With "handled" it is not asked: there retrying is the source's.
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
    ``acks = ("stored", "handled")``, a plain value, are the ``ack`` that the source serves, its default first; without
    it there is "stored" alone, and its ``run`` uses ``emit``. With "handled" in ``ctx.trigger.ack`` it uses ``handle``.
    ``batch_size = 10``, a plain value, is the default of ``batch.size``; without it 1.
    ``serves_routes = True``, a plain value, is of a source that is nothing but its routes: paused, it runs
    all the same and its routes answer 503.
    ``async probe(ctx, options) -> str | None`` tests the connection for ``check --online``; what it returns is shown.
    """

    Options: type[Options]

    async def run(self, ctx: Context, options: Any, /) -> None:
        """Emit events until cancelled. An exception is logged and the source restarted with backoff."""
        ...
