"""Send the requests that are made thousands of times by a short way.

Most of what aiobotocore spends on a small request is the same each time: events that nobody listens to, the endpoint's
rules, signing with objects, a parser led by the service's description. So the first request of an operation goes by its
client, and what the client sent is learnt. Further ones differ from it in body, date and signature; they take the
client's own connections and the session's own credentials. Whatever is not answered well is asked again by the client,
which knows about errors and retries, and goes by it until that is answered.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import json
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from triggerhub.policy import sigv4

PLAIN = {
    "receive_message": "ReceiveMessage",
    "delete_message_batch": "DeleteMessageBatch",
    "change_message_visibility_batch": "ChangeMessageVisibilityBatch",
}
"""Operations of SQS whose parameters are the body as they are, and whose answer is the body; but ``BinaryValue`` stays
base64 in it."""
_DATE, _TOKEN = "{date}", "{token}"
_NOTHING = hashlib.sha256(b"").hexdigest()
_SIGNED = re.compile(
    sigv4.ALGORITHM
    + r" Credential=([^,]+)/(\d{8})/([^/,]+)/([^/,]+)/aws4_request, SignedHeaders=([^,]+), Signature=(\w+)"
)
_OWN = {"authorization", "x-amz-date", "x-amz-security-token", "content-length", "amz-sdk-invocation-id"}
"""Headers that differ from request to request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What all requests of one operation have in common."""

    url: Any
    """As aiohttp has it: parsed once."""
    headers: dict[str, str]
    signature: sigv4.Signature
    """Of the request that it was learnt from."""
    form: str
    """What is signed, with places for date and token, up to the digest of the body."""
    token: bool
    """Whether the credentials had one."""

    def signed(self, body: bytes, access_key: str, secret: str, token: str | None, *, at: str) -> dict[str, str]:
        """Return the headers of a request that is sent at a moment like ``20261127T120000Z``."""
        told, day = self.signature, at[:8]
        scope = f"{day}/{told.region}/{told.service}/aws4_request"
        form = self.form.replace(_DATE, at).replace(_TOKEN, token or "") + hashlib.sha256(body).hexdigest()
        digest = hashlib.sha256(form.encode()).hexdigest()
        keyed = _keyed(secret, day, told.region, told.service).copy()
        keyed.update(f"{sigv4.ALGORITHM}\n{at}\n{scope}\n{digest}".encode())
        headers = {
            **self.headers,
            "X-Amz-Date": at,
            "Authorization": f"{sigv4.ALGORITHM} Credential={access_key}/{scope}, "
            f"SignedHeaders={';'.join(told.signed)}, Signature={keyed.hexdigest()}",
        }
        if token is not None:
            headers["X-Amz-Security-Token"] = token
        return headers


@lru_cache(maxsize=16)
def _keyed(secret: str, day: str, region: str, service: str) -> hmac.HMAC:
    """Return the beginning of a signature, to be copied: each new one lets go of the interpreter."""
    return hmac.new(sigv4.signing_key(secret, day, region, service), digestmod="sha256")


def learn(method: str, url: str, headers: dict[str, str], parsed: Any) -> Way | None:
    """Return the way of a request that was signed and sent; None where it is not of the kind that is known here.

    *parsed* is the address as the HTTP client has it. Header names are in lower case.
    """
    parts = urlsplit(url)
    host = parts.netloc.removesuffix({"http": ":80", "https": ":443"}.get(parts.scheme, ":"))
    kept = {name: value for name, value in headers.items() if name not in _OWN}
    found = _SIGNED.fullmatch(headers.get("authorization", ""))
    if found is None or method != "POST" or parts.query or any(one in str(kept) for one in (_DATE, _TOKEN)):
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
    kept["accept-encoding"] = "identity"
    return Way(url=parsed, headers=kept, signature=signature, form=form.removesuffix(_NOTHING), token=token)


class Direct:
    """The short way of one client of SQS."""

    def __init__(self, client: Any, credentials: Any) -> None:
        self._client = client
        self._credentials = credentials
        self._failures = importlib.import_module("aiohttp").ClientError, TimeoutError, OSError, ValueError
        self._seen: dict[str, Way | None] = {}
        self._ways: dict[str, Way] = {}
        client.meta.events.register("before-send.sqs", self._see)

    async def call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """Make one request; None where the client is to make it, be it for the first time or once more."""
        way = self._ways.get(operation)
        if way is None:
            return None
        body = json.dumps(parameters).encode()
        held = await self._credentials.get_frozen_credentials()
        answer = None
        if (held.token is not None) is way.token:
            at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            headers = way.signed(body, held.access_key, held.secret_key, held.token, at=at)
            answer = await self._sent(way, headers, body)
        if answer is None:
            self._ways.pop(operation, None)
        return answer

    def answered(self, operation: str) -> None:
        """Take it that the client's last request of an operation was answered: further ones may be like it."""
        way = self._seen.pop(PLAIN.get(operation, ""), None)
        if way is not None:
            self._ways[operation] = way

    async def _sent(self, way: Way, headers: dict[str, str], body: bytes) -> dict[str, Any] | None:
        try:
            session = await self._session()
            async with session.request("POST", way.url, data=body, headers=headers) as response:
                text = await response.read()
                answer = json.loads(text) if response.status == 200 else None
        except self._failures:
            return None
        return answer if isinstance(answer, dict) else None

    async def _session(self) -> Any:
        """Return aiohttp's session of the client, which has its connections, limits, timeouts and certificates."""
        return await self._client._endpoint.http_session._get_session(None)  # noqa: SLF001 - it has no public name

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
        parsed = importlib.import_module("yarl").URL(request.url, encoded=True)
        self._seen[operation] = None if proxied else learn(request.method, request.url, headers, parsed)
