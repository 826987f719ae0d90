"""Name things as AWS does; nothing here belongs to an account, so the account is all zeros."""

from __future__ import annotations

ACCOUNT = "000000000000"
REGION = "us-east-1"


def function(name: str, qualifier: str | None = None, *, region: str = REGION, account: str | None = None) -> str:
    """Return a function's ARN; the qualifier appears exactly as the function was called with it."""
    base = f"arn:aws:lambda:{region}:{account or ACCOUNT}:function:{name}"
    return f"{base}:{qualifier}" if qualifier else base


def bucket(name: str) -> str:
    """Return a bucket's ARN, which has neither region nor account."""
    return f"arn:aws:s3:::{name}"


def rule(name: str, *, region: str = REGION) -> str:
    """Return the ARN of an EventBridge rule on the default bus."""
    return f"arn:aws:events:{region}:{ACCOUNT}:rule/{name}"


def alarm(name: str, *, region: str = REGION) -> str:
    """Return the ARN of a CloudWatch alarm."""
    return f"arn:aws:cloudwatch:{region}:{ACCOUNT}:alarm:{name}"


def queue(name: str, *, region: str = REGION) -> str:
    """Return a queue's ARN."""
    return f"arn:aws:sqs:{region}:{ACCOUNT}:{name}"
