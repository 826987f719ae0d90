from __future__ import annotations

import pytest

from triggerhub.policy import cors
from triggerhub.policy.cors import Cors

SITE = "https://site.example"
LISTED = Cors(origins=(SITE,), methods=("POST",), headers=("x-a", "x-b"), expose=("x-c",), max_age=60, credentials=True)
OPEN = Cors(origins=("*",), methods=("POST", "GET"))


@pytest.mark.parametrize(
    ("origins", "found"),
    [
        (["*"], None),
        (["https://a.example", "http://localhost:3000", "http://127.0.0.1", "http://[::1]:8080"], None),
        (["null", "capacitor://localhost", "chrome-extension://abcdefghij"], None),
        (["https://a.example", "https://*.example"], "https://*.example"),
        (["a.example"], "a.example"),
        (["https://a.example/"], "https://a.example/"),
        (["https://A.example"], "https://A.example"),
        ([""], ""),
        (["https://a.example:port"], "https://a.example:port"),
    ],
)
def test_what_no_browser_sends_is_no_origin(origins: list[str], found: str | None) -> None:
    assert cors.unmatched(origins) == found


def test_a_preflight_is_told_the_rules():
    assert dict(cors.preflight(LISTED, SITE)) == {
        "access-control-allow-origin": SITE,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "x-a, x-b",
        "access-control-max-age": "60",
        "vary": "origin",
    }
    assert dict(cors.preflight(OPEN, SITE)) == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "POST, GET",
    }


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://site.example.evil", "null", "", "HTTPS://SITE.EXAMPLE"]
)
def test_another_origin_is_allowed_nothing(origin):
    assert cors.preflight(LISTED, origin) == (("vary", "origin"),)
    assert cors.apply(LISTED, origin, ()) == (("vary", "origin"),)


@pytest.mark.parametrize("origin", [SITE, "https://other.example", "null"])
def test_with_credentials_every_origin_is_told_itself_where_all_may_call(origin):
    """As function URLs of AWS do: browsers refuse credentials together with the origin ``*``."""
    every = Cors(origins=("*",), methods=("GET",), credentials=True)
    told = {"access-control-allow-origin": origin, "access-control-allow-credentials": "true", "vary": "origin"}
    assert dict(cors.preflight(every, origin)) == {**told, "access-control-allow-methods": "GET"}
    assert dict(cors.apply(every, origin, [("access-control-allow-origin", "*")])) == told
    assert cors.apply(every, None, ()) == (("vary", "origin"),)


def test_what_is_configured_replaces_what_the_function_says():
    own = (("Access-Control-Allow-Origin", "*"), ("x-c", "1"))
    assert cors.apply(LISTED, SITE, own) == (
        ("x-c", "1"),
        ("access-control-allow-origin", SITE),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-c"),
        ("vary", "origin"),
    )
    assert cors.apply(OPEN, None, own) == (("x-c", "1"),)


@pytest.mark.parametrize(
    ("method", "names", "asks"),
    [
        ("OPTIONS", ("origin", "access-control-request-method"), True),
        ("OPTIONS", ("origin",), False),
        ("POST", ("origin", "access-control-request-method"), False),
    ],
)
def test_a_preflight_is_known_by_its_headers(method, names, asks):
    assert cors.is_preflight(method, [(name, "x") for name in names]) is asks
