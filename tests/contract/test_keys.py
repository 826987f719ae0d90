"""Access keys: once a hub has one, the Lambda API takes no request without."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from tests.contract.conftest import client
from tests.contract.keys import diagnosed, made, signed, signing
from tests.contract.package import answering, called, create, zipped
from tests.contract.test_functions import refused
from tests.e2e.daemon import Daemon, daemon
from tests.e2e.toml import HUB
from tests.web.test_ingress_tls import issue
from triggerhub.policy.password import hashed

FORWARDED = ("X-Forwarded-Proto", "https")


def test_keys_are_verified_and_scoped(tmp_path: Path) -> None:
    handlers = {"hello.py": "def handler(event, context):\n    return 1\n"}
    with daemon(tmp_path, "", handlers) as hub:
        anybody = client(hub)
        assert called(anybody, "hello") == 1
        assert "takes any signature" in hub.cli("doctor").stdout
        admin = made(hub, "deployer", role="admin")
        assert refused(anybody.invoke, FunctionName="hello") == (
            403, "UnrecognizedClientException", "The security token included in the request is invalid.",
        )  # fmt: skip
        assert "takes any signature" not in diagnosed(hub)
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
        looker = made(hub, "looker", actions=["lambda:Get*"])
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
        ran = hub.cli("token", "create", "caller", "--aws", "--action", "lambda:Invoke*", "--function", "own-*")
        assert ran.returncode == 0, ran.stderr
        caller = signing(hub, *(line.partition("=")[2] for line in ran.stdout.splitlines()))
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
        small = made(hub, "small", actions=["lambda:invokefunction"])
        assert called(small, "own-thing")["answer"] == 1


@pytest.mark.parametrize("network", ['"host"', '["127.0.0.1:{ADMIN}"]'], ids=["the host's", "a list"])
def test_a_function_made_by_the_api_calls_another_with_the_credentials_that_it_was_given(
    tmp_path: Path, network: str
) -> None:
    asks = "import boto3, json\ndef handler(event, context):\n    made = boto3.client('lambda').invoke(FunctionName='hello')\n    return json.load(made['Payload'])\n"
    handlers = {"hello.py": "def handler(event, context):\n    return 7\n"}
    with daemon(tmp_path, f"[defaults]\nsandbox = {{ network = {network} }}\n", handlers) as hub:
        keys = made(hub, "inner", actions=["lambda:InvokeFunction"], functions=["hello"])._request_signer._credentials
        own = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
        admin = made(hub, "admin", role="admin")
        create(admin, "asks", zipped({"app.py": asks}), Environment={"Variables": own}, Timeout=20)
        assert called(admin, "asks") == 7


def test_a_short_key_is_as_good_as_any_while_there_is_none(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        assert signing(hub, "test", "test").list_functions()["Functions"] == []
        made(hub, "admin", role="admin")
        assert refused(signing(hub, "test", "test").list_functions)[1] == "UnrecognizedClientException"


def test_a_policy_lets_a_key_call_what_its_own_actions_do_not(tmp_path: Path) -> None:
    handlers = {"mine.py": "def handler(event, context):\n    return 1\n"}
    with daemon(tmp_path, "", handlers) as hub:
        create(client(hub), "web", zipped({"app.py": "def handler(event, context):\n    return {'n': 1}\n"}))
        for name in ("kept", "other"):
            create(client(hub), name, answering(1))
        url = client(hub).create_function_url_config(FunctionName="web", AuthType="AWS_IAM")["FunctionUrl"]
        client(hub).publish_version(FunctionName="kept")
        guest = made(hub, "guest", actions=["lambda:GetFunction"])
        admin = made(hub, "admin", role="admin")
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
        assert "takes no signature: there is no access key" in diagnosed(hub)
        admin = made(hub, "deployer", role="admin")
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
    toml = f'{HUB}trusted_proxies = ["127.0.0.1"]\ntls = {{ cert = "{certificate}", key = "{key}" }}\n'
    with daemon(tmp_path, toml, {}) as hub:
        admin = made(hub, "deployer", role="admin")
        create(admin, "web", answering(1))
        url = admin.create_function_url_config(FunctionName="web", AuthType="NONE")["FunctionUrl"]
        assert url.startswith(f"https://127.0.0.1:{hub.listen}/_url/")
        assert admin.get_function(FunctionName="web")["Code"]["Location"].startswith(f"http://127.0.0.1:{hub.admin}/")
        admin.meta.events.register("before-sign", lambda request, **_: request.headers.add_header(*FORWARDED))
        assert admin.get_function(FunctionName="web")["Code"]["Location"].startswith(f"https://127.0.0.1:{hub.admin}/")


def test_the_last_key_that_is_revoked_opens_nothing_unless_it_is_said_so(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        assert hub.api("GET", "/api/v1/status")["signatures"] == "any"
        first, other = made(hub, "first", role="admin"), made(hub, "other")
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
            assert "takes no signature: there is no access key" in diagnosed(hub)
            hub.kill()
            hub.start()
        made(hub, "last")
        assert refused(client(hub).list_functions)[1] == "UnrecognizedClientException"
        ran = hub.cli("token", "revoke", "last", "--open")
        assert (ran.returncode, "takes any signature." in ran.stderr) == (0, True)
        hub.kill()
        hub.start()
        assert client(hub).list_functions()["Functions"] == []
        assert "takes any signature" in diagnosed(hub)


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
        assert "keys are made by the socket alone" in diagnosed(hub)
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
