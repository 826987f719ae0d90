"""TLS with a certificate of our own, and what is believed of proxies."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.web.rig import GUARD, Echo, connected, on_each_loop, post, route, serving
from triggerhub.errors import ConfigError
from triggerhub.web.limit import Limits
from triggerhub.web.proxy import Proxies, neighbours, peer_address
from triggerhub.web.tls import server_context


def issue(folder: Path, name: str, password: bytes | None = None) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return files


@on_each_loop
async def test_requests_come_over_tls(tmp_path):
    cert, key = issue(tmp_path, "hub")
    echo = Echo()
    trusting = ssl.create_default_context(cafile=str(cert))
    async with (
        serving(route(echo, limit=500_000), tls=server_context(cert, key)) as port,
        connected(port, ssl=trusting, server_hostname="localhost") as client,
    ):
        for body in (b"one", b"two" * 100_000):
            await client.send(post(body=body))
            assert (await client.answer()).body == b"/a " + body
        await client.send(b"nonsense\r\n\r\n")
        assert (await client.answer()).status == 400
    assert [request.scheme for request in echo.seen] == ["https", "https"]


@on_each_loop
async def test_a_client_that_does_not_speak_tls_harms_nobody(tmp_path):
    cert, key = issue(tmp_path, "hub")
    trusting = ssl.create_default_context(cafile=str(cert))
    async with serving(route(Echo()), tls=server_context(cert, key)) as port:
        async with connected(port) as plain:
            await plain.send(post())
            async with asyncio.timeout(GUARD):
                await plain.reader.read(1000)
        async with connected(port, ssl=trusting, server_hostname="localhost") as client:
            await client.send(post())
            assert (await client.answer()).status == 200


async def served(port: int, trusting: ssl.SSLContext) -> None:
    """Return once a client that shakes hands is answered; it is turned away until the hub sees that others left."""
    async with asyncio.timeout(GUARD):
        while True:
            with contextlib.suppress(OSError):
                async with connected(port, ssl=trusting, server_hostname="localhost") as client:
                    await client.send(post())
                    assert (await client.answer()).status == 200
                    return


@on_each_loop
async def test_clients_that_do_not_shake_hands_are_bounded_as_others_are(tmp_path):
    cert, key = issue(tmp_path, "hub")
    limits = Limits(connections=4, head_time=10 * GUARD)
    trusting = ssl.create_default_context(cafile=str(cert))
    async with serving(route(Echo()), limits=limits, tls=server_context(cert, key)) as port:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(limits.handshakes):
                await stack.enter_async_context(connected(port))
            for _ in range(3):
                assert await (await stack.enter_async_context(connected(port))).ended()
        await served(port, trusting)


@on_each_loop
async def test_clients_that_do_not_shake_hands_have_their_time_and_no_more(tmp_path):
    cert, key = issue(tmp_path, "hub")
    limits = Limits(connections=4, head_time=0.3)
    async with (
        serving(route(Echo()), limits=limits, tls=server_context(cert, key)) as port,
        contextlib.AsyncExitStack() as stack,
    ):
        for client in [await stack.enter_async_context(connected(port)) for _ in range(limits.handshakes)]:
            assert await client.ended()


@on_each_loop
async def test_a_client_too_many_is_told_so_over_tls(tmp_path):
    cert, key = issue(tmp_path, "hub")
    trusting = ssl.create_default_context(cafile=str(cert))
    secure = {"ssl": trusting, "server_hostname": "localhost"}
    async with (
        serving(route(Echo()), limits=Limits(connections=1), tls=server_context(cert, key)) as port,
        connected(port, **secure) as silent,
        connected(port, **secure) as first,
    ):
        assert await silent.ended()
        await first.send(b"POST /a HTTP/1.1\r\nHost: hub\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        assert (await first.answer()).status == 100
        async with connected(port, **secure) as second:
            assert (await second.answer()).status == 503
        await first.send(b"x")
        assert (await first.answer()).status == 200


@on_each_loop
async def test_what_comes_together_with_the_last_of_the_handshake_is_not_lost(tmp_path):
    cert, key = issue(tmp_path, "hub")
    trusting = ssl.create_default_context(cafile=str(cert))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    speaker = trusting.wrap_bio(incoming, outgoing, server_hostname="localhost")
    async with serving(route(Echo()), tls=server_context(cert, key)) as port, connected(port) as client:
        while True:
            try:
                speaker.do_handshake()
                break
            except ssl.SSLWantReadError:
                await client.send(outgoing.read())
                incoming.write(await client.reader.read(65536))
        speaker.write(post(body=b"early"))
        await client.send(outgoing.read())
        said = b""
        async with asyncio.timeout(GUARD):
            while b"early" not in said:
                incoming.write(await client.reader.read(65536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    said += speaker.read(65536)
        assert said.startswith(b"HTTP/1.1 200 ")


@on_each_loop
async def test_a_handshake_under_way_does_not_hold_up_the_end(tmp_path):
    cert, key = issue(tmp_path, "hub")
    begun = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        async with serving(route(Echo()), tls=server_context(cert, key)) as port:
            client = await stack.enter_async_context(connected(port))
            await client.send(b"\x16\x03\x01")
        assert await client.ended()
    assert time.monotonic() - begun < Limits().head_time / 2


@on_each_loop
async def test_tls_before_1_2_is_refused(tmp_path):
    cert, key = issue(tmp_path, "hub")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(route(Echo()), tls=server_context(cert, key)) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(port, ssl=old, server_hostname="localhost"):
                pass


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        pytest.param(("hub.pem", "other.key"), "is not the key of the certificate", id="another's key"),
        pytest.param(
            ("none.pem", "hub.key"), r"hub\.tls\.cert: .*none\.pem cannot be read: No such file", id="no cert"
        ),
        pytest.param(("hub.pem", "none.key"), r"hub\.tls\.key: .*cannot be read", id="no key"),
        pytest.param(("junk.pem", "hub.key"), "are not a PEM certificate and its unencrypted key", id="junk"),
        pytest.param(("hub.pem", "locked.key"), "unencrypted key", id="an encrypted key"),
        pytest.param(("hub.key", "hub.pem"), "are not a PEM certificate", id="the wrong way round"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_a_config_error(tmp_path, pair, says):
    issue(tmp_path, "hub")
    issue(tmp_path, "other")
    issue(tmp_path, "locked", b"password")
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(ConfigError, match=says):
        server_context(tmp_path / pair[0], tmp_path / pair[1])


FORWARDED = b"X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.2.3"


@pytest.mark.parametrize(
    ("trusted", "seen"),
    [
        pytest.param(["127.0.0.0/8", "10.0.0.0/8"], ("203.0.113.9", "https", "public.example"), id="trusted"),
        pytest.param(["10.0.0.0/8"], ("127.0.0.1", "http", "hub"), id="another proxy is trusted"),
        pytest.param([], ("127.0.0.1", "http", "hub"), id="nobody is trusted"),
    ],
)
@on_each_loop
async def test_forwarded_headers_are_believed_from_trusted_proxies_only(trusted, seen):
    echo = Echo()
    headers = FORWARDED, b"X-Forwarded-Proto: https", b"X-Forwarded-Host: public.example"
    async with serving(route(echo), trusted_proxies=trusted) as port, connected(port) as client:
        await client.send(post("/a", b"x", *headers))
        assert (await client.answer()).status == 200
    [request] = echo.seen
    assert (request.client, request.scheme, request.host) == seen


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        pytest.param([], "10.0.0.1", id="no header"),
        pytest.param(["1.2.3.4"], "1.2.3.4", id="one"),
        pytest.param(["6.6.6.6, 1.2.3.4, 10.0.0.7"], "1.2.3.4", id="the right-most that is not trusted"),
        pytest.param(["6.6.6.6", "1.2.3.4"], "1.2.3.4", id="over two headers"),
        pytest.param(["10.0.0.9, 10.0.0.8"], "10.0.0.9", id="all trusted"),
        pytest.param(["1.2.3.4, unknown"], "10.0.0.1", id="the last is no address"),
        pytest.param(["unknown, 10.0.0.8"], "10.0.0.8", id="an inner one is no address"),
        pytest.param(["1.2.3.4:5678"], "1.2.3.4", id="with a port"),
        pytest.param(["[2001:db8::1]:80"], "2001:db8::1", id="IPv6 with a port"),
        pytest.param(["2001:db8::1"], "2001:db8::1", id="IPv6"),
        pytest.param(["::ffff:10.0.0.3, ::ffff:10.0.0.2"], "10.0.0.3", id="IPv4 in IPv6"),
    ],
)
def test_the_client_is_the_last_one_a_trusted_proxy_vouches_for(headers, client):
    named = [("x-forwarded-for", value) for value in headers]
    found, _, _ = Proxies(["10.0.0.0/8"]).caller(named, client="10.0.0.1", scheme="http", host="hub")
    assert found == client


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:0:0:1", "2001:db8::/64"), ("2001:db8:0:1::1", "2001:db8:0:1::/64"), ("socket", "socket"),
        ("", ""), ("::1", "::1"), ("::192.0.2.1", "::c000:201"), ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"), ("64:ff9b:0:0:0:1::1", "64:ff9b::/64"),
        ("64:ff9b:1::1", "64:ff9b:1::/64"), ("fe80::1%eth0", "fe80::1"), ("febf::2", "febf::2"),
        ("fec0::1", "fec0::/64"), ("0:0:0:1::1", "0:0:0:1::/64"),
    ],
)  # fmt: skip
def test_whoever_has_an_address_of_ipv6_has_its_network(address: str, counted: str):
    assert neighbours(address) == counted


def test_a_forwarded_host_or_scheme_that_is_none_is_ignored():
    headers = [("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a b")]
    assert Proxies([]).caller(headers, client="", scheme="http", host="hub") == ("", "http", "hub")


def test_a_proxy_that_is_no_network_is_a_config_error():
    with pytest.raises(ConfigError, match="expected an address or a network, got 'proxy'"):
        Proxies(["proxy"])


@pytest.mark.parametrize(
    ("name", "shown"), [(("::ffff:1.2.3.4", 1, 0, 0), "1.2.3.4"), (("fe80::1%eth0", 1, 0, 2), "fe80::1"), ("", "")]
)
def test_a_peer_has_one_spelling(name, shown):
    assert peer_address(name) == shown
