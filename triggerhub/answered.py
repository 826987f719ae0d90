"""Make HTTP responses of what functions answer, without others having to wait while there is much to read."""

from __future__ import annotations

import anyio
from anyio.lowlevel import checkpoint

from triggerhub.aws import apigateway
from triggerhub.aws.apigateway import TEXT_TYPE, Parts
from triggerhub.model import Outcome, Returned
from triggerhub.policy.stepwise import Steps, is_long

_turn = anyio.Lock()
"""One is read to its end before the next is begun: what is made of it is held no longer than that, and of many the
first need not wait for the last."""


async def answer(outcome: Outcome) -> Parts:
    """Return the HTTP response that a call comes to; Malformed if the function answered none."""
    return await response(outcome.payload) if isinstance(outcome, Returned) else apigateway.answer(outcome)


async def response(payload: bytes, default: tuple[str, str] = TEXT_TYPE) -> Parts:
    """Return the HTTP response that a function's answer stands for; Malformed if it is none.

    Where it is long, between two steps of reading it everybody else has a turn of the loop, and who is cancelled
    leaves it unread.
    """
    if not is_long(payload):
        return apigateway.response(payload, default)
    return await _taken(apigateway.response_in_steps(payload, default))


async def _taken(steps: Steps[Parts]) -> Parts:
    async with _turn:
        while True:
            try:
                next(steps)
            except StopIteration as end:
                parts: Parts = end.value
                return parts
            await checkpoint()
