"""Access keys with IAM policies: what they allow and deny, in AWS's words, and how they are made and shown."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import client
from tests.contract.keys import made, signed, signing
from tests.contract.package import ROLE, RUNTIME, answering, called, create
from tests.contract.test_functions import refused
from tests.e2e.daemon import Daemon, daemon

ARN = "arn:aws:lambda:us-east-1:000000000000"


def allow(*actions: str, on: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": [f"lambda:{one}" for one in actions], "Resource": on, **more}


def deny(*actions: str, on: Any = "*", **more: Any) -> dict[str, Any]:
    return {**allow(*actions, on=on, **more), "Effect": "Deny"}


def policy(*statements: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def keyed(hub: Daemon, name: str, *statements: Any) -> Any:
    """A client that signs with a new key of a policy."""
    return made(hub, name, policy=policy(*statements))


def says(client_: Any, call: Any, **given: Any) -> str:
    """Whether a call was allowed, or else what was said of it, after its user and its action."""
    try:
        call(**given)
    except client_.exceptions.ClientError as error:
        told = error.response
    else:
        return "allowed"
    kind = told["Error"]["Code"], told["ResponseMetadata"]["HTTPStatusCode"]
    return (
        told["Error"]["Message"].partition(" on resource: ")[2] if kind == ("AccessDeniedException", 403) else str(told)
    )


def denied(resource: str, whose: str = "an identity") -> str:
    return f"{resource} with an explicit deny in {whose}-based policy"


def unallowed(resource: str, action: str) -> str:
    return f"{resource} because no identity-based policy allows the lambda:{action} action"


def test_a_key_may_what_its_policy_says(tmp_path: Path) -> None:
    handlers = {"hello.py": "def handler(event, context):\n    return 1\n"}
    with daemon(tmp_path, "", handlers) as hub:
        admin = made(hub, "admin", role="admin")
        for name in ("orders", "web"):
            create(admin, name, answering(1), Tags={"team": "blue" if name == "orders" else "red"}, Publish=True)
        admin.create_alias(FunctionName="orders", Name="live", FunctionVersion="1")
        one = keyed(
            hub, "caller",
            allow("InvokeFunction", "ListFunctions", on="*"),
            deny("InvokeFunction", on=[f"{ARN}:function:hello", f"{ARN}:function:orders:1"]),
        )  # fmt: skip
        assert (called(one, "web")["answer"], called(one, "orders")["answer"]) == (1, 1)
        assert len(one.list_functions()["Functions"]) == 3
        assert says(one, one.invoke, FunctionName="hello") == denied(f"{ARN}:function:hello")
        assert says(one, one.invoke, FunctionName="orders:1") == denied(f"{ARN}:function:orders:1")
        assert says(one, one.invoke, FunctionName="orders", Qualifier="1") == denied(f"{ARN}:function:orders:1")
        assert says(one, one.invoke, FunctionName="orders:live") == "allowed"
        whole = refused(one.get_function, FunctionName="web")
        assert whole == (
            403, "AccessDeniedException",
            "User: arn:aws:iam::000000000000:user/caller is not authorized to perform: lambda:GetFunction on resource: "
            + unallowed(f"{ARN}:function:web", "GetFunction"),
        )  # fmt: skip
        assert says(one, one.get_account_settings) == unallowed("*", "GetAccountSettings")
        # versions and aliases are other resources than the function, as at AWS
        versions = keyed(hub, "versions", allow("InvokeFunction", on=f"{ARN}:function:orders:*"))
        assert says(versions, versions.invoke, FunctionName="orders") == unallowed(
            f"{ARN}:function:orders", "InvokeFunction"
        )
        for name in ("orders:1", "orders:live", "orders:$LATEST", f"{ARN}:function:orders:live"):
            assert says(versions, versions.invoke, FunctionName=name) == "allowed"
        # by tags
        blue = keyed(hub, "blue", allow("*", on="*", Condition={"StringEquals": {"aws:ResourceTag/team": "blue"}}))
        assert says(blue, blue.invoke, FunctionName="orders") == "allowed"
        assert says(blue, blue.invoke, FunctionName="web") == unallowed(f"{ARN}:function:web", "InvokeFunction")
        assert says(blue, blue.list_functions) == unallowed("*", "ListFunctions")
        tagger = keyed(
            hub,
            "tagger",
            allow("TagResource", "UntagResource", Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["stage"]}}),
        )
        web = f"{ARN}:function:web"
        assert says(tagger, tagger.tag_resource, Resource=web, Tags={"stage": "x"}) == "allowed"
        assert says(tagger, tagger.tag_resource, Resource=web, Tags={"stage": "x", "team": "blue"}) == unallowed(
            web, "TagResource"
        )
        assert says(tagger, tagger.untag_resource, Resource=web, TagKeys=["team"]) == unallowed(web, "UntagResource")
        maker = keyed(hub, "maker", allow("CreateFunction", "CreateEventSourceMapping"))
        new = {
            "FunctionName": "new",
            "Runtime": RUNTIME,
            "Role": ROLE,
            "Handler": "a.b",
            "Code": {"ZipFile": answering(1)},
        }
        tags = {"Tags": {"team": "blue"}}
        assert says(maker, maker.create_function, **new, **tags) == unallowed(f"{ARN}:function:new", "TagResource")
        assert says(maker, maker.create_function, **new) == "allowed"
        source = "arn:aws:mq:us-east-1:000000000000:broker:b"
        told = says(maker, maker.create_event_source_mapping, FunctionName="new", EventSourceArn=source, **tags)
        assert told == unallowed(f"{ARN}:event-source-mapping:*", "TagResource")
        hub.kill()
        hub.start()
        assert says(one, one.invoke, FunctionName="hello") == denied(f"{ARN}:function:hello")


def test_a_function_that_cannot_be_run_any_more_is_guarded_as_before(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        admin = made(hub, "admin", role="admin")
        create(admin, "red", answering(1), Tags={"team": "red"})
        red = {"StringEquals": {"aws:ResourceTag/team": "red"}}
        one = keyed(hub, "one", allow("*"), deny("*", Condition=red))
        hub.kill()
        for folder in ("archives", "unpacked"):
            shutil.rmtree(hub.project / "var" / "functions" / folder)
        hub.start()
        assert admin.get_function_configuration(FunctionName="red")["State"] == "Failed"
        assert says(one, one.get_function, FunctionName="red") == denied(f"{ARN}:function:red")
        assert says(one, one.delete_function, FunctionName="red") == denied(f"{ARN}:function:red")


def test_what_a_request_says_of_itself_is_what_conditions_are_about(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        admin = made(hub, "admin", role="admin")
        ip, here = {"aws:SourceIp": "127.0.0.0/8"}, {"IpAddress": {"aws:SourceIp": "127.0.0.1"}}
        one = keyed(
            hub, "deploy",
            allow("CreateFunction", on=f"{ARN}:function:${{aws:username}}-*", Condition=here),
            allow("GetFunction", Condition={"NotIpAddress": ip}),
            allow("ListLayers", Condition={"Bool": {"aws:SecureTransport": "true"}}),
            allow("AddPermission", "RemovePermission", Condition={"StringEquals": {"lambda:Principal": "s3.amazonaws.com"}}),
            allow("CreateFunctionUrlConfig", Condition={"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}),
            allow("CreateEventSourceMapping", "UpdateEventSourceMapping", Condition={"ArnLike": {"lambda:FunctionArn": f"{ARN}:function:deploy-*"}}),
            allow("PublishLayerVersion", on=f"{ARN}:layer:mine"),
            allow("DeleteFunction", Condition={"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}),
        )  # fmt: skip
        asked = {"Runtime": RUNTIME, "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": answering(1)}}
        create(admin, "other", answering(1))
        assert says(one, one.create_function, FunctionName="deploy-a", **asked) == "allowed"
        assert says(one, one.create_function, FunctionName="own-b", **asked) == unallowed(
            f"{ARN}:function:own-b", "CreateFunction"
        )
        a = f"{ARN}:function:deploy-a"
        assert says(one, one.get_function, FunctionName="deploy-a") == unallowed(a, "GetFunction")
        assert says(one, one.delete_function, FunctionName="deploy-a") == unallowed(a, "DeleteFunction")
        assert says(one, one.list_layers) == unallowed("*", "ListLayers")
        granted = {"FunctionName": "deploy-a", "Action": "lambda:InvokeFunction"}
        assert says(one, one.add_permission, **granted, StatementId="s", Principal="s3.amazonaws.com") == "allowed"
        assert says(one, one.add_permission, **granted, StatementId="t", Principal="*") == unallowed(a, "AddPermission")
        admin.add_permission(**granted, StatementId="all", Principal="*")
        assert says(one, one.remove_permission, FunctionName="deploy-a", StatementId="all") == unallowed(
            a, "RemovePermission"
        )
        assert says(one, one.remove_permission, FunctionName="deploy-a", StatementId="s") == "allowed"
        assert says(one, one.create_function_url_config, FunctionName="deploy-a", AuthType="NONE") == unallowed(
            a, "CreateFunctionUrlConfig"
        )
        assert says(one, one.create_function_url_config, FunctionName="deploy-a", AuthType="AWS_IAM") == "allowed"
        queue = {"EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:q", "Enabled": False}
        unmapped = unallowed(f"{ARN}:event-source-mapping:*", "CreateEventSourceMapping")
        assert says(one, one.create_event_source_mapping, FunctionName="other", **queue) == unmapped
        theirs = admin.create_event_source_mapping(FunctionName="other", **queue)["UUID"]
        moved = says(one, one.update_event_source_mapping, UUID=theirs, FunctionName="deploy-a")
        assert moved == unallowed(f"{ARN}:event-source-mapping:{theirs}", "UpdateEventSourceMapping")
        layer = {"Content": {"ZipFile": answering(1)}}
        assert says(one, one.publish_layer_version, LayerName="mine", **layer) == "allowed"
        assert says(one, one.publish_layer_version, LayerName="theirs", **layer) == unallowed(
            f"{ARN}:layer:theirs", "PublishLayerVersion"
        )


def test_a_function_s_policy_denies_keys_what_theirs_allow(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        create(client(hub), "web", answering(1))
        url = client(hub).create_function_url_config(FunctionName="web", AuthType="AWS_IAM")["FunctionUrl"]
        admin = made(hub, "admin", role="admin")
        guest = made(hub, "guest", role="operator")
        keys = guest._request_signer._credentials
        assert called(guest, "web")["answer"] == 1
        assert signed(url, keys)[0] == 200
        statement = {
            "Sid": "not-guest", "Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::000000000000:user/guest"},
            "Action": "lambda:Invoke*", "Resource": f"{ARN}:function:web",
        }  # fmt: skip
        admin.put_resource_policy(ResourceArn=f"{ARN}:function:web", Policy=policy(statement))
        assert json.loads(admin.get_policy(FunctionName="web")["Policy"])["Statement"] == [statement]
        assert says(guest, guest.invoke, FunctionName="web") == denied(f"{ARN}:function:web", "a resource")
        assert signed(url, keys) == (403, {"Message": "Forbidden"})
        assert called(admin, "web")["answer"] == 1
        for wrong, text in (
            ({**statement, "Principal": {"Service": "s3.amazonaws.com"}}, "only keys are denied something"),
            ({**statement, "Action": "lambda:Nope"}, "Lambda has no action like 'lambda:Nope'"),
            ({**statement, "Condition": {"StringIs": {"aws:username": "x"}}}, "no operator 'StringIs'"),
            ({**statement, "NotAction": "x"}, "'NotAction' is not in this version"),
        ):
            status, kind, message = refused(
                admin.put_resource_policy, ResourceArn=f"{ARN}:function:web", Policy=policy(wrong)
            )
            assert (status, kind) == (400, "InvalidParameterValueException")
            assert message.startswith("Policy: Statement[0]: ")
            assert text in message


def test_a_policy_that_locks_out_its_maker_is_refused_and_the_socket_opens_any(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        create(client(hub), "web", answering(1))
        admin, other = made(hub, "admin", role="admin"), made(hub, "other", role="admin")
        where = {"ResourceArn": f"{ARN}:function:web"}
        everybody = {"Effect": "Deny", "Principal": "*", "Action": "lambda:*", "Resource": where["ResourceArn"]}
        status, kind, message = refused(admin.put_resource_policy, **where, Policy=policy(everybody))
        assert (status, kind) == (400, "InvalidParameterValueException")
        left = "it would leave arn:aws:iam::000000000000:user/{} no way to put another or to delete it"
        assert left.format("admin") in message
        putter = keyed(hub, "putter", allow("PutResourcePolicy"))
        for denied_of_it in ("lambda:PutResourcePolicy", "lambda:*"):
            said = refused(putter.put_resource_policy, **where, Policy=policy({**everybody, "Action": denied_of_it}))
            assert said[:2] == (400, "InvalidParameterValueException")
            assert left.format("putter") in said[2]
        putter.put_resource_policy(**where, Policy=policy({**everybody, "Action": "lambda:DeleteResourcePolicy"}))
        admin.put_resource_policy(**where, Policy=policy({**everybody, "Action": "lambda:Delete*"}))
        others = {**everybody, "Principal": {"AWS": "arn:aws:iam::000000000000:user/other"}}
        admin.put_resource_policy(**where, Policy=policy(others))
        assert refused(other.delete_resource_policy, **where)[:2] == (403, "AccessDeniedException")
        assert hub.cli("token", "revoke", "admin").returncode == 0
        path = f"/2026-07-09/resource-policy/{where['ResourceArn']}"
        command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "DELETE"]
        there = subprocess.run([*command, f"http://127.0.0.1:{hub.admin}{path}"], capture_output=True, text=True)
        assert there.stdout == "403", "at its address a signature is asked for"
        socket = ["--unix-socket", str(hub.project / "var/hub.sock")]
        assert subprocess.run([*command, *socket, f"http://hub{path}"], capture_output=True, text=True).stdout == "204"
        assert called(other, "web")["answer"] == 1


def test_a_policy_is_refused_where_it_is_wrong_and_shown_as_it_is(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        file = tmp_path / "policy.json"

        def wrong(text: str, *options: str) -> str:
            file.write_text(text)
            ran = hub.cli("token", "create", "odd", "--aws", "--policy", str(file), *options)
            assert ran.returncode == 2, ran.stdout
            return ran.stderr

        for text, part in (
            ("{", "policy: line 1, column 2: "),
            (policy(allow("Nope")), "policy: Statement[0]: Action: Lambda has no action like 'lambda:Nope'"),
            (policy(allow("*"), deny("*", Condition={"Bool": {"aws:Nope": "true"}})), "policy: Statement[1]: Condition.Bool: there is no condition key 'aws:Nope'"),
            (policy(allow("*", on="arn:aws:lambda:us-east-1:123456789012:function:a")), "is nothing of this hub's"),
        ):  # fmt: skip
            assert part in wrong(text)
        good = policy(
            allow("GetFunction", on=f"{ARN}:function:web", Condition={"IpAddress": {"aws:SourceIp": "::1/128"}})
        )
        assert "a policy says itself which actions" in wrong(good, "--action", "lambda:Get*")
        assert "whatever its role" in wrong(good, "--role", "admin")
        assert "are for access keys" in hub.cli("token", "create", "odd", "--policy", str(file)).stderr
        assert hub.cli("token", "list", "--json").stdout.strip() == "[]"
        ran = hub.cli("token", "create", "looker", "--aws", "--policy", "-", stdin=good)
        assert ran.returncode == 0, ran.stderr
        assert json.loads(hub.cli("token", "list", "--json").stdout)[0]["policy"] == json.loads(good)
        listed = hub.cli("token", "list").stdout.splitlines()[1].split()
        assert listed[:2] == ["looker", "policy"]
        shown = hub.cli("token", "show", "looker")
        assert json.loads(shown.stdout[shown.stdout.index("{") :]) == json.loads(good)
        assert json.loads(hub.cli("token", "show", "looker", "--json").stdout)["policy"] == json.loads(good)
        assert hub.cli("token", "show", "nobody").returncode != 0
        assert "::1/128" in hub.api("GET", "/settings", raw=True)[1].decode()
        ordered = next(row["order"] for row in hub.api("GET", "/api/v1/changes") if row["status"] == 201)
        assert json.loads(ordered["policy"]) == json.loads(good)
        key, secret = (line.partition("=")[2] for line in ran.stdout.splitlines())
        with pytest.raises(Exception, match="no identity-based policy allows the lambda:GetFunction action"):
            signing(hub, key, secret).get_function(FunctionName="web")
