"""When a batch is made, how much it holds, and how its answer is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.batching import AllFailed, failed, fit, look_again, ready

NOW = 1_767_225_600_000


@pytest.mark.parametrize(
    ("due", "age", "expected", "again"),
    [
        pytest.param(0, None, False, None, id="nothing is due"),
        pytest.param(1, 0, False, NOW + 5000, id="the window has just begun"),
        pytest.param(9, 4999, False, NOW + 1, id="a millisecond is missing"),
        pytest.param(1, 5000, True, NOW, id="the window is over"),
        pytest.param(10, 0, True, NOW, id="the batch is full"),
        pytest.param(11, 0, True, NOW, id="more than full"),
        pytest.param(3, None, True, NOW, id="age unknown"),
        pytest.param(1, -1000, False, NOW + 6000, id="the clock stepped back"),
    ],
)
def test_ready(due: int, age: int | None, expected: bool, again: int | None) -> None:
    oldest = None if age is None else NOW - age
    assert ready(due, oldest, size=10, window=5000, now=NOW) is expected
    assert look_again(due, oldest, size=10, window=5000, now=NOW) == again


@given(due=st.integers(0, 30), age=st.integers(-10_000, 10_000), size=st.integers(1, 20), window=st.integers(0, 10_000))
def test_looking_again_finds_it_ready_and_a_millisecond_earlier_does_not(
    due: int, age: int, size: int, window: int
) -> None:
    again = look_again(due, NOW - age, size=size, window=window, now=NOW)
    if again is None:
        assert due == 0
        return
    assert ready(due, NOW - age, size=size, window=window, now=again)
    assert again == NOW or not ready(due, NOW - age, size=size, window=window, now=again - 1)


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        pytest.param([], 100, 0, id="nothing"),
        pytest.param([86], 100, 1, id="exactly the limit with its envelope"),
        pytest.param([40, 45], 100, 2, id="two and a comma, exactly"),
        pytest.param([40, 46], 100, 1, id="a byte too many"),
        pytest.param([500, 1], 100, 1, id="one that is too large runs alone"),
        pytest.param([10, 500, 10], 100, 1, id="stops before the large one"),
    ],
)
def test_fit(sizes: list[int], limit: int, expected: int) -> None:
    assert fit(sizes, limit) == expected


@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=30), limit=st.integers(1, 2000))
def test_what_fits_is_as_much_as_the_limit_allows(sizes: list[int], limit: int) -> None:
    def length(count: int) -> int:
        return len(b'{"Records":[' + b",".join(b"x" * size for size in sizes[:count]) + b"]}")

    count = fit(sizes, limit)
    assert count >= 1
    assert count == 1 or length(count) <= limit
    assert count == len(sizes) or length(count + 1) > limit


IDS = ["a", "b", "c"]


def reported(*identifiers: object) -> bytes:
    return json.dumps({"batchItemFailures": [{"itemIdentifier": one} for one in identifiers]}).encode()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"  ",
        b"null",
        b"{}",
        b"[]",
        b'""',
        b'{"batchItemFailures": []}',
        b'{"batchItemFailures": null}',
        b'{"statusCode": 200}',
    ],
)
def test_an_answer_that_reports_nothing_is_full_success(answer: bytes) -> None:
    assert failed(answer, IDS) == frozenset()


def test_the_named_records_failed_and_the_others_did_not() -> None:
    assert failed(reported("c", "a"), IDS) == {0, 2}
    assert failed(reported("b", "b"), IDS) == {1}


def test_records_of_one_identifier_fail_together() -> None:
    assert failed(reported("a"), ["a", "b", "a"]) == {0, 2}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"{", "the answer is not JSON"),
        (b"\xff", "the answer is not JSON"),
        (b"[" * 100_000, "the answer is not JSON"),
        (b'"done"', "the answer is a string; expected an object with batchItemFailures"),
        (b"0", "the answer is a number; expected an object with batchItemFailures"),
        (b"false", "the answer is a boolean; expected an object with batchItemFailures"),
        (b"[1]", "the answer is an array; expected an object with batchItemFailures"),
        (b'{"batchItemFailures": {}}', "batchItemFailures is an object; expected an array"),
        (b'{"batchItemFailures": ["a"]}', "batchItemFailures[0] has no itemIdentifier"),
        (b'{"batchItemFailures": [{"foo": "a"}]}', "batchItemFailures[0] has no itemIdentifier"),
        (reported("a", ""), "batchItemFailures[1].itemIdentifier is empty; expected a string with a record's id"),
        (reported(None), "batchItemFailures[0].itemIdentifier is null; expected a string with a record's id"),
        (reported(1), "batchItemFailures[0].itemIdentifier is a number; expected a string with a record's id"),
        (reported("a", "z"), "batchItemFailures[1].itemIdentifier 'z' is not a record of this batch"),
    ],
)
def test_an_answer_that_cannot_be_believed_fails_the_whole_batch(answer: bytes, reason: str) -> None:
    assert failed(answer, IDS) == AllFailed(reason)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["batchItemFailures", "itemIdentifier", "x"]), inner)
    ),
    max_leaves=8,
)


@given(answer=JSON.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_no_answer_whatever_raises_or_names_a_record_that_is_not_there(answer: bytes) -> None:
    result = failed(answer, IDS)
    assert isinstance(result, AllFailed) or result <= {0, 1, 2}
