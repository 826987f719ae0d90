"""When a failed delivery is tried again, and when no more."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from structlog.testing import capture_logs

from sources import queue, sqs
from tests.hub.rig import QUICK, function, hand_source, rig
from triggerhub.model import Invocation
from triggerhub.settings import RetryPolicy
from triggerhub.testing import FakeClock


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param(RetryPolicy(attempts=3, initial=100, jitter=False), [100, 200], id="exponential"),
        pytest.param(RetryPolicy(attempts=3, initial=100, jitter=False, backoff="linear"), [100, 200], id="linear"),
        pytest.param(RetryPolicy(attempts=4, initial=100, jitter=False, max=150), [100, 150, 150], id="at most"),
        pytest.param(RetryPolicy(attempts=3, initial=100, jitter=True), [50, 100], id="with jitter"),
        pytest.param(RetryPolicy(attempts=9, initial=100, jitter=False, max_age=250), [100], id="max_age"),
        pytest.param(RetryPolicy(attempts=1), [], id="once"),
    ],
)
async def test_a_failure_is_tried_again_as_its_policy_says(
    tmp_path: Path, policy: RetryPolicy, expected: list[int]
) -> None:
    clock, at = FakeClock(), []

    async def fail(invocation: Invocation) -> Any:
        at.append(clock.now())
        raise BrokenPipeError

    async with rig(tmp_path, {"work": fail}, functions=[function(retry=policy)], clock=clock) as r:
        (answer,) = await r.emit("hand", 1)
        for count, wait in enumerate(expected, 1):
            await r.until(lambda: len(at) == count and r.runtime.running == 0, "it failed")  # noqa: B023
            await r.until(lambda: r.store.rows[answer.deliveries[0]].delivery.state == "queued", "it waits")
            r.advance(wait - 1)
            await r.idle()
            assert len(at) == count, "not before its moment"
            r.advance(1)
        assert await r.states(1) == ["dead"]
        row = await r.row(answer.deliveries[0])
    assert [later - earlier for earlier, later in pairwise(at)] == expected
    assert ("older than" in (row.reason or "")) == (policy.max_age is not None)


async def test_dead_letters_are_in_the_log_once_a_second_and_counted(tmp_path: Path) -> None:
    clock = FakeClock()

    async def fail(invocation: Invocation) -> Any:
        raise ValueError("x" * 2000)

    once = function(retry=RetryPolicy(attempts=1))
    with capture_logs() as logs:
        async with rig(tmp_path, {"work": fail}, functions=[once], clock=clock) as r:
            first = await r.emit("hand", 1)
            assert await r.states(1) == ["dead"]
            await r.idle()
            await r.emit("hand", 2)
            assert await r.states(2) == ["dead", "dead"]
            await r.idle()
            r.advance(1000)
            await r.emit("hand", 3)
            assert await r.states(3) == ["dead", "dead", "dead"]
    told = [one for one in logs if one["event"] == "a delivery is a dead letter"]
    assert [one["count"] for one in told] == [1, 2]
    assert told[0]["delivery"] == first[0].deliveries[0]
    assert told[0]["log_level"] == "warning"
    assert "ValueError: xxx" in told[0]["why"]
    assert len(told[0]["why"]) < 1000


@pytest.mark.parametrize("source", [queue, sqs])
async def test_a_message_of_a_queue_counts_its_attempts_as_receives(tmp_path: Path, source: ModuleType) -> None:
    counts = []

    async def fail(invocation: Invocation) -> Any:
        (record,) = json.loads(invocation.payload)["Records"]
        counts.append(record["attributes"]["ApproximateReceiveCount"])
        raise BrokenPipeError

    module = ModuleType("messages")
    module.__dict__.update({**vars(source), **vars(hand_source())})
    wrapped = source.wrap(source.Options(**{OPTION[source]: "jobs"}), "hand", b"x", 0)
    async with rig(tmp_path, {"work": fail}, functions=[function(retry=QUICK)], more={"hand": module}) as r:
        (answer,) = await r.emit("hand", json.loads(wrapped.data))
        assert await r.states(1) == ["dead"]
        assert counts == ["1", "2", "3"]
        await r.hub.deliveries.redrive(list(answer.deliveries))
        await r.until(lambda: len(counts) == 6, "it was tried again")
    assert counts[3:] == ["1", "2", "3"]


OPTION = {queue: "name", sqs: "queue"}
