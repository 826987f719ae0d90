"""Measure how fast the hub empties a queue, handlers and history included, beside a bare loop: ``make bench``.

5,000 messages of 1 KB in batches of 10, from the double of the tests in a process of its own. The bare loop is
aiobotocore alone: as many receivers as the hub has, each of which receives ten and deletes them. The two take turns.
Their time is from the first message given to the last one deleted, by the endpoint's clock.
Then, at idle, the time from SendMessage to the handler's start, beside that to the return of a bare ReceiveMessage;
and ministack's own poller, which empties a queue of ministack's into a function of ministack's, with as many at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from bench import lambda_api
from bench.peers import Skipped
from tests.e2e.daemon import Daemon, daemon, granted

MESSAGES, SIZE = 5_000, 1024
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
TOML = """
[functions.work]
concurrency = {receivers}
{granted}env = {{ SEEN = "{seen}" }}

[triggers.drain]
type = "sqs"
queue = "drain"
ack = "{ack}"
endpoint_url = "{url}"
wait = "1s"
function = "work"
"""
HANDLER = """
import os, time
SEEN = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
def handler(event, context):
    if len(event["Records"]) == 1:
        os.write(SEEN, f"{time.time()}\\n".encode())
"""


@contextmanager
def double() -> Iterator[str]:
    """The endpoint, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.aws_double.sqs"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)


def told(url: str, **said: Any) -> dict[str, Any]:
    request = urllib.request.Request(f"{url}/_told", json.dumps(said).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


@asynccontextmanager
async def client(url: str, connections: int) -> AsyncGenerator[Any]:
    config = AioConfig(max_pool_connections=connections + 4)
    async with AioSession().create_client("sqs", endpoint_url=url, region_name="us-east-1", config=config) as sqs:
        yield sqs


async def bare(url: str, queue: str, receivers: int) -> float:
    """Return the messages a second that aiobotocore alone receives and deletes."""
    async with client(url, receivers) as sqs:

        async def receive() -> None:
            while found := (await sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)).get("Messages"):
                entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(found)]
                await sqs.delete_message_batch(QueueUrl=queue, Entries=entries)

        await asyncio.gather(*(receive() for _ in range(receivers)))
        return MESSAGES / told(url)["took"][queue]


def drained(hub: Daemon, url: str) -> float:
    """Return the messages a second that the hub handles and deletes."""
    hub.cli("triggers", "pause", "drain", check=True)
    told(url, fill=[["drain", MESSAGES, SIZE]])
    hub.api("POST", "/api/v1/triggers/drain/resume")
    while told(url)["left"]["drain"]:
        time.sleep(0.05)
    return MESSAGES / told(url)["took"]["drain"]


async def filled(url: str) -> str:
    """Put the messages into a queue of ministack's, and return its ARN."""
    async with client(url, 1) as sqs:
        queue = (await sqs.create_queue(QueueName="drain", Attributes={"VisibilityTimeout": "300"}))["QueueUrl"]
        entries = [{"Id": str(number), "MessageBody": "x" * SIZE} for number in range(10)]
        for _ in range(MESSAGES // 10):
            answer = await sqs.send_message_batch(QueueUrl=queue, Entries=entries)
            assert len(answer["Successful"]) == len(entries), answer
        answer = await sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        return answer["Attributes"]["QueueArn"]


async def emptied(url: str) -> None:
    """Wait until nothing is in the queue, nor under way."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    async with client(url, 1) as sqs:
        queue = (await sqs.get_queue_url(QueueName="drain"))["QueueUrl"]
        while True:
            answer = await sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)
            if not any(int(answer["Attributes"][name]) for name in names):
                return
            await asyncio.sleep(0.02)


def ministack(rounds: int, receivers: int) -> list[float]:
    """Return the messages a second that ministack's own poller handles. Raises Skipped."""
    rates = []
    with lambda_api.ministack() as url:
        lambda_api.made(url)
        lambdas = lambda_api.client(url)
        mapping = lambdas.create_event_source_mapping(
            EventSourceArn=asyncio.run(filled(url)), FunctionName="bench", BatchSize=10,
            ScalingConfig={"MaximumConcurrency": receivers},
        )  # fmt: skip
        asyncio.run(emptied(url))  # this round warms up
        for _ in range(rounds):
            lambdas.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
            asyncio.run(filled(url))
            lambdas.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
            began = time.perf_counter()
            asyncio.run(asyncio.wait_for(emptied(url), 300))
            rates.append(MESSAGES / (time.perf_counter() - began))
    return rates


async def latencies(url: str, seen: Path, count: int) -> tuple[list[float], list[float]]:
    """Return milliseconds from SendMessage to the handler's start, and to the return of a bare ReceiveMessage."""
    handled, received = [], []
    async with client(url, 2) as sqs:
        own = (await sqs.create_queue(QueueName="own"))["QueueUrl"]
        for _ in range(count):
            before = len(seen.read_text().splitlines()) if seen.exists() else 0
            sent = time.time()
            await sqs.send_message(QueueUrl="drain", MessageBody="x" * SIZE)
            while len(lines := seen.read_text().splitlines() if seen.exists() else []) <= before:
                await asyncio.sleep(0.002)
            handled.append((float(lines[-1]) - sent) * 1000)
            waiting = asyncio.create_task(sqs.receive_message(QueueUrl=own, WaitTimeSeconds=5))
            await asyncio.sleep(0.05)
            sent = time.time()
            await sqs.send_message(QueueUrl=own, MessageBody="x" * SIZE)
            (one,) = (await waiting)["Messages"]
            received.append((time.time() - sent) * 1000)
            await sqs.delete_message(QueueUrl=own, ReceiptHandle=one["ReceiptHandle"])
            await asyncio.sleep(0.05)
    return handled, received


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--receivers", type=int, default=8)
    parser.add_argument("--ack", default="handled", choices=("handled", "stored"))
    parser.add_argument("--no-peers", action="store_true", help="leave ministack out")
    arguments = parser.parse_args()
    os.environ |= KEYS
    with double() as url, tempfile.TemporaryDirectory() as folder:
        seen = Path(folder) / "seen" / "moments"
        seen.parent.mkdir()
        toml = TOML.format(
            receivers=arguments.receivers, seen=seen, url=url, ack=arguments.ack, granted=granted(seen.parent)
        )

        async def make() -> None:
            async with client(url, 1) as sqs:
                for name in ("drain", "bare"):
                    await sqs.create_queue(QueueName=name)

        asyncio.run(make())
        with daemon(Path(folder), toml, {"work.py": HANDLER}) as hub:
            rates: dict[str, list[float]] = {"bare": [], "hub": []}
            for number in range(arguments.rounds + 1):
                told(url, fill=[["bare", MESSAGES, SIZE]])
                figures = {"bare": asyncio.run(bare(url, "bare", arguments.receivers)), "hub": drained(hub, url)}
                if number:  # the first round warms up
                    for name, rate in figures.items():
                        rates[name].append(rate)
            for name, found in rates.items():
                print(f"{name:<5} {statistics.median(found):>8,.0f} messages/s   {[round(one) for one in found]}")
            ratio = statistics.median(rates["hub"]) / statistics.median(rates["bare"])
            print(f"the hub has {ratio:.0%} of the bare loop's rate, ack = {arguments.ack}")
            handled, received = asyncio.run(latencies(url, seen, 50))
            print(f"SendMessage to handler p50 {statistics.median(handled):.1f} ms; ", end="")
            print(f"to a bare ReceiveMessage p50 {statistics.median(received):.1f} ms")
    if arguments.no_peers:
        return 0
    try:
        found = ministack(arguments.rounds, arguments.receivers)
    except Skipped as why:
        print(f"ministack is left out: {why}")
        return 0
    print(
        f"ministack's own poller {statistics.median(found):,.0f} messages/s   {[round(one) for one in found]}; ", end=""
    )
    print(f"the hub has {statistics.median(rates['hub']) / statistics.median(found):.1f} times its rate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
