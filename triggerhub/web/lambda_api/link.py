"""Make links by which whoever has one can fetch an archive for a while: Lambda's are signed addresses in S3."""

from __future__ import annotations

import hmac
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence

PLACE = "/2015-03-31/code/"
LASTS = 600
"""Seconds, as at AWS."""
_PATH = re.compile(rf"{PLACE}[0-9a-f]{{64}}")


def is_link(method: str, path: str) -> bool:
    """Whether a request is for what a link leads to: the link says whether it may."""
    return method == "GET" and _PATH.fullmatch(path) is not None


class Links:
    """The links of one hub; those of another run of it lead nowhere."""

    def __init__(self, now: Callable[[], float] = time.time, draw: Callable[[int], bytes] = os.urandom) -> None:
        self._now, self._secret = now, draw(32)

    def to(self, origin: str, name: str) -> str:
        """Return the address of the archive *name* at the listener that the client calls *origin*: scheme and host."""
        ends = str(int(self._now()) + LASTS)
        return f"{origin}{PLACE}{name}?Expires={ends}&Signature={self._signature(name, ends)}"

    def opens(self, name: str, query: Mapping[str, Sequence[str]]) -> bool:
        """Whether the query is that of a link to *name* which still holds."""
        ends, signature = (query.get(key, [""])[-1] for key in ("Expires", "Signature"))
        right = hmac.compare_digest(signature.encode(), self._signature(name, ends).encode())
        return right and self._now() <= int(ends)

    def _signature(self, name: str, ends: str) -> str:
        return hmac.digest(self._secret, f"{name} {ends}".encode(), "sha256").hex()
