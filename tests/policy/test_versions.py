"""Which versions are kept, and which one is before another."""

from __future__ import annotations

import pytest

from triggerhub.policy.versions import AGE, MOST, ROOM, Kept, before, outdated, state


def kept(*rans: int | None, size: int = 1) -> dict[str, Kept]:
    """Versions a, b, c, … that were seen one after the other, and took over when it is said."""
    return {
        name: Kept(version=name, first=number, ran=ran, size=size, code={})
        for number, (name, ran) in enumerate(zip("abcdefghijklmnopqrstuvwxyz", rans, strict=False))
    }


@pytest.mark.parametrize(
    ("rans", "version", "expected"),
    [
        pytest.param((0,), "a", None, id="there is but one"),
        pytest.param((0, 1, 2), "c", "b", id="a step back"),
        pytest.param((0, 1, 2), "b", "a", id="and another"),
        pytest.param((0, 1, 2), "a", None, id="and no further"),
        pytest.param((0, 1, None), "c", "b", id="the newest never ran"),
        pytest.param((0, None, 2), "c", "a", id="one between never ran"),
        pytest.param((2, 1), "a", "b", id="an old content came back to the folder"),
        pytest.param((2, 1), "b", None, id="and before the other there was none"),
    ],
)
def test_before(rans: tuple[int | None, ...], version: str, expected: str | None) -> None:
    found = before(kept(*rans), version)
    assert (found and found.version) == expected


def test_the_newest_stay_and_what_is_needed() -> None:
    many = kept(*range(MOST + 3))
    assert outdated(many, {"m", "a"}, there=True, now=20) == {"b", "c"}
    assert outdated(kept(0, 1, 2), {"c"}, there=True, now=20) == set()


def test_of_what_is_too_old_the_version_before_stays() -> None:
    assert outdated(kept(0, 1, 2), {"c"}, there=True, now=AGE + 10) == {"a"}
    assert outdated(kept(0, 1, None, 3), {"d"}, there=True, now=AGE + 10) == {"a", "c"}
    assert outdated(kept(0, 1, 2), set(), there=False, now=AGE + 10) == {"a", "b", "c"}, "the function is gone"
    assert outdated(kept(0, 1, 2), set(), there=False, now=20) == set()


def test_what_takes_too_much_room_goes() -> None:
    large = kept(0, 1, 2, 3, size=ROOM // 2)
    assert outdated(large, {"d"}, there=True, now=20) == {"a", "b"}
    assert outdated(kept(0, 1, size=ROOM), {"b"}, there=True, now=20) == set(), "there is always a way back"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ((True, True, False, True), "runs, lies in the folder"),
        ((True, False, True, True), "runs, pinned"),
        ((True, False, False, True), "runs"),
        ((False, True, False, True), "lies in the folder"),
        ((False, True, False, False), "lies in the folder, did not start"),
        ((False, False, False, True), "earlier"),
        ((False, False, False, False), "did not start"),
    ],
)
def test_state(facts: tuple[bool, bool, bool, bool], words: str) -> None:
    runs, lies, pinned, ran = facts
    assert state(runs=runs, lies=lies, pinned=pinned, ran=ran) == words
