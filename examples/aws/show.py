"""Make a queue and a table, write into both, and show that the hub handled everything once, in order per key.

``pip install 'moto[server]'`` is all it needs; with AWS_ENDPOINT_URL in the environment it uses what is there instead.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
CUSTOMERS = 10


@contextmanager
def endpoint() -> Iterator[str]:
    """Lend the address of an endpoint: the environment's, or a moto server of our own."""
    if given := os.environ.get("AWS_ENDPOINT_URL"):
        yield given
        return
    moto = subprocess.Popen(
        [sys.executable, str(HERE / "moto_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield f"http://127.0.0.1:{moto.stdout.readline().strip()}"
    finally:
        moto.stdin.close()
        moto.wait(30)


def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def hub(folder: Path) -> Iterator[Path]:
    """Run the hub on a copy of this project, and lend the folder that its handlers write into.

    In the same place it would take the stream of another endpoint for the one that it has read already.
    """
    project = folder / "project"
    shutil.copytree(HERE, project, ignore=shutil.ignore_patterns("var", "__pycache__", "journal"))
    journal = project / "journal"
    journal.mkdir()
    journal.chmod(0o777)  # a handler of a hub that root started is not root
    toml = project / "triggerhub.toml"
    addresses = f'[hub]\nlisten = "127.0.0.1:{port()}"\nadmin = "127.0.0.1:{port()}"\n'
    toml.write_text(addresses + toml.read_text())
    command = [sys.executable, "-m", "triggerhub", "-C", str(project), "run"]
    running = subprocess.Popen(command, env={**os.environ, "JOURNAL": str(journal)}, stdout=subprocess.DEVNULL)
    try:
        yield journal
    finally:
        running.terminate()
        running.wait(60)


def make() -> tuple[object, object, str]:
    """Make the queue and the table."""
    import boto3

    sqs, dynamodb = boto3.client("sqs"), boto3.client("dynamodb")
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    queue = sqs.create_queue(QueueName="orders.fifo", Attributes=attributes)["QueueUrl"]
    dynamodb.create_table(
        TableName="customers",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    return sqs, dynamodb, queue


def fill(sqs: object, dynamodb: object, queue: str, items: int) -> None:
    """Send so many orders, and change customers so many times."""
    for begin in range(0, items, 10):
        entries = [
            {
                "Id": str(number),
                "MessageBody": json.dumps({"number": number}),
                "MessageGroupId": f"customer-{number % CUSTOMERS}",
            }
            for number in range(begin, min(begin + 10, items))
        ]
        sqs.send_message_batch(QueueUrl=queue, Entries=entries)
        for entry in entries:
            number = int(entry["Id"])
            item = {"id": {"S": f"customer-{number % CUSTOMERS}"}, "visits": {"N": str(number)}}
            dynamodb.put_item(TableName="customers", Item=item)


def judged(journal: Path, items: int) -> str:
    """Say how often what was handled, and in which order."""
    lines = [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []
    by_key: dict[str, list[int]] = defaultdict(list)
    for key, number in lines:
        by_key[key].append(int(number))
    once = sorted(int(number) for _, number in lines) == list(range(items))
    ordered = all(numbers == sorted(numbers) for numbers in by_key.values())
    return f"{len(lines)} handled, {'' if once else 'NOT '}each once, {'' if ordered else 'NOT '}in order per key"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, endpoint() as url:
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
        os.environ.update({**keys, **os.environ, "AWS_ENDPOINT_URL": url})
        made = make()
        with hub(Path(folder)) as journals:
            began = time.monotonic()
            fill(*made, options.items)
            wanted = f"{options.items} handled, each once, in order per key"
            said: dict[str, str] = {}
            while time.monotonic() - began < 300 and set(said.values()) != {wanted}:
                time.sleep(0.5)
                said = {name: judged(journals / name, options.items) for name in ("orders", "customers")}
        for name, words in said.items():
            print(f"{name}: {words}")
        return 0 if set(said.values()) == {wanted} else 1


if __name__ == "__main__":
    sys.exit(main())
