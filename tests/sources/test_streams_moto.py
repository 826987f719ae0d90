"""The sources of streams against moto's services: what is asked of them is what AWS understands."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from sources import dynamodb, kinesis
from tests.hub.rig import function, rig, trigger
from triggerhub.awsclient import Options, connected
from triggerhub.model import Invocation
from triggerhub.policy.streaming import decode
from triggerhub.settings import Batch
from triggerhub.stream import option
from triggerhub.stream.endpoint import GoneError
from triggerhub.testing import FakeContext

pytestmark = pytest.mark.usefixtures("keys")
BEGINNING = option.WORDS["trim_horizon"]


async def test_the_changes_of_a_table(moto: str, tmp_path: Path) -> None:
    seen: list[Any] = []

    async def work(invocation: Invocation) -> Any:
        seen.extend(json.loads(invocation.payload)["Records"])

    options = dynamodb.Options(table="customers", start="trim_horizon", endpoint_url=moto, parallel=3)
    async with connected("dynamodb", Options(endpoint_url=moto)) as client:
        await client.call(
            "create_table",
            TableName="customers",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        one = trigger(
            "changes", type="dynamodb", ack="handled", batch=Batch(size=10), functions=("work",), options=options
        )
        async with rig(
            tmp_path, {"work": work}, functions=[function("work")], triggers=[one], more={"dynamodb": dynamodb}
        ) as hub:
            for number in range(10):
                item = {"id": {"S": str(number % 3)}, "n": {"N": str(number)}, "blob": {"B": b"\x00\xff"}}
                await client.call("put_item", TableName="customers", Item=item)
            await client.call("delete_item", TableName="customers", Key={"id": {"S": "0"}})
            with anyio.fail_after(30):
                while len(seen) < 11:
                    await anyio.sleep(0.01)
            await hub.states(11)
            kept = await hub.store.checkpoints("changes")
    assert {record["eventName"] for record in seen} == {"INSERT", "MODIFY", "REMOVE"}
    assert seen[0]["dynamodb"]["NewImage"]["blob"] == {"B": "AP8="}
    for key in "012":
        mine = [record["dynamodb"] for record in seen if record["dynamodb"]["Keys"] == {"id": {"S": key}}]
        numbers = [int(change["NewImage"]["n"]["N"]) for change in mine if "NewImage" in change]
        assert numbers == list(range(int(key), 10, 3))
    assert any(decode(value).after for name, value in kept.items() if "/stream/" in name)


async def test_the_records_of_a_stream(moto: str, tmp_path: Path) -> None:
    seen: dict[str, list[int]] = {}

    async def work(invocation: Invocation) -> Any:
        for record in json.loads(invocation.payload)["Records"]:
            carried = json.loads(base64.b64decode(record["kinesis"]["data"]))
            seen.setdefault(record["kinesis"]["partitionKey"], []).append(carried["n"])

    options = kinesis.Options(stream="clicks", start="trim_horizon", endpoint_url=moto)
    async with connected("kinesis", Options(endpoint_url=moto)) as client:
        await client.call("create_stream", StreamName="clicks", ShardCount=2)
        for number in range(20):
            body = json.dumps({"n": number}).encode()
            await client.call("put_record", StreamName="clicks", Data=body, PartitionKey=f"k{number % 4}")
        one = trigger(
            "clicks", type="kinesis", ack="handled", batch=Batch(size=5), functions=("work",), options=options,
            filter={"data": {"n": [{"numeric": ["<", 16]}]}},
        )  # fmt: skip
        async with rig(
            tmp_path, {"work": work}, functions=[function("work")], triggers=[one], more={"kinesis": kinesis}
        ) as hub:
            await hub.states(16)
    assert seen == {f"k{key}": list(range(key, 16, 4)) for key in range(4)}


async def test_a_probe_says_what_it_found(moto: str) -> None:
    async with connected("kinesis", Options(endpoint_url=moto)) as client:
        await client.call("create_stream", StreamName="probed", ShardCount=1)
    options = kinesis.Options(stream="probed", endpoint_url=moto)
    said = await kinesis.probe(FakeContext(trigger(options=options)), options)
    assert said.startswith("arn:aws:kinesis:us-east-1:123456789012:stream/probed as arn:aws:")
    assert "environment variables" in said
    missing = dynamodb.Options(table="no-such", endpoint_url=moto)
    with pytest.raises(GoneError, match="dynamodb:DescribeTable: there is no such resource"):
        await dynamodb.probe(FakeContext(trigger(options=missing)), missing)
