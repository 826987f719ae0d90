"""Access keys: once a hub has one, the Lambda API takes no request without."""

from __future__ import annotations

import http.client
import json
import select
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.contract.conftest import client
from tests.contract.package import ROLE, RUNTIME, answering, called, create, zipped
from tests.contract.test_functions import refused
from tests.e2e.daemon import Daemon, daemon, until
from tests.web.test_ingress_tls import issue
from triggerhub.policy.password import hashed

FORWARDED = ("X-Forwarded-Proto", "https")


def made(hub: Daemon, name: str, *options: str) -> Any:
    """A client that signs with a new access key."""
    ran = hub.cli("token", "create", name, "--aws", *options)
    assert ran.returncode == 0, ran.stderr
    key, secret = (line.partition("=")[2] for line in ran.stdout.splitlines())
    return signing(hub, key, secret)


def signing(hub: Daemon, key: str, secret: str, **options: Any) -> Any:
    session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name="eu-central-1", **options)
    config = Config(retries={"total_max_attempts": 1})
    return session.client("lambda", endpoint_url=f"http://127.0.0.1:{hub.admin}", config=config)


def test_keys_are_verified_and_scoped(tmp_path: Path) -> None:
    handlers = {"hello.py": "def handler(event, context):\n    return 1\n"}
    with daemon(tmp_path, "", handlers) as hub:
        anybody = client(hub)
        assert called(anybody, "hello") == 1
        assert "takes any signature" in hub.cli("doctor").stdout
        admin = made(hub, "deployer", "--role", "admin")
        assert refused(anybody.invoke, FunctionName="hello") == (
            403, "UnrecognizedClientException", "The security token included in the request is invalid.",
        )  # fmt: skip
        assert "takes any signature" not in hub.cli("doctor").stdout
        variables = {"Variables": {"WHO": "s3cret"}}
        create(admin, "own-thing", answering(1), Tags={"a b": "c/d"}, Environment=variables)
        assert called(admin, "arn:aws:lambda:us-east-1:000000000000:function:own-thing")["answer"] == 1
        admin.untag_resource(
            Resource="arn:aws:lambda:us-east-1:000000000000:function:own-thing", TagKeys=["a b", "x=y+z/:@"]
        )
        key = admin._request_signer._credentials.access_key
        status, kind, says = refused(signing(hub, key, "wrong").invoke, FunctionName="hello")
        assert (status, kind) == (403, "InvalidSignatureException")
        assert says.startswith("The request signature we calculated does not match")
        viewer = made(hub, "viewer")
        assert len(viewer.list_functions()["Functions"]) == 2
        looker = made(hub, "looker", "--action", "lambda:Get*")
        for one in (admin, looker):
            assert one.get_function_configuration(FunctionName="own-thing")["Environment"] == variables
        for told in (
            viewer.get_function(FunctionName="own-thing"),
            viewer.list_functions(),
            viewer.list_versions_by_function(FunctionName="own-thing"),
            viewer.get_function_configuration(FunctionName="own-thing"),
        ):
            assert "AccessDeniedException" in str(told)
            assert "s3cret" not in str(told)
        status, kind, says = refused(viewer.invoke, FunctionName="hello")
        assert (status, kind) == (403, "AccessDeniedException")
        assert says.startswith("User: arn:aws:iam::000000000000:user/viewer is not authorized to perform: ")
        assert says.endswith("because no identity-based policy allows the lambda:InvokeFunction action")
        caller = made(hub, "caller", "--action", "lambda:Invoke*", "--function", "own-*")
        assert called(caller, "own-thing")["answer"] == 1
        assert refused(caller.invoke, FunctionName="hello")[1] == "AccessDeniedException"
        assert refused(caller.list_functions)[1] == "AccessDeniedException"
        changes = [(row["who"], row["text"]) for row in hub.api("GET", "/api/v1/changes")]
        assert ("key deployer", "CreateFunction own-thing") in changes
        assert not any("Invoke" in text for _, text in changes)
        hub.kill()
        hub.start()
        assert called(caller, "own-thing")["answer"] == 1
        assert hub.cli("token", "revoke", "caller").returncode == 0
        assert refused(caller.invoke, FunctionName="own-thing")[1] == "UnrecognizedClientException"
        listed = hub.cli("token", "list", "--json").stdout
        assert key in listed
        assert admin._request_signer._credentials.secret_key not in listed
        assert hub.cli("token", "create", "odd", "--action", "lambda:*").returncode == 2
        for nothing in ("Invoke*", "lambda:Nope*"):
            odd = hub.cli("token", "create", "odd", "--aws", "--action", nothing)
            assert (odd.returncode, "no action of Lambda is like" in odd.stderr) == (2, True)
        small = made(hub, "small", "--action", "lambda:invokefunction")
        assert called(small, "own-thing")["answer"] == 1


def test_a_function_made_by_the_api_calls_another_with_the_credentials_that_it_was_given(tmp_path: Path) -> None:
    asks = "import boto3, json\ndef handler(event, context):\n    made = boto3.client('lambda').invoke(FunctionName='hello')\n    return json.load(made['Payload'])\n"
    handlers = {"hello.py": "def handler(event, context):\n    return 7\n"}
    with daemon(tmp_path, '[defaults]\nsandbox = { network = "host" }\n', handlers) as hub:
        keys = made(
            hub, "inner", "--action", "lambda:InvokeFunction", "--function", "hello"
        )._request_signer._credentials
        own = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
        admin = made(hub, "admin", "--role", "admin")
        create(admin, "asks", zipped({"app.py": asks}), Environment={"Variables": own}, Timeout=20)
        assert called(admin, "asks") == 7


def test_a_short_key_is_as_good_as_any_while_there_is_none(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        assert signing(hub, "test", "test").list_functions()["Functions"] == []
        made(hub, "admin", "--role", "admin")
        assert refused(signing(hub, "test", "test").list_functions)[1] == "UnrecognizedClientException"


def test_a_policy_lets_a_key_call_what_its_own_actions_do_not(tmp_path: Path) -> None:
    handlers = {"mine.py": "def handler(event, context):\n    return 1\n"}
    with daemon(tmp_path, "", handlers) as hub:
        create(client(hub), "web", zipped({"app.py": "def handler(event, context):\n    return {'n': 1}\n"}))
        for name in ("kept", "other"):
            create(client(hub), name, answering(1))
        url = client(hub).create_function_url_config(FunctionName="web", AuthType="AWS_IAM")["FunctionUrl"]
        client(hub).publish_version(FunctionName="kept")
        guest = made(hub, "guest", "--action", "lambda:GetFunction")
        admin = made(hub, "admin", "--role", "admin")
        keys = guest._request_signer._credentials
        user = "arn:aws:iam::000000000000:user/guest"

        def grant(function: str, principal: str, sid: str, **given: Any) -> None:
            wanted = {"Action": "lambda:InvokeFunction", "Principal": principal, "StatementId": sid, **given}
            admin.add_permission(FunctionName=function, **wanted)

        grant("kept", "000000000000", "account")  # which grants nothing by itself
        grant("kept", "arn:aws:iam::000000000000:user/somebody", "another")
        assert refused(guest.invoke, FunctionName="kept")[1] == "AccessDeniedException"
        grant("kept", user, "version", Qualifier="1")
        assert refused(guest.invoke, FunctionName="kept")[1] == "AccessDeniedException"
        assert guest.invoke(FunctionName="kept", Qualifier="1")["StatusCode"] == 200
        assert guest.invoke(FunctionName="kept:1")["StatusCode"] == 200
        grant("kept", user, "whole")
        assert called(guest, "kept")["answer"] == 1
        assert refused(guest.get_policy, FunctionName="kept")[1] == "AccessDeniedException"
        for function in ("other", "mine"):
            assert refused(guest.invoke, FunctionName=function)[1] == "AccessDeniedException"
        assert signed(url, keys) == (403, {"Message": "Forbidden"})
        by_url = {"Action": "lambda:InvokeFunctionUrl"}
        grant("web", "*", "open", FunctionUrlAuthType="NONE", **by_url)
        assert signed(url, keys) == (403, {"Message": "Forbidden"})
        grant("web", user, "url", FunctionUrlAuthType="AWS_IAM", **by_url)
        assert signed(url, keys) == (403, {"Message": "Forbidden"}), "it takes both"
        grant("web", user, "call", InvokedViaFunctionUrl=True)
        assert signed(url, keys) == (200, {"n": 1})
        assert refused(guest.invoke, FunctionName="web")[1] == "AccessDeniedException"
        assert signed(url, Credentials(keys.access_key, "wrong"))[0] == 403
        admin.remove_permission(FunctionName="kept", StatementId="whole")
        assert refused(guest.invoke, FunctionName="kept")[1] == "AccessDeniedException"


def test_a_stale_signature_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon(tmp_path, "", {}) as hub:
        late = made(hub, "late", "--role", "admin")
        now = auth.get_current_datetime
        monkeypatch.setattr(auth, "get_current_datetime", lambda *a, **k: now(*a, **k) - timedelta(minutes=6))
        with pytest.raises(ClientError, match="Signature expired"):
            late.list_functions()


def test_a_request_that_is_recorded_and_sent_again_is_refused(tmp_path: Path) -> None:
    """By one who heard an SDK's request that covers an id of its own, at once; of boto3's, which covers none, later."""
    handlers = {"hello.py": "def handler(event, context):\n    return 1\n"}
    with daemon(tmp_path, "", handlers) as hub:
        keys = made(hub, "caller", "--role", "operator")._request_signer._credentials
        url = f"http://127.0.0.1:{hub.admin}/2015-03-31/functions/hello/invocations"
        plain, own = ({}, {"amz-sdk-invocation-id": "6f2d", "amz-sdk-request": "attempt=1; max=3"})
        began = int(time.time())
        until(lambda: time.time() > began + 1, "the second in which the hub began is over", 10)
        recorded = {}
        for name, headers in (("plain", plain), ("own", own)):
            request = AWSRequest(method="POST", url=url, data=b"{}", headers=headers)
            auth.SigV4Auth(keys, "lambda", "us-east-1").add_auth(request)
            recorded[name] = dict(request.headers)
        assert sent(url, recorded["plain"]) == sent(url, recorded["plain"]) == (200, "", 1)
        assert sent(url, recorded["own"]) == (200, "", 1)
        status, kind, said = sent(url, recorded["own"])
        assert (status, kind) == (403, "InvalidSignatureException")
        assert said["message"] == (
            "This signature was used before, and is taken once: sign the request anew to send it again."
        )
        own["amz-sdk-request"] = "attempt=2; max=3"
        request = AWSRequest(method="POST", url=url, data=b"{}", headers=own)
        auth.SigV4Auth(keys, "lambda", "us-east-1").add_auth(request)
        assert sent(url, dict(request.headers)) == (200, "", 1)
        until(lambda: sent(url, recorded["plain"])[0] == 403, "an equal request is taken no more", 30)
        own["amz-sdk-request"] = "attempt=3; max=3"
        request = AWSRequest(method="POST", url=url, data=b"{}", headers=own)
        auth.SigV4Auth(keys, "lambda", "us-east-1").add_auth(request)
        assert sent(url, dict(request.headers)) == (200, "", 1)
        hub.kill()
        hub.start()
        status, kind, said = sent(url, dict(request.headers))
        assert (status, kind) == (500, "ServiceException")
        assert "sign anew" in said["Message"]
        assert sent(url, recorded["plain"])[0] == 403


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
        caller = made(hub, "caller", "--action", "lambda:InvokeFunction*")._request_signer._credentials
        viewer = made(hub, "viewer")._request_signer._credentials
        status, context = signed(f"{url}a%20b?x=1&y=%2F", caller)
        assert status == 200
        assert context["authorizer"]["iam"]["accessKey"] == caller.access_key
        assert context["authorizer"]["iam"]["userArn"] == "arn:aws:iam::000000000000:user/caller"
        assert (context["accountId"], context["http"]["path"]) == ("000000000000", "/a b")
        for other in (viewer, Credentials(caller.access_key, "wrong"), nobody, None):
            assert signed(url, other) == (403, {"Message": "Forbidden"})


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
        made(hub, "another", "--role", "admin")
        one = made(hub, "one", "--action", "lambda:GetFunctionConfiguration", "--action", "lambda:Invoke*")
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


GUESTS = """
[console.auth]
type = "password"
users = { anna = { secret = "ANNA" } }
"""


def test_where_it_is_asked_who_one_is_no_other_signature_will_do(tmp_path: Path) -> None:
    """Without a single key, too; and a link to code holds for who has it, and no longer than it says."""
    with daemon(tmp_path, GUESTS, {}, start=False) as hub:
        hub.start(environ={"ANNA": hashed("word", b"0123456789abcdef")})
        anybody = client(hub)
        for call, given in ((anybody.list_functions, {}), (anybody.invoke, {"FunctionName": "hello"})):
            assert refused(call, **given)[:2] == (403, "UnrecognizedClientException")
        assert "takes no signature: there is no access key" in hub.cli("doctor").stdout
        admin = made(hub, "deployer", "--role", "admin")
        code = answering(1)
        create(admin, "own", code)
        link = admin.get_function(FunctionName="own")["Code"]["Location"]
        with urllib.request.urlopen(link, timeout=20) as answer:
            assert answer.read() == code
        bare = link.partition("?")[0]
        for other in (bare, link[:-1], link.replace("Expires=", "Expires=9"), f"{bare}?Expires=9999999999&Signature="):
            authorization = f"AWS4-HMAC-SHA256 Credential=AKIDAKIDAKIDAKIDAKID/20260101/a/lambda/aws4_request, SignedHeaders=host, Signature={'0' * 64}"
            for shown in ({}, {"Authorization": authorization}):
                with pytest.raises(urllib.error.HTTPError) as caught:
                    urllib.request.urlopen(urllib.request.Request(other, headers=shown), timeout=20)
                assert caught.value.code == 403
                caught.value.close()


def test_addresses_are_of_https_where_that_is_spoken(tmp_path: Path) -> None:
    """By the ingress itself, and by a proxy before the admin address."""
    certificate, key = issue(tmp_path, "hub")
    toml = (
        '[hub]\nlisten = "127.0.0.1:{LISTEN}"\nadmin = "127.0.0.1:{ADMIN}"\ntrusted_proxies = ["127.0.0.1"]\n'
        f'tls = {{ cert = "{certificate}", key = "{key}" }}\n'
    )
    with daemon(tmp_path, toml, {}) as hub:
        admin = made(hub, "deployer", "--role", "admin")
        create(admin, "web", answering(1))
        url = admin.create_function_url_config(FunctionName="web", AuthType="NONE")["FunctionUrl"]
        assert url.startswith(f"https://127.0.0.1:{hub.listen}/_url/")
        assert admin.get_function(FunctionName="web")["Code"]["Location"].startswith(f"http://127.0.0.1:{hub.admin}/")
        admin.meta.events.register("before-sign", lambda request, **_: request.headers.add_header(*FORWARDED))
        assert admin.get_function(FunctionName="web")["Code"]["Location"].startswith(f"https://127.0.0.1:{hub.admin}/")


def test_one_key_has_so_much_code_under_way_and_no_more(tmp_path: Path) -> None:
    def begin(key: str) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", hub.admin, timeout=20)
        connection.putrequest("POST", "/2015-03-31/functions")
        connection.putheader("Content-Length", "60000000")
        connection.putheader(
            "Authorization",
            f"AWS4-HMAC-SHA256 Credential={key}/{today:%Y%m%d}/a/lambda/aws4_request, "
            f"SignedHeaders=host, Signature={'0' * 64}",
        )
        connection.putheader("X-Amz-Date", f"{today:%Y%m%dT%H%M%SZ}")
        connection.endheaders(b"x" * 100_000)
        return connection

    today = datetime.now(UTC)
    with daemon(tmp_path, "", {}) as hub:
        many, other = (made(hub, name, "--role", "viewer") for name in ("many", "other"))
        key = many._request_signer._credentials.access_key
        under_way = [begin(key) for _ in range(20)]
        sockets = [one.sock for one in under_way]
        until(lambda: len(select.select(sockets, [], [], 0)[0]) == 4, "four are refused")
        answered = select.select(sockets, [], [], 0)[0]
        for one in under_way:
            if one.sock in answered:
                with one.getresponse() as refusal:
                    assert (refusal.status, json.load(refusal)["Reason"]) == (429, "CallerRateLimitExceeded")
                    assert refusal.headers["x-amzn-errortype"] == "TooManyRequestsException"
        assert refused(other.create_function, **_large())[1] == "AccessDeniedException"
        assert refused(many.create_function, **_large())[1] == "TooManyRequestsException"
        for one in under_way:
            one.close()
        until(lambda: refused(many.create_function, **_large())[1] == "AccessDeniedException", "there is room again")


def _large() -> dict[str, Any]:
    return {
        "FunctionName": "fn", "Runtime": RUNTIME, "Handler": "app.handler", "Role": ROLE,
        "Code": {"ZipFile": bytes(1_000_000)},
    }  # fmt: skip


@pytest.mark.parametrize("known", [False, True])
def test_a_key_that_is_none_and_a_date_long_past_are_refused_before_the_body_is_read(
    tmp_path: Path, known: bool
) -> None:
    with daemon(tmp_path, "", {}) as hub:
        admin = made(hub, "deployer", "--role", "admin")
        key = admin._request_signer._credentials.access_key if known else "AKIDAKIDAKIDAKIDAKID"
        connection = http.client.HTTPConnection("127.0.0.1", hub.admin, timeout=20)
        connection.putrequest("POST", "/2015-03-31/functions")
        connection.putheader("Content-Length", "60000000")
        connection.putheader(
            "Authorization",
            f"AWS4-HMAC-SHA256 Credential={key}/20260101/a/lambda/aws4_request, "
            f"SignedHeaders=host, Signature={'0' * 64}",
        )
        connection.putheader("X-Amz-Date", "20260101T000000Z")
        connection.putheader("Connection", "close")
        connection.endheaders(b"x" * 3_000_000)
        with connection.getresponse() as answer:
            assert answer.status == 403
            kind = "InvalidSignatureException" if known else "UnrecognizedClientException"
            assert answer.headers["x-amzn-errortype"] == kind
            answer.read()
        connection.close()


def test_the_last_key_that_is_revoked_opens_nothing_unless_it_is_said_so(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        assert hub.api("GET", "/api/v1/status")["signatures"] == "any"
        first, other = made(hub, "first", "--role", "admin"), made(hub, "other")
        early = hub.cli("token", "revoke", "other", "--open")
        assert (early.returncode != 0, "is not the last access key" in early.stderr) == (True, True)
        assert other.list_functions()["Functions"] == []
        hub.cli("token", "revoke", "other")
        ran = hub.cli("token", "revoke", "first")
        assert "takes no signature: there is no access key any more" in ran.stderr
        for _ in range(2):
            for one in (first, client(hub)):
                assert refused(one.list_functions)[:2] == (403, "UnrecognizedClientException")
            assert hub.api("GET", "/api/v1/status")["signatures"] == "none"
            assert "none: there is no access key" in hub.cli("status").stdout
            assert "takes no signature: there is no access key" in hub.cli("doctor").stdout
            hub.kill()
            hub.start()
        made(hub, "last")
        assert refused(client(hub).list_functions)[1] == "UnrecognizedClientException"
        ran = hub.cli("token", "revoke", "last", "--open")
        assert (ran.returncode, "takes any signature." in ran.stderr) == (0, True)
        hub.kill()
        hub.start()
        assert client(hub).list_functions()["Functions"] == []
        assert "takes any signature" in hub.cli("doctor").stdout


def test_where_nobody_is_asked_who_he_is_keys_are_made_by_the_socket_alone(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        assert by_tcp(hub, "/api/v1/tokens", b'{"name": "first", "aws": true, "role": "admin"}')[0] == 201
        for path, body in (
            ("/api/v1/tokens", b'{"name": "second", "aws": true, "role": "admin"}'),
            ("/api/v1/tokens", b'{"name": "plain", "role": "admin"}'),
            ("/api/v1/tokens/first/revoke", b'{"open": true}'),
            ("/api/v1/backup", b""),
            ("/api/v1/tokens%0A", b'{"name": "odd", "role": "admin"}'),
            ("/api/v1//tokens", b'{"name": "odd", "role": "admin"}'),
        ):
            status, told = by_tcp(hub, path, body)
            assert (status, "this goes by the hub's socket" in told) == (403, True), path
        assert "keys are made by the socket alone" in hub.cli("doctor").stdout
        assert hub.cli("token", "create", "second", "--aws").returncode == 0
        token = hub.cli("token", "create", "plain", "--role", "admin").stdout.strip()
        bearer = {"Authorization": f"Bearer {token}"}
        assert by_tcp(hub, "/api/v1/tokens/second/revoke", b"", bearer)[0] == 200


def by_tcp(hub: Daemon, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """What the admin address answers to somebody who shows nothing, or what *headers* show."""
    request = urllib.request.Request(f"http://127.0.0.1:{hub.admin}{path}", body, headers or {}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
