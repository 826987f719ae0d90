"""Be Amazon SQS, small, fast and in trouble when told to: standard and FIFO queues in memory over its JSON protocol.

``python -m tests.aws_double.sqs`` serves it in a process of its own and prints its port; it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import uuid4

import uvloop
from anyio.from_thread import start_blocking_portal

from tests.aws_double import wire

ACCOUNT = "000000000000"
REGION = "us-east-1"


class Refusal(Exception):
    """An error answer."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


@dataclass
class Stored:
    """One message of a queue."""

    number: int
    body: str
    attributes: dict[str, Any]
    group: str | None
    sent: float
    id: str = field(default_factory=lambda: str(uuid4()))
    visible: float = 0.0
    received: int = 0
    first: float = 0.0
    receipts: set[str] = field(default_factory=set)
    md5: str = ""

    def __post_init__(self) -> None:
        self.md5 = hashlib.md5(self.body.encode()).hexdigest()


@dataclass
class Queue:
    """A queue and what was done to it."""

    name: str
    settings: dict[str, str]
    messages: dict[str, Stored] = field(default_factory=dict)
    receipts: dict[str, str] = field(default_factory=dict)
    deduplicated: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    began: float = 0.0
    """When the first message was given, by a clock that only grows."""
    ended: float = 0.0
    """When the last message was deleted."""

    @property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.name}"


class SqsDouble:
    """The service. ``faults`` holds what is to go wrong with the next requests, by operation or ``*``."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.faults: dict[str, deque[str]] = {}
        """``throttle``, ``fail`` (500), ``expire`` (credentials), ``deny``, ``drop`` (done, and cut within the answer)
        or ``refuse`` (not done, and cut)."""
        self.down = False
        """Whether every connection is cut."""
        self.duplicate = 0
        """How many of the next received messages are given once more, at once."""
        self.patience: float | None = None
        """Seconds after which every long poll ends."""
        self.calls: Counter[str] = Counter()
        self.deleted: list[str] = []
        """Bodies, in the order of their deletion."""
        self.moves: list[tuple[str, int]] = []
        """Message bodies and the seconds that they were hidden for, by ChangeMessageVisibility."""
        self._numbers = count(1)

    def trouble(self, kind: str, times: int = 1, operation: str = "*") -> None:
        """Let the next requests go wrong."""
        self.faults.setdefault(operation, deque()).extend([kind] * times)

    # over HTTP

    @asynccontextmanager
    async def serve(self, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
        async with wire.serve(self._answer, port, tls) as address:
            yield address

    def _told(self, told: dict[str, Any]) -> Any:
        """Control from another process: set ``down`` or ``duplicate``, add trouble or messages, read what happened."""
        self.down = told.get("down", self.down)
        self.duplicate = told.get("duplicate", self.duplicate)
        for kind, times, operation in told.get("trouble", []):
            self.trouble(kind, times, operation)
        for name, number, size in told.get("fill", []):
            self.queues[name].began = 0.0
            for _ in range(number):
                self.do_SendMessage(name, MessageBody="x" * size)
        left = {name: len(queue.messages) for name, queue in self.queues.items()}
        took = {name: queue.ended - queue.began for name, queue in self.queues.items()}
        return {"left": left, "took": took, "calls": dict(self.calls), "deleted": len(self.deleted)}

    async def _answer(self, request: wire.Request) -> wire.Answer:
        if request.path == "/_told":
            return wire.Answer(json.dumps(self._told(json.loads(request.body))).encode())
        operation = request.headers.get("x-amz-target", ".").partition(".")[2]
        self.calls[operation] += 1
        fault = self._fault(operation)
        if self.down or fault == "refuse":
            return wire.Answer(b"", cut="before")
        try:
            if fault is not None and fault != "drop":
                raise _FAULTS[fault](operation)
            act: Callable[..., Any] | None = getattr(self, f"do_{operation}", None)
            if act is None:
                raise Refusal("InvalidAction", f"there is no {operation or 'such operation'} here")
            answer = act(**json.loads(request.body))
            if asyncio.iscoroutine(answer):
                answer = await answer
            text, status = json.dumps(answer or {}).encode(), 200
        except Refusal as refusal:
            told = {"__type": f"com.amazonaws.sqs#{refusal.code}", "message": str(refusal)}
            text, status = json.dumps(told).encode(), refusal.status
        if self.down:
            return wire.Answer(b"", cut="before")
        return wire.Answer(text, status, cut="within" if fault == "drop" else None)

    def _fault(self, operation: str) -> str | None:
        for name in (operation, "*"):
            if waiting := self.faults.get(name):
                return waiting.popleft()
        return None

    # operations

    def _queue(self, url: str) -> Queue:
        found = self.queues.get(url.rpartition("/")[2])
        if found is None:
            raise Refusal("QueueDoesNotExist", "The specified queue does not exist.")
        return found

    def do_CreateQueue(self, QueueName: str, Attributes: dict[str, str] | None = None, **_: Any) -> Any:
        self.queues.setdefault(QueueName, Queue(QueueName, dict(Attributes or {})))
        return {"QueueUrl": f"http://sqs/{ACCOUNT}/{QueueName}"}

    def do_GetQueueUrl(self, QueueName: str, **_: Any) -> Any:
        self._queue(QueueName)
        return {"QueueUrl": f"http://sqs/{ACCOUNT}/{QueueName}"}

    def do_GetQueueAttributes(self, QueueUrl: str, **_: Any) -> Any:
        queue = self._queue(QueueUrl)
        now = time.monotonic()
        hidden = sum(one.visible > now for one in queue.messages.values())
        numbers = {
            "ApproximateNumberOfMessages": str(len(queue.messages) - hidden),
            "ApproximateNumberOfMessagesNotVisible": str(hidden),
        }
        return {"Attributes": {"VisibilityTimeout": "30", **queue.settings, **numbers, "QueueArn": queue.arn}}

    def do_SendMessage(self, QueueUrl: str, **message: Any) -> Any:
        queue = self._queue(QueueUrl)
        key = message.get("MessageDeduplicationId")
        if queue.fifo and key in queue.deduplicated:
            return {"MessageId": queue.deduplicated[key]}
        now = time.monotonic()
        one = Stored(
            next(self._numbers), message["MessageBody"], message.get("MessageAttributes", {}),
            message.get("MessageGroupId"), time.time(), visible=now + message.get("DelaySeconds", 0),
        )  # fmt: skip
        trace = message.get("MessageSystemAttributes", {}).get("AWSTraceHeader")
        if trace:
            one.attributes = {**one.attributes, "\0trace": trace["StringValue"]}
        queue.messages[one.id] = one
        if key:
            queue.deduplicated[key] = one.id
        queue.arrived.set()
        return {"MessageId": one.id, "MD5OfMessageBody": one.md5}

    def do_SendMessageBatch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> Any:
        sent = [{"Id": one.pop("Id"), **self.do_SendMessage(QueueUrl, **one)} for one in Entries]
        return {"Successful": sent, "Failed": []}

    async def do_ReceiveMessage(
        self,
        QueueUrl: str,
        MaxNumberOfMessages: int = 1,
        WaitTimeSeconds: int = 0,
        **more: Any,
    ) -> Any:
        queue = self._queue(QueueUrl)
        if not 1 <= MaxNumberOfMessages <= 10:
            raise Refusal("InvalidParameterValue", "ReadCountOutOfRange")
        attempt = more.get("ReceiveRequestAttemptId")
        if attempt in queue.attempts:
            return {"Messages": queue.attempts[attempt]}
        visibility = more.get("VisibilityTimeout", int(queue.settings.get("VisibilityTimeout", "30")))
        patience = WaitTimeSeconds if self.patience is None else self.patience
        until = time.monotonic() + min(WaitTimeSeconds, patience)
        while True:
            queue.arrived.clear()
            found = self._take(queue, MaxNumberOfMessages, visibility)
            now = time.monotonic()
            if found:
                queue.began = queue.began or now
            if found or now >= until:
                break
            # A message may become visible by time alone.
            with suppress(TimeoutError):
                await asyncio.wait_for(queue.arrived.wait(), min(until - now, 0.1))
        if attempt:
            queue.attempts[attempt] = found
        return {"Messages": found} if found else {}

    def _take(self, queue: Queue, limit: int, visibility: int) -> list[dict[str, Any]]:
        now = time.monotonic()
        locked = {one.group for one in queue.messages.values() if one.visible > now} if queue.fifo else set()
        found: list[dict[str, Any]] = []
        candidates = iter(tuple(queue.messages))
        while len(found) < limit and (name := next(candidates, None)):
            one = queue.messages[name]
            if one.visible > now or (queue.fifo and one.group in locked):
                continue
            if self._redriven(queue, one):
                continue
            found.append(self._given(queue, one, now + visibility))
            if self.duplicate and not queue.fifo:
                self.duplicate -= 1
                one.visible = now
        return found

    def _redriven(self, queue: Queue, one: Stored) -> bool:
        policy = json.loads(queue.settings.get("RedrivePolicy", "null"))
        if policy is None or one.received < int(policy["maxReceiveCount"]):
            return False
        del queue.messages[one.id]
        to = self.queues[policy["deadLetterTargetArn"].rpartition(":")[2]]
        one.visible = 0.0
        to.messages[one.id] = one
        to.arrived.set()
        return True

    def _given(self, queue: Queue, one: Stored, visible: float) -> dict[str, Any]:
        receipt = f"{one.id}#{one.received}"
        one.visible, one.received, one.first = visible, one.received + 1, one.first or time.time()
        queue.receipts[receipt] = one.id
        attributes = {
            "ApproximateReceiveCount": str(one.received),
            "SentTimestamp": str(int(one.sent * 1000)),
            "SenderId": ACCOUNT,
            "ApproximateFirstReceiveTimestamp": str(int(one.first * 1000)),
        }
        if one.group is not None:
            attributes |= {"MessageGroupId": one.group, "SequenceNumber": f"{one.number:020}"}
        own = {name: value for name, value in one.attributes.items() if name != "\0trace"}
        if "\0trace" in one.attributes:
            attributes["AWSTraceHeader"] = one.attributes["\0trace"]
        return {
            "MessageId": one.id, "ReceiptHandle": receipt, "Body": one.body, "Attributes": attributes,
            "MD5OfBody": one.md5,
            **({"MessageAttributes": own} if own else {}),
        }  # fmt: skip

    def do_DeleteMessage(self, QueueUrl: str, ReceiptHandle: str) -> None:
        queue = self._queue(QueueUrl)
        name = queue.receipts.get(ReceiptHandle)
        if name is None:
            raise Refusal("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
        if one := queue.messages.pop(name, None):
            self.deleted.append(one.body)
            queue.ended = time.monotonic()
            queue.arrived.set()

    def do_DeleteMessageBatch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> Any:
        return self._each(Entries, lambda one: self.do_DeleteMessage(QueueUrl, one["ReceiptHandle"]))

    def do_ChangeMessageVisibility(self, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:
        queue = self._queue(QueueUrl)
        one = queue.messages.get(queue.receipts.get(ReceiptHandle, ""))
        if one is None:
            raise Refusal("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
        one.visible = time.monotonic() + VisibilityTimeout
        self.moves.append((one.body, VisibilityTimeout))
        queue.arrived.set()

    def do_ChangeMessageVisibilityBatch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> Any:
        return self._each(
            Entries,
            lambda one: self.do_ChangeMessageVisibility(QueueUrl, one["ReceiptHandle"], one["VisibilityTimeout"]),
        )

    @staticmethod
    def _each(entries: list[dict[str, Any]], act: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        done, failed = [], []
        for one in entries:
            try:
                act(one)
                done.append({"Id": one["Id"]})
            except Refusal as refusal:
                failed.append({"Id": one["Id"], "SenderFault": True, "Code": refusal.code, "Message": str(refusal)})
        return {"Successful": done, "Failed": failed}


_FAULTS: dict[str, Callable[[str], Refusal]] = {
    "throttle": lambda _: Refusal("ThrottlingException", "Rate exceeded"),
    "fail": lambda _: Refusal("InternalFailure", "We encountered an internal error.", 500),
    "expire": lambda _: Refusal("ExpiredToken", "The security token included in the request is expired", 403),
    "deny": lambda operation: Refusal(
        "AccessDenied",
        f"User: arn:aws:iam::{ACCOUNT}:user/double is not authorized to perform: sqs:{operation.lower()} on resource: "
        f"arn:aws:sqs:{REGION}:{ACCOUNT}:orders because no identity-based policy allows the sqs:{operation.lower()} action",
        403,
    ),
}


@contextmanager
def threaded(double: SqsDouble) -> Generator[str]:
    """Serve a double from a thread of its own, for tests that wait for processes; yields its address."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(double.serve()) as address:
        yield address


async def _main() -> None:
    async with SqsDouble().serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as address:
        print(address, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_main())
