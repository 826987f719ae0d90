"""Call functions: with an answer, as an event, or to see whether one could."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Final

from triggerhub.aws import eventstream, restjson
from triggerhub.aws.restjson import ApiError
from triggerhub.errors import BadInput
from triggerhub.hub.call import Answered, throttled
from triggerhub.hub.hub import Hub
from triggerhub.hub.outflow import Broken, Outflow
from triggerhub.model import Interrupted, Returned, Sink
from triggerhub.settings import KB, MB
from triggerhub.web.lambda_api.asked import Answer, Asked, Perform
from triggerhub.web.lambda_api.target import Target, Targets

SYNCHRONOUS, EVENT = 6 * MB, 1 * MB
"""The largest payload that is taken, by the type of the invocation."""
TAIL = 4 * KB
"""How much of the log's end an answer has."""
CONTEXT = 3583
"""The most that a client may say of itself, as it came: in base64."""
RESERVED, UNRESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded", "ConcurrentInvocationLimitExceeded"
"""What holds a call back that finds no place: its function's reservation, or the limit of one that has none."""
ENTITY = "RequestEntityTooLargeException"
CHUNK = 256 * KB
_JSON = ("content-type", "application/json")
_UNHANDLED = ("x-amz-function-error", "Unhandled")
_STREAM = ("content-type", eventstream.CONTENT_TYPE)
_BYTES: Final = "application/octet-stream"


class Invoking:
    """The operations that call a function."""

    def __init__(self, hub: Hub, targets: Targets) -> None:
        self._hub = hub
        self._targets = targets

    def operations(self) -> Mapping[str, Perform]:
        return {
            "Invoke": self._invoke,
            "InvokeAsync": self._invoke_async,
            "InvokeWithResponseStream": self._invoke_with_response_stream,
        }

    async def invoke(
        self,
        name: str,
        payload: bytes,
        *,
        qualifier: str | None = None,
        kind: str = "RequestResponse",
        log: str = "None",
        context: str | None = None,
    ) -> Answer:
        """Do what Invoke does; the arguments are those of its headers. Raises ApiError."""
        target = self._targets.find(name, qualifier)
        match kind:
            case "RequestResponse":
                call = await self._called(target, payload, context)
                return _answer(call, tail=log == "Tail")
            case "Event":
                return await self._queued(target, payload)
            case _:
                return Answer(status=204)

    async def _invoke(self, asked: Asked) -> Answer:
        given = asked.given
        for member in ("TenantId", "DurableExecutionName"):
            if member in given:
                raise ApiError("InvalidParameterValueException", f"{member} is not in this version.")
        return await self.invoke(
            given["FunctionName"],
            given.get("Payload", b""),
            qualifier=given.get("Qualifier"),
            kind=given.get("InvocationType", "RequestResponse"),
            log=given.get("LogType", "None"),
            context=given.get("ClientContext"),
        )

    async def _invoke_async(self, asked: Asked) -> Answer:
        target = self._targets.find(asked.given["FunctionName"], None)
        return await self._queued(target, asked.given["InvokeArgs"])

    async def _invoke_with_response_stream(self, asked: Asked) -> Answer:
        """Answer in the stream's form, while the function writes where it does so, or what it returned as a whole."""
        given = asked.given
        if "TenantId" in given:
            raise ApiError("InvalidParameterValueException", "TenantId is not in this version.")
        target = self._targets.find(given["FunctionName"], given.get("Qualifier"))
        if given.get("InvocationType") == "DryRun":
            return Answer(status=204)
        version = self._hub.project.functions[target.function].version
        flow, request_id = Outflow(), self._hub.mint()
        tail, context = given.get("LogType") == "Tail", given.get("ClientContext")
        calling = self._called(target, given.get("Payload", b""), context, sink=flow, request_id=request_id)
        call = await flow.calling(calling)
        if call is None:
            headers = (_STREAM, ("x-amz-executed-version", version))
            return Answer(status=200, headers=headers, id=request_id, parts=_Messages(flow, tail=tail))
        chunks = []
        match call.outcome:
            case Returned(payload=payload):
                chunks = list(_chunks(payload))
            case Interrupted():
                raise _stopping()
        return Answer(
            status=200,
            body=b"".join([*chunks, _complete(call, tail=tail)]),
            headers=(_STREAM, ("x-amz-executed-version", call.version)),
            id=call.request_id,
        )

    async def _called(
        self,
        target: Target,
        payload: bytes,
        context: str | None,
        *,
        sink: Sink | None = None,
        request_id: str | None = None,
    ) -> Answered:
        _fits(payload, SYNCHRONOUS)
        if target.stopped:
            raise _throttled(RESERVED)
        try:
            call = await self._hub.invoke(
                target.function,
                payload or b"{}",
                arn=target.arn,
                client_context=None if context is None else _client_context(context),
                sink=sink,
                request_id=request_id,
            )
        except BadInput as error:
            raise _unreadable(error) from error
        if throttled(call.outcome):
            raise _throttled(RESERVED if target.reserved else UNRESERVED)
        return call

    async def _queued(self, target: Target, payload: bytes) -> Answer:
        _fits(payload, EVENT)
        try:
            accepted = await self._hub.invoke_async(target.events, payload or b"{}")
        except BadInput as error:
            raise _unreadable(error) from error
        return Answer(status=202, id=accepted.deliveries[0])


def _unreadable(error: BadInput) -> ApiError:
    """Return the error for a payload that is no JSON, which AWS says twice."""
    text = error.message.replace("into json: ", "into json: Could not parse payload into json: ", 1)
    return ApiError("InvalidRequestContentException", text)


class _Messages:
    """A streamed answer as the messages of an event stream, of which the last says how it ended."""

    def __init__(self, flow: Outflow, *, tail: bool) -> None:
        self._flow = flow
        self._tail = tail
        self._ended = False

    async def next(self) -> bytes | None:
        if self._ended:
            return None
        try:
            data = await self._flow.next()
        except Broken as error:
            call = error.call
        else:
            if data is not None:
                return b"".join(_chunks(data))
            if self._flow.left:
                return None
            call = self._flow.call
        self._ended = True
        return _complete(call, tail=self._tail)

    def leave(self) -> None:
        self._flow.leave()


def _chunks(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield eventstream.event("PayloadChunk", data[start : start + CHUNK], _BYTES)


def _complete(call: Answered, *, tail: bool) -> bytes:
    """Return the message that says how a call ended."""
    complete = {}
    match call.outcome:
        case Returned():
            pass
        case Interrupted():
            error = _stopping()
            complete = {"ErrorCode": error.kind, "ErrorDetails": error.message}
        case failed:
            complete = {"ErrorCode": "Unhandled", "ErrorDetails": failed.payload.decode(errors="replace")}
    if tail:
        complete["LogResult"] = _tail(call)
    return eventstream.event("InvokeComplete", restjson.dump(complete), "application/json")


def _answer(call: Answered, *, tail: bool) -> Answer:
    headers: tuple[tuple[str, str], ...] = (_JSON, ("x-amz-executed-version", call.version))
    match call.outcome:
        case Returned(payload=payload):
            pass
        case Interrupted():
            raise _stopping()
        case failed:
            payload = failed.payload
            headers = (*headers, _UNHANDLED)
    if tail:
        headers = (*headers, ("x-amz-log-result", _tail(call)))
    return Answer(status=200, body=payload, headers=headers, id=call.request_id)


def _throttled(reason: str) -> ApiError:
    return ApiError("TooManyRequestsException", "Rate Exceeded.", Reason=reason)


def _stopping() -> ApiError:
    return ApiError("ServiceException", "The hub is stopping; it ended the call before its answer was there.")


def _tail(call: Answered) -> str:
    text = "".join(f"{line.text}\n" for line in call.log).encode(errors="backslashreplace")
    return base64.b64encode(text[-TAIL:]).decode()


def _fits(payload: bytes, most: int) -> None:
    if len(payload) > most:
        raise too_large(most)


def too_large(most: int, operation: str = "InvokeFunction") -> ApiError:
    """Return the error for a body over *most* bytes: calls have a class of their own for it, as at AWS."""
    kind = "RequestTooLargeException" if operation.startswith("Invoke") else ENTITY
    return ApiError(kind, f"Request must be smaller than {most} bytes for the {operation} operation")


def _client_context(header: str) -> str:
    """Return the JSON text in an X-Amz-Client-Context. Raises ApiError."""
    try:
        if len(header) > CONTEXT:
            raise ValueError
        text = base64.b64decode(header, validate=True).decode()
        if not isinstance(json.loads(text), dict):
            raise ValueError
    except (binascii.Error, ValueError, RecursionError):
        message = f"Client context must be a valid Base64-encoded JSON object of at most {CONTEXT} bytes."
        raise ApiError("InvalidRequestContentException", message) from None
    return text
