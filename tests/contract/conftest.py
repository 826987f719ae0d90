"""A hub as a process, and the clients that people have: boto3 and the aws command line."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.loaders import Loader

from tests.e2e.daemon import Daemon, daemon

HANDLERS = {
    "hello.py": "def handler(event, context):\n    print('hello there')\n    return {'event': event, 'arn': context.invoked_function_arn, 'id': context.aws_request_id}\n",
    "context.py": "def handler(event, context):\n    return context.client_context.custom\n",
    "broken.py": "def handler(event, context):\n    raise ValueError('no')\n",
    "nothing.py": "def handler(event, context):\n    pass\n",
    "asking.py": f"import sys\nsys.path.append({str(Path(boto3.__file__).parents[1])!r})\nimport boto3\n"
    "def handler(event, context):\n    answer = boto3.client('lambda').invoke(FunctionName='hello', Payload=b'[7]')\n"
    "    return answer['Payload'].read().decode()\n",
    "big.py": "def handler(event, context):\n    return 'x' * event\n",
}
TOML = """
[defaults]
retry = { attempts = 1 }

# It needs boto3, which lies with the tests, and the network.
[functions.asking]
sandbox = { level = "trusted" }
timeout = "60s"
env = { AWS_ACCESS_KEY_ID = "AKIDAKIDAKIDAKIDAKID", AWS_SECRET_ACCESS_KEY = "any" }

[triggers.tick]
type = "cron"
schedule = "0 0 1 1 *"
function = "hello"
"""


LOADER = Loader()
"""Reads the description of a service once for all clients."""


def session(key: str, secret: str, region: str) -> boto3.Session:
    core = botocore.session.get_session()
    core.register_component("data_loader", LOADER)
    return boto3.Session(key, secret, region_name=region, botocore_session=core)


def client(hub: Daemon, service: str = "lambda", **options: Any) -> Any:
    """A client of boto3's that is pointed at a hub, and does not try again."""
    config = Config(retries={"total_max_attempts": 1}, read_timeout=30, **options)
    found = session("AKIDAKIDAKIDAKIDAKID", "secret", "us-east-1")
    made = found.client(service, endpoint_url=f"http://127.0.0.1:{hub.admin}", config=config)
    made.meta.events.register("after-call.lambda.Invoke", _read)
    return made


def _read(parsed: dict[str, Any], **_: Any) -> None:
    """Read an answer to its end: one that nobody reads would hold its connection until the collector finds it."""
    if "Payload" in parsed:
        parsed["Payload"] = io.BytesIO(parsed["Payload"].read())


def environ(hub: Daemon) -> dict[str, str]:
    """What the aws command line is told by its environment."""
    return {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "AKIDAKIDAKIDAKIDAKID",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_LAMBDA": f"http://127.0.0.1:{hub.admin}",
        "AWS_PAGER": "",
        "AWS_CONFIG_FILE": "/nowhere",
    }


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("lambda"), TOML, HANDLERS) as running:
        yield running


@pytest.fixture(scope="session")
def lambdas(hub: Daemon) -> Any:
    return client(hub)
