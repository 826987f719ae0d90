"""Greet whom a webhook's body names. What is printed is in `triggerhub logs`."""

import base64
import json


def handler(event, context):
    body = event.get("body", "")
    if event.get("isBase64Encoded"):  # what is not text, JSON or XML: curl -d says that it sends a form
        body = base64.b64decode(body)
    try:
        name = json.loads(body)["name"]
    except (KeyError, TypeError, ValueError):
        name = "world"
    print(f"hello {name}!")
    return {"greeted": name}
