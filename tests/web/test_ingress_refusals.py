"""Raw bytes that no client should send: what each is answered, and that none reaches an endpoint."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.rig import Echo, connected, on_each_loop, post, route, serving
from triggerhub.web.limit import Limits

H = b"POST /a HTTP/1.1\r\nHost: hub\r\n"
UPGRADE = b"Host: hub\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
CHUNKED = H + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = [
    # smuggling: where two readers could see two different ends of a request
    pytest.param(H + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="CL and TE"),
    pytest.param(H + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400, id="TE and CL"),
    pytest.param(H + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, id="two lengths"),
    pytest.param(H + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, id="the same length twice"),
    pytest.param(H + b"Content-Length: 3, 3\r\n\r\nabc", 400, id="a list of lengths"),
    pytest.param(H + b"Content-Length: +3\r\n\r\nabc", 400, id="a signed length"),
    pytest.param(H + b"Content-Length: -1\r\n\r\nabc", 400, id="a negative length"),
    pytest.param(H + b"Content-Length: 0x3\r\n\r\nabc", 400, id="a hexadecimal length"),
    pytest.param(H + b"Content-Length: 1_0\r\n\r\n0123456789", 400, id="a length with an underscore"),
    pytest.param(H + b"Content-Length: \xb2\r\n\r\nab", 400, id="a length in superscript"),
    pytest.param(H + b"Content-Length:\r\n\r\nabc", 400, id="an empty length"),
    pytest.param(H + b"Content-Length: 99999999999999999999\r\n\r\n", 400, id="a length beyond 64 bits"),
    pytest.param(H + b"Content-Length : 3\r\n\r\nabc", 400, id="space before the colon"),
    pytest.param(H + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, id="TE and space before the colon"),
    pytest.param(H + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, id="xchunked"),
    pytest.param(H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, id="gzip, chunked"),
    pytest.param(H + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400, id="chunked, identity"),
    pytest.param(H + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400, id="chunked, chunked"),
    pytest.param(H + b"Transfer-Encoding: identity\r\n\r\n", 501, id="identity"),
    pytest.param(H + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, id="a vertical tab before chunked"),
    pytest.param(H + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400, id="TE on a folded line"),
    pytest.param(
        H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400, 501), id="TE twice"
    ),
    pytest.param(
        b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501, id="TE in HTTP/1.0"
    ),
    pytest.param(H + b"X: a\r\n b\r\n\r\n", 400, id="a folded line"),
    pytest.param(H + b"X: a\nContent-Length: 3\r\n\r\nabc", 400, id="a bare line feed"),
    pytest.param(H + b"X: a\rContent-Length: 3\r\n\r\nabc", 400, id="a bare carriage return"),
    pytest.param(H + b"X: a\x00b\r\n\r\n", 400, id="a zero byte"),
    pytest.param(H + b"X\x80: a\r\n\r\n", 400, id="a header name beyond ASCII"),
    pytest.param(H + b": a\r\n\r\n", 400, id="a header without a name"),
    pytest.param(H + b"no colon\r\n\r\n", 400, id="a header without a colon"),
    pytest.param(b"POST /a HTTP/1.1\nHost: hub\n\n", 400, id="line feeds for line ends"),
    pytest.param(CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400, id="a chunk longer than it says"),
    pytest.param(CHUNKED + b"3\nabc\r\n0\r\n\r\n", 400, id="a chunk size and a bare line feed"),
    pytest.param(CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", 400, id="a chunk size with 0x"),
    pytest.param(CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n", 400, id="a negative chunk size"),
    pytest.param(CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n", 400, id="a chunk size and a space"),
    pytest.param(CHUNKED + b"\r\nabc\r\n0\r\n\r\n", 400, id="a chunk without a size"),
    pytest.param(CHUNKED + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n", 400, id="a chunk beyond 64 bits"),
    # hosts
    pytest.param(b"POST /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400, id="no host"),
    pytest.param(H + b"Host: other\r\nContent-Length: 0\r\n\r\n", 400, id="two hosts"),
    pytest.param(b"POST /a HTTP/1.1\r\nHost:\r\n\r\n", 400, id="an empty host"),
    pytest.param(b"POST /a HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, id="a path for a host"),
    pytest.param(b"POST /a HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, id="a host with a user"),
    pytest.param(b"POST /a HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, id="a list of hosts"),
    # targets and versions
    pytest.param(b"POST a HTTP/1.1\r\nHost: hub\r\n\r\n", 400, id="a path without a slash"),
    pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: hub\r\n\r\n", 400, id="an asterisk"),
    pytest.param(b"CONNECT hub:443 HTTP/1.1\r\nHost: hub\r\n\r\n", 400, id="CONNECT"),
    pytest.param(b"POST ftp://hub/a HTTP/1.1\r\nHost: hub\r\n\r\n", 400, id="another scheme"),
    pytest.param(b"POST http://a@b/a HTTP/1.1\r\nHost: hub\r\n\r\n", 400, id="a user in the target"),
    pytest.param(b"POST /a#b HTTP/1.1\r\nHost: hub\r\n\r\n", 400, id="a fragment"),
    pytest.param(b"POST /a%00 HTTP/1.1\r\nHost: hub\r\n\r\n", 400, id="an encoded zero byte"),
    pytest.param(b"POST /a%0d%0aX HTTP/1.1\r\nHost: hub\r\n\r\n", 400, id="an encoded line break"),
    pytest.param(b"POST /\xc3\xa4 HTTP/1.1\r\nHost: hub\r\n\r\n", 400, id="a target beyond ASCII"),
    pytest.param(b"POST /a b HTTP/1.1\r\nHost: hub\r\n\r\n", 400, id="a space in the target"),
    pytest.param(b"POST /a HTTP/2.0\r\nHost: hub\r\n\r\n", 505, id="HTTP/2.0"),
    pytest.param(b"POST /a HTTP/1.2\r\nHost: hub\r\n\r\n", 400, id="HTTP/1.2"),
    pytest.param(b"POST /a HTTP/0.9\r\nHost: hub\r\n\r\n", 505, id="HTTP/0.9"),
    pytest.param(b"GET /a\r\n\r\n", (400, 505), id="no version"),
    pytest.param(
        b"POST /a HTTP/1.0\r\n" + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501,
        id="TE in HTTP/1.0, another protocol offered",
    ),
    pytest.param(
        b"POST /a HTTP/2.0\r\n" + UPGRADE + b"Content-Length: 1\r\n\r\nx", 505, id="HTTP/2.0, another protocol offered"
    ),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="HTTP/2 at once"),
    pytest.param(b"NONSENSE /a HTTP/1.1\r\nHost: hub\r\n\r\n", 400, id="no method"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, id="TLS on the plain port"),
    pytest.param(b"\x00" * 100, 400, id="zero bytes"),
    # sizes
    pytest.param(b"GET /" + b"a" * 17_000, 414, id="a target that does not end"),
    pytest.param(b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: hub\r\n\r\n", 414, id="a long target"),
    pytest.param(H + b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431, id="a long header"),
    pytest.param(H + b"X: " + b"a" * 90_000, 431, id="a header that does not end"),
    pytest.param(H + b"X: a\r\n" * 200 + b"\r\n", 431, id="many headers"),
    pytest.param(H + b"X: a\r\n" * 101, 431, id="many headers that do not end"),
    pytest.param(H + b"X: " + b"a" * 65_000 + b"\r\nY: " + b"a" * 600 + b"\r\nZ", 431, id="long ones that do not end"),
    pytest.param(b"\r\n" * 50_000, 431, id="empty lines"),
    pytest.param(H + b"Content-Length: 1001\r\n\r\n", 413, id="a long body, announced"),
    pytest.param(CHUNKED + b"3e9\r\n" + b"a" * 1001, 413, id="a long body in chunks"),
    pytest.param(CHUNKED + b"1;" + b"x" * 200_000, 400, id="a chunk extension that does not end"),
    pytest.param(CHUNKED + b"0\r\nX: " + b"x" * 200_000, 400, id="a trailer that does not end"),
    pytest.param(H + b"Content-Length: 2\r\nExpect: the-unexpected\r\n\r\nok", 417, id="another expectation"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "status"), REFUSED)
@on_each_loop
async def test_what_is_malformed_is_refused_and_the_connection_ends(raw, status):
    echo = Echo()
    async with serving(route(echo)) as port, connected(port) as client:
        await client.send(raw)
        answer = await client.answer()
        assert answer.status in (status if isinstance(status, tuple) else (status,))
        assert json.loads(answer.body)["message"]
        assert answer.header("connection") == "close"
        client.writer.write_eof()
        assert await client.ended()
    assert echo.seen == []


@pytest.mark.parametrize(
    "hidden",
    [
        pytest.param(H + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="CL and TE"),
        pytest.param(H + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", id="xchunked"),
        pytest.param(CHUNKED + b"0\r\n\r\nextra", id="bytes after the last chunk"),
    ],
)
@on_each_loop
async def test_nothing_behind_a_refused_request_is_taken_for_another(hidden):
    echo = Echo()
    async with serving(route(echo, "/a"), route(echo, "/secret")) as port, connected(port) as client:
        await client.send(hidden + post("/secret"))
        client.writer.write_eof()
        while not client.reader.at_eof():
            await client.reader.read(65536)
    assert [request.path for request in echo.seen if request.path == "/secret"] == []


@on_each_loop
async def test_requests_before_a_malformed_one_are_still_answered():
    async with serving(route(Echo())) as port, connected(port) as client:
        await client.send(post(body=b"1") + post(body=b"2") + b"nonsense\r\n\r\n")
        assert [(await client.answer()).body for _ in range(2)] == [b"/a 1", b"/a 2"]
        answer = await client.answer()
        assert (answer.status, answer.header("connection")) == (400, "close")
        assert await client.ended()


@on_each_loop
async def test_an_early_refusal_reaches_a_client_that_is_still_sending():
    async with serving(route(Echo(), limit=10)) as port, connected(port) as client:
        await client.send(H + b"Content-Length: 3000000\r\n\r\n" + b"z" * 500_000)
        assert (await client.answer()).status == 413


@on_each_loop
async def test_the_limit_is_the_routes_own():
    async with serving(route(Echo(), "/small", limit=3), route(Echo(), "/large", limit=4)) as port:
        for path, status in (("/small", 413), ("/large", 200)):
            async with connected(port) as client:
                await client.send(post(path, b"abcd"))
                assert (await client.answer()).status == status


@on_each_loop
async def test_bodies_of_all_connections_together_are_bounded():
    limits = Limits(buffered=1500)
    async with serving(route(Echo()), limits=limits) as port, connected(port) as holding, connected(port) as other:
        await holding.send(H + b"Content-Length: 1000\r\n\r\n" + b"a" * 999)
        await other.send(b"GET /a HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert (await other.answer()).status == 200
        await other.send(post(body=b"b" * 1000))
        answer = await other.answer()
        assert (answer.status, answer.header("retry-after")) == (503, "1")
        await holding.send(b"a")
        assert (await holding.answer()).status == 200
        await holding.send(post(body=b"c" * 1000))
        assert (await holding.answer()).status == 200


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(raw=st.binary(max_size=300) | st.lists(st.sampled_from([
    b"POST /a HTTP/1.1\r\n", b"GET /a HTTP/1.0\r\n", b"Host: hub\r\n", b"Content-Length: 3\r\n", b"\r\n", b"abc",
    b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"\x00", b" ", b"Expect: 100-continue\r\n",
]), max_size=20).map(b"".join))  # fmt: skip
async def test_no_bytes_harm_the_ingress(raw):
    async with serving(route(Echo())) as port:
        async with connected(port) as client:
            await client.send(raw)
            client.writer.write_eof()
            while await client.reader.read(65536):
                pass
        async with connected(port) as client:
            await client.send(post())
            assert (await client.answer()).status == 200
