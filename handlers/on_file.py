"""Look at a file that came to rest in inbox/. The event has the shape of an S3 notification."""

from pathlib import Path


def handler(event, context):
    for record in event["Records"]:
        file = Path(record["triggerhub"]["path"])
        size = record["s3"]["object"]["size"]
        print(f"{record['eventName']}: {file.name}, {size} bytes")
    return {"files": len(event["Records"])}
