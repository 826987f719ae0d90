"""What keys change by the Lambda API, and are refused, is in the log of changes with what it was about."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import client
from tests.contract.keys import made
from tests.contract.package import answering, create, zipped
from tests.contract.test_functions import refused
from tests.e2e.daemon import Daemon, daemon
from triggerhub.policy.refusals import AT_MOST

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:orders"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
OPEN = {"Sid": "a", "Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": FUNCTION}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [OPEN]})


def _log(hub: Daemon) -> list[tuple[str, Any, int]]:
    rows = hub.api("GET", "/api/v1/changes")
    return [(row["text"], row["order"], row["status"]) for row in reversed(rows) if row["who"].startswith("key ")]


def test_the_log_says_what_was_changed_and_by_which_answer_it_was_refused(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        admin = made(hub, "admin", role="admin")
        secret = {"Variables": {"HIDDEN_NAME": "hidden-value"}}
        create(admin, "orders", answering(1), Environment=secret, Timeout=7)
        version = admin.publish_version(FunctionName="orders")["Version"]
        admin.create_alias(FunctionName="orders", Name="slow", FunctionVersion=version)
        admin.delete_alias(FunctionName="orders", Name="slow")
        admin.add_permission(
            FunctionName="orders", Qualifier="1", StatementId="s", Action="lambda:InvokeFunction", Principal="*"
        )
        admin.publish_layer_version(LayerName="lay", Content={"ZipFile": zipped({"x": "y"})})
        admin.delete_layer_version(LayerName="lay", VersionNumber=1)
        admin.put_resource_policy(ResourceArn=FUNCTION, Policy=POLICY)
        mapping = admin.create_event_source_mapping(FunctionName="orders", EventSourceArn=QUEUE, Enabled=False)["UUID"]
        admin.update_event_source_mapping(UUID=mapping, BatchSize=7)
        admin.delete_event_source_mapping(UUID=mapping)
        code = {"Runtime": "python3.11", "Role": "arn:aws:iam::000000000000:role/any", "Handler": "h.h"}
        assert refused(admin.create_function, FunctionName="orders", Code={"ZipFile": answering(2)}, **code)[0] == 409
        assert refused(admin.delete_function, FunctionName="nope")[0] == 404
        told = _log(hub)
        words = {text: (order, status) for text, order, status in told}
        first, status = words["CreateFunction orders"][0], told[0][2]
        assert (status, told[0][1]["Timeout"], told[0][1]["Environment"]) == (201, 7, {"Variables": "…"})
        assert first["Code"] == {"ZipFile": "…"}
        assert "hidden" not in json.dumps(told).lower()
        assert words["PublishVersion orders"] == ({"Version": "1"}, 201)
        assert words["CreateAlias orders"] == ({"Name": "slow", "FunctionVersion": "1"}, 201)
        assert words["DeleteAlias orders"] == ({"Name": "slow"}, 204)
        public = {"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*"}
        assert words["AddPermission orders:1"] == (public, 201)
        assert words["DeleteLayerVersion lay:1"] == (None, 204)
        assert words["PublishLayerVersion lay"] == ({"Content": {"ZipFile": "…"}, "Version": 1}, 201)
        assert words[f"PutResourcePolicy {FUNCTION}"] == ({"Policy": POLICY}, 200)
        made_of = {"EventSourceArn": QUEUE, "Enabled": False, "UUID": mapping}
        assert words["CreateEventSourceMapping orders"] == (made_of, 202)
        assert words[f"UpdateEventSourceMapping {mapping}"] == ({"BatchSize": 7}, 202)
        assert words[f"DeleteEventSourceMapping {mapping}"] == (None, 202)
        assert [(text, status) for text, _, status in told[-2:]] == [
            ("CreateFunction orders", 409),
            ("DeleteFunction nope", 404),
        ]


def test_the_log_has_dots_for_what_a_policy_s_condition_asks_callers_to_prove(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        admin = made(hub, "admin", role="admin")
        create(admin, "orders", answering(1))
        for number, name in enumerate(("lambda:EventSourceToken", "LAMBDA:eventSOURCEtoken")):
            asking = {**OPEN, "Condition": {"StringEquals": {name: [f"proof-{number}"]}}}
            text = json.dumps({"Version": "2012-10-17", "Statement": [asking]})
            admin.put_resource_policy(ResourceArn=FUNCTION, Policy=text)
            expected = text.replace(f'["proof-{number}"]', '"…"')
            assert _log(hub)[-1] == (f"PutResourcePolicy {FUNCTION}", {"Policy": expected}, 200)
        twice = '{"Condition": {"lambda:EventSourceToken": "proof-2"}, "Condition": {}}'
        for wrong in (twice, text[:-1]):
            assert refused(admin.put_resource_policy, ResourceArn=FUNCTION, Policy=wrong)[0] == 400
            assert _log(hub)[-1] == (f"PutResourcePolicy {FUNCTION}", {"Policy": "…"}, 400)
        assert "proof" not in json.dumps(_log(hub))


@pytest.mark.parametrize("given", [{"role": "viewer"}, {"actions": ["lambda:Get*"], "functions": ["orders"]}])
def test_who_is_denied_a_change_is_in_the_log_and_cannot_fill_it(tmp_path: Path, given: dict[str, Any]) -> None:
    with daemon(tmp_path, "", {}) as hub:
        create(client(hub), "orders", answering(1))
        key, other = made(hub, "narrow", **given), made(hub, "other", role="viewer")
        for _ in range(AT_MOST.count + 5):
            assert refused(key.delete_function, FunctionName="orders")[:2] == (403, "AccessDeniedException")
        assert refused(key.invoke, FunctionName="orders")[0] == 403
        assert refused(other.delete_alias, FunctionName="orders", Name="live")[0] == 403
        told = _log(hub)
        assert told[:-1] == [("DeleteFunction orders", None, 403)] * AT_MOST.count
        assert told[-1] == ("DeleteAlias orders", {"Name": "live"}, 403)


def test_what_a_token_is_refused_by_its_role_is_in_the_log(tmp_path: Path) -> None:
    with daemon(tmp_path, '[console]\nauth = "token"\n', {}) as hub:
        token = json.loads(hub.cli("token", "create", "looker", "--role", "viewer", "--json").stdout)["token"]
        ran = hub.cli("--hub", f"http://127.0.0.1:{hub.admin}", "--token", token, "token", "create", "mine")
        assert "this takes an admin" in ran.stderr
        rows = hub.api("GET", "/api/v1/changes")
        assert ("token looker", "POST /api/v1/tokens", 403) in [
            (row["who"], row["text"], row["status"]) for row in rows
        ]


def test_what_came_with_a_token_is_in_the_log_with_what_it_asked_for(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        create(client(hub), "orders", answering(1), Publish=True)
        token = json.loads(hub.cli("token", "create", "deploy", "--role", "admin", "--json").stdout)["token"]
        path = "/2015-03-31/functions/orders/aliases"
        request = urllib.request.Request(
            f"http://127.0.0.1:{hub.admin}{path}",
            json.dumps({"Name": "live", "FunctionVersion": "1"}).encode(),
            {"Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 201
        (row,) = [row for row in hub.api("GET", "/api/v1/changes") if row["who"] == "token deploy"]
        assert (row["text"], row["status"]) == (f"POST {path}", 201)
        assert row["order"] == {"Name": "live", "FunctionVersion": "1"}
