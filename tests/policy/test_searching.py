"""A search is one line of words, and every line that is read is written again as the same search."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggerhub.model import Delivery, Fault, State
from triggerhub.policy.searching import Search, holds, parse

ID = "019a0000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("text", "search"),
    [
        pytest.param("", Search(), id="nothing is everything"),
        pytest.param("fn:hello", Search(function="hello"), id="function"),
        pytest.param("function:hello", Search(function="hello"), id="the long word"),
        pytest.param("  state:dead   since:15m ", Search(state=State.DEAD, since="15m"), id="spaces"),
        pytest.param('error~"timed out"', Search(error="timed out"), id="quoted"),
        pytest.param(r'error~"a \"b\" \\c"', Search(error='a "b" \\c'), id="escaped"),
        pytest.param("key:order:7", Search(key="order:7"), id="a colon in a value"),
        pytest.param(f"{ID.upper()} trigger:t", Search(id=ID, trigger="t"), id="id"),
    ],
)
def test_a_search_is_read(text: str, search: Search) -> None:
    assert parse(text) == search


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hello", "'hello' says not what to search in; write fn:…, trigger:…, state:…, since:…, error~…, key:…"),
        ("fn:", "fn: is followed by the function's name"),
        ("state:failed", "there is no state 'failed'; there is queued, running, succeeded, dead, cancelled"),
        ("since:soon", "'soon' is not a duration"),
        ("fn:a fn:b", "function is there twice"),
        ('error~"abc', 'the quote that begins with "abc is not closed'),
        ("fnn:a", "there is no word 'fnn:'; write fn:…"),
        ("error:a", "there is no word 'error:'; write fn:…"),
        ('error~"a"b', "expected a space before 'b'"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, says: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(text)
    assert says in str(error.value)


@settings(max_examples=60)
@given(
    error=st.none() | st.text(min_size=1), key=st.none() | st.text(min_size=1), state=st.none() | st.sampled_from(State)
)
def test_what_is_written_is_read_again(error: str | None, key: str | None, state: State | None) -> None:
    search = Search(error=error, key=key, state=state, since="1h")
    assert parse(str(search)) == search


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True), ("fn:f trigger:t state:dead", True), ("fn:g", False), ("trigger:u", False), ("state:queued", False),
        ("since:1m", True), ("since:1s", False), ("error~TIMED", True), ("error~x", False), ("key:k", True), ("key:o", True),
        ("key:x", False), (ID, True), (ID[:-2] + "00", True), (ID[:-1] + "2", False),
    ],
)  # fmt: skip
def test_every_word_must_hold(text: str, expected: bool) -> None:
    row = Delivery(
        id=ID, event_id=ID[:-2] + "00", trigger="t", function="f", state=State.DEAD, attempts=1, created=100_000,
        due=0, dedup_key="k", ordering_key="o", error=Fault(type="E", message="timed out"),
    )  # fmt: skip
    assert holds(parse(text), row, 130_000) is expected
