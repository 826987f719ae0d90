"""Read a page's records in the shape of events, and see which of them the trigger takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from triggerhub.errors import BadInput
from triggerhub.model import Event
from triggerhub.policy.streaming import Record
from triggerhub.source import Context, Filtered
from triggerhub.stream import shape
from triggerhub.stream.endpoint import Described, Endpoint, Page


async def records(ctx: Context, endpoint: Endpoint, described: Described, shard: str, page: Page) -> list[Record]:
    """Return the page's records; those that are not to be handled are marked.

    These are what the filter refuses and, told in the log, what has a key that cannot be kept.
    """
    made = [endpoint.record(given, described, shard) for given in page.records]
    made = [replace(one, name=described.scope + one.name, arrived=one.arrived or ctx.now()) for one in made]
    events = [shape.event(one) for one in made]
    try:
        answers: Sequence[Filtered | BadInput | None] = await ctx.filtered(*events)
    except BadInput:
        answers = [await _one(ctx, shard, one, event) for one, event in zip(made, events, strict=True)]
    return [one if why is None else replace(one, wanted=False) for one, why in zip(made, answers, strict=True)]


async def _one(ctx: Context, shard: str, record: Record, event: Event) -> Filtered | BadInput | None:
    try:
        (answer,) = await ctx.filtered(event)
    except BadInput as error:
        ctx.log.error("a record is refused", shard=shard, sequence=record.sequence, why=error.message, on_screen=True)
        return error
    return answer
