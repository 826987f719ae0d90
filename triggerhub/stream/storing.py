"""Take one shard's records into the hub's own queue, with how far it was read in the same commit."""

from __future__ import annotations

from collections.abc import Sequence

from triggerhub.crash import crash_point
from triggerhub.policy.streaming import Position, Record
from triggerhub.policy.streaming.beginning import Beginning
from triggerhub.source import Context
from triggerhub.stream import shape
from triggerhub.stream.cursor import Cursor
from triggerhub.stream.endpoint import After, At, Described, Endpoint, Latest, Oldest, Page, Place
from triggerhub.stream.reading import records
from triggerhub.stream.trouble import Trouble

CHUNK = 500
"""Records of one commit."""


class ShardStoring:
    """One shard on its way into the queue."""

    def __init__(
        self,
        ctx: Context,
        endpoint: Endpoint,
        described: Described,
        shard: str,
        key: str,
        position: Position,
        trouble: Trouble,
        *,
        fresh: bool,
    ) -> None:
        """*key* is where the position is stored; *fresh* says that reading begins at the shard's end."""
        self._ctx = ctx
        self._endpoint = endpoint
        self._described = described
        self._id = shard
        self._key = key
        self._after = position.after
        self._fresh = fresh
        self._beginning = Beginning(position.since, latest=fresh)
        self._cursor = Cursor(ctx, endpoint, described, shard, self._place, trouble)

    async def run(self) -> None:
        """Return once the shard is closed and stored whole. GoneError where it is not there any more."""
        while True:
            page = await self._cursor.page(self._endpoint.limit)
            crash_point("records-read")
            new = await self._new(page)
            for at in range(0, len(new), CHUNK):
                await self._store(new[at : at + CHUNK])
            if page.next is None:
                await self._ctx.set_checkpoints({self._key: Position(ended=self._ctx.now()).encode()})
                return

    def _place(self) -> Place:
        if self._after is not None:
            return After(self._after)
        if self._fresh:
            # Once: what arrives until the service is asked a second time would be passed over.
            self._fresh = False
            return Latest()
        self._beginning.anew()
        return Oldest() if self._beginning.since is None else At(self._beginning.since)

    async def _new(self, page: Page) -> list[Record]:
        made = await records(self._ctx, self._endpoint, self._described, self._id, page)
        read = int(self._after) if self._after is not None else -1
        return [one for one in made if int(one.sequence) > read]

    async def _store(self, chunk: Sequence[Record]) -> None:
        wanted = [shape.event(one) for one in chunk if self._beginning.wants(one) and one.wanted]
        since = None if self._beginning.over else self._beginning.since
        position = Position(after=chunk[-1].sequence, since=since)
        await self._ctx.emit(*wanted, checkpoints={self._key: position.encode()})
        self._after = position.after
        crash_point("position-stored")
