"""The webhook source in a context of its own, and what it says of its options."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import tomllib
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from pydantic import ValidationError

from sources import webhook
from triggerhub.config.load import load
from triggerhub.errors import BacklogFull
from triggerhub.model import Crashed, Fault, Interrupted, Raised, Returned, TimedOut
from triggerhub.settings import Batch, Destination, RetryPolicy, Secret
from triggerhub.source import Filtered, Request
from triggerhub.testing import FakeContext, trigger

SECRET = {"secret": "S"}
GITHUB = {"type": "github", "secret": SECRET}


class Vault:
    def __init__(self, **values: str) -> None:
        self.values = {
            "S": "s3cret",
            "OLD": "0ld",
            "EMPTY": "",
            "LONG": "0123456789abcdef" * 4,
            "PREFIX": "whsec_",
            **values,
        }

    def resolve(self, reference):
        return Secret(self.values[reference["secret"]])


def options(**given) -> webhook.Options:
    return webhook.Options.model_validate({"path": "/hooks/x", "auth": "none", **given}, context={"secrets": Vault()})


def request(body: bytes = b"{}", *headers: tuple[str, str], **given) -> Request:
    settings = {
        "method": "POST", "path": "/hooks/x", "raw_path": "/hooks/x", "query": "", "client": "192.0.2.7",
        "scheme": "https", "host": "hub.example", **given,
    }  # fmt: skip
    return Request(headers=[("content-type", "application/json"), *headers], body=body, **settings)


def signed(body: bytes, secret: str = "s3cret") -> tuple[str, str]:
    return "x-hub-signature-256", f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


@asynccontextmanager
async def receiving(made: webhook.Options, **given):
    ctx = FakeContext(trigger("hook", "webhook", options=made, **given.pop("trigger", {})), **given)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(webhook.run, ctx, made)
        with anyio.fail_after(10):
            while made.path not in ctx.routes.routes:
                await anyio.sleep(0)

        async def call(sent: Request):
            response = await ctx.routes.call(made.path, sent)
            return response, json.loads(response.body) if response.body[:1] in (b"{", b"[") else response.body

        yield ctx, call
        tasks.cancel_scope.cancel()
    assert ctx.routes.routes == {}


async def test_a_request_is_stored_before_it_is_answered():
    async with receiving(options()) as (ctx, call):
        response, ids = await call(request(b'{"a": 1}', ("x-amzn-trace-id", "Root=1-2-3")))
    [event] = ctx.events
    assert response.status == 202
    assert ids["id"] == event.id
    assert len(ids["deliveries"]) == 1
    record = json.loads(event.data)
    assert (record["version"], record["body"], record["routeKey"]) == ("2.0", '{"a": 1}', "POST /hooks/x")
    assert (record["requestContext"]["apiId"], event.trace, event.time) == ("hook", "Root=1-2-3", ctx.now())


async def test_a_delivery_that_is_repeated_runs_once():
    body = b'{"zen": 1}'
    repeated = request(body, signed(body), ("x-github-delivery", "d-1"))
    async with receiving(options(auth=GITHUB)) as (ctx, call):
        first, ids = await call(repeated)
        second, again = await call(repeated)
    assert (first.status, second.status) == (202, 200)
    assert ids == again
    assert [event.dedup_key for event in ctx.events] == ["d-1"]


async def test_a_sender_without_ids_may_give_one():
    async with receiving(options()) as (ctx, call):
        for _ in range(2):
            await call(request(b"{}", ("idempotency-key", "k")))
            await call(request(b"{}"))
    assert [event.dedup_key for event in ctx.events] == ["k", None, None]


async def test_what_the_filter_refuses_is_told(monkeypatch):
    async def emit(self, *events, **_):
        return [Filtered(why="body.a")]

    monkeypatch.setattr(FakeContext, "emit", emit)
    async with receiving(options()) as (_, call):
        response, told = await call(request())
    assert (response.status, told) == (200, {"filtered": "body.a"})


async def test_a_full_backlog_is_the_ingress_business():
    async with receiving(options()) as (ctx, call):
        ctx.fail = BacklogFull("hook", 1)
        with pytest.raises(BacklogFull):
            await call(request())


@pytest.mark.parametrize(
    ("header", "status"),
    [
        pytest.param(signed(b"{}"), 202, id="signed"),
        pytest.param(signed(b"{}", "0ld"), 202, id="by the old secret"),
        pytest.param(signed(b"{ }"), 401, id="for another body"),
        pytest.param(("x-other", ""), 401, id="not signed"),
    ],
)
async def test_only_who_holds_a_secret_gets_in(header, status):
    auth = {"type": "github", "secret": [SECRET, {"secret": "OLD"}]}
    async with receiving(options(auth=auth)) as (ctx, call):
        response, body = await call(request(b"{}", header))
    assert response.status == status
    assert len(ctx.events) == (status == 202)
    if status == 401:
        assert body == {"message": "Unauthorized"}


@pytest.mark.parametrize(
    ("auth", "challenge"),
    [
        ({"type": "basic", "username": "u", "password": SECRET}, 'Basic realm="triggerhub", charset="UTF-8"'),
        ({"type": "bearer", "secret": SECRET}, "Bearer"),
        (GITHUB, None),
    ],
)
async def test_a_client_is_told_how_to_log_in(auth, challenge):
    async with receiving(options(auth=auth)) as (_, call):
        response, _ = await call(request())
    assert (response.status, dict(response.headers).get("www-authenticate")) == (401, challenge)


@pytest.mark.parametrize(
    ("auth", "headers"),
    [
        ({"type": "gitlab", "secret": SECRET}, [("x-gitlab-token", "s3cret")]),
        ({"type": "bearer", "secret": SECRET}, [("authorization", "Bearer s3cret")]),
        ({"type": "basic", "username": "u", "password": SECRET},
         [("authorization", f"Basic {base64.b64encode(b'u:s3cret').decode()}")]),
        ({"type": "hmac", "secret": SECRET, "header": "X-Sig", "prefix": "sha256="}, [("x-sig", signed(b"{}")[1])]),
        ({"type": "twilio", "secret": SECRET}, [("content-type", "x"), ("x-twilio-signature", base64.b64encode(hmac.new(
            b"s3cret", b"https://hub.example/hooks/x?q=1", "sha1").digest()).decode())]),
    ],
)  # fmt: skip
async def test_each_kind_of_auth_is_wired_to_its_scheme(auth, headers):
    body = b"" if auth["type"] == "twilio" else b"{}"
    made = replace(request(body, query="q=1"), headers=headers)
    async with receiving(options(auth=auth)) as (_, call):
        good, _ = await call(made)
        bad, _ = await call(replace(made, headers=[(name, value[:-2] + "xx") for name, value in headers]))
    assert (good.status, bad.status) == (202, 401)


async def test_a_json_web_token_is_checked_against_the_hubs_clock():
    import jwt

    auth = {"type": "jwt", "algorithms": ["HS256"], "secret": {"secret": "LONG"}, "audience": ["hub"]}
    async with receiving(options(auth=auth)) as (ctx, call):
        token = jwt.encode({"exp": ctx.now() // 1000 + 60, "aud": "hub"}, "0123456789abcdef" * 4, algorithm="HS256")
        bearing = request(b"{}", ("authorization", f"Bearer {token}"))
        good, _ = await call(bearing)
        ctx.clock.advance(60_000)
        late, _ = await call(bearing)
    assert (good.status, late.status) == (202, 401)


async def test_slack_is_told_its_challenge():
    body = b'{"type": "url_verification", "challenge": "3eZbrw1a"}'
    auth = {"type": "slack", "secret": SECRET}
    async with receiving(options(auth=auth)) as (ctx, call):
        time = str(ctx.now() // 1000)
        mac = hmac.new(b"s3cret", f"v0:{time}:".encode() + body, hashlib.sha256).hexdigest()
        headers = ("x-slack-request-timestamp", time), ("x-slack-signature", f"v0={mac}")
        response, told = await call(request(body, *headers))
        forged, _ = await call(request(body, headers[0]))
    assert (response.status, told, forged.status) == (200, b"3eZbrw1a", 401)
    assert ctx.events == []


async def test_the_rate_holds_the_authentic_back_and_no_stranger_uses_it_up():
    made = options(auth=GITHUB, limit={"rate": "2/s"})
    async with receiving(made) as (ctx, call):
        for _ in range(5):
            assert (await call(request()))[0].status == 401
        answers = [(await call(request(b"{}", signed(b"{}"))))[0] for _ in range(3)]
        assert [answer.status for answer in answers] == [202, 202, 429]
        assert dict(answers[2].headers)["retry-after"] == "1"
        ctx.clock.advance(1000)
        assert (await call(request(b"{}", signed(b"{}"))))[0].status == 202


FAULT = Fault(type="E", message="inside")


@pytest.mark.parametrize(
    ("outcome", "status", "body"),
    [
        pytest.param(Returned(payload=b'{"a": 1}'), 200, {"a": 1}, id="a value"),
        pytest.param(Returned(payload=b'{"statusCode": 201, "body": "made"}'), 201, b"made", id="a response"),
        pytest.param(
            Returned(payload=b'{"statusCode": 200, "body": "/wA=", "isBase64Encoded": true}'), 200, b"\xff\x00", id="binary"
        ),
        pytest.param(Returned(payload=b'{"statusCode": 1}'), 502, {"message": "Internal Server Error"}, id="malformed"),
        pytest.param(Raised(fault=FAULT, payload=b"{}"), 502, {"message": "Internal Server Error"}, id="raised"),
        pytest.param(TimedOut(fault=FAULT, payload=b"{}"), 504, {"message": "Endpoint request timed out"}, id="timed out"),
        pytest.param(Interrupted(), 503, {"message": "Service Unavailable"}, id="stopping"),
        pytest.param(
            Crashed(fault=Fault(type="TooManyRequestsException", message=""), payload=b"{}", throttled=True), 429,
            {"message": "Too Many Requests"}, id="no worker",
        ),
    ],
)  # fmt: skip
async def test_a_result_is_the_functions_own_answer(outcome, status, body):
    async with receiving(options(respond="result"), answer=outcome) as (ctx, call):
        response, told = await call(request())
    assert (response.status, told) == (status, body)
    assert len(ctx.invoked) == 1
    assert ctx.events == []


CORS = {"allow_origins": ["https://site.example"], "allow_headers": ["content-type"], "max_age": "10m"}


async def test_preflights_are_answered_without_the_function():
    asking = [("origin", "https://site.example"), ("access-control-request-method", "POST")]
    async with receiving(options(auth=GITHUB, cors=CORS)) as (ctx, call):
        assert ctx.routes.routes["/hooks/x"].methods == ("POST", "OPTIONS")
        preflight, _ = await call(replace(request(b"", method="OPTIONS"), headers=asking))
        plain, _ = await call(request(b"", method="OPTIONS"))
        refused, _ = await call(request(b"{}", asking[0]))
    assert preflight.status == 204
    assert dict(preflight.headers)["access-control-max-age"] == "600"
    assert (plain.status, dict(plain.headers)["allow"]) == (405, "POST")
    assert (refused.status, dict(refused.headers)["access-control-allow-origin"]) == (401, "https://site.example")
    assert ctx.events == []


async def test_head_goes_where_get_goes_with_cors_and_without():
    for cors in (None, CORS):
        async with receiving(options(methods=["GET"], cors=cors)) as (_, call):
            answers = [(await call(replace(request(b""), method=method)))[0].status for method in ("GET", "HEAD")]
        assert answers == [202, 202]


# options


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"auth": {"type": "github", "secret": {"secret": "EMPTY"}}}, id="an empty secret"),
        pytest.param({"auth": {"type": "github", "secret": []}}, id="no secret"),
        pytest.param({"auth": {"type": "github"}}, id="a secret is missing"),
        pytest.param({"auth": {"type": "github", "secret": "plain"}}, id="a secret in the open"),
        pytest.param({"auth": {"type": "standard", "secret": SECRET}}, id="a standard secret that is not base64"),
        pytest.param(
            {"auth": {"type": "standard", "secret": {"secret": "PREFIX"}}}, id="a standard secret without a key"
        ),
        pytest.param({"auth": {"type": "unknown"}}, id="an unknown kind"),
        pytest.param({"auth": "all"}, id="an unknown word"),
        pytest.param({"auth": {"type": "basic", "username": "a:b", "password": SECRET}}, id="a colon in a user name"),
        pytest.param({"auth": {"type": "hmac", "secret": SECRET, "header": "a b"}}, id="no header name"),
        pytest.param({"auth": {"type": "jwt", "algorithms": ["none"]}}, id="alg none"),
        pytest.param({"methods": []}, id="no method"),
        pytest.param({"methods": ["CONNECT"]}, id="a method that is none here"),
        pytest.param({"limit": {"body": "1GB"}}, id="too large a body"),
        pytest.param({"limit": {"body": "0B"}}, id="no body at all"),
        pytest.param({"cors": {"allow_origins": []}}, id="no origin"),
        pytest.param({"respond": "later"}, id="an unknown answer"),
        pytest.param({"unknown": 1}, id="an unknown key"),
    ],
)
def test_options_that_cannot_be_are_refused(bad):
    with pytest.raises(ValidationError):
        options(**bad)


def test_auth_has_no_default():
    with pytest.raises(ValidationError, match="auth"):
        webhook.Options.model_validate({"path": "/a"}, context={"secrets": Vault()})


def test_editors_get_a_schema_in_which_secrets_are_references():
    schema = webhook.Options.model_json_schema()
    assert {"path", "auth"} == set(schema["required"])
    secret = schema["$defs"]["Signed"]["properties"]["secret"]
    assert {kind["type"] for kind in secret["anyOf"]} == {"object", "array"}


JWT = {"type": "jwt", "algorithms": ["HS256"]}


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        pytest.param({}, [], id="all is well"),
        pytest.param({"path": "hooks"}, ["bad-path"], id="no slash"),
        pytest.param({"path": "/_url/a"}, ["bad-path"], id="a reserved path"),
        pytest.param({"respond": "stream"}, ["not-available"], id="stream"),
        pytest.param({"cors": {"allow_origins": ["*"], "allow_credentials": True}}, ["cors-credentials"], id="cors"),
        pytest.param({"cors": {"allow_origins": ["https://*.a.example"]}}, ["cors-origin"], id="no origin"),
        pytest.param({"auth": {"type": "github", "secret": [SECRET, SECRET]}}, ["duplicate-secret"], id="twice"),
        pytest.param({"auth": JWT}, ["no-key"], id="jwt without a key"),
        pytest.param({"auth": {**JWT, "secret": SECRET}}, ["bad-key"], id="jwt with a short secret"),
        pytest.param({"auth": {**JWT, "secret": {"secret": "LONG"}}}, [], id="jwt"),
        pytest.param(
            {"auth": {"type": "jwt", "algorithms": ["HS256", "RS256"], "secret": {"secret": "LONG"}}}, ["no-key"],
            id="jwt with an algorithm too many",
        ),
    ],
)  # fmt: skip
def test_check_finds_what_is_wrong_between_options(given, codes):
    made = options(**given)
    found = list(webhook.check(made, trigger("hook", "webhook", options=made)))
    assert [finding.code for finding in found] == codes
    assert all(finding.message for finding in found)


def test_an_origin_that_is_none_is_a_warning_beside_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers/a.py").write_text("")
    toml = '[triggers.t]\ntype = "webhook"\npath = "/t"\nauth = "none"\nfunction = "a"\n'
    origins = 'cors = { allow_origins = ["https://ok.example", "https://ok.example/"] }\n'
    (tmp_path / "triggerhub.toml").write_text(toml + origins)
    found = load(tmp_path, environ={})
    (problem,) = found.problems
    assert str(problem).startswith("triggerhub.toml:6:8: warning[cors-origin]: 'https://ok.example/' is no origin")
    assert found.project is not None, "the hub starts"


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ({}, []),
        ({"functions": ("a", "b")}, ["result-fan-out"]),
        ({"key": "$.id"}, ["result-no-queue"]),
        ({"order": "$.id", "batch": Batch(size=5)}, ["result-no-queue", "result-no-queue"]),
        ({"retry": {"f": RetryPolicy(attempts=9)}, "maximum_concurrency": 1}, ["result-no-queue", "result-no-queue"]),
        ({"on_failure": (Destination(kind="queue", target="q"),)}, ["result-no-queue"]),
    ],
)
def test_a_result_comes_from_one_function_and_no_queue(given, codes):
    made = options(respond="result")
    assert [finding.code for finding in webhook.check(made, trigger(options=made, **given))] == codes


def test_tokens_by_public_key_name_the_extra_they_need(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    made = options(auth={"type": "jwt", "algorithms": ["RS256"], "key": SECRET})
    [finding] = webhook.check(made, trigger(options=made))
    assert finding.code == "missing-extra"
    assert "triggerhub[jwt]" in (finding.hint or "")


@pytest.mark.parametrize(
    ("body", "kind", "encoded"),
    [
        (b'{"a": 1}', "application/json", False),
        (b"hello", "text/plain", False),
        (b"\xff", "application/octet-stream", True),
    ],
)
def test_what_is_sent_by_hand_becomes_a_request(body, kind, encoded):
    event = webhook.wrap(options(path="/hooks/{id}"), "hook", body, 5)
    record = json.loads(event.data)
    assert (record["headers"]["content-type"], record["isBase64Encoded"], event.time) == (kind, encoded, 5)
    assert record["pathParameters"] == {"id": "id"}


def test_the_documented_settings_are_settings():
    text = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    blocks = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    written = [block["triggers"]["push"] if "triggers" in block else block for block in blocks if "hub" not in block]
    assert len(written) == 4
    for table in written:
        given = {name: value for name, value in table.items() if name not in ("type", "function")}
        vault = {"path": "/a", "auth": "none", **given}
        assert webhook.Options.model_validate(vault, context={"secrets": AnyVault()}).path


class AnyVault:
    def resolve(self, reference):
        return Secret(str(reference))


def test_every_sample_is_a_request():
    samples = webhook.samples(options(methods=["GET"]), "hook", 5)
    assert samples.keys() == {"json", "form", "binary", "empty"}
    for event in samples.values():
        assert json.loads(event.data)["requestContext"]["http"]["method"] == "GET"
