"""Write down each change: the customer, and how many visits there were."""

import os
from pathlib import Path


def handler(event, context):
    with (Path(os.environ["JOURNAL"]) / "customers").open("a") as journal:
        for record in event["Records"]:
            customer = record["dynamodb"]["NewImage"]
            journal.write(f"{customer['id']['S']} {customer['visits']['N']}\n")
    return {"batchItemFailures": []}
