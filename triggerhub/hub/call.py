"""Call a function once: lend a worker, invoke it, write its log lines, count what it took."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, NamedTuple

import structlog

from triggerhub.aws import errors
from triggerhub.errors import StartFailed
from triggerhub.hub.clock import Clock
from triggerhub.hub.feed import Feed, Happening
from triggerhub.hub.pool import Pool
from triggerhub.model import Crashed, Fault, Interrupted, Invocation, Millis, Outcome, Returned, Usage
from triggerhub.policy import embedded
from triggerhub.policy.routing import chosen
from triggerhub.runtime import Output
from triggerhub.settings import MB, Function
from triggerhub.telemetry import report
from triggerhub.telemetry.metrics import Metrics
from triggerhub.telemetry.tracing import Span, Tracing

log = structlog.get_logger("output")

TRIES = 5
"""How many workers that died while they were idle one call may meet."""
THROTTLED = "TooManyRequestsException"


class Line(NamedTuple):
    """One line of a call's log; *stream* tells what a handler wrote from what the hub says."""

    stream: Literal["stdout", "stderr", "hub"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A call that a caller waited for."""

    request_id: str
    outcome: Outcome
    version: str
    log: tuple[Line, ...]


class Tap:
    """An Output that passes on to another, to the feed, and to whoever waits for a request's lines.

    All of them get what *hide* makes of a text, so that no secret comes to lie in a log.
    """

    def __init__(
        self, inner: Output, feed: Feed, clock: Clock, metrics: Metrics, hide: Callable[[str], str] = str
    ) -> None:
        self._hide = hide
        self._inner = inner
        self._metrics = metrics
        self._feed = feed
        self._clock = clock
        self._waiting: dict[str, list[Line]] = {}
        self._unread = False
        """Whether it was said that a line's metrics could not be read."""

    def write(
        self, function: Function, request_id: str | None, stream: Literal["stdout", "stderr", "hub"], text: str
    ) -> None:
        # What the hub says of every call quotes nobody; else it does, an error or where a handler wanted to go.
        if stream != "hub" or not text.startswith(report.OWN):
            read = stream == "stdout" and embedded.looks_like(text)
            text = self._hide(text)
            if stream == "hub":
                text = report.said(text, request_id, level=report.least(function), now=self._clock.now())
            if read:
                # Without secrets, too: they would be labels.
                self._measure(function.name, text)
            if stream != "hub" and self._feed.watched:
                now = self._clock.now()
                self._feed.publish(
                    Happening(time=now, kind="output", function=function.name, delivery=request_id, text=text)
                )
        self._inner.write(function, request_id, stream, text)
        if self._waiting and request_id in self._waiting:
            self._waiting[request_id].append(Line(stream, text))

    def _measure(self, function: str, text: str) -> None:
        try:
            self._metrics.embedded(function, embedded.read(text))
        except Exception as error:  # of no handler's metrics shall a line be lost, nor those read with it
            if not self._unread:
                log.error("metrics in a line of log could not be read", function=function, exc_info=error)
            self._unread = True

    def lines(self, request_id: str) -> _Lines:
        """Collect the lines of one request while the context is open."""
        return _Lines(self._waiting, request_id)


class _Lines:
    """A context: the lines of one request. No generator, for it is entered for every call."""

    __slots__ = ("_request_id", "_waiting")

    def __init__(self, waiting: dict[str, list[Line]], request_id: str) -> None:
        self._waiting, self._request_id = waiting, request_id

    def __enter__(self) -> list[Line]:
        lines = self._waiting[self._request_id] = list[Line]()
        return lines

    def __exit__(self, *raised: object) -> None:
        del self._waiting[self._request_id]


class Caller:
    """Calls functions through the pool."""

    def __init__(
        self,
        pool: Pool,
        output: Output,
        clock: Clock,
        metrics: Metrics,
        draw: Callable[[], float] = random.random,
        hide: Callable[[str], str] = str,
        tracing: Tracing | None = None,
    ) -> None:
        """*draw* returns a number in [0, 1) that chooses between the versions of an alias; *hide* as of a Tap."""
        self._pool = pool
        self._output = output
        self._clock = clock
        self._metrics = metrics
        self._draw = draw
        self._hide = hide
        self._tracing = tracing

    async def call(
        self,
        function: Function,
        invocation: Invocation,
        *,
        patience: Millis | None = None,
        giving_up: Callable[[], bool] = lambda: False,
    ) -> tuple[Outcome, str]:
        """Return the outcome and the version that ran; the deadline is set when the worker is there.

        Where an alias leads is drawn for each call.
        *patience* bounds the wait for a free worker, not its start: over it the outcome is Crashed with
        the fault TooManyRequestsException. *giving_up* is asked when the worker is there: Interrupted where it says so,
        and nothing began. Cancelled: the worker is killed and the cancellation goes on.
        """
        for _ in range(TRIES):
            outcome, version = await self._once(function, invocation, patience, giving_up)
            begun = not isinstance(outcome, Interrupted) or (invocation.sink is not None and invocation.sink.begun)
            if begun or giving_up():
                break
            # The worker was dead before the handler began; another one can serve this call.
        return outcome, version

    def _led(self, function: Function) -> Function | None:
        """Return what serves a call of *function*; None where its alias leads to what has just been removed."""
        leads = function.leads
        return function if leads is None else self._pool.served(chosen(leads.to, leads.weights, self._draw()))

    async def _once(
        self, named: Function, invocation: Invocation, patience: Millis | None, giving_up: Callable[[], bool]
    ) -> tuple[Outcome, str]:
        function = self._led(named)
        if function is None:
            return Interrupted(), named.version
        began = perf_counter()
        try:
            slot = self._pool.lend(function) or await self._pool.acquire(
                function, patience=None if patience is None else patience / 1000
            )
        except StartFailed as error:
            self._metrics.count("invocations", function.name)
            fault = Fault(type=error.type, message=error.message)
            self._metrics.failed(function.name, None if invocation.deliveries else fault, self._clock.now())
            line = report.unstarted(
                invocation.request_id, error.type, error.message, level=report.least(function), now=self._clock.now()
            )
            self._output.write(function, invocation.request_id, "hub", line)
            usage = Usage(duration_ms=(perf_counter() - began) * 1000)
            return Crashed(
                fault=fault, payload=error.payload, usage=usage, scarce=error.scarce, severed=error.severed
            ), function.version
        if slot is None:
            return self.throttled(function), function.version
        if giving_up():
            self._pool.release(slot)
            return Interrupted(), function.version
        current = slot.function
        now = self._clock.now()
        least = report.least(current)
        for line in report.before(invocation.request_id, current.version, level=least, now=now, trace=invocation.trace):
            self._output.write(current, invocation.request_id, "hub", line)
        invocation.deadline = now + current.timeout
        outcome: Outcome = Interrupted()
        span = traced(self._tracing, current, invocation)
        try:
            outcome = await slot.worker.invoke(invocation)
        finally:
            self._pool.release(slot)
            if span is not None:
                ended(span, outcome)
        if not isinstance(outcome, Interrupted):
            self._report(current, invocation, outcome, cold=not slot.ahead)
        return outcome, current.version

    def throttled(self, function: Function) -> Crashed:
        """Return, and count, the outcome of a call that could not begin in time."""
        self._metrics.count("throttles", function.name)
        fault = Fault(type=THROTTLED, message="Rate Exceeded.")
        return Crashed(fault=fault, payload=errors.payload(fault.type, fault.message), throttled=True)

    def _report(self, function: Function, invocation: Invocation, outcome: Outcome, *, cold: bool) -> None:
        usage = outcome.usage
        name = function.name
        self._metrics.count("invocations", name)
        self._metrics.observe(name, usage.duration_ms, usage.memory)
        if usage.init_ms is not None and cold:
            self._metrics.count("cold_starts", name)
        error, end = None, report.ended(outcome)
        if not isinstance(outcome, Returned | Interrupted):
            self._metrics.failed(name, None if invocation.deliveries else outcome.fault, self._clock.now())
            error = self._hide(outcome.fault.type)
        level = self._pool.level(function)
        took = report.Took(
            duration_ms=usage.duration_ms,
            memory_mb=function.memory // MB,
            max_memory=usage.memory,
            init_ms=usage.init_ms,
            level=level if isinstance(level, str) else None,
            status=report.status(outcome),
            error=error,
            ended=None if end is None else self._hide(end),
        )
        request_id, least = invocation.request_id, report.least(function)
        for line in report.after(request_id, took, level=least, now=self._clock.now(), trace=invocation.trace):
            self._output.write(function, request_id, "hub", line)


def throttled(outcome: Outcome) -> bool:
    """Whether a call did not begin, since it could not in time."""
    return isinstance(outcome, Crashed) and outcome.throttled


def traced(tracing: Tracing | None, function: Function, invocation: Invocation) -> Span | None:
    """Begin the span of a call, and let the invocation go on within it."""
    if tracing is None:
        return None
    kind: Literal["consumer", "server"] = "consumer" if invocation.deliveries else "server"
    about: dict[str, str | int] = {
        "faas.name": function.name,
        "faas.version": function.version,
        "faas.invocation_id": invocation.request_id,
        "triggerhub.attempt": invocation.attempt,
        "messaging.batch.message_count": len(invocation.deliveries),
    }
    span = tracing.begin(function.name, kind, invocation.trace, about, invocation.linked)
    invocation.trace = span.header
    return span


def ended(span: Span, outcome: Outcome) -> None:
    """End the span of a call by what it came to."""
    span.note("faas.coldstart", outcome.usage.init_ms is not None)
    match outcome:
        case Returned():
            span.end()
        case Interrupted():
            span.end(("Interrupted", "the hub itself cut the call short"))
        case _:
            span.end((outcome.fault.type, outcome.fault.message))
