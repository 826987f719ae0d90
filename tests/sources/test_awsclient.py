"""Connections to AWS: where credentials come from, and what becomes of trouble."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from triggerhub import awsclient, awsfault
from triggerhub.awsclient import Options, connected
from triggerhub.awsfault import AwsFault, Trouble
from triggerhub.settings import RetryPolicy
from triggerhub.testing import FakeContext, trigger

pytestmark = pytest.mark.usefixtures("keys")


async def test_a_request_is_answered(moto: str) -> None:
    async with connected("sqs", Options(endpoint_url=moto)) as sqs:
        made = await sqs.call("create_queue", QueueName="answered")
        assert made["QueueUrl"].endswith("/answered")
        assert sqs.region == awsclient.REGION
        who = await sqs.identity()
        assert str(who) == "arn:aws:sts::123456789012:user/moto, by environment variables"


async def test_a_role_is_assumed(moto: str) -> None:
    role = "arn:aws:iam::123456789012:role/reader"
    async with connected("sqs", Options(endpoint_url=moto, role=role)) as sqs:
        await sqs.call("list_queues")
        who = await sqs.identity()
        assert who.arn == "arn:aws:sts::123456789012:assumed-role/reader/triggerhub"
        assert who.found == "a role that was assumed"


async def test_a_profile_is_read(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials"
    file.write_text("[hub]\naws_access_key_id = a\naws_secret_access_key = b\nregion = eu-west-3\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    async with connected("sqs", Options(endpoint_url=moto, profile="hub")) as sqs:
        await sqs.call("list_queues")
        assert sqs.region == "eu-west-3"
        assert (await sqs.identity()).found == "~/.aws/credentials"
    async with connected("sqs", Options(endpoint_url=moto, profile="none")) as sqs:
        with pytest.raises(AwsFault, match="none") as raised:
            await sqs.call("list_queues")
        assert raised.value.kind == "credentials"


async def test_credentials_that_come_later_are_found(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with connected("sqs", Options(endpoint_url=moto)) as sqs:
        with pytest.raises(AwsFault) as raised:
            await sqs.call("list_queues")
        assert raised.value.kind == "credentials"
        assert "there are no AWS credentials" in raised.value.message or "partial" in raised.value.message.lower()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        await sqs.call("list_queues")


async def test_what_is_missing_and_what_is_not_there(moto: str, unused_tcp_port: int) -> None:
    async with connected("sqs", Options(endpoint_url=moto)) as sqs:
        with pytest.raises(AwsFault, match="sqs:GetQueueUrl: there is no such resource") as raised:
            await sqs.call("get_queue_url", QueueName="no-such-queue")
        assert raised.value.kind == "missing"
    async with connected("sqs", Options(endpoint_url=f"http://127.0.0.1:{unused_tcp_port}")) as sqs:
        with pytest.raises(AwsFault, match="sqs:ListQueues: no answer") as raised:
            await sqs.call("list_queues")
        assert raised.value.kind == "unreachable"


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint_url": "127.0.0.1:4566"},
        {"endpoint_url": "http://user:secret@host"},
        {"region": "Frankfurt"},
        {"role": "reader"},
        {"profile": ""},
    ],
)
def test_options_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        Options(**wrong)
    assert "secret" not in str(raised.value.errors(include_input=False))


async def test_trouble_is_shown_once_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awsfault, "RESTS", RetryPolicy(initial=1, max=1))
    ctx = FakeContext(trigger())
    trouble = Trouble(ctx)
    passing = AwsFault("unreachable", "no answer")
    await trouble.rest(passing)
    trouble.well()
    assert ctx.reasons == []
    for _ in range(10):
        await trouble.rest(passing)
        await trouble.rest(AwsFault("unreachable", "another word"))
    assert len(ctx.reasons) == 1
    trouble.well()
    assert ctx.reasons[1:] == [None]
    await trouble.rest(AwsFault("denied", "not allowed", hint="Allow it."))
    assert ctx.reasons[-1] == "not allowed; Allow it."


async def test_the_rest_grows_and_is_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr(awsfault.anyio, "sleep", sleep)
    trouble = Trouble(FakeContext(trigger()))
    for _ in range(8):
        await trouble.rest(AwsFault("unreachable", "no answer"))
    assert all(low / 2 <= rest <= low for rest, low in zip(rests, (1, 2, 4, 8, 16, 20, 20, 20), strict=True))


def test_nothing_of_it_is_loaded_before_it_is_wanted() -> None:
    script = "import sys, json, triggerhub.awsclient; print(json.dumps([m for m in sys.modules if 'boto' in m]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == []


async def test_a_cancelled_request_leaves_the_connection_whole(moto: str) -> None:
    async with connected("sqs", Options(endpoint_url=moto), wait=20_000) as sqs:
        url = (await sqs.call("create_queue", QueueName="waiting"))["QueueUrl"]
        with anyio.move_on_after(0.2) as scope:
            await sqs.call("receive_message", QueueUrl=url, WaitTimeSeconds=20)
        assert scope.cancelled_caught
        await sqs.call("list_queues")
