"""Which hosts a list lets a handler reach, and at which addresses."""

from __future__ import annotations

import contextlib
import ipaddress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.allowlist import Refused, admit, is_public, parse, pin, speaks_of

PUBLIC, INSIDE = ip_address("93.184.215.14"), ip_address("10.0.0.5")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("api.example.com:443", "api.example.com:443"),
        ("API.Example.com:443", "api.example.com:443"),
        ("*.example.com:443", "*.example.com:443"),
        ("my_db:5432", "my_db:5432"),
        ("localhost:5432", "localhost:5432"),
        ("10.0.0.5:80", "10.0.0.5:80"),
        ("10.0.0.0/8:80", "10.0.0.0/8:80"),
        ("[::1]:80", "[::1]:80"),
        ("[FD00::/32]:80", "[fd00::/32]:80"),
        ("169.254.169.254:80", "169.254.169.254:80"),
    ],
)
def test_an_entry_is_read(text: str, shown: str) -> None:
    assert str(parse(text)) == shown
    assert parse(shown) == parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("api.example.com", "expected a host and a port"),
        ("", "expected a host and a port"),
        (":443", "expected a host and a port"),
        ("api.example.com:https", "expected a host and a port"),
        ("api.example.com:0", "from 1 to 65535"),
        ("api.example.com:65536", "from 1 to 65535"),
        ("https://api.example.com:443", "is no host name"),
        ("::1:80", "written in brackets"),
        ("[api.example.com]:80", "is no address"),
        ("api.*.com:80", "a star stands only at the front"),
        ("*:80", "is no host name"),
        ("bücher.example:80", "beginning with xn--"),
        ("127.1:80", "is no host name"),
        ("0x7f000001:80", "is no host name"),
        ("2130706433:80", "is no host name"),
        ("-a.example:80", "is no host name"),
        ("0.0.0.0/0:80", "too wide"),
        ("[::/0]:80", "too wide"),
        ("10.0.0.5/8:80", "host bits"),
        ("0.0.0.0:80", "address of no host"),
        ("224.0.0.1:80", "address of no host"),
        ("255.255.255.255:80", "address of no host"),
        ("[::ffff:10.0.0.5]:80", "as the IPv4 address"),
    ],
)
def test_a_bad_entry_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(text)


LIST = [
    parse(text) for text in ("api.example.com:443", "*.s3.example:443", "10.0.0.5:80", "[fd00::1]:80", "localhost:5432")
]


@pytest.mark.parametrize(
    ("host", "port", "known"),
    [
        ("api.example.com", 443, ()),
        ("API.EXAMPLE.COM.", 443, ()),
        ("a.s3.example", 443, ()),
        ("a.b.s3.example", 443, ()),
        ("10.0.0.5", 80, (INSIDE,)),
        ("::ffff:10.0.0.5", 80, (INSIDE,)),
        ("fd00::1", 80, (ip_address("fd00::1"),)),
        ("localhost", 5432, (ip_address("127.0.0.1"), ip_address("::1"))),
    ],
)
def test_what_is_listed_is_admitted(host: str, port: int, known: tuple[object, ...]) -> None:
    assert admit(LIST, host, port) == known


@pytest.mark.parametrize(
    ("host", "port", "says"),
    [
        ("api.example.com", 80, 'api.example.com:80 is not in sandbox.network; add "api.example.com:80" to it'),
        ("example.com", 443, "not in sandbox.network"),
        ("s3.example", 443, "not in sandbox.network"),
        ("xs3.example", 443, "not in sandbox.network"),
        ("api.example.com.evil.example", 443, "not in sandbox.network"),
        ("10.0.0.6", 80, "not in sandbox.network"),
        ("fd00::2", 80, r"add \"\[fd00::2\]:80\""),
        ("127.0.0.1", 5432, "not in sandbox.network"),
        ("169.254.169.254", 80, "not in sandbox.network"),
        ("0x0a.0.0.5", 80, "no host name|not in sandbox.network"),
        ("167772165", 80, "no host name"),
        ("api.example.com\r\nX: y", 443, "no host name"),
        ("", 443, "no host name"),
    ],
)
def test_what_is_not_listed_is_refused_by_the_name_of_the_setting(host: str, port: int, says: str) -> None:
    with pytest.raises(Refused, match=says):
        admit(LIST, host, port)


@pytest.mark.parametrize(
    ("host", "listed"),
    [("localhost", True), ("127.0.0.1", False), ("10.0.0.5", True), ("::1", False), ("a.s3.example", True)],
)
def test_a_host_is_listed_whatever_its_port(host: str, listed: bool) -> None:
    assert speaks_of(LIST, host) is listed


def test_a_listed_name_is_pinned_to_its_public_addresses() -> None:
    assert pin(LIST, "api.example.com", 443, [INSIDE, PUBLIC]) == (PUBLIC,)


@pytest.mark.parametrize("inside", ["10.0.0.5", "127.0.0.1", "169.254.169.254", "100.100.100.200", "::1", "fd00::1"])
def test_a_listed_name_opens_nothing_of_the_inside(inside: str) -> None:
    with pytest.raises(Refused) as caught:
        pin(LIST, "api.example.com", 443, [ip_address(inside)])
    shown = f"[{inside}]" if ":" in inside else inside
    assert str(caught.value) == (
        f'api.example.com:443 resolves to {inside}, which is not public; add "{shown}:443" to sandbox.network to allow it'
    )


def test_an_address_of_the_inside_is_reached_by_name_once_it_is_listed_itself() -> None:
    entries = [*LIST, parse("10.0.0.0/24:443")]
    assert pin(entries, "api.example.com", 443, [INSIDE]) == (INSIDE,)
    with pytest.raises(Refused):
        pin([*LIST, parse("10.0.0.5:80")], "api.example.com", 443, [INSIDE])


def test_a_name_without_an_address_is_refused() -> None:
    with pytest.raises(Refused, match=r"api\.example\.com:443 has no address"):
        pin(LIST, "api.example.com", 443, [])


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True), ("8.8.8.8", True), ("2606:4700::1111", True), ("64:ff9b::808:808", True),
        ("0.0.0.0", False), ("127.0.0.1", False), ("127.8.8.8", False), ("10.1.2.3", False), ("172.16.0.1", False),
        ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False), ("168.63.129.16", False),
        ("192.0.0.192", False), ("224.0.0.1", False), ("255.255.255.255", False), ("240.0.0.1", False),
        ("198.18.0.1", False), ("::", False), ("::1", False), ("fe80::1", False), ("fd00:ec2::254", False),
        ("ff02::1", False), ("::ffff:127.0.0.1", False), ("::ffff:8.8.8.8", True), ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False), ("64:ff9b::a9fe:a9fe", False), ("2001:0:1::1", False), ("2001:db8::1", False),
        ("fec0::1", False), ("feff:ffff::1", False), ("3fff::1", False), ("3fff:fff::1", False), ("5f00::1", False),
        ("64:ff9b:1::a00:1", False), ("192.88.99.1", False), ("::7f00:1", False),
    ],
)  # fmt: skip
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


@given(st.ip_addresses(), st.integers(1, 65535))
def test_an_address_is_reached_exactly_where_it_is_listed(address: object, port: int) -> None:
    address = ip_address(str(address))
    host = f"[{address}]" if address.version == 6 else str(address)
    try:
        entry = parse(f"{host}:{port}")
    except ValueError:
        return
    assert admit([entry], str(address), port) == (address,)
    with pytest.raises(Refused):
        admit([entry], str(address), port % 65535 + 1)
    with pytest.raises(Refused):
        admit([entry], str(ip_address(int(address) ^ 1)), port)


@given(st.lists(st.ip_addresses(), max_size=5))
def test_nothing_but_public_addresses_is_pinned_where_only_names_are_listed(found: list[object]) -> None:
    addresses = [ip_address(str(one)) for one in found]
    try:
        pinned = pin(LIST, "api.example.com", 443, addresses)
    except Refused:
        assert not any(map(is_public, addresses))
        return
    assert pinned
    assert all(one in addresses and is_public(one) for one in pinned)
    assert not any(one in ipaddress.ip_network("127.0.0.0/8") for one in pinned if one.version == 4)


@given(st.text(max_size=30))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        entry = parse(text)
    except ValueError:
        return
    assert parse(str(entry)) == entry
    with contextlib.suppress(Refused):
        admit([entry], text, 1)


def test_every_public_name_is_no_address_and_nothing_of_the_inside() -> None:
    every = (parse("*:443", every=True),)
    assert admit(every, "pypi.org", 443) == ()
    assert pin(every, "pypi.org", 443, [ip_address("8.8.8.8")]) == (ip_address("8.8.8.8"),)
    for host, port in (
        ("pypi.org", 80),
        ("8.8.8.8", 443),
        ("127.0.0.1", 443),
        ("localhost", 443),
        ("a.localhost", 443),
    ):
        with pytest.raises(Refused, match="is not in"):
            admit(every, host, port)
    with pytest.raises(Refused, match="which is not public"):
        pin(every, "inside.example", 443, [ip_address("10.0.0.1")])
