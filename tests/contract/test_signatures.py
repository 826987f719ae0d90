"""What is signed with an access key: when it holds, how often, and what is refused before it is read."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.contract.conftest import client
from tests.contract.keys import made, signed
from tests.contract.package import create, zipped
from tests.e2e.daemon import Daemon, daemon, until


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A hub that tests share which make a key of their own."""
    with daemon(tmp_path_factory.mktemp("signed"), "", {}) as running:
        yield running


def test_a_stale_signature_is_refused(hub: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    late = made(hub, "late", role="admin")
    now = auth.get_current_datetime
    monkeypatch.setattr(auth, "get_current_datetime", lambda *a, **k: now(*a, **k) - timedelta(minutes=6))
    with pytest.raises(ClientError, match="Signature expired"):
        late.list_functions()


def test_a_request_that_is_recorded_and_sent_again_is_refused(tmp_path: Path) -> None:
    """By one who heard an SDK's request that covers an id of its own, at once; of boto3's, which covers none, later."""
    handlers = {"hello.py": "def handler(event, context):\n    return 1\n"}
    with daemon(tmp_path, "", handlers) as hub:
        keys = made(hub, "caller", role="operator")._request_signer._credentials
        url = f"http://127.0.0.1:{hub.admin}/2015-03-31/functions/hello/invocations"
        own = {"amz-sdk-invocation-id": "6f2d", "amz-sdk-request": "attempt=1; max=3"}

        def now(headers: dict[str, str]) -> dict[str, str]:
            request = AWSRequest(method="POST", url=url, data=b"{}", headers=headers)
            auth.SigV4Auth(keys, "lambda", "us-east-1").add_auth(request)
            return dict(request.headers)

        began = int(time.time())
        until(lambda: time.time() > began + 1, "the second in which the hub began is over", 10)
        plain = now({})
        assert sent(url, plain) == sent(url, plain) == (200, "", 1)
        first = now(own)
        assert sent(url, first) == (200, "", 1)
        status, kind, said = sent(url, first)
        assert (status, kind) == (403, "InvalidSignatureException")
        assert said["message"] == (
            "This signature was used before, and is taken once: sign the request anew to send it again."
        )
        assert sent(url, now({**own, "amz-sdk-request": "attempt=2; max=3"})) == (200, "", 1)
        until(lambda: sent(url, plain)[0] == 403, "an equal request is taken no more", 30)
        third = now({**own, "amz-sdk-request": "attempt=3; max=3"})
        assert sent(url, third) == (200, "", 1)
        hub.kill()
        hub.start()
        status, kind, said = sent(url, third)
        assert (status, kind) == (500, "ServiceException")
        assert "sign anew" in said["Message"]
        assert sent(url, plain)[0] == 403


def sent(url: str, headers: dict[str, str]) -> tuple[int, str, Any]:
    """What a recorded call answers: its status, the class of its error, its body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, b"{}", headers), timeout=20) as answer:
            return answer.status, "", json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("x-amzn-errortype", ""), json.load(error)


def test_a_function_url_of_aws_iam_is_for_those_who_sign(tmp_path: Path) -> None:
    web = "def handler(event, context):\n    return event['requestContext']\n"
    with daemon(tmp_path, "", {}) as hub:
        create(client(hub), "web", zipped({"app.py": web}))
        url = client(hub).create_function_url_config(FunctionName="web", AuthType="AWS_IAM")["FunctionUrl"]
        nobody = Credentials("AKIDAKIDAKIDAKIDAKID", "any")
        assert signed(url, nobody) == (403, {"Message": "Forbidden"})
        caller = made(hub, "caller", actions=["lambda:InvokeFunction*"])._request_signer._credentials
        viewer = made(hub, "viewer")._request_signer._credentials
        status, context = signed(f"{url}a%20b?x=1&y=%2F", caller)
        assert status == 200
        assert context["authorizer"]["iam"]["accessKey"] == caller.access_key
        assert context["authorizer"]["iam"]["userArn"] == "arn:aws:iam::000000000000:user/caller"
        assert (context["accountId"], context["http"]["path"]) == ("000000000000", "/a b")
        for other in (viewer, Credentials(caller.access_key, "wrong"), nobody, None):
            assert signed(url, other) == (403, {"Message": "Forbidden"})


def followed(link: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    """What somebody who has a link and no key is answered."""
    try:
        with urllib.request.urlopen(urllib.request.Request(link, method=method, headers=headers), timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        told = json.load(error)
        return error.code, told.get("message") or told.get("Message")


def test_a_link_that_a_key_has_signed_is_for_who_has_it_while_it_holds(tmp_path: Path) -> None:
    """What it reads as often as it is asked; what it does, once."""
    web = "def handler(event, context):\n    return {'by': event['requestContext']['http']['method']}\n"
    with daemon(tmp_path, "", {}) as hub:
        create(client(hub), "web", zipped({"app.py": web}))
        anybody = client(hub).generate_presigned_url("get_function_configuration", {"FunctionName": "web"})
        assert followed(anybody)[0] == 200  # as any signature will do
        url = client(hub).create_function_url_config(FunctionName="web", AuthType="AWS_IAM")["FunctionUrl"]
        made(hub, "another", role="admin")
        one = made(hub, "one", actions=["lambda:GetFunctionConfiguration", "lambda:Invoke*"])
        assert followed(anybody)[0] == 403
        link = one.generate_presigned_url("get_function_configuration", {"FunctionName": "web"}, ExpiresIn=604800)
        for _ in range(3):
            status, told = followed(link)
            assert (status, told["FunctionName"]) == (200, "web")
        assert followed(link.replace("functions/web", "functions/other"))[0] == 403
        assert followed(one.generate_presigned_url("list_functions"))[1].startswith("User: arn:aws:iam::")
        assert "has one signature" in followed(link, Authorization="AWS4-HMAC-SHA256 Credential=a")[1]
        late = one.generate_presigned_url("get_function_configuration", {"FunctionName": "web"}, ExpiresIn=1)
        until(lambda: followed(late)[0] == 403, "the link holds no more", 30)
        assert followed(late)[1].startswith("Signature expired: ")
        long = one.generate_presigned_url("get_function_configuration", {"FunctionName": "web"}, ExpiresIn=604801)
        assert followed(long) == (400, "X-Amz-Expires must be a number of seconds from 1 to 604800, a week.")
        keys = one._request_signer._credentials
        for method, often in (("GET", True), ("POST", False)):
            request = AWSRequest(
                method=method, url=f"{url}a?x=1", headers={"amz-sdk-invocation-id": "1", "amz-sdk-request": "1"}
            )
            auth.SigV4QueryAuth(keys, "lambda", "us-east-1", expires=600).add_auth(request)
            sent_with = {"amz-sdk-invocation-id": "1", "amz-sdk-request": "1"}
            assert followed(request.url, method, **sent_with) == (200, {"by": method})
            assert followed(request.url, method, **sent_with) == (
                (200, {"by": method}) if often else (403, "Forbidden")
            )
        assert hub.cli("token", "revoke", "one").returncode == 0
        assert followed(link)[0] == 403


def begun(
    hub: Daemon, key: str, when: datetime, size: int = 100_000, *, close: bool = False
) -> http.client.HTTPConnection:
    """A connection on which *size* bytes have come of a function of 60 MB, in a request that is signed by nobody."""
    connection = http.client.HTTPConnection("127.0.0.1", hub.admin, timeout=20)
    connection.putrequest("POST", "/2015-03-31/functions")
    connection.putheader("Content-Length", "60000000")
    scope = f"{key}/{when:%Y%m%d}/a/lambda/aws4_request"
    connection.putheader(
        "Authorization", f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={'0' * 64}"
    )
    connection.putheader("X-Amz-Date", f"{when:%Y%m%dT%H%M%SZ}")
    if close:
        connection.putheader("Connection", "close")
    connection.endheaders(b"x" * size)
    return connection


@pytest.mark.parametrize("known", [False, True])
def test_a_key_that_is_none_and_a_date_long_past_are_refused_before_the_body_is_read(hub: Daemon, known: bool) -> None:
    admin = made(hub, f"deployer-{known}", role="admin")
    key = admin._request_signer._credentials.access_key if known else "AKIDAKIDAKIDAKIDAKID"
    connection = begun(hub, key, datetime(2026, 1, 1, tzinfo=UTC), 3_000_000, close=True)
    with connection.getresponse() as answer:
        assert answer.status == 403
        kind = "InvalidSignatureException" if known else "UnrecognizedClientException"
        assert answer.headers["x-amzn-errortype"] == kind
        answer.read()
    connection.close()
