"""What a request to the proxy asks for, and what is sent on of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.forwarding import Asked, BadRequest, answer, read


@pytest.mark.parametrize(
    ("line", "host", "port"),
    [
        (b"CONNECT api.example:443 HTTP/1.1", "api.example", 443),
        (b"CONNECT 10.0.0.5:80 HTTP/1.0", "10.0.0.5", 80),
        (b"CONNECT [::1]:80 HTTP/1.1", "::1", 80),
    ],
)
def test_a_tunnel(line: bytes, host: str, port: int) -> None:
    assert read(line + b"\r\nHost: whatever\r\n\r\n") == Asked(host, port, None)


def test_a_plain_request_is_written_anew_for_its_server() -> None:
    head = (
        b"POST http://API.example:8080/a/b?c=%20d HTTP/1.1\r\nhost: other.example\r\nProxy-Authorization: x\r\n"
        b"Proxy-Connection: keep-alive\r\nConnection: keep-alive, X-Hop\r\nx-hop: 1\r\nContent-Length: 3\r\nA:  b \r\n\r\n"
    )
    assert read(head) == Asked(
        "api.example",
        8080,
        b"POST /a/b?c=%20d HTTP/1.1\r\nHost: API.example:8080\r\nContent-Length: 3\r\nA: b\r\nConnection: close\r\n\r\n",
    )


@pytest.mark.parametrize(
    ("line", "port", "begins"),
    [
        (b"GET http://a.example HTTP/1.1", 80, b"GET / HTTP/1.1\r\nHost: a.example\r\n"),
        (b"GET http://a.example?x=1 HTTP/1.1", 80, b"GET /?x=1 HTTP/1.1\r\n"),
        (b"OPTIONS http://a.example HTTP/1.1", 80, b"OPTIONS * HTTP/1.1\r\n"),
        (b"GET http://[::1]:81/ HTTP/1.0", 81, b"GET / HTTP/1.0\r\nHost: [::1]:81\r\n"),
    ],
)
def test_the_target_of_a_plain_request(line: bytes, port: int, begins: bytes) -> None:
    asked = read(line + b"\r\n\r\n")
    assert asked.port == port
    assert asked.head is not None
    assert asked.head.startswith(begins)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"", "request line"),
        (b"GET /", "request line"),
        (b"GET  / HTTP/1.1", "request line"),
        (b"G\x00T http://a/ HTTP/1.1", "request line"),
        (b"GET http://a/\xff HTTP/1.1", "request line"),
        (b"GET http://a/ HTTP/2.0", "expected HTTP/1.1"),
        (b"GET / HTTP/1.1", "begins with http://"),
        (b"GET https://a/ HTTP/1.1", "begins with http://"),
        (b"GET http:///x HTTP/1.1", "begins with http://"),
        (b"GET http://a:0/ HTTP/1.1", "begins with http://"),
        (b"GET http://u:p@a/ HTTP/1.1", "without a user"),
        (b"GET http://a:99999/ HTTP/1.1", "is no address"),
        (b"GET http://[a/ HTTP/1.1", "is no address"),
        (b"CONNECT a HTTP/1.1", "expected HOST:PORT"),
        (b"CONNECT a:0 HTTP/1.1", "expected HOST:PORT"),
        (b"CONNECT u@a:443 HTTP/1.1", "expected HOST:PORT"),
        (b"CONNECT a:443:443 HTTP/1.1", "expected HOST:PORT"),
        (b"CONNECT a:443 HTTP/1.1\r\nno field", "header field"),
        (b"CONNECT a:443 HTTP/1.1\r\n folded: x", "header field"),
        (b"CONNECT a:443 HTTP/1.1\r\nA : x", "header field"),
        (b"CONNECT a:443 HTTP/1.1\r\nA: x\ny", "header field"),
        (b"CONNECT a:443 HTTP/1.1\r\nA: x\x00", "header field"),
    ],
)
def test_what_is_no_request_says_why(head: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        read(head + b"\r\n\r\n")


@given(
    st.binary(max_size=200)
    | st.builds(lambda a, b: b"GET http://" + a + b" HTTP/1.1\r\n" + b, st.binary(), st.binary())
)
def test_no_bytes_break_the_reader_nor_smuggle_a_line(head: bytes) -> None:
    try:
        asked = read(head + b"\r\n\r\n")
    except BadRequest:
        return
    assert 0 < asked.port < 65536
    if asked.head is not None:
        assert asked.head.count(b"\r\n\r\n") == 1
        assert b"\n" not in asked.head.replace(b"\r\n", b"")


@given(st.text())
def test_an_answer_is_one_line_whatever_it_says(reason: str) -> None:
    head, _, body = answer(403, reason).partition(b"\r\n\r\n")
    assert len(head.split(b"\r\n")) == 4
    assert f"Content-Length: {len(body)}".encode() in head
