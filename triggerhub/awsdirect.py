"""Send the requests that are made thousands of times by a short way.

Most of what aiobotocore spends on a small request is the same each time: events that nobody listens to, the endpoint's
rules, signing with objects, a parser led by the service's description. So the first request of an operation goes by its
client, and what the client sent is learnt. Further ones differ from it in body, date and signature; they go over
connections of their own, with the client's certificates and limits, and are signed with the session's own credentials.
Whatever is not answered well is asked again by the client, which knows about errors and retries, and goes by it until
that is answered.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from triggerhub.awswire import Place, Wire
from triggerhub.policy import sigv4

PLAIN = {
    "receive_message": "ReceiveMessage",
    "delete_message_batch": "DeleteMessageBatch",
    "change_message_visibility_batch": "ChangeMessageVisibilityBatch",
}
"""Operations of SQS whose parameters are the body as they are, and whose answer is the body; but ``BinaryValue`` stays
base64 in it."""
_DATE, _TOKEN = "{date}", "{token}"
_encoded = json.JSONEncoder(separators=(",", ":")).encode
_NOTHING = hashlib.sha256(b"").hexdigest()
_SIGNED = re.compile(
    sigv4.ALGORITHM
    + r" Credential=([^,]+)/(\d{8})/([^/,]+)/([^/,]+)/aws4_request, SignedHeaders=([^,]+), Signature=(\w+)"
)
_PORTS = {"http": 80, "https": 443}
_OWN = {"authorization", "x-amz-date", "x-amz-security-token", "content-length", "amz-sdk-invocation-id"}
"""Headers that differ from request to request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What all requests of one operation have in common."""

    scheme: str
    host: str
    port: int
    head: str
    """The request's first line and headers, but those that differ."""
    signature: sigv4.Signature
    """Of the request that it was learnt from."""
    form: str
    """What is signed, with places for date and token, up to the digest of the body."""
    token: bool
    """Whether the credentials had one."""

    def request(self, body: bytes, access_key: str, secret: str, token: str | None, *, at: str) -> bytes:
        """Return a request that is sent at a moment like ``20261127T120000Z``. ValueError for a key that is none."""
        told, day = self.signature, at[:8]
        scope = f"{day}/{told.region}/{told.service}/aws4_request"
        form = self.form.replace(_DATE, at).replace(_TOKEN, token or "") + hashlib.sha256(body).hexdigest()
        digest = hashlib.sha256(form.encode()).hexdigest()
        keyed = _keyed(secret, day, told.region, told.service).copy()
        keyed.update(f"{sigv4.ALGORITHM}\n{at}\n{scope}\n{digest}".encode())
        own = f"X-Amz-Security-Token: {token}\r\n" if token is not None else ""
        if not access_key.isprintable() or not own[:-2].isprintable():
            raise ValueError("the credentials have characters that no header has")
        head = (
            f"{self.head}X-Amz-Date: {at}\r\n{own}Authorization: {sigv4.ALGORITHM} Credential={access_key}/{scope}, "
            f"SignedHeaders={';'.join(told.signed)}, Signature={keyed.hexdigest()}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("latin-1") + body


@lru_cache(maxsize=16)
def _keyed(secret: str, day: str, region: str, service: str) -> hmac.HMAC:
    """Return the beginning of a signature, to be copied: each new one lets go of the interpreter."""
    return hmac.new(sigv4.signing_key(secret, day, region, service), digestmod="sha256")


def learn(method: str, url: str, headers: dict[str, str]) -> Way | None:
    """Return the way of a request that was signed and sent; None where it is not of the kind that is known here.

    Header names are in lower case.
    """
    parts = urlsplit(url)
    usual = _PORTS.get(parts.scheme)
    if usual is None or parts.hostname is None:
        return None
    host = parts.netloc.removesuffix(f":{usual}")
    kept = {name: value for name, value in headers.items() if name not in _OWN}
    found = _SIGNED.fullmatch(headers.get("authorization", ""))
    if found is None or method != "POST" or parts.query or any(one in str(kept) for one in (_DATE, _TOKEN)):
        return None
    if not all(one.isprintable() for one in (url, *kept, *kept.values())):
        return None
    key, day, region, service, names, digest = found.groups()
    signature = sigv4.Signature(key, day, region, service, tuple(names.split(";")), digest)
    try:
        token = "x-amz-security-token" in signature.signed
        same = {"x-amz-date": _DATE, **({"x-amz-security-token": _TOKEN} if token else {})}
        shown = {"host": host, **{name: kept[name] for name in signature.signed if name in kept}, **same}
        form = sigv4.canonical(
            signature, sigv4.Signed(method=method, raw_path=parts.path or "/", query=(), headers=shown, body=b"")
        )
    except sigv4.Refused:
        return None
    lines = "".join(
        f"{name}: {value}\r\n" for name, value in {"host": host, **kept, "accept-encoding": "identity"}.items()
    )
    return Way(
        scheme=parts.scheme,
        host=parts.hostname,
        port=parts.port or usual,
        head=f"POST {parts.path or '/'} HTTP/1.1\r\n{lines}",
        signature=signature,
        form=form.removesuffix(_NOTHING),
        token=token,
    )


class Direct:
    """The short way of one client of SQS."""

    def __init__(self, client: Any, credentials: Any) -> None:
        self._client = client
        self._credentials = credentials
        self._wires: dict[tuple[str, int], Wire] = {}
        self._seen: dict[str, Way | None] = {}
        self._ways: dict[str, Way] = {}
        client.meta.events.register("before-send.sqs", self._see)

    async def call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """Make one request; None where the client is to make it, be it for the first time or once more."""
        way = self._ways.get(operation)
        if way is None:
            return None
        body = _encoded(parameters).encode()
        held = await self._credentials.get_frozen_credentials()
        answer = None
        if (held.token is not None) is way.token:
            at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            try:
                request = way.request(body, held.access_key, held.secret_key, held.token, at=at)
                status, text = await (await self._wire(way)).ask(request)
                answer = json.loads(text) if status == HTTPStatus.OK else None
            except (OSError, ValueError):
                answer = None
        if not isinstance(answer, dict):
            self._ways.pop(operation, None)
            return None
        return answer

    def answered(self, operation: str) -> None:
        """Take it that the client's last request of an operation was answered: further ones may be like it."""
        way = self._seen.pop(PLAIN.get(operation, ""), None)
        if way is not None:
            self._ways[operation] = way

    def close(self) -> None:
        for wire in self._wires.values():
            wire.close()

    async def _wire(self, way: Way) -> Wire:
        """Return the connections of a way, which are made as the client's own are."""
        wire = self._wires.get((way.host, way.port))
        if wire is None:
            config, tls = self._client.meta.config, None
            if way.scheme == "https":
                session = await self._client._endpoint.http_session._get_session(None)  # noqa: SLF001 - it has no public name
                tls = session.connector._ssl  # noqa: SLF001 - as above
            wire = Wire(
                Place(
                    host=way.host, port=way.port, tls=tls, connect=config.connect_timeout, answer=config.read_timeout
                ),
                config.max_pool_connections,
            )
            wire = self._wires.setdefault((way.host, way.port), wire)
        return wire

    def _see(self, request: Any, event_name: str, **_: Any) -> None:
        """Look at what the client is about to send; botocore calls it."""
        operation = event_name.rpartition(".")[2]
        if operation not in PLAIN.values():
            return
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        try:
            http = self._client._endpoint.http_session  # noqa: SLF001 - as above
            proxied = http._proxy_config.proxy_url_for(request.url) is not None or not callable(http._get_session)  # noqa: SLF001
        except AttributeError:  # another release, or another HTTP client: it all goes by the client
            proxied = True
        self._seen[operation] = None if proxied else learn(request.method, request.url, headers)
