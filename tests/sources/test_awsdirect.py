"""The short way to SQS: it asks as the client does, and leaves to the client what is not answered well."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.aws_double.sqs import SqsDouble
from triggerhub.aws import sqs
from triggerhub.awsclient import Connection, Options, connected
from triggerhub.awsdirect import learn
from triggerhub.awsfault import AwsFault
from triggerhub.awswire import NoAnswer, Place, Wire

pytestmark = pytest.mark.usefixtures("keys")

AT = "20261127T120000Z"
BODY = b'{"QueueUrl": "http://sqs/1/a", "MaxNumberOfMessages": 10}'


def as_botocore(url: str, body: bytes, token: str | None, secret: str = "s3cr3t") -> dict[str, str]:
    """Return the headers that botocore's own signer makes."""
    headers = {"X-Amz-Target": "AmazonSQS.ReceiveMessage", "Content-Type": "application/json", "X-Own": "a  b"}
    request = AWSRequest(method="POST", url=url, data=body, headers=headers)
    botocore.auth.SigV4Auth(Credentials("AKID", secret, token), "sqs", "eu-west-3").add_auth(request)
    return {name.lower(): str(value) for name, value in request.headers.items()}


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime.strptime(AT, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moment)


@pytest.mark.usefixtures("noon")
@pytest.mark.parametrize("token", [None, "a/long+token=="])
@pytest.mark.parametrize(
    "url",
    [
        "https://sqs.eu-west-3.amazonaws.com/",
        "https://sqs.eu-west-3.amazonaws.com:443/",
        "http://127.0.0.1:4566/",
        "http://localhost:80",
        "http://localhost/a%20b/c",
    ],
)
def test_a_request_is_signed_as_botocore_signs_it(url: str, token: str | None) -> None:
    way = learn("POST", url, as_botocore(url, b"another", token, "another"))
    assert way is not None
    head, _, body = way.request(BODY, "AKID", "s3cr3t", token, at=AT).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert (first, body) == (f"POST {urlsplit(url).path or '/'} HTTP/1.1", BODY)
    assert len(headers) == len(lines)
    assert headers["authorization"] == as_botocore(url, BODY, token)["authorization"]
    assert (headers["x-amz-date"], headers["x-own"], headers.get("x-amz-security-token")) == (AT, "a  b", token)
    assert headers["content-length"] == str(len(BODY))


@pytest.mark.usefixtures("noon")
@pytest.mark.parametrize(("key", "token"), [("AK\r\nX: 1", "t"), ("AKID", "t\r\nX: 1")])
def test_credentials_cannot_add_a_header(key: str, token: str) -> None:
    way = learn("POST", "http://localhost/", as_botocore("http://localhost/", BODY, token))
    assert way is not None
    with pytest.raises(ValueError, match="no header has"):
        way.request(BODY, key, "s3cr3t", token, at=AT)


@pytest.mark.usefixtures("noon")
@pytest.mark.parametrize(
    ("method", "url", "changed"),
    [
        pytest.param("GET", "http://localhost/", {}, id="another method"),
        pytest.param("POST", "http://localhost/?a=b", {}, id="a query"),
        pytest.param("POST", "http://localhost/", {"authorization": "Bearer abc"}, id="another signature"),
        pytest.param("POST", "http://localhost/", {"authorization": ""}, id="none"),
        pytest.param("POST", "http://localhost/", {"x-own": "{date}"}, id="a header like a place to fill in"),
        pytest.param("POST", "http://localhost/", {"x-own": "a\r\nb"}, id="a header of two lines"),
        pytest.param("POST", "unix:/socket", {}, id="no HTTP"),
    ],
)
def test_what_is_not_understood_is_not_learnt(method: str, url: str, changed: dict[str, str]) -> None:
    assert learn(method, url, {**as_botocore("http://localhost/", BODY, None), **changed}) is None


@asynccontextmanager
async def asked(
    double: SqsDouble, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[tuple[Connection, str, list[str]]]:
    """A connection to a queue of the double, and what its client itself was asked for."""
    double.do_CreateQueue("a")
    double.patience = 0
    async with double.serve(tls=tls) as address, connected("sqs", Options(endpoint_url=address)) as connection:
        found = await connection.call("get_queue_url", QueueName="a")
        by_client: list[str] = []
        assert connection._current is not None
        connection._current.client.meta.events.register(
            "before-send.sqs", lambda event_name, **_: by_client.append(event_name.rpartition(".")[2])
        )
        yield connection, found["QueueUrl"], by_client


async def test_all_but_the_first_request_go_the_short_way() -> None:
    double = SqsDouble()
    async with asked(double) as (connection, url, by_client):
        for number in range(3):
            double.do_SendMessage("a", MessageBody=f"ü{number}")
            answer = await connection.call("receive_message", QueueUrl=url, MaxNumberOfMessages=10)
            assert [one["Body"] for one in answer["Messages"]] == [f"ü{number}"]
            entries = [{"Id": "0", "ReceiptHandle": answer["Messages"][0]["ReceiptHandle"]}]
            await connection.call("delete_message_batch", QueueUrl=url, Entries=entries)
        assert by_client == ["ReceiveMessage", "DeleteMessageBatch"]
        assert double.calls["ReceiveMessage"] == double.calls["DeleteMessageBatch"] == 3
        assert not double.queues["a"].messages
        assert await connection.call("receive_message", QueueUrl=url) == {}


@pytest.mark.parametrize("kind", ["throttle", "fail", "drop", "refuse"])
async def test_what_goes_wrong_is_asked_again_by_the_client(kind: str) -> None:
    double = SqsDouble()
    async with asked(double) as (connection, url, by_client):
        for _ in range(2):
            await connection.call("receive_message", QueueUrl=url)
        double.trouble(kind)
        await connection.call("receive_message", QueueUrl=url)
        assert by_client == ["ReceiveMessage"] * 2
        await connection.call("receive_message", QueueUrl=url)
        assert by_client == ["ReceiveMessage"] * 2, "the short way is open again"


@pytest.mark.parametrize(("kind", "found"), [("deny", "denied"), ("expire", "credentials"), ("fail", "unreachable")])
async def test_trouble_has_the_clients_words_and_closes_the_short_way(kind: str, found: str) -> None:
    double = SqsDouble()
    async with asked(double) as (connection, url, _):
        for _ in range(2):
            await connection.call("receive_message", QueueUrl=url)
        before = double.calls["ReceiveMessage"]
        double.trouble(kind, 50)
        for count in range(1, 3):
            with pytest.raises(AwsFault) as raised:
                await connection.call("receive_message", QueueUrl=url)
            assert raised.value.kind == found
            tries = 3 if kind == "fail" else 1
            assert double.calls["ReceiveMessage"] - before == 1 + count * tries
        double.faults.clear()
        assert await connection.call("receive_message", QueueUrl=url) is not None


async def test_a_cancelled_request_leaves_the_short_way_open() -> None:
    double = SqsDouble()
    async with asked(double) as (connection, url, by_client):
        await connection.call("receive_message", QueueUrl=url)
        double.patience = None
        with anyio.move_on_after(0.1) as scope:
            await connection.call("receive_message", QueueUrl=url, WaitTimeSeconds=20)
        assert scope.cancelled_caught
        double.patience = 0
        await connection.call("receive_message", QueueUrl=url)
        assert by_client == ["ReceiveMessage"]


async def test_a_record_is_the_same_by_either_way() -> None:
    double = SqsDouble()
    attributes: dict[str, Any] = {
        "n": {"DataType": "Number", "StringValue": "7"},
        "b": {"DataType": "Binary", "BinaryValue": "AP8="},
    }
    records = []
    async with asked(double) as (connection, url, by_client):
        double.do_SendMessage("a", MessageBody="x", MessageAttributes=attributes)
        for _ in range(2):
            answer = await connection.call("receive_message", QueueUrl=url, VisibilityTimeout=0)
            (one,) = answer["Messages"]
            one["ReceiptHandle"] = one["Attributes"]["ApproximateReceiveCount"] = "1"
            records.append(sqs.received(one, "arn:aws:sqs:us-east-1:000000000000:a"))
        assert by_client == ["ReceiveMessage"]
    assert records[0] == records[1]
    assert b'"binaryValue":"AP8="' in records[0]


async def test_the_short_way_trusts_whom_the_client_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, tls = certificate(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    double = SqsDouble()
    async with asked(double, tls) as (connection, url, by_client):
        for _ in range(3):
            await connection.call("receive_message", QueueUrl=url)
        assert by_client == ["ReceiveMessage"]
        assert double.calls["ReceiveMessage"] == 3


async def test_a_certificate_that_the_client_does_not_trust_is_refused_by_the_short_way(tmp_path: Path) -> None:
    _, tls = certificate(tmp_path)
    double = SqsDouble()
    async with double.serve(tls=tls) as address:
        place = Place(host="127.0.0.1", port=int(address.rpartition(":")[2]), tls=ssl.create_default_context(),
                      connect=5, answer=5)  # fmt: skip
        with pytest.raises(NoAnswer, match="certificate"):
            await Wire(place, 1).ask(b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n")


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate of loopback that nobody signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "double")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "double.pem"
    path.write_bytes(made.public_bytes(Encoding.PEM))
    whole = folder / "whole.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    whole.write_bytes(path.read_bytes() + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(whole)
    return path, context


async def test_through_a_proxy_all_goes_by_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    double = SqsDouble()
    double.do_CreateQueue("a")
    async with double.serve() as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        async with connected("sqs", Options(endpoint_url="http://sqs.invalid")) as connection:
            for _ in range(3):
                await connection.call("receive_message", QueueUrl="http://sqs/000000000000/a")
            assert connection._current is not None
            assert connection._current.direct is not None
            assert not connection._current.direct._ways
        assert double.calls["ReceiveMessage"] == 3
