"""Read a page's records in the shape of events, and the trigger's filter over them."""

from __future__ import annotations

from dataclasses import replace

from triggerhub.policy.streaming import Record
from triggerhub.source import Context
from triggerhub.stream import shape
from triggerhub.stream.endpoint import Described, Endpoint, Page


async def records(ctx: Context, endpoint: Endpoint, described: Described, shard: str, page: Page) -> list[Record]:
    """Return the page's records, those marked that the filter turns down."""
    made = [endpoint.record(given, described, shard) for given in page.records]
    if ctx.trigger.filter is None:
        return made
    answers = await ctx.filtered(*(shape.event(one) for one in made))
    return [one if why is None else replace(one, wanted=False) for one, why in zip(made, answers, strict=True)]
