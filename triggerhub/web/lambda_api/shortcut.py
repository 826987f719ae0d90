"""Let a signed call of a function, which is nearly all that comes, past the framework.

It is taken off the connection as soon as all of it is there, and answered by one write. What is in
any way out of the ordinary goes the long way, which alone refuses: the guard of the listener, those
who may have forwarded it, and the service's description are looked at there.
"""

from __future__ import annotations

from triggerhub.hub.hub import Hub
from triggerhub.policy import sigv4
from triggerhub.settings import KB
from triggerhub.source import Response
from triggerhub.web import http
from triggerhub.web.guard import Guard
from triggerhub.web.lambda_api import sent
from triggerhub.web.lambda_api.api import LambdaApi
from triggerhub.web.lambda_api.sent import Call, Sent
from triggerhub.web.short import Headers, Peer, Taken

MOST = 64 * KB
"""Bytes of a body: a longer one is read as it comes."""
_BEGINS = sent.INVOKE[0].encode()
_ODD = frozenset((
    "expect", "forwarded", "origin", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "transfer-encoding",
    "upgrade", "x-amz-security-token", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip",
))  # fmt: skip
"""Headers that say what has to be looked at more closely."""


class Shortcut:
    """Implements ``short.Shortcut`` for one listener, which *guard* guards; *trusted* is the hub's own socket."""

    def __init__(self, hub: Hub, api: LambdaApi, guard: Guard, *, trusted: bool) -> None:
        self._hub, self._api, self._guard, self._trusted = hub, api, guard, trusted

    def takes(self, url: bytes, headers: Headers, peer: Peer) -> Taken | None:
        """Return how a POST is answered; None where it goes the long way."""
        if not url.startswith(_BEGINS) or self._hub.phase != "running":
            return None
        found = sent.joined(headers)
        length = found.get("content-length", "")
        if (
            len(found) != len(headers)
            or not _ODD.isdisjoint(found)
            or not found.get("authorization", "").startswith(sigv4.ALGORITHM)
            or not (length.isdecimal() and len(length) < 6 and int(length) <= MOST)
            or not self._guard.is_ours(found.get("host", ""))
        ):
            return None
        path, _, query = url.decode("latin-1").partition("?")
        request = Sent(
            method="POST",
            raw_path=path,
            query=query,
            headers=found,
            client=None if self._trusted else peer.address,
            secure=peer.secure,
            trusted=self._trusted,
            from_afar=not peer.here,
        )
        asked = sent.call(request)
        return None if asked is None else _Taken(self._api, request, asked)


class _Taken:
    """A call on its way."""

    __slots__ = ("_api", "_asked", "_request")

    def __init__(self, api: LambdaApi, request: Sent, asked: Call) -> None:
        self._api, self._request, self._asked = api, request, asked

    async def answer(self, body: bytes, *, close: bool) -> bytes:
        answer = await self._api.call(self._request, self._asked, body)
        response = Response(status=answer.status, headers=answer.headers, body=answer.body)
        return http.encode(response, head=False, close=close, own=b"x-amzn-requestid: %b\r\n" % answer.id.encode())
