"""What a source is tested with answers as the hub does."""

from __future__ import annotations

from triggerhub.model import Event
from triggerhub.source import Accepted, Filtered
from triggerhub.testing import FakeContext, trigger


async def test_what_the_filter_refuses_is_not_among_the_events() -> None:
    ctx = FakeContext(trigger(filter={"total": [{"numeric": [">", 0]}]}))
    taken, refused = await ctx.emit(Event(data=b'{"total":1}', time=0), Event(data=b'{"total":0}', time=0))
    assert isinstance(taken, Accepted)
    assert isinstance(refused, Filtered)
    assert "total is 0" in refused.why
    assert [one.data for one in ctx.events] == [b'{"total":1}']
