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

from collections.abc import Collection

from triggerhub.policy.sigv4 import SKEW, Refused, Signature

ECHO = 10
"""For how many seconds after the first request an equal one, signed in the same second, is taken for another."""
MOST = 250_000
"""How many signatures are remembered; beyond it those that were made first are forgotten, and no longer taken."""
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
    """The signatures of requests that were answered, by the second in which they were made."""

    def __init__(self, since: float, most: int = MOST) -> None:
        """*since* is when it began to remember: of what was signed well before, nobody knows any more."""
        self._known: dict[int, dict[int, int]] = {}
        """By the second of the signature, and by its first 64 bits, when it was first seen."""
        self._most = most
        self._size = 0
        self._floor = int(since) - ECHO
        """What was signed before this second is not taken."""
        self._swept = 0

    @property
    def size(self) -> int:
        """How many signatures are remembered."""
        return self._size

    def take(self, signature: str, signed_at: int, now: float, *, once: bool) -> None:
        """Remember a signature that was found right, in hexadecimal. Raises Refused where it was used up before."""
        self._sweep(int(now))
        if signed_at < self._floor:
            text = (
                "Signature expired: whether it was used before is not known any more, as the hub was started since, "
                "or was asked very often. Sign anew; where that does not help, this machine's clock is late."
            )
            raise Refused("InvalidSignatureException", text)
        second = self._known.setdefault(signed_at, {})
        key = int(signature[:16], 16)
        first = second.get(key)
        if first is None:
            second[key] = int(now)
            self._size += 1
            self._forget()
        elif once or now - first > ECHO:
            text = "This signature was used before, and is taken once: sign the request anew to send it again."
            raise Refused("InvalidSignatureException", text)

    def _sweep(self, now: int) -> None:
        """Forget what is too old to be taken anyway."""
        if now == self._swept:
            return
        self._swept = now
        for second in [second for second in self._known if second < now - SKEW]:
            self._size -= len(self._known.pop(second))

    def _forget(self) -> None:
        while self._size > self._most:
            oldest = min(self._known)
            self._size -= len(self._known.pop(oldest))
            self._floor = max(self._floor, oldest + 1)
