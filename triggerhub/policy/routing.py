"""Choose which version of a function a call of its alias goes to."""

from __future__ import annotations

from collections.abc import Mapping


def chosen(version: str, weights: Mapping[str, float], draw: float) -> str:
    """Return the version for *draw*, a number in [0, 1).

    *weights* are the shares of other versions; what they leave is the alias's own *version*'s.
    """
    for other, weight in weights.items():
        if draw < weight:
            return other
        draw -= weight
    return version
