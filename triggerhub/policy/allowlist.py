"""Decide which hosts a handler whose network is a list may reach, and at which of their addresses.

An entry is ``host:port``: a name, ``*.name`` for all below it, an address, or a network of addresses.
What a name resolves to is looked at too: an address that is not public (private, loopback, link-local,
a cloud's metadata) is reached only where it is listed itself, so that no name server decides what of
the inside is open. Pure: the caller resolves.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

WIDEST = {4: 8, 6: 32}
"""The shortest prefix that a network in a list may have, by version."""
LONGEST = 253
"""Characters of a name, as DNS has it."""
SETTING = "sandbox.network"

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_CLOSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "fec0::/10", "3fff::/20", "5f00::/16", "64:ff9b:1::/48",
    )
)  # fmt: skip
"""Public by what some Pythons know, and yet of some inside: the metadata of Azure and of Oracle, relays of 6to4, what
sites had before fc00::/7, what examples, segments and translators have."""
_HERE = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))


class Refused(Exception):
    """What was asked for is not allowed; says by which setting, and how to allow it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One ``host:port`` of a list."""

    host: str
    """A name in lower case, ``*.name``, ``*``, or the text of the network."""
    port: int
    network: Network | None = None

    def __str__(self) -> str:
        return show(self.host, self.port)


def parse(text: str, *, every: bool = False) -> Entry:
    """Read one entry; *every*: its host may be ``*``, which no function is granted. ValueError says what is wrong."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()):
        raise ValueError(f'expected a host and a port like "api.example.com:443", got "{text}"')
    if not 0 < int(port) < 65536:
        raise ValueError(f'"{text}": a port is a number from 1 to 65535')
    if every and host == "*":
        return Entry(host, int(port))
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare == host and literal(host) is not None and ":" in host:
        raise ValueError(f'"{text}": an IPv6 address is written in brackets: "[{host}]:{port}"')
    network = _network(bare)
    if network is not None:
        return Entry(_text(network), int(port), network)
    if bare != host:
        raise ValueError(f'"{text}": {host} is no address and no network')
    name = host.lower()
    if not _is_name(name.removeprefix("*.")):
        raise ValueError(f'"{text}": {host} is no host name{_spelling(host)}')
    return Entry(name, int(port))


def _spelling(host: str) -> str:
    if "/" in host:
        return "; write the host and its port alone"
    if not host.isascii():
        return "; write it as DNS has it, beginning with xn--"
    return "; a star stands only at the front, for all below a name: *.example.com" if "*" in host else ""


def _network(text: str) -> Network | None:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        if re.fullmatch(r"[0-9a-fA-F.:]+/[0-9]+", text):
            raise ValueError(f"{text} is no network: its host bits must be zero") from None
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"write {text} as the IPv4 address that it is")
    if network.prefixlen < WIDEST[network.version]:
        raise ValueError(f"{text} is too wide: a network in the list has at least /{WIDEST[network.version]}")
    if network.is_multicast or network.is_unspecified or str(network) == "255.255.255.255/32":
        raise ValueError(f"{text} is the address of no host")
    return network


def _text(network: Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _is_name(name: str) -> bool:
    labels = name.split(".")
    # What ends in a number is read as an address by resolvers: 127.1, 0x7f000001.
    return (
        len(name) <= LONGEST and all(_LABEL.fullmatch(label) for label in labels) and not _NUMERIC.fullmatch(labels[-1])
    )


def show(host: str, port: int) -> str:
    """Return ``host:port``, an IPv6 address in its brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def literal(host: str) -> Address | None:
    """Return the address that *host* is, an IPv4 one in IPv6's clothes as such; None for a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def admit(entries: Iterable[Entry], host: str, port: int) -> tuple[Address, ...]:
    """Return the addresses of *host* where no resolver is to be asked, else none. Raises Refused.

    To be called before a name is resolved: the question alone would tell the outside something.
    """
    address, name = literal(host), host.lower().removesuffix(".")
    if address is None and not _is_name(name):
        raise Refused(f"{host!r} is no host name")
    if address is not None:
        if _lists(entries, address, port):
            return (address,)
    elif any(entry.port == port and _matches(entry, name) for entry in entries):
        return _HERE if _is_localhost(name) else ()
    where = show(name if address is None else str(address), port)
    raise Refused(f'{where} is not in {SETTING}; add "{where}" to it to allow it')


def pin(entries: Iterable[Entry], host: str, port: int, addresses: Sequence[Address]) -> tuple[Address, ...]:
    """Return those of a listed name's *addresses* that may be connected to. Raises Refused when none may."""
    entries = tuple(entries)
    name = host.lower().removesuffix(".")
    here = _is_localhost(name)
    kept = tuple(
        address
        for address in addresses
        if is_public(address) or _lists(entries, address, port) or (here and address.is_loopback)
    )
    if not kept:
        closed = str(addresses[0]) if addresses else "no address"
        raise Refused(
            f"{show(name, port)} resolves to {closed}, which is not public; "
            f'add "{show(closed, port)}" to {SETTING} to allow it'
            if addresses
            else f"{show(name, port)} has no address"
        )
    return kept


def speaks_of(entries: Iterable[Entry], host: str) -> bool:
    """Return whether some port of *host* is listed."""
    address = literal(host)
    if address is None:
        return any(_matches(entry, host) for entry in entries)
    return any(_lists((entry,), address, entry.port) for entry in entries)


def is_public(address: Address) -> bool:
    """Return whether the address is of the internet at large, and of no host's or network's inside."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _TRANSLATED:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.sixtofour is not None or address.teredo is not None:
            return False
    if any(address in network for network in _CLOSED):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_localhost(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _matches(entry: Entry, name: str) -> bool:
    if entry.host == "*":
        # Every name of others: the host's own loopback is listed by its name.
        return not _is_localhost(name)
    if entry.host.startswith("*."):
        return name.endswith(entry.host[1:])
    return entry.host == name


def _lists(entries: Iterable[Entry], address: Address, port: int) -> bool:
    return any(
        entry.port == port
        and entry.network is not None
        and entry.network.version == address.version
        and address in entry.network
        for entry in entries
    )
