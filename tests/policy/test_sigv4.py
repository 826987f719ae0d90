"""Signatures are those of AWS's test suite, and of botocore; anything else is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy import sigv4
from triggerhub.policy.sigv4 import Refused, Signed, parse, verify

KEY, SECRET = "AKIDEXAMPLE-and-more", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("method", "path", "query", "signature"),
    [
        ("GET", "/", [], "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", [], "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("GET", "/", [("Param2", "value2"), ("Param1", "value1")],
         "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ],
    ids=["get-vanilla", "post-vanilla", "get-vanilla-query-order-key-case"],
)  # fmt: skip
def test_the_published_vectors(method: str, path: str, query: list[tuple[str, str]], signature: str) -> None:
    told = sigv4.Signature("AKIDEXAMPLE", "20150830", "us-east-1", "service", ("host", "x-amz-date"), signature)
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    request = Signed(method=method, raw_path=path, query=query, headers=headers, body=b"")
    verify(told, SECRET, request, service="service", now=NOW)


def signed(method: str, url: str, body: bytes, headers: dict[str, str]) -> tuple[str, Signed]:
    """Sign as botocore does; return the Authorization header and the request as a server has it."""
    request = AWSRequest(method=method, url=url, data=body, headers=headers)
    SigV4Auth(Credentials(KEY, SECRET), "lambda", "us-east-1").add_auth(request)
    parts = urlsplit(url)
    kept = {name.lower(): value for name, value in request.headers.items()} | {"host": parts.netloc}
    return kept.pop("authorization"), Signed(
        method=method,
        raw_path=parts.path,
        query=parse_qsl(parts.query, keep_blank_values=True),
        headers=kept,
        body=body,
    )


def now_of(request: Signed) -> float:
    return datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


@given(
    name=st.text(st.sampled_from("ab%3A:/$-._~"), min_size=1, max_size=12).filter(lambda name: name != ".."),
    query=st.text(st.sampled_from("ab=&%250-~+"), max_size=12),
    body=st.binary(max_size=50),
    value=st.text(st.sampled_from("ab  ,"), min_size=1, max_size=9),
)
def test_what_botocore_signs_is_found_right_and_nothing_else_is(name: str, query: str, body: bytes, value: str) -> None:
    asked = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in parse_qsl(query, keep_blank_values=True))
    url = f"http://127.0.0.1:8701/2015-03-31/functions/{quote(name, safe='')}?{asked}"
    authorization, request = signed("POST", url, body, {"X-Amz-Log-Type": value})
    told = parse(authorization)
    verify(told, SECRET, request, service="lambda", now=now_of(request))
    others: list[dict[str, Any]] = [
        {"method": "PUT"},
        {"raw_path": request.raw_path + "x"},
        {"query": [*request.query, ("z", "")]},
        {"body": request.body + b"x"},
        {"headers": {**request.headers, "x-amz-log-type": f"{value}x"}},
        {"headers": {**request.headers, "x-amz-invocation-type": "Event"}},
    ]
    for other in others:
        changed = Signed(**{**{key: getattr(request, key) for key in Signed.__slots__}, **other})
        with pytest.raises(Refused) as caught:
            verify(told, SECRET, changed, service="lambda", now=now_of(request))
        assert caught.value.kind == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("late", "service", "secret", "says"),
    [
        (301, "lambda", SECRET, "Signature expired"),
        (-301, "lambda", SECRET, "Signature not yet current"),
        (0, "sqs", SECRET, "correct service: 'sqs'"),
        (0, "lambda", "another", "does not match the signature you provided"),
    ],
)
def test_a_signature_of_another_time_service_or_key_is_refused(late: int, service: str, secret: str, says: str) -> None:
    authorization, request = signed("GET", "http://hub/2015-03-31/functions", b"", {})
    with pytest.raises(Refused, match=says) as caught:
        verify(parse(authorization), secret, request, service=service, now=now_of(request) + late)
    assert caught.value.kind == "InvalidSignatureException"


def test_what_is_signed_is_what_is_answered() -> None:
    # Signed as /_url/own/x, and answered by another function.
    authorization, request = signed("GET", "http://hub/_url/other/../own/x", b"", {})
    with pytest.raises(Refused, match=r"no '\.\.' in it"):
        verify(parse(authorization), SECRET, request, service="lambda", now=now_of(request))
    authorization, request = signed("GET", "http://hub/x?to=a%252Fb", b"", {})
    verify(parse(authorization), SECRET, request, service="lambda", now=now_of(request))
    changed = replace(request, query=[("to", "a/b")])
    with pytest.raises(Refused, match="does not match"):
        verify(parse(authorization), SECRET, changed, service="lambda", now=now_of(request))


def linked(method: str, url: str, expires: int = 600, headers: dict[str, str] | None = None) -> Signed:
    """Sign a link as botocore does; return the request of whoever follows it."""
    request = AWSRequest(method=method, url=url, headers=headers or {})
    SigV4QueryAuth(Credentials(KEY, SECRET), "lambda", "us-east-1", expires=expires).add_auth(request)
    parts = urlsplit(request.url)
    kept = {name.lower(): value for name, value in (headers or {}).items()} | {"host": parts.netloc}
    return Signed(method=method, raw_path=parts.path, query=parse_qsl(parts.query), headers=kept, body=b"")


@pytest.mark.parametrize("late", [-300, 0, 301, 600])
def test_a_link_holds_as_long_as_it_says(late: int) -> None:
    request = linked("GET", "http://hub/2015-03-31/functions?MaxItems=5&Marker=a%20b", headers={"x-own": "1"})
    told = sigv4.parse_query(request.query)
    signed_at = told.at or ""
    now = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    assert verify(told, SECRET, request, service="lambda", now=now + late) == now
    assert (told.link, told.expires) == (True, 600)


@pytest.mark.parametrize(
    ("late", "changes", "says"),
    [
        (601, {}, "Signature expired: .* by more than 600 s"),
        (-301, {}, "Signature not yet current: .* by more than 5 min"),
        (0, {"X-Amz-Expires": "601"}, "does not match"),
        (0, {"X-Amz-Date": "20150830T123600Z"}, "A query requires an 'X-Amz-Date' of the credential's day"),
        (0, {"more": "x"}, "does not match"),
        (0, {"X-Amz-Signature": "0" * 64}, "does not match"),
    ],
)
def test_a_link_of_another_time_or_to_something_else_is_refused(late: int, changes: dict[str, str], says: str) -> None:
    request = linked("GET", "http://hub/2015-03-31/functions")
    signed_at = sigv4.parse_query(request.query).at or ""
    now = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    changed = replace(request, query=list({**dict(request.query), **changes}.items()))
    with pytest.raises(Refused, match=says):
        verify(sigv4.parse_query(changed.query), SECRET, changed, service="lambda", now=now + late)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"X-Amz-Algorithm": "AWS4-ECDSA-P256-SHA256"}, "X-Amz-Algorithm must be AWS4-HMAC-SHA256"),
        ({"X-Amz-Expires": ""}, "must include 'X-Amz-Expires'"),
        ({"X-Amz-Expires": "0"}, "from 1 to 604800, a week"),
        ({"X-Amz-Expires": "604801"}, "from 1 to 604800, a week"),
        ({"X-Amz-Expires": "-5"}, "from 1 to 604800, a week"),
        ({"X-Amz-Credential": "a/b"}, "5 slash-delimited"),
        ({"X-Amz-SignedHeaders": "date"}, "'Host' must be"),
        ({"X-Amz-Signature": "zz"}, "64 hexadecimal digits"),
    ],
)
def test_a_query_that_is_no_signature_is_told_what_it_lacks(changes: dict[str, str], says: str) -> None:
    query = dict(linked("GET", "http://hub/2015-03-31/functions").query)
    with pytest.raises(Refused, match=says) as caught:
        sigv4.parse_query(list({**query, **changes}.items()))
    assert caught.value.kind == "IncompleteSignatureException"
    with pytest.raises(Refused, match="must be there once: X-Amz-Date"):
        sigv4.parse_query([*query.items(), ("Date", "mine"), ("X-Amz-Date", "20150830T123600Z")])


HEX = "0" * 64
CREDENTIAL = f"Credential={KEY}/20150830/us-east-1/lambda/aws4_request"


@pytest.mark.parametrize(
    ("header", "kind", "says"),
    [
        (None, "MissingAuthenticationTokenException", "Missing Authentication Token"),
        ("", "MissingAuthenticationTokenException", "Missing Authentication Token"),
        ("Bearer x", "IncompleteSignatureException", "AWS4-HMAC-SHA256"),
        (f"AWS4-HMAC-SHA256 {CREDENTIAL}, SignedHeaders=host", "IncompleteSignatureException", "'Signature'"),
        ("AWS4-HMAC-SHA256 Signature=a, SignedHeaders=host", "IncompleteSignatureException", "'Credential'"),
        (f"AWS4-HMAC-SHA256 {CREDENTIAL}, Signature=a", "IncompleteSignatureException", "'SignedHeaders'"),
        (
            f"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature={HEX}",
            "IncompleteSignatureException",
            "5 slash",
        ),
        (f"AWS4-HMAC-SHA256 {CREDENTIAL}, SignedHeaders=host, Signature=ä", "IncompleteSignatureException", "64 hex"),
        (
            f"AWS4-HMAC-SHA256 {CREDENTIAL}, SignedHeaders=host{';x' * 15_000}, Signature={HEX}",
            "IncompleteSignatureException",
            "each header once",
        ),
        (
            f"AWS4-HMAC-SHA256 {CREDENTIAL}, SignedHeaders=date, Signature={HEX}",
            "IncompleteSignatureException",
            "'Host'",
        ),
    ],
)
def test_a_header_that_is_no_signature_is_told_what_it_lacks(header: str | None, kind: str, says: str) -> None:
    with pytest.raises(Refused, match=says) as caught:
        parse(header)
    assert caught.value.kind == kind


WHOLE = f"AWS4-HMAC-SHA256 {CREDENTIAL}, SignedHeaders=host;x-amz-date, Signature={HEX}"
KINDS = {"MissingAuthenticationTokenException", "IncompleteSignatureException"}


@given(st.integers(0, len(WHOLE)), st.integers(0, 60), st.text(max_size=3) | st.sampled_from([",", "=", "/", ";", " "]))
def test_a_header_is_read_as_it_stands_or_refused(at: int, cut: int, put: str) -> None:
    header = WHOLE[:at] + put + WHOLE[at + cut :]
    try:
        told, refused = parse(header), None
    except Refused as error:
        told, refused = None, error.kind
    if told is None:
        assert header != WHOLE
        assert refused in KINDS
    else:
        scope = f"{told.access_key}/{told.day}/{told.region}/{told.service}/aws4_request"
        for part in (f"Credential={scope}", f"SignedHeaders={';'.join(told.signed)}", f"Signature={told.signature}"):
            assert part in header


@given(st.text("0123456789abcdef", min_size=64, max_size=64), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_of_two_headers_that_differ_in_the_signature_alone_each_keeps_its_own(first: str, second: str) -> None:
    for own in (first, second, first):
        told = parse(WHOLE.replace(HEX, own))
        assert (told.signature, told.signed, told.service) == (own, ("host", "x-amz-date"), "lambda")


@given(st.text(max_size=60))
def test_a_header_of_whatever_text_is_refused(text: str) -> None:
    for header in (text, f"AWS4-HMAC-SHA256 {text}"):
        with pytest.raises(Refused) as caught:
            parse(header)
        assert caught.value.kind in KINDS
