"""Run a source of streams with a function that remembers."""

from __future__ import annotations

import base64
import json
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from sources import dynamodb
from triggerhub.model import Event, Fault, Interrupted, Outcome, Raised, Returned
from triggerhub.settings import Batch, RetryPolicy
from triggerhub.source import Handled
from triggerhub.stream import keeper, trouble
from triggerhub.testing import FakeContext, trigger

QUICK = RetryPolicy(attempts=3, initial=5, max=20)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing rest for long: what is tested is that it goes on, not when."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr(keeper, "SOON", 0.05)
    monkeypatch.setattr(trouble, "RESTS", RetryPolicy(initial=10, max=50))
    for name in ("BUSY", "BASE", "IDLE"):
        monkeypatch.setattr(f"triggerhub.policy.streaming.pace.{name}", 5)


async def looked(condition: Callable[[], object], within: float = 10) -> None:
    """Wait until the condition holds, of what the double sees."""
    with anyio.fail_after(within):
        while not condition():
            await anyio.sleep(0.005)


class Function(FakeContext):
    """A context whose function remembers in which order it handled which record."""

    def __init__(self, module: Any, name: str, url: str, start: str = "trim_horizon", **changes: Any) -> None:
        common = {name: changes.pop(name) for name in ("batch", "filter", "retry", "ack", "key") if name in changes}
        named = {"table": name} if module is dynamodb else {"stream": name}
        options = module.Options(**named, start=start, endpoint_url=url, region="us-east-1", **changes)
        common = {"ack": "handled", "batch": Batch(size=100), "retry": {"work": QUICK}, **common}
        super().__init__(trigger(functions=("work",), type="stream", options=options, **common))
        self.module = module
        self.options = options
        self.seen: list[Any] = []
        self.order: defaultdict[str, list[Any]] = defaultdict(list)
        self.calls: list[list[Any]] = []
        self.behave: Callable[[list[Any]], Any] = lambda bodies: None

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def handle_answer(self, events: Sequence[Event], payload: bytes | None) -> Handled:
        bodies = [self.body(one) for one in events]
        self.calls.append(bodies)
        try:
            answer = self.behave(bodies)
        except Exception as error:
            fault = Fault(type=type(error).__name__, message=str(error))
            outcome: Outcome = Raised(fault=fault, payload=b"{}")
        else:
            outcome = answer if isinstance(answer, Interrupted) else Returned(payload=json.dumps(answer).encode())
            for event, body in zip(events, bodies, strict=True):
                self.seen.append(body)
                self.order[self.key(event)].append(body)
        return Handled(outcome=outcome, each=(outcome,) * len(events))

    def body(self, event: Event) -> Any:
        record = json.loads(event.data)
        if self.module is dynamodb:
            return json.loads(record["dynamodb"]["NewImage"]["body"]["S"])
        return json.loads(base64.b64decode(record["kinesis"]["data"]))

    def key(self, event: Event) -> str:
        record = json.loads(event.data)
        found = record["dynamodb"]["Keys"]["id"]["S"] if self.module is dynamodb else record["kinesis"]["partitionKey"]
        return str(found)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.module.run, self, self.options)
            yield
            tasks.cancel_scope.cancel()

    async def saw(self, count: int) -> None:
        await self.until(lambda: len(self.seen) >= count)
