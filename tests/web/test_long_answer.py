"""Others have their turn while a function's long answer is made a response of its URL."""

from __future__ import annotations

import asyncio
import json

import anyio
import pytest

from triggerhub import answered
from triggerhub.aws import apigateway
from triggerhub.aws.apigateway import Parts
from triggerhub.model import Returned
from triggerhub.policy import stepwise
from triggerhub.policy.stepwise import Steps
from triggerhub.source import Response
from triggerhub.web.lambda_api import doorway

MANY = json.dumps({"statusCode": 200, "body": "b", "more": [{"id": 1}] * 100_000}).encode()


async def turns_while(*payloads: bytes) -> tuple[int, list[Response]]:
    """Return how many turns of the loop there were until all are read, and the responses."""
    turns = 0

    async def turning() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.create_task(turning())
    responses = await asyncio.gather(*(doorway._response("f", Returned(payload=one)) for one in payloads))
    beside.cancel()
    return turns, responses


@pytest.mark.parametrize(
    ("payload", "status", "body"),
    [(MANY, 200, b"b"), (MANY[:-1], 502, b"Internal Server Error"), (b"[1," + MANY + b"]", 200, b"[1," + MANY + b"]")],
    ids=["a response", "no JSON", "a value"],
)
async def test_a_long_answer_is_read_in_turns(payload: bytes, status: int, body: bytes) -> None:
    turns, [response] = await turns_while(payload)
    assert (response.status, response.body) == (status, body)
    assert turns > len(payload) / (8 * stepwise.STEP)


async def test_of_many_long_answers_one_step_is_made_in_a_turn() -> None:
    alone, _ = await turns_while(MANY)
    together, responses = await turns_while(*[MANY] * 4)
    assert [one.status for one in responses] == [200] * 4
    assert together > 3 * alone


async def test_a_long_answer_is_read_to_its_end_before_the_next_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    read = apigateway.response_in_steps

    def followed(payload: bytes, default: tuple[str, str]) -> Steps[Parts]:
        steps = read(payload, default)
        while True:
            seen.append(len(payload) - len(MANY))
            try:
                next(steps)
            except StopIteration as end:
                parts: Parts = end.value
                return parts
            yield

    monkeypatch.setattr(apigateway, "response_in_steps", followed)
    responses = await asyncio.gather(*(answered.response(MANY + b" " * number) for number in range(3)))
    assert [one.status for one in responses] == [200] * 3
    assert seen == sorted(seen)
    assert set(seen) == {0, 1, 2}


@pytest.mark.parametrize("cut", [0, 1, 2], ids=["that is read", "that waits", "that waits last"])
async def test_the_others_are_read_where_one_is_cancelled(cut: int) -> None:
    tasks = [asyncio.create_task(answered.response(MANY)) for _ in range(3)]
    for _ in range(20):
        await asyncio.sleep(0)
    tasks[cut].cancel()
    with anyio.fail_after(10):
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(ended.pop(cut), asyncio.CancelledError)
    assert [one.status for one in ended if isinstance(one, Parts)] == [200, 200]


async def test_a_short_answer_is_read_at_once() -> None:
    turns, [response] = await turns_while(b'{"statusCode":200,"body":"b"}')
    assert (response.status, response.body, turns < 5) == (200, b"b", True)
