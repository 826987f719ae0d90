"""Read a shard page by page, whatever the service does meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from triggerhub.awsfault import AwsFault
from triggerhub.policy.streaming.pace import rest
from triggerhub.source import Context
from triggerhub.stream.endpoint import (
    Described,
    Endpoint,
    ExpiredError,
    Oldest,
    Page,
    Place,
    TrimmedError,
)
from triggerhub.stream.trouble import Trouble


class Cursor:
    """Where one shard is being read; *place* says where to begin when there is no iterator."""

    def __init__(
        self,
        ctx: Context,
        endpoint: Endpoint,
        described: Described,
        shard: str,
        place: Callable[[], Place],
        trouble: Trouble,
    ) -> None:
        self._ctx = ctx
        self._endpoint = endpoint
        self._described = described
        self._shard = shard
        self._place = place
        self._trouble = trouble
        self._iterator: str | None = None
        self._trimmed = False
        self._empty = 0
        self._again = 0.0
        """When the next read may begin, by the loop's clock."""

    async def page(self, limit: int) -> Page:
        """Return the next page, which may be empty. GoneError where the shard is not there any more."""
        while True:
            await anyio.sleep_until(self._again)
            began = anyio.current_time()
            try:
                page = await self._read(min(limit, self._endpoint.limit))
            except ExpiredError:
                self._iterator = None
                self._again = began + rest(more=True, empty=0) / 1000
            except TrimmedError:
                self._lost()
                self._again = began + rest(more=True, empty=0) / 1000
            except AwsFault as fault:
                await self._trouble.rest(self._shard, fault)
            else:
                self._trouble.over(self._shard)
                self._empty = 0 if page.records else self._empty + 1
                self._again = began + rest(more=page.more, empty=self._empty) / 1000
                return page

    async def _read(self, limit: int) -> Page:
        if self._iterator is None:
            place = Oldest() if self._trimmed else self._place()
            self._iterator = await self._endpoint.iterator(self._described, self._shard, place)
        page = await self._endpoint.read(self._iterator, limit)
        self._trimmed = False
        # A page that gets lost on its way is read again: the iterator moves only now.
        self._iterator = page.next
        return page

    def _lost(self) -> None:
        """Go on at the oldest record that is kept: what was before it is gone, and nobody can bring it back."""
        self._iterator = None
        if not self._trimmed:
            self._trimmed = True
            self._ctx.log.error(
                "records outlived the stream's retention before they were read", shard=self._shard, on_screen=True
            )
