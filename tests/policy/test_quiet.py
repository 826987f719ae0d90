"""What comes in floods is told once in a while, and counted."""

from __future__ import annotations

from triggerhub.policy.quiet import Quiet


def test_a_flood_is_told_once_a_second_and_counted() -> None:
    quiet = Quiet()
    assert [quiet.due(at) for at in (5.0, 5.1, 5.9, 6.0, 6.5, 9.0)] == [1, 0, 0, 3, 0, 2]
