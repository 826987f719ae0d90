"""What a terminal obeys or hides is spelt out; what people write is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.unseen import spelt


def test_each_kind_is_spelt_as_python_writes_it() -> None:
    assert (
        spelt("a\x1b[2J\n\t\x9b\u202e\ufeff\ud800\U000e0041b") == "a\\x1b[2J\\n\t\\x9b\\u202e\\ufeff\\ud800\\U000e0041b"
    )


@given(st.text(st.characters(categories=("L", "M", "N", "P", "S", "Zs"))))
def test_what_can_be_seen_is_left_as_it_is(text: str) -> None:
    assert spelt(text) == text


@given(st.text())
def test_nothing_is_left_that_moves_the_cursor_and_twice_is_once(text: str) -> None:
    once = spelt(text)
    assert not any(one < " " and one != "\t" for one in once)
    assert spelt(once) == once
