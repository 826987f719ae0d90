"""What differs between a bucket and what was known of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.listing import Listed, differing, old


def listed(key: str, etag: str, changed: int = 0) -> Listed:
    return Listed(key=key, etag=etag, size=1, changed=changed)


def test_new_other_and_the_same() -> None:
    page = [listed("a", "1"), listed("b", "2"), listed("c", "3")]
    assert differing(page, {"b": "1", "c": "3", "d": "4"}) == [("created", page[0]), ("modified", page[1])]


def test_what_lay_there_before() -> None:
    assert old(listed("a", "1", 99), 100)
    assert not old(listed("a", "1", 100), 100)
    assert not old(listed("a", "1", 0), None)


bucket = st.dictionaries(st.text(max_size=3), st.sampled_from("123"), max_size=6)


@given(bucket, bucket)
def test_knowing_what_was_told_leaves_nothing_to_tell(before: dict[str, str], after: dict[str, str]) -> None:
    page = [listed(key, etag) for key, etag in after.items()]
    known = before | {one.key: one.etag for _, one in differing(page, before)}
    assert differing(page, known) == []
    assert all(known[one.key] == one.etag for one in page)
