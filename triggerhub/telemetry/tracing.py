"""Tell an OpenTelemetry collector what the hub does, where its own environment variables name one.

Needs the extra ``triggerhub[otel]``, which is loaded only then. Spans are sent by a thread of the library's, in
batches; where the collector is slow or gone they are dropped, and the hub goes on.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import anyio
import structlog

from triggerhub.errors import ConfigError
from triggerhub.policy import tracecontext
from triggerhub.policy.masking import shortened
from triggerhub.policy.quiet import Quiet
from triggerhub.policy.tracecontext import Place

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import SpanContext

log = structlog.get_logger("tracing")

VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
LEAVE = 2.0
"""Seconds that spans which wait get to be sent at the end."""

Kind = Literal["producer", "consumer", "server"]


class Span:
    """Something that takes time. ``header`` is what goes on within the trace."""

    __slots__ = ("_hide", "_span", "header")

    def __init__(self, span: OtelSpan, hide: Callable[[str], str]) -> None:
        self._span = span
        self._hide = hide
        context = span.get_span_context()
        place = Place(
            trace=f"{context.trace_id:032x}", span=f"{context.span_id:016x}", sampled=context.trace_flags.sampled
        )
        self.header = tracecontext.amazon(place)

    def note(self, name: str, value: str | float | bool) -> None:
        self._span.set_attribute(name, value)

    def end(self, error: tuple[str, str] | None = None) -> None:
        """End it; *error* is the type and the message of what went wrong."""
        from opentelemetry.trace import Status, StatusCode

        if error is not None:
            self._span.set_attribute("error.type", self._hide(error[0]))
            self._span.set_status(Status(StatusCode.ERROR, self._hide(error[1])))
        self._span.end()


class Tracing:
    """Makes spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self.hide: Callable[[str], str] = str
        """Makes of an error's text what a collector may have."""
        self._provider = provider
        self._tracer = provider.get_tracer("triggerhub")

    def begin(
        self,
        name: str,
        kind: Kind,
        header: str | None,
        attributes: Mapping[str, str | int | float | bool],
        linked: Sequence[str] = (),
    ) -> Span:
        """Begin a span below the place that *header*, an X-Amzn-Trace-Id, names; else a trace of its own.

        It is linked to the places that the headers *linked* name.
        """
        from opentelemetry.trace import Link, SpanKind

        kinds = {"producer": SpanKind.PRODUCER, "consumer": SpanKind.CONSUMER, "server": SpanKind.SERVER}
        span = self._tracer.start_span(
            name,
            context=_context(header),
            kind=kinds[kind],
            attributes=dict(attributes),
            links=[Link(place) for one in linked if (place := _remote(one)) is not None],
        )
        return Span(span, self.hide)

    def close(self) -> None:
        """Send what waits, within :data:`LEAVE`; call it in a thread."""
        sending = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        sending.start()
        sending.join(LEAVE)


@asynccontextmanager
async def sending(tracing: Tracing | None) -> AsyncGenerator[None]:
    """Leaving sends what waits, within :data:`LEAVE`."""
    try:
        yield
    finally:
        if tracing is not None:
            with anyio.CancelScope(shield=True):
                await asyncio.to_thread(tracing.close)


def _context(header: str | None):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a type of the extra's
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    place = tracecontext.of_amazon(header)
    if place is not None and place.span is None:
        # Whoever began the trace has no span in it: what is below has one that nobody sends.
        header = tracecontext.amazon(replace(place, span=f"{random.getrandbits(64) or 1:016x}"))
    parent = _remote(header)
    return Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())


def _remote(header: str | None) -> SpanContext | None:
    from opentelemetry.trace import SpanContext, TraceFlags

    place = tracecontext.of_amazon(header)
    if place is None or place.span is None:
        return None
    sampled = TraceFlags(TraceFlags.DEFAULT if place.sampled is False else TraceFlags.SAMPLED)
    return SpanContext(int(place.trace, 16), int(place.span, 16), is_remote=True, trace_flags=sampled)


class _Heard(logging.Handler):
    """What the library has to say, in the hub's log and not too often."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._quiet = Quiet(every=60)

    def emit(self, record: logging.LogRecord) -> None:
        if count := self._quiet.due(time.monotonic()):
            log.warning("spans could not be sent", why=shortened(record.getMessage(), 500), count=count)


def from_environment(environ: Mapping[str, str], version: str) -> Tracing | None:
    """Return what traces, or None where no collector is named. ConfigError where the extra is missing."""
    named = next((name for name in VARIABLES if environ.get(name)), None)
    if named is None or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            f"{named} asks for traces, and what sends them is not installed",
            hint="pip install 'triggerhub[otel]', or leave the variable out.",
        ) from error
    told = logging.getLogger("opentelemetry")
    told.propagate = False
    told.handlers = [_Heard()]
    named_already = {"service.name": "triggerhub"} if not environ.get("OTEL_SERVICE_NAME") else {}
    resource = Resource.create({**named_already, "service.version": version})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
