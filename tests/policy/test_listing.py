"""What differs between a bucket and what was known of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.listing import Listed, Scope, differing, old


def listed(key: str, etag: str, changed: int = 0) -> Listed:
    return Listed(key=key, etag=etag, size=1, changed=changed)


def test_new_other_and_the_same() -> None:
    page = [listed("a", "1"), listed("b", "2"), listed("c", "3")]
    assert differing(page, {"b": "1", "c": "3", "d": "4"}) == [("created", page[0]), ("modified", page[1])]


def test_what_lay_there_before() -> None:
    assert old(listed("a", "1", 99), 100, None)
    assert not old(listed("a", "1", 100), 100, None)
    assert not old(listed("a", "1", 0), None, None)


def test_what_was_not_listed_came_later_whatever_its_date() -> None:
    scope = Scope("in/", ".txt")
    assert not old(listed("in/a.txt", "1", 99), 100, scope)
    assert old(listed("out/a.txt", "1", 99), 100, scope)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (("", ""), ("in/", ".txt"), ("in/", ".txt")),
        (("in/", ""), ("in/a", ".txt"), ("in/a", ".txt")),
        (("in/", ".gz"), ("", ".tar.gz"), ("in/", ".tar.gz")),
        (("in/", ""), ("out/", ""), None),
        (("", ".txt"), ("", ".bin"), None),
    ],
)
def test_what_two_scopes_share(one: tuple[str, str], other: tuple[str, str], shared: tuple[str, str] | None) -> None:
    expected = None if shared is None else Scope(*shared)
    assert Scope(*one).shared(Scope(*other)) == Scope(*other).shared(Scope(*one)) == expected
    assert Scope.decode(Scope(*one).encode()) == Scope(*one)


bucket = st.dictionaries(st.text(max_size=3), st.sampled_from("123"), max_size=6)


@given(bucket, bucket)
def test_knowing_what_was_told_leaves_nothing_to_tell(before: dict[str, str], after: dict[str, str]) -> None:
    page = [listed(key, etag) for key, etag in after.items()]
    known = before | {one.key: one.etag for _, one in differing(page, before)}
    assert differing(page, known) == []
    assert all(known[one.key] == one.etag for one in page)
