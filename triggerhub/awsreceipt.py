"""Tell an SQS queue what became of its messages."""

from __future__ import annotations

import math
from collections.abc import Sequence
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

    async def delete(self, batch: Sequence[Message]) -> None:
        """Settle messages that are done."""
        for one in batch:
            one.settled = True
        crash_point("before-delete")
        await self._tell("delete_message_batch", [(one, {}) for one in batch])

    async def give_back(self, batch: Sequence[Message], seconds: float) -> None:
        """Settle messages that are to come again, after so long."""
        for one in batch:
            one.settled = True
        await self.hide(batch, seconds)

    async def hide(self, batch: Sequence[Message], seconds: float) -> None:
        """Keep messages from coming again for so long from now on."""
        hidden = {"VisibilityTimeout": min(math.ceil(seconds), LONGEST)}
        await self._tell("change_message_visibility_batch", [(one, hidden) for one in batch], tries=1)

    async def _tell(
        self, operation: str, told: Sequence[tuple[Message, dict[str, Any]]], *, tries: int = TRIES
    ) -> None:
        """Send receipts in requests of ten; what fails by the service's fault is tried again."""
        for start in range(0, len(told), REQUEST):
            left = dict(enumerate(told[start : start + REQUEST]))
            for _ in range(tries):
                entries = [
                    {"Id": str(number), "ReceiptHandle": one.receipt, **more} for number, (one, more) in left.items()
                ]
                try:
                    answer = await self._connection.call(operation, QueueUrl=self._url, Entries=entries)
                except AwsFault as fault:
                    if tries > 1:
                        await self._trouble.rest(fault)
                    continue
                wrong = {int(one["Id"]) for one in answer.get("Failed", []) if not one.get("SenderFault")}
                left = {number: one for number, one in left.items() if number in wrong}
                if not left:
                    break
            else:
                if tries > 1 and self._undeleted.due(anyio.current_time()):
                    self._log.warning("messages could not be deleted and will come again", count=len(left))
