"""Verify AWS's Signature Version 4 on a request, as the services do.

Pure: the clock reading is an argument. The rules are those of "Create a signed AWS API request" in
AWS's IAM user guide; the path is encoded twice, as every service but S3 does.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW = 5 * 60
"""Seconds by which a signature's time may differ from ours."""
LONGEST = 7 * 24 * 3600
"""Seconds for which a signature in a query may hold, a link."""
_PARAMETER = "X-Amz-"
SIGNATURE = f"{_PARAMETER}Signature"
_CREDENTIAL = re.compile(r"([\w-]{1,128})/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request", re.ASCII)
_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}")
_SIGNED_AS = "Signature="
_USUAL = 1024
"""Characters of a header before its signature, and of a path, up to which what is read of it is kept."""
_SPACES = re.compile(r" +")


class Refused(Exception):
    """A request is not signed as it must be; ``kind`` is AWS's error class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(slots=True)
class Signature:
    """What an Authorization header, or a query, says."""

    access_key: str
    day: str
    region: str
    service: str
    signed: tuple[str, ...]
    """Names of the headers that were signed."""
    signature: str
    at: str | None = None
    """When it was signed, where a query says so; else a header does."""
    expires: int | None = None
    """For how many seconds a signature in a query holds."""

    @property
    def link(self) -> bool:
        """Whether it stands in the query: whoever has the address has the signature."""
        return self.expires is not None

    @property
    def scope(self) -> str:
        return f"{self.day}/{self.region}/{self.service}/aws4_request"


@dataclass(slots=True, kw_only=True)
class Signed:
    """What of a request is signed. Header names are in lower case; several of one name are joined by commas."""

    method: str
    raw_path: str
    query: Sequence[tuple[str, str]]
    """Decoded."""
    headers: Mapping[str, str]
    body: bytes
    digest: str | None = None
    """Of the body, where it is known already: a large one is digested in a thread."""


def digest(body: bytes) -> str:
    """Return a body's digest as it is signed."""
    return hashlib.sha256(body).hexdigest()


def parse(authorization: str | None) -> Signature:
    """Read an Authorization header. Raises Refused."""
    if not authorization:
        raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
    before, _, signature = authorization.rpartition(_SIGNED_AS)
    if len(before) <= _USUAL and _HEX.fullmatch(signature):
        same = _parsed(before)
        return Signature(same.access_key, same.day, same.region, same.service, same.signed, signature)
    return _parse(authorization)


@lru_cache(maxsize=256)
def _parsed(before: str) -> Signature:
    """Return what a header says before its signature, which clients say again and again, with none in it."""
    return _parse(f"{before}{_SIGNED_AS}{'0' * 64}")


def _parse(authorization: str) -> Signature:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise _incomplete(f"Authorization header must be of the algorithm {ALGORITHM}.")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    for name in ("Credential", "Signature", "SignedHeaders"):
        if not parts.get(name):
            raise _incomplete(f"Authorization header requires '{name}' parameter.")
    return _signature(parts)


def parse_query(query: Sequence[tuple[str, str]]) -> Signature:
    """Read the signature of a link, which was signed before it was handed on. Raises Refused."""
    parts = {}
    for name, value in query:
        if not name.startswith(_PARAMETER):
            continue
        key = name.removeprefix(_PARAMETER)
        if key in parts:
            raise _incomplete(f"AWS query-string parameters must be there once: {name[:100]}.")
        parts[key] = value
    if parts.get("Algorithm") != ALGORITHM:
        raise _incomplete(f"X-Amz-Algorithm must be {ALGORITHM}.")
    for name in ("Credential", "Date", "Expires", "SignedHeaders", "Signature"):
        if not parts.get(name):
            raise _incomplete(f"AWS query-string parameters must include 'X-Amz-{name}'.")
    if not re.fullmatch(r"\d{1,9}", parts["Expires"], re.ASCII) or not 1 <= int(parts["Expires"]) <= LONGEST:
        raise _incomplete(f"X-Amz-Expires must be a number of seconds from 1 to {LONGEST}, a week.")
    return replace(_signature(parts), at=parts["Date"], expires=int(parts["Expires"]))


def _signature(parts: Mapping[str, str]) -> Signature:
    credential = _CREDENTIAL.fullmatch(parts["Credential"])
    if credential is None:
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements: key/date/region/service/aws4_request."
        )
    if not _HEX.fullmatch(parts["Signature"]):
        raise _incomplete("Signature must be 64 hexadecimal digits.")
    signed = tuple(parts["SignedHeaders"].split(";"))
    if len(set(signed)) != len(signed):
        # Each would stand in what is hashed once more, as long as it is.
        raise _incomplete("SignedHeaders must name each header once.")
    if "host" not in signed:
        raise _incomplete("'Host' must be a 'SignedHeader' in the AWS Authorization.")
    key, day, region, service = credential.groups()
    return Signature(key, day, region, service, signed, parts["Signature"])


def verify(signature: Signature, secret: str, request: Signed, *, service: str, now: float) -> int:
    """Return the second at which *request* was signed.

    Raises Refused where *signature* is not that of *request* by *secret*, or not of this time.
    """
    at, moment = dated(signature, request.headers, service=service, now=now)
    key = signing_key(secret, signature.day, signature.region, signature.service)
    expected = hmac.digest(key, string_to_sign(signature, request, at).encode(), "sha256")
    if not hmac.compare_digest(expected.hex(), signature.signature):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details."
        )
    return moment


def dated(signature: Signature, headers: Mapping[str, str], *, service: str, now: float) -> tuple[str, int]:
    """Return when a request says that it was signed, as it says so and as a second: no body is needed for that.

    Raises Refused where that is not of this time, or for another service.
    """
    if signature.service != service:
        raise _invalid(f"Credential should be scoped to correct service: '{service}'.")
    at = headers.get("x-amz-date", "") if signature.at is None else signature.at
    if not _DATE.fullmatch(at) or not at.startswith(signature.day):
        where = "Authorization header requires existence of an" if signature.at is None else "A query requires an"
        raise _incomplete(f"{where} 'X-Amz-Date' {'header ' if signature.at is None else ''}of the credential's day.")
    return at, _timely(at, now, signature.expires)


def string_to_sign(signature: Signature, request: Signed, at: str) -> str:
    """Return the text that is signed."""
    digest = hashlib.sha256(canonical(signature, request).encode()).hexdigest()
    return f"{ALGORITHM}\n{at}\n{signature.scope}\n{digest}"


def canonical(signature: Signature, request: Signed) -> str:
    """Return the request in the one form that both sides sign. Raises Refused."""
    if ".." in request.raw_path.split("/"):
        # Signed as the path that it leads to, it would be answered as the one that it is.
        raise _invalid("A path that is signed has no '..' in it.")
    lines = []
    for name in signature.signed:
        value = request.headers.get(name)
        if value is None:
            raise _invalid(f"The header {name[:100]} was signed and is not in the request.")
        lines.append(f"{name}:{_SPACES.sub(' ', value.strip()) if '  ' in value else value.strip()}\n")
    for name in request.headers:
        if name.startswith("x-amz-") and name not in signature.signed:
            raise _invalid(f"The header {name[:100]} must be signed.")
    query = ""
    if request.query:
        told = [(name, value) for name, value in request.query if not (signature.link and name == SIGNATURE)]
        query = "&".join(f"{name}={value}" for name, value in sorted((_encode(n), _encode(v)) for n, v in told))
    path = (_same_path if len(request.raw_path) <= _USUAL else _path)(request.raw_path)
    signed = ";".join(signature.signed)
    return f"{request.method}\n{path}\n{query}\n{''.join(lines)}\n{signed}\n{_digest(request)}"


def _path(raw: str) -> str:
    return quote(_normal(raw), safe="/-_.~")


_same_path = lru_cache(maxsize=1024)(_path)


@lru_cache(maxsize=64)
def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """Return the key of a day, region and service."""
    key = f"AWS4{secret}".encode()
    for word in (day, region, service, "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    return key


def _digest(request: Signed) -> str:
    """Return the payload's digest; what a client said of it must be true."""
    told = request.headers.get("x-amz-content-sha256")
    found = request.digest or digest(request.body)
    if told not in (None, found):
        raise _invalid("The provided 'x-amz-content-sha256' header does not match what was computed.")
    return found


def _normal(path: str) -> str:
    """Return the path without empty components and ``.``."""
    kept = [part for part in path.split("/") if part not in ("", ".")]
    return f"/{'/'.join(kept)}{'/' if kept and path.endswith('/') else ''}"


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")


def _timely(at: str, now: float, expires: int | None) -> int:
    try:
        moment = _second(at)
    except ValueError:
        raise _incomplete(f"Date is not a date: {at}") from None
    if -SKEW <= now - moment <= (SKEW if expires is None else expires):
        return moment
    allowed = "5 min" if expires is None or moment > now else f"{expires} s"
    shown = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ} by more than {allowed}."
    if moment < now:
        raise _invalid(f"Signature expired: {at} is now earlier than {shown}")
    raise _invalid(f"Signature not yet current: {at} is still later than {shown}")


@lru_cache(maxsize=64)
def _second(at: str) -> int:
    return int(datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp())


def _incomplete(message: str) -> Refused:
    return Refused("IncompleteSignatureException", message)


def _invalid(message: str) -> Refused:
    return Refused("InvalidSignatureException", message)
