"""Send outcomes on: to functions and queues in the same commit, elsewhere by deliveries of their own.

A destination that is a URL, a file, or a queue or topic of AWS's is a function of the hub itself, named by
the destination: its delivery is retried, dead-lettered and redriven like any other.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import structlog
from anyio import to_thread

from triggerhub.aws import arn, errors
from triggerhub.aws import destination as shape
from triggerhub.aws.reference import LATEST, is_version
from triggerhub.hub.call import ended, traced
from triggerhub.hub.gate import Gate
from triggerhub.hub.group import PAYLOAD_LIMIT
from triggerhub.hub.sender import Sender
from triggerhub.hub.unstored import Unstored
from triggerhub.model import (
    Bury,
    Complete,
    Crashed,
    Event,
    Fault,
    Interrupted,
    Invocation,
    Millis,
    Outcome,
    Raised,
    Returned,
    TimedOut,
    Usage,
    destination_trigger,
)
from triggerhub.policy import tracecontext
from triggerhub.settings import KB, Destination, Function, Project, RetryPolicy, Secret
from triggerhub.source import Filtered
from triggerhub.store import Claimed, Intake, Owed
from triggerhub.telemetry.metrics import Metrics
from triggerhub.telemetry.tracing import Tracing

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger("dispatch")


OWN = frozenset(("webhook", "file", "arn", "dead"))
"""The kinds of destinations that the hub itself sends to."""
TO_AWS = RetryPolicy(attempts=10)
"""A quarter of an hour, for a service that is away; then the record is a dead letter here."""
RECORD_LIMIT = 2 * PAYLOAD_LIMIT + 64 * KB
"""The largest record: an event and an answer of the largest size. A chain of handlers that return what they got
doubles it at every link."""


def function_of(destination: Destination) -> str:
    """Name the function that a destination's delivery is owed to; the hub's own have a colon in their name."""
    return destination.target if destination.kind == "function" else str(destination)


def refusal(destination: Destination, why: object) -> str:
    """Say in a delivery's reason that a destination took no record of its outcome."""
    return f"{destination} took no record: {why}"


def built_in(project: Project) -> dict[str, Function]:
    """Return the hub's own functions: one per destination that is neither a function nor a queue here."""
    wanted: list[Destination] = []
    for function in project.functions.values():
        wanted += [*function.on_success, *function.on_failure]
    for trigger in project.triggers.values():
        wanted += trigger.on_failure or ()
    for alarm in project.alarms.values():
        wanted += alarm.then
    return {
        function_of(one): Function(
            name=function_of(one),
            runtime="executable",
            source="destination",
            env=dict(one.secrets),
            retry=TO_AWS if one.kind in ("arn", "dead") else RetryPolicy(),
        )
        for one in wanted
        if one.kind in OWN
    }


def failure_of(function: str) -> str:
    """Name the counter of what a destination did not take, by the name of its function; empty where it is none."""
    kind, _, target = function.partition(":")
    # A deployed function may be called so; then a version's number or an alias is there, and neither has a colon.
    if kind not in OWN or target.isdigit() or not target or (kind != "file" and ":" not in target):
        return ""
    return "dead_letter_errors" if kind == "dead" else "lost_records"


def record(claimed: Claimed, outcome: Outcome, decision: Complete | Bury, ran: str | None, *, now: Millis) -> bytes:
    """Make the record that AWS's asynchronous destinations receive; *ran* is the version that did, where one did."""
    payload: bytes | None = None
    if isinstance(outcome, Returned | Raised | TimedOut | Crashed):
        payload = outcome.payload
    condition = "Success"
    if isinstance(decision, Bury):
        condition = "EventAgeExceeded" if decision.reason.startswith("older than") else "RetriesExhausted"
    name, _, qualifier = claimed.delivery.function.partition(":")
    qualifier = qualifier or LATEST
    led = qualifier != LATEST and not is_version(qualifier)
    return shape.record(
        condition=condition,
        request_id=claimed.delivery.id,
        function_arn=arn.function(name, qualifier),
        count=claimed.delivery.attempts,
        payload=claimed.event.data,
        executed_version=(ran or LATEST) if led else qualifier,
        response=payload,
        error=isinstance(decision, Bury),
        timestamp=now,
    )


class Outlet:
    """Makes the events of destinations; *queue* finds the gate of an in-hub topic and wraps a body for it."""

    def __init__(
        self,
        stamp: Callable[[Event, str], Event],
        queue: Callable[[str, bytes], tuple[Gate, Event]],
        metrics: Metrics,
        unstored: Unstored,
    ) -> None:
        self._stamp = stamp
        self._queue = queue
        self._metrics = metrics
        self._unstored = unstored

    def intakes(
        self, destinations: tuple[Destination, ...], claimed: Claimed, body: bytes, *, now: Millis, trace: str | None
    ) -> tuple[tuple[Intake, ...], list[str]]:
        """Return what to store beside the settle, an event per destination, and why some take none.

        They go on in *trace*, at the call whose outcome it is.

        A destination that cannot take the record fails neither the delivery nor the other destinations.
        """
        made, refused = [], []
        for destination in destinations:
            try:
                intake = self._intake(destination, claimed, body, now, trace)
            except Exception as error:  # a queue's key, or a source's own code
                log.error("a destination took no record", destination=str(destination), exc_info=error)
                self._metrics.count("lost_records", claimed.delivery.function)
                refused.append(refusal(destination, error))
                continue
            if intake is not None:
                made.append(intake)
        return tuple(made), refused

    def _intake(
        self, destination: Destination, claimed: Claimed, body: bytes, now: Millis, trace: str | None
    ) -> Intake | None:
        if len(body) > RECORD_LIMIT:
            raise RecordTooLargeError(f"it would have {len(body):,} bytes; at most {RECORD_LIMIT:,} are sent")
        hops = claimed.event.hops + 1
        if destination.kind == "queue":
            gate, event = self._queue(destination.target, body)
            admitted = gate.admit(self._stamp(_follow(event, trace, hops), gate.trigger.name))
            if isinstance(admitted, Filtered):
                self._metrics.count("filtered", gate.trigger.name)
                self._unstored.refused(gate.trigger.name, admitted, now, claimed.event.id)
                return None
            return admitted
        event = Event(data=body, time=now, trace=trace, hops=hops)
        stamped = self._stamp(event, destination_trigger(claimed.delivery.function))
        return Intake(event=stamped, owed=(Owed(function=function_of(destination)),))


def _follow(event: Event, trace: str | None, hops: int) -> Event:
    return Event(
        data=event.data,
        time=event.time,
        dedup_key=event.dedup_key,
        ordering_key=event.ordering_key,
        trace=trace,
        hops=hops,
    )


class Performer:
    """Performs the hub's own functions: POST to a URL, append to a file, send to a queue or topic of AWS's."""

    def __init__(self, project: Path, tracing: Tracing | None) -> None:
        self._project, self._tracing = project, tracing
        self._made: aiohttp.ClientSession | None = None
        self._sender = Sender()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Performer]:
        """Leaving closes the connections."""
        try:
            yield self
        finally:
            await self._sender.close()
            if self._made is not None:
                await self._made.close()

    async def call(
        self, function: Function, invocation: Invocation, *, giving_up: Callable[[], bool]
    ) -> tuple[Outcome, str]:
        """Perform one delivery; a refusal or an I/O error is Raised, and so retried."""
        if giving_up():
            return Interrupted(), "hub"
        span = traced(self._tracing, function, invocation)
        outcome = await self._performed(function, invocation)
        if span is not None:
            ended(span, outcome)
        return outcome, "hub"

    async def _performed(self, function: Function, invocation: Invocation) -> Outcome:
        kind, _, target = function.name.partition(":")
        began = perf_counter()
        try:
            match kind:
                case "webhook":
                    answer = await self._post(target, function.env, invocation, function.timeout)
                case "arn":
                    answer = await self._sender.send(function.name, invocation.payload.decode())
                case "dead":
                    answer = await self._sender.send(target, *shape.dead_letter(invocation.payload))
                case _:
                    answer = await to_thread.run_sync(append_line, self._project / target, invocation.payload)
        except Exception as error:
            kind = getattr(error, "code", "") or type(error).__name__
            fault = Fault(type=kind, message=_hidden(str(error), function.env) or kind)
            usage = Usage(duration_ms=(perf_counter() - began) * 1000)
            return Raised(fault=fault, payload=errors.payload(fault.type, fault.message), usage=usage)
        return Returned(payload=answer, usage=Usage(duration_ms=(perf_counter() - began) * 1000))

    async def _post(
        self, url: str, secrets: Mapping[str, str | Secret], invocation: Invocation, timeout: Millis
    ) -> bytes:
        import aiohttp

        if self._made is None:
            self._made = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout / 1000))
        headers = {"Content-Type": "application/json", "Idempotency-Key": invocation.request_id}
        if invocation.trace:
            headers["X-Amzn-Trace-Id"] = invocation.trace
            place = tracecontext.of_amazon(invocation.trace)
            if place is not None and (traceparent := tracecontext.w3c(place)):
                headers["traceparent"] = traceparent
        async with self._made.post(
            _filled(url, secrets), data=invocation.payload, headers=headers, allow_redirects=False
        ) as reply:
            if reply.status >= 300:
                raise RefusedError(f"{url} answered {reply.status}")
            return b'{"status":%d}' % reply.status


def _filled(url: str, secrets: Mapping[str, str | Secret]) -> str:
    for name, secret in secrets.items():
        value = secret.reveal() if isinstance(secret, Secret) else secret
        url = url.replace(f"{{secret:{name}}}", value.strip())
    return url


def _hidden(text: str, secrets: Mapping[str, str | Secret]) -> str:
    """Return the text of an error with the names of secrets in their place, however short they are."""
    for name, secret in secrets.items():
        value = (secret.reveal() if isinstance(secret, Secret) else secret).strip()
        text = text.replace(value, f"{{secret:{name}}}") if value else text
    return text


class RecordTooLargeError(Exception):
    """What is to be sent on is more than any handler is given."""


class RefusedError(Exception):
    """A webhook destination answered with something else than 2xx."""


def append_line(path: Path, payload: bytes) -> bytes:
    """Append the payload as one line, durably; a file that ends in half a line gets its newline first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = payload.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        if os.write(descriptor, line) != len(line):
            raise OSError(f"{path} took only a part of the line")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return b'{"appended":%d}' % len(line)
