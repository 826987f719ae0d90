"""Access keys of a hub, and what signs with them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config

from tests.contract.conftest import session
from tests.e2e.daemon import Daemon
from triggerhub.cli.doctor import _asked
from triggerhub.cli.session import Session


def made(hub: Daemon, name: str, **given: Any) -> Any:
    """A client that signs with a new access key, of which *given* says the rest: role, actions, functions, policy."""
    body = json.dumps({"name": name, "aws": True, **given}).encode()
    key = hub.api("POST", "/api/v1/tokens", body)
    return signing(hub, key["key"], key["secret"])


def signing(hub: Daemon, key: str, secret: str) -> Any:
    config = Config(retries={"total_max_attempts": 1})
    found = session(key, secret, "eu-central-1")
    return found.client("lambda", endpoint_url=f"http://127.0.0.1:{hub.admin}", config=config)


def signed(url: str, keys: Any) -> tuple[int, Any]:
    """What a GET of *url* answers, signed by *keys*."""
    request = AWSRequest(method="GET", url=url)
    if keys is not None:
        auth.SigV4Auth(keys, "lambda", "us-east-1").add_auth(request)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(request.headers)), timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def diagnosed(hub: Daemon) -> str:
    """What ``doctor`` says of the Lambda API; all else that it looks at takes seconds."""
    _, readings = _asked(Session(hub.project))
    (found,) = [one.found for one in readings if one.name == "Lambda API"]
    return found
