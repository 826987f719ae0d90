"""Write down each order: its customer, and the order's number."""

import json
import os
from pathlib import Path


def handler(event, context):
    with (Path(os.environ["JOURNAL"]) / "orders").open("a") as journal:
        for record in event["Records"]:
            order = json.loads(record["body"])
            journal.write(f"{record['attributes']['MessageGroupId']} {order['number']}\n")
    return {"batchItemFailures": []}
