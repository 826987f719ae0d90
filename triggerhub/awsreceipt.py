"""Tell an SQS queue what became of its messages."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio

from triggerhub import source
from triggerhub.awsclient import Connection
from triggerhub.awsfault import AwsFault, Trouble
from triggerhub.awsmessage import Message
from triggerhub.crash import crash_point
from triggerhub.policy.quiet import Quiet

REQUEST = 10
"""How many messages one request receives, deletes or hides at most: SQS's own limit."""
SIDE = 16
"""How many requests about the messages of one large batch are under way at once."""
TRIES = 4
"""How often a deletion is tried; a message that is not deleted comes again, and is found to be done."""
LONGEST = 43_200
"""Seconds that a message can be hidden for."""
TOLD = 60
"""Seconds between lines of the log of what could not be deleted."""


class Receipts:
    """Deletes and hides the messages of one queue; what is settled is not kept hidden any more."""

    def __init__(self, log: source.Log, connection: Connection, trouble: Trouble, url: str) -> None:
        self._log, self._connection, self._trouble, self._url = log, connection, trouble, url
        self._undeleted = Quiet(every=TOLD)
        self._renewing = anyio.CapacityLimiter(SIDE)

    async def delete(self, batch: Sequence[Message]) -> None:
        """Delete messages that are done; each is settled once the queue was told of it."""
        crash_point("before-delete")
        await _in_parts(batch, self._delete)

    async def give_back(self, batch: Sequence[Message], seconds: float) -> None:
        """Settle messages that are to come again, after so long."""

        async def hide(part: Sequence[Message]) -> None:
            for one in part:
                one.settled = True
            await self._hide(part, seconds)

        await _in_parts(batch, hide)

    async def renew(self, part: Sequence[Message], seconds: int, *, every: float) -> None:
        """Hide messages that fit into one request for so long from now on, but for those that are settled by then.

        Others wait for their turn meanwhile: where no answer comes until they are to be renewed again, it is left.
        """
        async with self._renewing:
            now = anyio.current_time()
            with anyio.move_on_after(every):
                await self._hide([one for one in part if not one.settled], seconds)
            for one in part:
                one.renew = now + every

    async def _delete(self, part: Sequence[Message]) -> None:
        await self._tell("delete_message_batch", [(one, {}) for one in part])
        for one in part:
            one.settled = True

    async def _hide(self, part: Sequence[Message], seconds: float) -> None:
        hidden = {"VisibilityTimeout": min(math.ceil(seconds), LONGEST)}
        await self._tell("change_message_visibility_batch", [(one, hidden) for one in part], tries=1)

    async def _tell(
        self, operation: str, told: Sequence[tuple[Message, dict[str, Any]]], *, tries: int = TRIES
    ) -> None:
        """Send the receipts of one request; what fails by the service's fault is tried again."""
        left = {str(number): one for number, one in enumerate(told)}
        for _ in range(tries if left else 0):
            entries = [{"Id": number, "ReceiptHandle": one.receipt, **more} for number, (one, more) in left.items()]
            try:
                answer = await self._connection.call(operation, QueueUrl=self._url, Entries=entries)
            except AwsFault as fault:
                if tries > 1:
                    await self._trouble.rest(fault)
                continue
            wrong = {one.get("Id") for one in answer.get("Failed") or () if not one.get("SenderFault")}
            left = {number: one for number, one in left.items() if number in wrong}
            if not left:
                return
        if left and tries > 1 and self._undeleted.due(anyio.current_time()):
            self._log.warning("messages could not be deleted and will come again", count=len(left))


async def _in_parts(batch: Sequence[Message], tell: Callable[[Sequence[Message]], Awaitable[None]]) -> None:
    """Tell of a batch in requests of ten, several of them at once."""
    if len(batch) <= REQUEST:
        await tell(batch)
        return
    parts = iter([batch[start : start + REQUEST] for start in range(0, len(batch), REQUEST)])

    async def some() -> None:
        for part in parts:
            await tell(part)

    async with anyio.create_task_group() as tasks:
        for _ in range(SIDE):
            tasks.start_soon(some)
