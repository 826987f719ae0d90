"""Greet whom a webhook's body names. What is printed is in `triggerhub logs`."""

import json


def handler(event, context):
    try:
        name = json.loads(event["body"])["name"]
    except (KeyError, TypeError, ValueError):
        name = "world"
    print(f"hello {name}!")
    return {"greeted": name}
