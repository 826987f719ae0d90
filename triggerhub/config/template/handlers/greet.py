"""Answer a request: the caller waits, and the result becomes the HTTP response."""


def handler(event, context):
    name = event["pathParameters"]["name"]
    return {
        "statusCode": 200,
        "headers": {"content-type": "text/plain; charset=utf-8"},
        "body": f"Hello {name}!\n",
    }
