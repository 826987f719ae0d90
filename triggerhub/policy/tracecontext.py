"""Translate a trace's place between X-Amzn-Trace-Id and W3C's traceparent: both name the same trace and span.

After "Tracing header" of the X-Ray Developer Guide and https://www.w3.org/TR/trace-context/. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_AMAZON_ROOT = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})")
_SPAN = re.compile(r"[0-9a-f]{16}")
_W3C = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
LONGEST = 1024
"""Characters of a header that is read or passed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in which trace something belongs."""

    trace: str
    """32 hexadecimal digits."""
    span: str | None = None
    """16 hexadecimal digits: whom it is a child of."""
    sampled: bool | None = None
    """None leaves it to who records."""


def of_amazon(header: str | None) -> Place | None:
    """Read an X-Amzn-Trace-Id; None where it is none, or has no root."""
    if header is None or len(header) > LONGEST:
        return None
    parts = dict(part.strip().split("=", 1) for part in header.split(";") if "=" in part)
    root = _AMAZON_ROOT.fullmatch(parts.get("Root", "").lower())
    if root is None:
        return None
    parent = parts.get("Parent", "").lower()
    return Place(
        trace=root[1] + root[2],
        span=parent if _SPAN.fullmatch(parent) and parent.strip("0") else None,
        sampled={"0": False, "1": True}.get(parts.get("Sampled", "")),
    )


def of_w3c(header: str | None) -> Place | None:
    """Read a traceparent; None where it is none."""
    match = _W3C.fullmatch(header.strip()) if header is not None and len(header) <= LONGEST else None
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    if not match[2].strip("0") or not match[3].strip("0"):
        return None
    return Place(trace=match[2], span=match[3], sampled=bool(int(match[4], 16) & 1))


def amazon(place: Place) -> str:
    """Write an X-Amzn-Trace-Id."""
    parts = [f"Root=1-{place.trace[:8]}-{place.trace[8:]}"]
    if place.span is not None:
        parts.append(f"Parent={place.span}")
    if place.sampled is not None:
        parts.append(f"Sampled={int(place.sampled)}")
    return ";".join(parts)


def w3c(place: Place) -> str | None:
    """Write a traceparent; None where no span is known, which it cannot do without."""
    return None if place.span is None else f"00-{place.trace}-{place.span}-{int(bool(place.sampled)):02x}"


def incoming(amazon_header: str | None, traceparent: str | None) -> str | None:
    """Return the X-Amzn-Trace-Id of a request: its own, or its traceparent in these words."""
    if amazon_header is not None:
        return amazon_header if len(amazon_header) <= LONGEST else None
    place = of_w3c(traceparent)
    return None if place is None else amazon(place)
