"""A signature is taken once, or by equal requests of one moment; what may have been taken before is not."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.sigv4 import SKEW, Refused, Signature
from triggerhub.policy.unrepeated import BEGUN, ECHO, Answered, check_link, once, repeatable

START = 1_800_000_000
KEY, OTHER = "AKID0", "AKID1"
ONE, TWO = "1" * 64, "2" * 64


@pytest.mark.parametrize(
    ("signed", "alone"),
    [
        (("host", "x-amz-date"), False),
        (("amz-sdk-invocation-id", "host", "x-amz-date"), False),
        (("amz-sdk-invocation-id", "amz-sdk-request", "host", "x-amz-date"), True),
    ],
)
def test_whose_signature_is_one_attempts_alone(signed: tuple[str, ...], alone: bool) -> None:
    assert once(signed) is alone


@pytest.mark.parametrize(
    ("method", "expires", "later", "often", "good"),
    [
        ("GET", 604800, 604800, True, True),
        ("HEAD", 600, 600, True, True),
        ("POST", 604800, SKEW, False, True),
        ("POST", 604800, SKEW + 1, False, False),
        ("DELETE", 604800, SKEW + 1, False, False),
        ("GET", None, SKEW, False, True),
    ],
)
def test_how_often_and_how_long_a_link_is_good(
    method: str, expires: int | None, later: int, often: bool, good: bool
) -> None:
    signature = Signature("key", "20270115", "us-east-1", "lambda", ("host",), ONE, "20270115T080000Z", expires)
    assert repeatable(method, signature) is often
    if good:
        check_link(method, signature, START, START + later)
    else:
        with pytest.raises(Refused, match=f"a link for {method} holds for 5 min here"):
            check_link(method, signature, START, START + later)


@pytest.mark.parametrize(
    ("later", "alone", "taken"), [(0, False, True), (ECHO, False, True), (ECHO + 1, False, False), (0, True, False)]
)
def test_when_a_signature_is_taken_again(later: int, alone: bool, taken: bool) -> None:
    answered = Answered(START)
    answered.take(KEY, ONE, START, START, once=alone)
    answered.take(KEY, TWO, START, START, once=alone)
    if taken:
        answered.take(KEY, ONE, START, START + later, once=alone)
        return
    with pytest.raises(Refused, match="was used before") as caught:
        answered.take(KEY, ONE, START, START + later, once=alone)
    assert caught.value.kind == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("ago", "later", "alone", "refused"),
    [
        (1, 1, False, None),
        (ECHO - 1, 1, False, None),
        (ECHO, 1, False, "InvalidSignatureException"),
        (1, ECHO, False, "InvalidSignatureException"),
        (1, 1, True, BEGUN),
        (0, 1, True, BEGUN),  # in the second in which it was started, but perhaps before
        (0, ECHO + 1, True, "InvalidSignatureException"),
        (-1, 1, True, None),
        (-1, SKEW - 1, False, None),
    ],
)
def test_what_was_signed_before_a_start_is_taken_only_while_it_may_be_on_its_way(
    ago: int, later: int, alone: bool, refused: str | None
) -> None:
    """Clients sign anew and ask again by themselves after the one error, and not after the other."""
    answered = Answered(START + 0.4)
    if refused is None:
        answered.take(KEY, ONE, START - ago, START + later, once=alone)
        return
    with pytest.raises(Refused, match="ign anew") as error:
        answered.take(KEY, ONE, START - ago, START + later, once=alone)
    assert error.value.kind == refused


def test_what_had_to_be_forgotten_is_not_taken() -> None:
    answered = Answered(START, most=2)
    for number in range(3):
        answered.take(KEY, f"{number:064x}"[::-1], START + number, START + number, once=False)
    assert answered.size == 2
    with pytest.raises(Refused, match="asked very often"):
        answered.take(KEY, TWO, START, START + 3, once=False)
    answered.take(KEY, TWO, START + 1, START + 3, once=False)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-SKEW, SKEW), st.integers(0, 40), st.booleans()), max_size=60),
    st.integers(1, 5),
)
def test_no_signature_is_taken_long_after_its_first_and_none_is_kept_for_ever(
    asked: list[tuple[int, int, int, bool]], most: int
) -> None:
    answered, now = Answered(START, most), START
    first: dict[tuple[int, int], int] = {}
    for number, ahead, passed, alone in asked:
        now += passed
        signed_at = START + ahead
        if abs(signed_at - now) > SKEW:
            continue  # the verification before it refuses that
        key = (number, signed_at)
        try:
            answered.take(KEY, f"{number + 1:x}" * 64, signed_at, now, once=alone)
        except Refused:
            continue
        assert key not in first or (not alone and now - first[key] <= ECHO)
        first.setdefault(key, now)
        assert answered.size <= most
    answered.take(KEY, "f" * 64, now + SKEW * 9, now + SKEW * 9, once=False)
    assert answered.size == 1


def test_a_key_that_fills_the_memory_with_what_is_to_come_locks_out_nobody_else() -> None:
    answered = Answered(START, most=100)
    answered.take(KEY, ONE, START, START, once=True)
    for number in range(1000):
        with suppress(Refused):  # it may well lock out itself
            answered.take(OTHER, f"{number:064x}"[::-1], START + SKEW - 1 + number // 500, START, once=True)
    assert answered.size <= 100
    answered.take(KEY, TWO, START, START, once=True)
    with pytest.raises(Refused, match="was used before"):
        answered.take(KEY, ONE, START, START, once=True)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(-SKEW, SKEW), st.integers(0, 9)), max_size=120
    ),
    st.integers(8, 12),
)
def test_no_key_has_another_forgotten_that_takes_less_than_its_share(
    asked: list[tuple[int, int, int, int]], most: int
) -> None:
    answered, now = Answered(START - SKEW * 2, most), START
    taken: dict[int, dict[tuple[int, int], int]] = {key: {} for key in range(4)}
    lost = set()
    for key, number, ahead, passed in asked:
        now += passed
        for mine in taken.values():
            for signature in [one for one in mine if one[1] < now - SKEW]:
                del mine[signature]
        signature, text = (number, now + ahead), f"{number:016x}" * 4
        if signature in taken[key]:
            with pytest.raises(Refused):
                answered.take(str(key), text, now + ahead, now, once=True)
            continue
        try:
            answered.take(str(key), text, now + ahead, now, once=True)
        except Refused:
            if key in lost:
                continue
            raise
        taken[key][signature] = now
        assert answered.size <= most
        if len(taken[key]) > most // 4:
            lost.add(key)  # it may be refused from now on, as it took more than its share
