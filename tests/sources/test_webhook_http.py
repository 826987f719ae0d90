"""The webhook source behind the real ingress."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from contextlib import asynccontextmanager

import aiohttp
import anyio
import pytest

from sources import webhook
from triggerhub.errors import BacklogFull, StoreFull
from triggerhub.model import Returned
from triggerhub.settings import Secret
from triggerhub.testing import FakeContext, trigger
from triggerhub.web.ingress import Ingress


class Vault:
    def resolve(self, reference):
        return Secret(reference["secret"])


@asynccontextmanager
async def hub(*, answer=None, trusted_proxies=(), **given):
    made = webhook.Options.model_validate(
        {"path": "/hooks/{id}", "auth": "none", **given}, context={"secrets": Vault()}
    )
    ctx = FakeContext(trigger("hook", "webhook", options=made), answer=answer)
    ingress = ctx.routes = Ingress()
    async with (
        ingress.listen("127.0.0.1", 0, trusted_proxies=trusted_proxies) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(webhook.run, ctx, made)
        await anyio.wait_all_tasks_blocked()
        yield ctx, client
        tasks.cancel_scope.cancel()


async def test_a_posted_document_is_stored_and_its_ids_are_told():
    async with hub() as (ctx, client), client.post("/hooks/o%2F1?a=1&a=2", json={"n": 1}) as response:
        assert response.status == 202
        told = await response.json()
    [event] = ctx.events
    record = json.loads(event.data)
    assert told["id"] == event.id
    assert json.loads(record["body"]) == {"n": 1}
    assert (record["pathParameters"], record["queryStringParameters"]) == ({"id": "o/1"}, {"a": "1,2"})
    assert record["rawPath"] == "/hooks/o%2F1"


async def test_bytes_and_forms_arrive_as_they_were_sent():
    body = bytes(range(256)) * 1000
    async with hub() as (ctx, client):
        async with client.post("/hooks/a", data=body) as response:
            assert response.status == 202
        async with client.post("/hooks/a", data={"x": "ü"}) as response:
            assert response.status == 202
    first, second = (json.loads(event.data) for event in ctx.events)
    assert base64.b64decode(first["body"]) == body
    assert base64.b64decode(second["body"]) == b"x=%C3%BC"


async def test_the_signature_covers_the_bytes_on_the_wire():
    body = b'{ "n":1,\n\t"u":"\\u00fc" }'
    mac = hmac.new(b"key", body, hashlib.sha256).hexdigest()
    async with hub(auth={"type": "github", "secret": {"secret": "key"}}) as (ctx, client):
        for sent, status in ((body, 202), (body + b" ", 401), (json.dumps(json.loads(body)).encode(), 401)):
            headers = {"X-Hub-Signature-256": f"sha256={mac}"}
            async with client.post("/hooks/a", data=sent, headers=headers) as response:
                assert response.status == status
    assert len(ctx.events) == 1


async def test_twilio_signs_the_address_that_it_sees():
    url = "https://public.example/hooks/a?b=c"
    mac = base64.b64encode(hmac.new(b"key", f"{url}From+1".encode(), "sha1").digest()).decode()
    headers = {"X-Twilio-Signature": mac, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "public.example"}
    for trusted, status in (((), 401), (("127.0.0.1",), 202)):
        auth = {"type": "twilio", "secret": {"secret": "key"}}
        async with (
            hub(auth=auth, trusted_proxies=trusted) as (_, client),
            client.post("/hooks/a?b=c", data={"From": "+1"}, headers=headers) as response,
        ):
            assert response.status == status


async def test_a_result_travels_with_headers_cookies_and_bytes():
    payload = {
        "statusCode": 201, "headers": {"content-type": "image/png", "x-a": "1"}, "cookies": ["a=1", "b=2"],
        "body": base64.b64encode(b"\x89PNG\x00").decode(), "isBase64Encoded": True,
    }  # fmt: skip
    answer = Returned(payload=json.dumps(payload).encode())
    async with hub(respond="result", answer=answer) as (ctx, client), client.post("/hooks/a") as response:
        assert (response.status, await response.read()) == (201, b"\x89PNG\x00")
        assert (response.headers["content-type"], response.headers["x-a"]) == ("image/png", "1")
        assert response.headers.getall("set-cookie") == ["a=1", "b=2"]
    assert len(ctx.invoked) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(BacklogFull("hook", 9, retry_after=3), 429), (StoreFull("the disk is full"), 507)]
)
async def test_a_hub_that_can_take_no_more_says_so(error, status):
    async with hub() as (ctx, client):
        ctx.fail = error
        async with client.post("/hooks/a", json={}) as response:
            assert response.status == status
            assert response.headers.get("retry-after") == ("3" if status == 429 else None)
        async with client.post("/hooks/a", json={}) as response:
            assert response.status == 202


async def test_a_body_over_the_limit_and_a_wrong_method_never_reach_the_source():
    async with hub(limit={"body": "1KB"}) as (ctx, client):
        async with client.post("/hooks/a", data=b"x" * 1025) as response:
            assert response.status == 413
        async with client.get("/hooks/a") as response:
            assert (response.status, response.headers["allow"]) == (405, "POST")
        async with client.post("/hooks/a", data=b"x" * 1024) as response:
            assert response.status == 202
    assert len(ctx.events) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b'{"statusCode":201,"rows":[%b0],"body":"long"}' % (b"0," * 1_000_000),
        b'{"rows":[%b0]}' % (b'{"id":1,"of":[[]]},' * 50_000),
    ],
    ids=["a response", "a value"],
)
async def test_others_are_answered_while_a_long_result_is_read(answer: bytes):
    between = 0

    async def others(client: aiohttp.ClientSession) -> None:
        nonlocal between
        while True:
            async with client.get("/hooks/other") as response:
                assert response.status == 405
            between += 1

    async with hub(respond="result", answer=Returned(payload=answer)) as (_, client):
        asking = asyncio.create_task(others(client))
        async with client.post("/hooks/long") as response:
            text = await response.read()
        asking.cancel()
    assert (response.status, text) == ((201, b"long") if b"statusCode" in answer else (200, answer))
    # One that is read at once lets hardly any in between.
    assert between > 30


async def test_many_senders_at_once_are_all_stored():
    async def send(client: aiohttp.ClientSession, number: int) -> str:
        async with client.post("/hooks/a", json={"n": number}) as response:
            return (await response.json())["id"]

    async with hub() as (ctx, client):
        told = await asyncio.gather(*(send(client, number) for number in range(200)))
    assert sorted(told) == sorted(event.id for event in ctx.events)
    assert len(set(told)) == 200
