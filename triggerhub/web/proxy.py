"""Tell who a caller is, when proxies that are trusted stand in between.

X-Forwarded-* headers are anybody's to write, so they count only when the peer itself is trusted;
of the addresses, the right-most that is not trusted is the last one that a trusted proxy vouches for.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from triggerhub.errors import ConfigError

_FOR = re.compile(r'(?i)\bfor\s*=\s*"?([^;,"]*)')
"""Whom a Forwarded header names."""

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*)|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
"""What a Host header may say."""
_SHARED = tuple(map(ipaddress.IPv6Network, ("::/64", "64:ff9b::/96", "fe80::/10")))
"""Networks whose addresses are of different hosts: IPv4's within IPv6, by whatever gateway, and those of one link."""
_LONGEST = 100
"""Characters of an address, its zone and port included."""


class Proxies:
    """The networks whose word on the caller is believed."""

    def __init__(self, trusted: Sequence[str]) -> None:
        """*trusted* are addresses or networks; ConfigError names one that is neither."""
        self._networks = []
        for text in trusted:
            try:
                self._networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError as error:
                raise ConfigError(
                    f"trusted_proxies: expected an address or a network, got {text!r}",
                    hint='Write it like "10.0.0.0/8", "192.0.2.7" or "2001:db8::/32".',
                ) from error

    def trusts(self, peer: str) -> bool:
        """Whether the caller at this address may speak for others."""
        address = _address(peer)
        return address is not None and self._within(address)

    def _within(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._networks)

    def seen(self, headers: Sequence[tuple[str, str]], *, peer: str, scheme: str, host: str) -> tuple[str, str, str]:
        """Return client, scheme and host of a request: as its headers report them where *peer* is trusted."""
        if not self.trusts(peer):
            return peer, scheme, host
        return self.caller(headers, client=peer, scheme=scheme, host=host)

    def caller(
        self, headers: Sequence[tuple[str, str]], *, client: str, scheme: str, host: str
    ) -> tuple[str, str, str]:
        """Return client, scheme and host as the trusted peer that sent *headers* reports them."""
        for name, value in headers:
            if name == "x-forwarded-proto":
                last = _last(value).lower()
                scheme = last if last in ("http", "https") else scheme
            elif name == "x-forwarded-host":
                last = _last(value)
                host = last if HOST.fullmatch(last) else host
        return self._client(headers, client), scheme, host

    def _client(self, headers: Sequence[tuple[str, str]], client: str) -> str:
        hops = [hop for name, value in headers if name == "x-forwarded-for" for hop in value.split(",")]
        for hop in reversed(hops):
            address = _address(hop)
            if address is None:
                return client
            client = str(address)
            if not self._within(address):
                return client
        return client


def from_here(peer: str, headers: Sequence[tuple[str, str]]) -> bool:
    """Whether a request comes from this machine, by its peer and by all that it says of whom it was forwarded for.

    Such headers only take trust away here, so that it does not matter who wrote them: a proxy on this machine adds
    the address that it was called from.
    """
    hops = [hop for name, value in headers if name in ("x-forwarded-for", "x-real-ip") for hop in value.split(",")]
    hops += [hop for name, value in headers if name == "forwarded" for hop in _FOR.findall(value)]
    addresses = map(_address, (peer, *hops))
    return all(address is not None and address.is_loopback for address in addresses)


def _last(value: str) -> str:
    return value.rsplit(",", 1)[-1].strip()


def neighbours(address: str) -> str:
    """Return for whom an address is counted: of IPv6 its network of 64 bits, where who has one of it has all."""
    found = _address(address)
    if found is None:
        return address
    if isinstance(found, ipaddress.IPv4Address) or any(found in network for network in _SHARED):
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))


def peer_address(peername: object) -> str:
    """Return the address of a transport's peer as text, an IPv4 one as such even on an IPv6 socket."""
    if not isinstance(peername, (tuple, list)) or not peername:
        return ""
    return _plain(str(peername[0]))


@lru_cache(maxsize=256)
def _plain(peer: str) -> str:
    address = _address(peer)
    return peer if address is None else str(address)


def _address(text: str) -> Address | None:
    """Read ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1``, ``[2001:db8::1]:80``; None for what is no address."""
    return _read(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=1024)
def _read(text: str) -> Address | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
