"""Send messages to queues of SQS and topics of SNS.

Credentials are those of the hub's own environment; so is the endpoint, where that leads elsewhere than to AWS.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from triggerhub.aws.destination import Place, place
from triggerhub.awsclient import Connection, Options
from triggerhub.awsfault import AwsFault
from triggerhub.model import Json

SIDE_BY_SIDE = 10
"""Requests to one service in one region at a time."""


class Sender:
    """One connection for each service and region, made when it is first needed."""

    def __init__(self) -> None:
        self._connections: dict[tuple[str, str], Connection] = {}
        self._urls: dict[str, str] = {}
        """Of queues, by their ARN."""

    async def send(self, arn: str, body: str, attributes: Mapping[str, Json] | None = None) -> bytes:
        """Send one message; return what it was given as its id, as JSON. Raises AwsFault."""
        to = place(arn)
        more = {"MessageAttributes": dict(attributes)} if attributes else {}
        connection = self._connection(to)
        if to.service == "sns":
            answer = await connection.call("publish", TopicArn=arn, Message=body, **more)
        else:
            try:
                url = await self._url(connection, to)
                answer = await connection.call("send_message", QueueUrl=url, MessageBody=body, **more)
            except AwsFault:
                # A queue that was removed and made again may have another address.
                self._urls.pop(arn, None)
                raise
        return json.dumps({"MessageId": answer.get("MessageId")}).encode()

    async def close(self) -> None:
        """Close the connections."""
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            await connection.close()

    def _connection(self, to: Place) -> Connection:
        key = (to.service, to.region)
        if key not in self._connections:
            options = Options(region=to.region)
            self._connections[key] = Connection(to.service, options, wait=0, connections=SIDE_BY_SIDE)
        return self._connections[key]

    async def _url(self, connection: Connection, to: Place) -> str:
        if to.arn not in self._urls:
            answer = await connection.call("get_queue_url", QueueName=to.name, QueueOwnerAWSAccountId=to.account)
            self._urls[to.arn] = str(answer["QueueUrl"])
        return self._urls[to.arn]
