"""The admin API on real sockets, over a hub made of dictionaries."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import stat
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.web.fakehub import NOW, FakeHub
from triggerhub.deploy.registry import Registry
from triggerhub.errors import BacklogFull, BadInput, ConfigError, Conflict, NotFound, StoreBroken, StoreFull
from triggerhub.hub.canaries import Canaries
from triggerhub.hub.clock import SystemClock
from triggerhub.model import Crashed, Fault, Interrupted, Raised, Returned, State, TimedOut
from triggerhub.policy.access import Principal, Role
from triggerhub.runtimes.layers import assemble
from triggerhub.source import Duplicate, Filtered
from triggerhub.stores.memory import MemoryStore
from triggerhub.web import admin, patience, quota, unixsocket

GUARD = 20


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def code(self) -> str:
        return self.json["error"]["code"]


@dataclass
class Client:
    hub: FakeHub
    port: int
    socket: Path

    async def connect(self, tcp: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if tcp:
            return await asyncio.open_connection("127.0.0.1", self.port)
        return await asyncio.open_unix_connection(os.path.realpath(self.socket))

    async def ask(
        self, method: str, path: str, body: Any = b"", *, headers: Mapping[str, str] | None = None, tcp: bool = False
    ) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        reader, writer = await self.connect(tcp)
        fields = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(content)), **(headers or {})}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items() if v)
        writer.write(head.encode() + b"\r\n" + content)
        async with asyncio.timeout(GUARD):
            answer = await reader.read()
        writer.close()
        return parsed(answer)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, body: Any = b"", **options: Any) -> Answer:
        return await self.ask("POST", path, body, **options)


def parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    if headers.get("transfer-encoding") == "chunked":
        body, rest = b"", body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return Answer(int(first.split()[1]), headers, body)


def registry(folder: Path) -> Registry:
    return Registry(MemoryStore(), folder / "functions", assemble=assemble)


def made(hub: FakeHub, folder: Path) -> tuple[Registry, Canaries]:
    found = registry(folder)
    return found, Canaries(hub, found, SystemClock())


@asynccontextmanager
async def served(tmp_path: Path, hub: FakeHub | None = None, host: str = "127.0.0.1") -> AsyncGenerator[Client]:
    hub = hub or FakeHub()
    async with admin.serve(hub, *made(hub, tmp_path), host=host, port=0, socket=tmp_path / "hub.sock") as port:
        yield Client(hub, port, tmp_path / "hub.sock")


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize(
    ("path", "phase", "status"),
    [("/api/v1/nowhere", "running", 404), ("/api/v1/status", "running", 405), ("/api/v1/reload", "stopping", 503),
     ("/api/v1/functions/hello/invoke", "running", 413)],
)  # fmt: skip
async def test_a_refusal_reaches_a_client_that_is_still_sending(
    tmp_path: Path, path: str, phase: str, status: int, tcp: bool
) -> None:
    async with served(tmp_path, FakeHub(phase=phase)) as client:
        assert (await client.post(path, b"x" * 9_000_000, tcp=tcp)).status == status


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /"])
async def test_who_says_nothing_more_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(patience, "HEAD_TIME", 0.05)
    async with served(tmp_path) as client:
        reader, writer = await client.connect(tcp=True)
        writer.write(sent)
        async with asyncio.timeout(GUARD):
            answer = await reader.read()
        assert answer.endswith(b"ok\n" if b"Host" in sent else b"")
        writer.close()


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_header_without_end_is_not_kept(tmp_path: Path, tcp: bool) -> None:
    async with served(tmp_path) as client:
        _, writer = await client.connect(tcp)
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                writer.write(b"x" * 10_000)
                await writer.drain()
            pytest.fail("ten megabytes of a header were taken")
        writer.close()


async def test_strangers_leave_room_for_the_hubs_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "CONNECTIONS", 2)
    async with served(tmp_path) as client:
        crowd = [await client.connect(tcp=True) for _ in range(2)]
        for _, writer in crowd:
            writer.write(b"GET /healthz HTTP/1.1\r\n")  # who rests would make room
        async with asyncio.timeout(GUARD):
            while (await client.get("/healthz", tcp=True)).status != 503:
                crowd.append(await client.connect(tcp=True))
                crowd[-1][1].write(b"GET ")
        assert (await client.get("/healthz")).status == 200, "the socket is another matter"
        for _, writer in crowd:
            writer.close()
        async with asyncio.timeout(GUARD):
            while (await client.get("/healthz", tcp=True)).status != 200:
                await asyncio.sleep(0.01)


async def stream(client: Client, path: str = "/api/v1/watch", **fields: str) -> tuple[int, asyncio.StreamWriter]:
    """Begin to follow what happens; the status of the answer, and what ends it."""
    reader, writer = await client.connect(tcp=True)
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
    async with asyncio.timeout(GUARD):
        first = await reader.readline()
    return int(first.split()[1]), writer


async def test_streams_of_one_leave_room_for_others_and_for_the_health_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "EACH", 2)
    monkeypatch.setattr(quota, "ALL", 3)
    monkeypatch.setattr(patience, "CONNECTIONS", 4)
    hub = FakeHub()
    hub.tokens.principal = lambda text: Principal(name=f"token {text}", role=Role.VIEWER)
    async with served(tmp_path, hub) as client:
        opened = [await stream(client), await stream(client, "/api/v1/output?follow=true")]
        opened.append(await stream(client, Authorization="Bearer ci"))
        assert [status for status, _ in opened] == [200, 200, 200]
        refused = await client.get("/api/v1/watch", tcp=True)
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "too-many-streams", "5")
        assert refused.json["error"]["message"] == "2 streams are open already for the one who asks"
        late = await client.get("/api/v1/watch", headers={"Authorization": "Bearer late"}, tcp=True)
        assert late.json["error"]["message"] == "3 streams are open already"
        assert (await client.get("/healthz", tcp=True)).status == 200
        opened.pop(0)[1].close()
        async with asyncio.timeout(GUARD):
            while (found := await stream(client))[0] != 200:
                found[1].close()
                await asyncio.sleep(0.01)
        for _, writer in (*opened, found):
            writer.close()


@pytest.mark.parametrize(
    "asked",
    [
        {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "cors"},
        {"Origin": "http://localhost:3000", "Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "script"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"},
        {"Origin": "https://evil.example"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/live", "/api/v1/watch", "/api/v1/status", "/metrics"])
async def test_a_page_of_another_site_reads_nothing(tmp_path: Path, path: str, asked: dict[str, str]) -> None:
    async with served(tmp_path) as client:
        fields = {name.replace("_", "-"): value for name, value in asked.items()}
        answer = await client.get(path, headers=fields, tcp=True)
        assert (answer.status, answer.code) == (403, "bad-origin")


@pytest.mark.parametrize(
    "asked",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Origin": "http://localhost"},
        {},
    ],
    ids=str,
)
async def test_a_link_of_another_site_and_the_own_pages_lead_here(tmp_path: Path, asked: dict[str, str]) -> None:
    async with served(tmp_path) as client:
        assert (await client.get("/api/v1/status", headers=asked, tcp=True)).status == 200


async def test_a_delivery_has_the_fields_that_scripts_know(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        row = client.hub.add(1, State.DEAD, dedup_key="k")
        (shown,) = (await client.get("/api/v1/deliveries")).json
        assert shown == {
            "id": row.id, "event_id": row.event_id, "trigger": "demo", "function": "hello", "version": "0123456789ab",
            "state": "dead", "attempts": 1, "created": "2026-01-01T00:00:01.000Z", "due": "2026-01-01T00:00:01.000Z",
            "finished": "2026-01-01T00:00:01.050Z", "duration_ms": 12.5, "dedup_key": "k", "ordering_key": None,
            "error": {"type": "KeyError", "message": "'name'"}, "reason": "failed 1 of 1 attempts",
        }  # fmt: skip


async def test_payloads_come_out_as_the_bytes_that_they_are(tmp_path: Path) -> None:
    data = b'{"big": 12345678901234567890123, "half": "\\ud800", "price": 1.10,\n "inf": 1e400}'
    async with served(tmp_path) as client:
        row = client.hub.add(1)
        client.hub.events[row.event_id] = client.hub.events[row.event_id].__class__(
            id=row.event_id, data=data, time=NOW
        )
        shown = await client.get(f"/api/v1/deliveries/{row.id}")
        assert data.replace(b"\n", b" ") in shown.body
        assert shown.json["history"][0]["outcome"] == "returned"
        assert b'"payload":{"ok":1.10}' in shown.body
        event = await client.get(f"/api/v1/events/{row.event_id}")
        assert event.json["deliveries"][0]["id"] == row.id


@pytest.mark.parametrize("data", ['{"a": 1}'.encode("utf-16"), b'{"a": NaN}'], ids=["no UTF-8", "NaN"])
async def test_a_payload_that_is_no_json_is_shown_as_base64(tmp_path: Path, data: bytes) -> None:
    async with served(tmp_path) as client:
        row = client.hub.add(1)
        client.hub.events[row.event_id] = client.hub.events[row.event_id].__class__(
            id=row.event_id, data=data, time=NOW
        )
        event = (await client.get(f"/api/v1/deliveries/{row.id}")).json["event"]
        assert event["data"] is None
        assert base64.b64decode(event["data_base64"]) == data


async def test_a_list_is_newest_first_filtered_and_paged(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        rows = [client.hub.add(number, State.DEAD if number % 2 else State.SUCCEEDED) for number in range(6)]
        first = (await client.get("/api/v1/deliveries?state=dead&limit=2")).json
        assert [row["id"] for row in first] == [rows[5].id, rows[3].id]
        rest = (await client.get(f"/api/v1/deliveries?state=dead&limit=2&before={first[-1]['id']}")).json
        assert [row["id"] for row in rest] == [rows[1].id]
        late = (await client.get("/api/v1/deliveries?since=2026-01-01T00:00:04Z")).json
        assert len(late) == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/v1/deliveries?state=ded", b"", 400, "bad-input"),
        ("GET", "/api/v1/deliveries?limit=0", b"", 400, "bad-input"),
        ("GET", "/api/v1/deliveries?limit=10001", b"", 400, "bad-input"),
        ("GET", "/api/v1/deliveries?limit=%C2%B2", b"", 400, "bad-input"),
        ("GET", "/api/v1/deliveries?limit=0000000019999999999", b"", 400, "bad-input"),
        ("GET", f"/api/v1/deliveries?limit=000000001{'0' * 5000}", b"", 400, "bad-input"),
        ("GET", "/api/v1/deliveries?since=yesterday", b"", 400, "bad-input"),
        ("GET", "/api/v1/deliveries?since=2026-01-01T00:00:00", b"", 400, "bad-input"),
        ("GET", "/api/v1/deliveries?statee=dead", b"", 400, "bad-input"),
        ("GET", "/api/v1/deliveries/../status", b"", 404, "no-such-path"),
        ("GET", "/api/v1/deliveries/nonsense", b"", 400, "bad-input"),
        ("GET", "/api/v1/deliveries/019a0000-0000-7000-8000-000000000001", b"", 404, "not-found"),
        ("GET", "/api/v1/deliveries/019a0000-0000-7000-8000-000000000001/wait?timeout=nan", b"", 400, "bad-input"),
        ("GET", "/api/v1/functions/nobody", b"", 404, "not-found"),
        ("GET", "/api/v1/output?function=nobody", b"", 404, "not-found"),
        ("POST", "/api/v1/functions/nobody/invoke", b"{}", 404, "not-found"),
        ("POST", "/api/v1/functions/hello/invoke", b"{", 400, "bad-input"),
        ("POST", "/api/v1/functions/hello/invoke?async=maybe", b"{}", 400, "bad-input"),
        ("POST", "/api/v1/functions/hello/invoke?delay=5m", b"{}", 400, "bad-input"),
        ("POST", "/api/v1/functions/hello/invoke?client_context=%00", b"{}", 400, "bad-input"),
        ("POST", "/api/v1/functions/hello/invoke?client_context=%5B%5D", b"{}", 400, "bad-input"),
        ("POST", "/api/v1/functions/hello/invoke?client_context=%7B%7D&async=true", b"{}", 400, "bad-input"),
        ("POST", "/api/v1/functions/hello/invoke", b"x" * (6 << 20) + b"xx", 413, "too-large"),
        ("POST", "/api/v1/triggers/demo/fire", b"", 409, "conflict"),
        ("POST", "/api/v1/triggers/demo/send?delay=soon", b"{}", 400, "bad-input"),
        ("POST", "/api/v1/triggers/demo/send?delay=", b"{}", 400, "bad-input"),
        ("POST", "/api/v1/prune", b'{"keep": ""}', 400, "bad-input"),
        ("POST", "/api/v1/tokens", b'{"name": "ci", "lasts": ""}', 400, "bad-input"),
        ("POST", "/api/v1/triggers/demo/send?sample=one", b"{}", 400, "bad-input"),
        ("POST", "/api/v1/dead-letters/redrive", b"", 400, "bad-input"),
        ("POST", "/api/v1/dead-letters/redrive", b'{"all": "yes"}', 400, "bad-input"),
        ("POST", "/api/v1/dead-letters/redrive", b'{"everything": true}', 400, "bad-input"),
        ("POST", "/api/v1/dead-letters/redrive", b'{"function": "\\ud800"}', 400, "bad-input"),
        ("POST", "/api/v1/deliveries/cancel", b'{"all": true, "reason": "\\udfff"}', 400, "bad-input"),
        ("POST", "/api/v1/dead-letters/redrive", b'{"all": true, "ids": ["019a0000-0000-7000-8000-000000000001"]}', 400, "bad-input"),
        ("POST", "/api/v1/dead-letters/redrive", b'{"all": true, "rate": "fast"}', 400, "bad-input"),
        ("POST", "/api/v1/dead-letters/redrive", b'{"ids": ["x"]}', 400, "bad-input"),
        ("POST", "/api/v1/dead-letters/redrive", b'{"causes": []}', 400, "bad-input"),
        ("POST", "/api/v1/dead-letters/redrive", b'{"causes": [{"function": "hello"}]}', 400, "bad-input"),
        ("POST", "/api/v1/dead-letters/redrive", b'{"causes": [{"function": "hello", "fingerprint": "\\ud800"}]}', 400, "bad-input"),
        ("POST", "/api/v1/dead-letters/redrive", b"[1]", 400, "bad-input"),
        ("POST", "/api/v1/dead-letters/redrive", b"[" * 10_000, 400, "bad-input"),
        ("DELETE", "/api/v1/deliveries", b"", 405, "no-such-method"),
        ("GET", "/api/v1/reload", b"", 405, "no-such-method"),
        ("GET", "/api/v1/backup", b"", 405, "no-such-method"),
        ("GET", "/api/v2/status", b"", 404, "no-such-path"),
    ],
)  # fmt: skip
async def test_what_cannot_be_understood_is_refused_with_its_status(
    tmp_path: Path, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    async with served(tmp_path) as client:
        answer = await client.ask(method, path, body)
        assert (answer.status, answer.code) == (status, code)
        assert answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BadInput("x", hint="h"), 400, "bad-input"),
        (NotFound("x"), 404, "not-found"),
        (Conflict("x"), 409, "conflict"),
        (BacklogFull("demo", 5, retry_after=7), 429, "backlog-full"),
        (StoreFull("x"), 507, "store-full"),
        (StoreBroken("x"), 503, "store-broken"),
        (ZeroDivisionError("secret inside"), 500, "failed"),
    ],
)
async def test_each_error_has_its_status(tmp_path: Path, error: Exception, status: int, code: str) -> None:
    async with served(tmp_path) as client:
        client.hub.fail = error
        answer = await client.post("/api/v1/triggers/demo/send", b"{}")
        assert (answer.status, answer.code) == (status, code)
        assert "secret" not in answer.body.decode()
        assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
        assert (await client.get("/healthz")).status == 200


async def test_what_is_not_there_says_what_there_is(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        answer = await client.get("/api/v2")
        assert answer.status == 404
        assert set(answer.json["there_is"]) == {"/", "/2015-03-31/", "/api/v1/", "/healthz", "/metrics", "/readyz"}


async def test_readiness_says_why_not(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        assert (await client.get("/readyz")).json == {"ready": True, "reasons": []}
        client.hub.ready, client.hub.problems = False, ["the disk is full"]
        answer = await client.get("/readyz")
        assert (answer.status, answer.json) == (503, {"ready": False, "reasons": ["the disk is full"]})
        client.hub.problems = []
        assert (await client.get("/readyz")).json["reasons"] == ["it takes no events"]


async def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        answer = await client.get("/metrics", tcp=True)
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert answer.body == b"triggerhub_ready 1.0\n"


# calls


async def test_invoke_answers_the_payload_and_tells_the_outcome(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        answer = await client.post("/api/v1/functions/hello/invoke", b'{"a": 1.10}')
        assert answer.body == b'{"n":12345678901234567890123}'
        assert answer.headers["x-triggerhub-outcome"] == "returned"
        assert answer.headers["x-triggerhub-version"] == "0123456789ab"
        assert client.hub.sent == [{"function": "hello", "body": b'{"a": 1.10}'}]
        answer = await client.post("/api/v1/functions/hello/invoke?report=true", b"{}")
        report, _, payload = answer.body.partition(b"\n")
        assert payload == b'{"n":12345678901234567890123}'
        assert json.loads(report)["log"][0].startswith("START")
        assert json.loads(report)["duration_ms"] == 1.5


FAULT = Fault(type="KeyError", message="'x'")


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        (Returned(payload=b"1"), "returned"),
        (Raised(fault=FAULT, payload=b"{}"), "raised"),
        (TimedOut(fault=FAULT, payload=b"{}"), "timed-out"),
        (Crashed(fault=FAULT, payload=b"{}"), "crashed"),
        (Interrupted(), "interrupted"),
    ],
)
async def test_a_function_error_is_an_answer_and_not_an_error_of_the_hub(
    tmp_path: Path, outcome: Any, name: str
) -> None:
    async with served(tmp_path) as client:
        client.hub.outcome = outcome
        answer = await client.post("/api/v1/functions/hello/invoke", b"{}")
        assert (answer.status, answer.headers["x-triggerhub-outcome"]) == (200, name)


async def test_an_asynchronous_invoke_answers_the_ids(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        answer = await client.post("/api/v1/functions/hello/invoke?async=true&delay=10m", b"{}")
        assert (answer.status, answer.json["result"]) == (202, "accepted")
        assert client.hub.sent[0]["delay"] == 600_000
        assert answer.json["deliveries"][0] in client.hub.rows


async def test_a_call_ends_when_its_caller_leaves(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        client.hub.slow = anyio.Event()
        _, writer = await client.connect()
        writer.write(b"POST /api/v1/functions/hello/invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
        async with asyncio.timeout(GUARD):
            while not client.hub.sent:
                await asyncio.sleep(0.01)
            writer.close()
            while not client.hub.cut:
                await asyncio.sleep(0.01)


async def test_send_tells_the_three_results_apart(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        accepted = await client.post("/api/v1/triggers/demo/send?delay=1s&key=k", b"hello")
        assert (accepted.status, accepted.json["result"]) == (202, "accepted")
        assert client.hub.sent[0] == {"trigger": "demo", "body": b"hello", "sample": None, "delay": 1000, "key": "k"}
        client.hub.answer = Filtered(why="$.a is 1, not 2")
        assert (await client.post("/api/v1/triggers/demo/send", b"{}")).json == {
            "result": "filtered",
            "why": "$.a is 1, not 2",
        }
        client.hub.answer = Duplicate(event="e", deliveries=("d",))
        assert (await client.post("/api/v1/triggers/demo/send", b"{}")).json == {
            "result": "duplicate",
            "id": "e",
            "deliveries": ["d"],
        }


async def test_functions_and_triggers_are_shown_paused_and_resumed(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        assert [row["name"] for row in (await client.get("/api/v1/functions")).json] == ["count", "hello"]
        assert (await client.post("/api/v1/functions/hello/pause")).json["paused"] is True
        assert (await client.post("/api/v1/functions/hello/resume")).json["paused"] is False
        assert (await client.get("/api/v1/triggers/tick")).json["next"] == "2026-01-01T00:01:00.000Z"
        assert (await client.post("/api/v1/triggers/tick/pause")).json["state"] == "paused"
        assert (await client.post("/api/v1/triggers/tick/resume")).json["state"] == "running"
        assert (await client.post("/api/v1/triggers/tick/fire")).json["result"] == "accepted"
        assert (await client.post("/api/v1/reload")).json == {"problems": []}


# deliveries


async def test_cancel_and_redeliver_say_when_it_is_too_late_or_too_early(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        done, waiting = client.hub.add(1).id, client.hub.add(2, State.QUEUED).id
        assert (await client.post(f"/api/v1/deliveries/{done}/cancel")).code == "conflict"
        assert (await client.post(f"/api/v1/deliveries/{waiting}/redeliver")).code == "conflict"
        assert (await client.post(f"/api/v1/deliveries/{waiting}/cancel")).json["state"] == "cancelled"
        assert (await client.post(f"/api/v1/deliveries/{done}/redeliver")).json["state"] == "queued"


async def test_wait_answers_when_finished_or_as_it_stands(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        row = client.hub.add(1, State.RUNNING)
        assert (await client.get(f"/api/v1/deliveries/{row.id}/wait?timeout=0")).json["state"] == "running"
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(client.get(f"/api/v1/deliveries/{row.id}/wait?timeout=20"))
            await asyncio.sleep(0.05)
            client.hub.add(1)
        assert waiting.result().json["state"] == "succeeded"


async def test_redrive_takes_the_oldest_first_and_tells_how_far_it_is(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        rows = [client.hub.add(number, State.DEAD) for number in range(250)]
        client.hub.add(250, State.DEAD, function="count")
        lines = (await client.post("/api/v1/dead-letters/redrive", {"function": "hello"})).lines
        assert [line["done"] for line in lines] == [0, 100, 200, 250, 250]
        assert lines[-1] == {
            "total": 250,
            "done": 250,
            "changed": 250,
            "skipped": 0,
            "dry_run": False,
            "finished": True,
        }
        assert [one for verb in client.hub.did for one in verb[1:]] == [row.id for row in rows]


async def test_a_dry_run_only_counts(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        client.hub.add(1, State.DEAD)
        (line,) = (await client.post("/api/v1/dead-letters/discard", {"all": True, "dry_run": True})).lines
        assert (line["total"], line["changed"], line["dry_run"]) == (1, 0, True)
        assert client.hub.did == []


async def test_redrive_by_id_leaves_what_is_not_dead(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        dead, done = client.hub.add(1, State.DEAD).id, client.hub.add(2).id
        lines = (await client.post("/api/v1/dead-letters/redrive", {"ids": [dead, done]})).lines
        assert (lines[-1]["changed"], lines[-1]["skipped"]) == (1, 1)
        assert client.hub.rows[done].state is State.SUCCEEDED
        unknown = "019a0000-0000-7000-8000-000000000001"
        lines = (await client.post("/api/v1/dead-letters/redrive", {"ids": [unknown]})).lines
        assert lines[-1]["error"]["code"] == "not-found"


async def test_what_waits_for_its_next_attempt_is_tried_now_alone_or_all_of_a_function(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        later = time.time_ns() // 1_000_000 + 600_000
        one, two = (client.hub.add(number, State.QUEUED, attempts=2, due=later).id for number in (1, 2))
        other = client.hub.add(3, State.QUEUED, function="count", attempts=1, due=later).id
        delayed = client.hub.add(4, State.QUEUED, attempts=0, due=later).id
        done, running = client.hub.add(5).id, client.hub.add(6, State.RUNNING).id
        answer = await client.post(f"/api/v1/deliveries/{one}/retry")
        assert (answer.status, answer.json["id"], answer.json["attempts"]) == (200, one, 2)
        assert client.hub.rows[one].due < later
        for row, why in ((one, "It is due"), (delayed, "delayed"), (done, "Redeliver"), (running, "under way")):
            answer = await client.post(f"/api/v1/deliveries/{row}/retry")
            assert (answer.status, answer.code) == (409, "conflict")
            assert "waits for no further attempt" in answer.json["error"]["message"]
            assert why in answer.json["error"]["hint"]
        assert (await client.post(f"/api/v1/deliveries/{'019a0000-0000-7000-8000-000000000001'}/retry")).status == 404
        hint = (await client.post(f"/api/v1/deliveries/{two}/redeliver")).json["error"]["hint"]
        assert "retry it now" in hint
        lines = (await client.post("/api/v1/deliveries/retry", {"function": "hello", "dry_run": True})).lines
        assert lines[-1]["total"] == 1
        lines = (await client.post("/api/v1/deliveries/retry", {"function": "hello"})).lines
        assert (lines[-1]["changed"], lines[-1]["skipped"]) == (1, 0)
        assert client.hub.did[-1] == ("retry", two)
        lines = (await client.post("/api/v1/deliveries/retry", {"ids": [other, delayed]})).lines
        assert (lines[-1]["changed"], lines[-1]["skipped"]) == (1, 1)
        lines = (await client.post("/api/v1/deliveries/retry", {"function": "hello"})).lines
        assert lines[-1]["error"]["message"].startswith("there is no delivery that waits for its next attempt with")


async def test_a_rate_holds_the_redrive_back(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        for number in range(4):
            client.hub.add(number, State.DEAD)
        began = asyncio.get_running_loop().time()
        lines = (await client.post("/api/v1/dead-letters/redrive", {"all": True, "rate": "20/s"})).lines
        assert asyncio.get_running_loop().time() - began >= 0.1
        assert [line["done"] for line in lines] == [0, 2, 4, 4]


async def test_several_causes_are_one_redrive_of_one_rate(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        first = client.hub.add(1, State.DEAD).id
        client.hub.add(2, State.DEAD, function="count")
        client.hub.add(3, State.DEAD, error=Fault(type="OSError", message="disk 7"))
        last = client.hub.add(4, State.DEAD, function="count", error=Fault(type="OSError", message="disk 8")).id
        causes = [
            {"function": "hello", "fingerprint": "KeyError: 'name'"},
            {"function": "count", "fingerprint": "OSError: disk #"},
        ]
        began = asyncio.get_running_loop().time()
        lines = (await client.post("/api/v1/dead-letters/redrive", {"causes": causes, "rate": "10/s"})).lines
        assert asyncio.get_running_loop().time() - began >= 0.1
        assert [(line["done"], line["total"]) for line in lines] == [(0, 2), (1, 2), (2, 2), (2, 2)]
        assert [one for verb in client.hub.did for one in verb[1:]] == [first, last]
        (line,) = (await client.post("/api/v1/dead-letters/redrive", {"causes": causes})).lines
        assert line["error"]["message"].endswith("with causes hello: KeyError: 'name'; count: OSError: disk #")


async def test_a_redrive_leaves_what_was_redriven_and_has_succeeded_meanwhile(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        first, later = (client.hub.add(number, State.DEAD).id for number in (1, 2))
        async with asyncio.timeout(GUARD), asyncio.TaskGroup() as tasks:
            redriving = tasks.create_task(client.post("/api/v1/dead-letters/redrive", {"all": True, "rate": "10/s"}))
            while not client.hub.did:
                await asyncio.sleep(0)
            client.hub.rows[later] = replace(client.hub.rows[later], state=State.SUCCEEDED)
        assert redriving.result().lines[-1]["changed"] == 1
        assert [one for verb in client.hub.did for one in verb[1:]] == [first]


async def test_cancel_many_reaches_the_queued_and_the_running(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        client.hub.add(1, State.QUEUED)
        client.hub.add(2, State.RUNNING)
        client.hub.add(3)
        lines = (await client.post("/api/v1/deliveries/cancel", {"all": True})).lines
        assert lines[-1]["changed"] == 2
        assert [row.state.value for row in client.hub.rows.values()] == ["cancelled", "cancelled", "succeeded"]


# streams


async def opened(client: Client, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await client.connect()
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(GUARD):
        assert b"200" in await reader.readline()
        while await reader.readline() != b"\r\n":
            pass
    return reader, writer


async def line_of(reader: asyncio.StreamReader) -> Any:
    async with asyncio.timeout(GUARD):
        while not (line := await reader.readline()).startswith(b"{"):
            assert line, "the stream ended"
    return json.loads(line)


async def watched(client: Client) -> None:
    async with asyncio.timeout(GUARD):
        while not client.hub.feed.watched:
            await asyncio.sleep(0.01)


async def test_watch_tells_what_happens_until_the_watcher_leaves(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        reader, writer = await opened(client, "/api/v1/watch")
        await watched(client)
        client.hub.happens("succeeded", trigger="demo", function="hello", delivery="d", duration_ms=2.0)
        line = await line_of(reader)
        assert (line["kind"], line["time"], line["duration_ms"]) == ("succeeded", "2026-01-01T00:00:00.000Z", 2.0)
        writer.close()
        async with asyncio.timeout(GUARD):
            while client.hub.feed.watched:
                await asyncio.sleep(0.01)


async def test_output_follows_without_a_gap_and_without_repeating(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        client.hub.wrote("before", request_id="r")
        client.hub.wrote("elsewhere", function="count", request_id="q")
        reader, writer = await opened(client, "/api/v1/output?function=hello&follow=true")
        assert (await line_of(reader))["text"] == "before"
        # As if it had been written between the beginning of the following and the reading of the past.
        client.hub.tell(client.hub.lines[0])
        client.hub.wrote("not asked for", function="count", request_id="q")
        client.hub.wrote("REPORT", request_id="r", stream="hub")
        line = await line_of(reader)
        assert (line["text"], line["stream"], line["time"]) == ("REPORT", "hub", "2026-01-01T00:00:00.000Z")
        writer.close()
        async with asyncio.timeout(GUARD):
            while client.hub.followers:
                await asyncio.sleep(0.01)


async def test_output_of_a_delivery_follows_its_lines_and_says_what_was_skipped(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        row = client.hub.add(1)
        reader, writer = await opened(client, f"/api/v1/output?delivery={row.id}&follow=true")
        async with asyncio.timeout(GUARD):
            while not client.hub.followers:
                await asyncio.sleep(0.01)
        client.hub.wrote("another's", request_id="q")
        client.hub.wrote("mine", request_id=row.id)
        client.hub.wrote("7 lines skipped", stream="hub")
        assert [(await line_of(reader))["text"] for _ in range(2)] == ["mine", "7 lines skipped"]
        writer.close()


async def test_output_of_the_past_ends_by_itself(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        row = client.hub.add(1)
        client.hub.wrote("one", request_id=row.id)
        client.hub.wrote("two", request_id="other")
        lines = (await client.get(f"/api/v1/output?delivery={row.id}")).lines
        assert [line.get("text") for line in lines] == ["one", None]
        assert lines[-1] == {"finished": True}


async def test_the_end_of_the_hub_ends_streams_and_waits_and_lets_calls_finish(tmp_path: Path) -> None:
    hub = FakeHub(drain=10_000)
    hub.slow = anyio.Event()
    row = hub.add(1, State.RUNNING)
    async with asyncio.timeout(GUARD), asyncio.TaskGroup() as tasks:
        async with served(tmp_path, hub) as client:
            reader, writer = await opened(client, "/api/v1/watch")
            waiting = tasks.create_task(client.get(f"/api/v1/deliveries/{row.id}/wait?timeout=60"))
            calling = tasks.create_task(client.post("/api/v1/functions/hello/invoke", b"{}"))
            await watched(client)
            while not hub.sent:
                await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.3, hub.slow.set)
        assert await reader.read() == b"0\r\n\r\n"
        writer.close()
    assert (waiting.result().status, waiting.result().code) == (503, "stopping")
    assert calling.result().status == 200


async def test_cancelling_the_server_cuts_what_is_open(tmp_path: Path) -> None:
    hub = FakeHub(drain=60_000)
    hub.slow = anyio.Event()
    async with asyncio.timeout(GUARD):
        with anyio.CancelScope() as scope:
            async with served(tmp_path, hub) as client:
                _, writer = await client.connect()
                writer.write(b"POST /api/v1/functions/hello/invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
                while not hub.sent:
                    await asyncio.sleep(0.01)
                scope.cancel()
        while not hub.cut:
            await asyncio.sleep(0.01)
        writer.close()
    assert not (tmp_path / "hub.sock").exists()


# who may ask


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8701", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8701", 200),
        ("127.9.9.9", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example:8701", 421),
        ("10.0.0.1", 421),
        ("[::", 421),
        ("@127.0.0.1@evil", 421),
        ("", 421),
    ],
)
async def test_only_a_host_of_this_machine_is_answered(tmp_path: Path, host: str, status: int) -> None:
    async with served(tmp_path) as client:
        answer = await client.get("/healthz", headers={"Host": host}, tcp=True)
        assert answer.status == status
        assert (await client.get("/healthz", headers={"Host": host})).status == 200, "any will do on the socket"


async def test_a_hub_that_listens_everywhere_answers_to_addresses_only(tmp_path: Path) -> None:
    async with served(tmp_path, host="0.0.0.0") as client:
        assert (await client.get("/healthz", headers={"Host": "10.1.2.3:8701"}, tcp=True)).status == 200
        assert (await client.get("/healthz", headers={"Host": "evil.example"}, tcp=True)).status == 421


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8701", 200),
        ("http://LOCALHOST:8701", 200),
        ("http://localhost", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("file://localhost:8701", 403),
        ("http://localhost:8701@evil.example", 403),
    ],
)
@pytest.mark.parametrize("tcp", [True, False])
async def test_a_page_of_another_origin_changes_nothing(tmp_path: Path, origin: str, status: int, tcp: bool) -> None:
    async with served(tmp_path) as client:
        headers = {"Host": "localhost:8701", "Origin": origin}
        assert (await client.post("/api/v1/reload", headers=headers, tcp=tcp)).status == status
        assert client.hub.did == ([("reload",)] if status == 200 else [])


async def test_a_token_that_is_none_is_refused_and_not_ignored(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        answer = await client.get("/api/v1/status", headers={"Authorization": "Bearer x"}, tcp=True)
        assert (answer.status, answer.code) == (401, "bad-token")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_the_server_underneath_has_no_log_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(query: object) -> list[object]:
        raise RuntimeError("out of order")

    async with served(tmp_path) as client:
        reader, writer = await client.connect(tcp=True)
        writer.write(b"nonsense\r\n\r\n")
        async with asyncio.timeout(GUARD):
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        client.hub.page = broken
        cut = await client.post("/api/v1/dead-letters/redrive", {"all": True})
        assert (cut.status, cut.body) == (200, b"")
    assert [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")] == []


# where it listens


async def test_the_socket_is_its_owners_alone_and_replaces_a_dead_one(tmp_path: Path) -> None:
    (tmp_path / "hub.sock").write_text("left by a dead hub")
    async with served(tmp_path) as client:
        mode = client.socket.lstat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert (await client.get("/healthz")).status == 200
    assert not client.socket.exists()


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, as a test's own does not always."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


async def test_a_long_path_gets_a_link_to_a_short_one(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 5)
    deep.mkdir(parents=True)
    async with served(deep) as client:
        assert client.socket.is_symlink()
        target = client.socket.readlink()
        assert target.parent.parent == runtime
        assert stat.S_IMODE(target.parent.stat().st_mode) == 0o700
        assert (await client.get("/healthz")).status == 200
    assert not target.exists()
    assert not client.socket.is_symlink()


def test_a_runtime_folder_that_others_may_enter_is_not_used(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    own = runtime / f"triggerhub-{os.getuid()}"
    for mode, used in ((0o755, False), (0o700, True)):
        own.mkdir()
        own.chmod(mode)
        with unixsocket.unix_socket(tmp_path / ("x" * 120)) as listener:
            assert listener.getsockname().startswith(str(runtime)) == used
        own.rmdir()


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        with pytest.raises(ConfigError, match=f"127.0.0.1:{client.port} cannot be listened on"):
            async with admin.serve(
                FakeHub(),
                *made(FakeHub(), tmp_path),
                host="127.0.0.1",
                port=client.port,
                socket=tmp_path / "other.sock",
            ):
                pass
    assert not (tmp_path / "other.sock").exists()
