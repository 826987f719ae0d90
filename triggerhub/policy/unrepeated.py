"""Know a signature that comes again, of a request that was answered before.

AWS's services do not: within the five minutes that a signature holds, they answer a request as often as it
comes. Two equal requests that botocore signs within one second have one signature, and both are honest, so
"never twice" cannot be asked of all. What can: that a signature comes again only while its second's other
requests may still be on their way, and not at all where it covers an id of its own, which the SDKs for
JavaScript, Go and Java give to every attempt.

A link, whose signature stands in its query, is made to be handed on: what only reads is answered as often as it is
asked while the link holds, as at AWS. What does not is taken as any other signature, within the five minutes.

Pure: the time is an argument, in seconds of the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from triggerhub.policy.sigv4 import SKEW, Refused, Signature

ECHO = 10
"""For how many seconds after the first request an equal one, signed in the same second, is taken for another."""
MOST = 250_000
"""How many signatures are remembered, of all keys together."""
BEGUN = "ServiceException"
"""The class of what clients sign anew and send again by themselves: a request that was on its way as the hub began."""
_ATTEMPT = frozenset(("amz-sdk-invocation-id", "amz-sdk-request"))
"""Headers that together differ between any two attempts of any two calls."""


def once(signed: Collection[str]) -> bool:
    """Whether a signature over these headers belongs to one attempt alone."""
    return set(signed) >= _ATTEMPT


def repeatable(method: str, signature: Signature) -> bool:
    """Whether a signature may come as often as somebody likes while it holds."""
    return signature.link and method in ("GET", "HEAD")


def check_link(method: str, signature: Signature, signed_at: int, now: float) -> None:
    """Raise Refused for a link by which something would be done longer after it was signed than any signature holds."""
    if signature.link and not repeatable(method, signature) and now - signed_at > SKEW:
        text = f"Signature expired: a link for {method} holds for 5 min here, and is taken once: sign the request anew."
        raise Refused("InvalidSignatureException", text)


class Answered:
    """The signatures of requests that were answered, by access key and by the second in which they were made.

    All keys share what may be remembered: beyond it the key that takes most of it loses its oldest, so that
    no key, whatever it sends and however it dates it, can have another one forgotten that takes less than its share.
    """

    def __init__(self, since: float, most: int = MOST) -> None:
        """*since* is when it began to remember: of what was signed before, nobody knows any more."""
        self._keys: dict[str, _Key] = {}
        self._most = most
        self._size = 0
        self._since = math.ceil(since)
        self._swept = 0

    @property
    def size(self) -> int:
        """How many signatures are remembered."""
        return self._size

    def take(self, key: str, signature: str, signed_at: int, now: float, *, once: bool) -> None:
        """Remember a signature by *key* that was found right, in hexadecimal. Raises Refused where it was used up."""
        self._sweep(int(now))
        mine = self._keys.get(key)
        # What was on its way when the hub was started has come within the time of an echo.
        unknown = signed_at < self._since and (once or now - signed_at > ECHO)
        if unknown and now - signed_at <= ECHO:
            raise Refused(BEGUN, "The hub has only begun, and cannot know whether this signature was used: sign anew.")
        if unknown or (mine is not None and signed_at < mine.floor):
            text = (
                "Signature expired: whether it was used before is not known any more, as the hub was started since, "
                "or this key asked very often. Sign anew; where that does not help, this machine's clock is late."
            )
            raise Refused("InvalidSignatureException", text)
        if mine is None:
            mine = self._keys[key] = _Key()
        second = mine.known.setdefault(signed_at, {})
        start = int(signature[:16], 16)
        first = second.get(start)
        if first is None:
            second[start] = int(now)
            mine.size += 1
            self._size += 1
            while self._size > self._most:
                self._size -= max(self._keys.values(), key=lambda one: one.size).forget()
        elif once or now - first > ECHO:
            text = "This signature was used before, and is taken once: sign the request anew to send it again."
            raise Refused("InvalidSignatureException", text)

    def _sweep(self, now: int) -> None:
        """Forget what is too old to be taken anyway."""
        if now == self._swept:
            return
        self._swept = now
        for name, key in list(self._keys.items()):
            self._size -= key.sweep(now - SKEW)
            if not key.known and key.floor < now - SKEW:
                del self._keys[name]


@dataclass(slots=True)
class _Key:
    """What is remembered of one access key."""

    known: dict[int, dict[int, int]] = field(default_factory=dict)
    """By the second of the signature, and by its first 64 bits, when it was first seen."""
    size: int = 0
    floor: int = 0
    """What was signed before this second is not taken."""

    def forget(self) -> int:
        """Forget all of the oldest second, which is not taken any more; returns how many those were."""
        oldest = min(self.known)
        self.floor = oldest + 1
        return self._drop(oldest)

    def sweep(self, before: int) -> int:
        """Forget what was signed before a second; returns how many those were."""
        return sum([self._drop(second) for second in list(self.known) if second < before])

    def _drop(self, second: int) -> int:
        count = len(self.known.pop(second))
        self.size -= count
        return count
