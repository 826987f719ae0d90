"""When a file has come to rest: the rule by cases, and its two promises over any interleaving."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.inventory import Version
from triggerhub.policy.settling import GLANCE, Clocks, Look, Settling

SETTLE = 1.0


def version(number: int) -> Version:
    return Version(number, number, 1, number)


def look(at: float, number: int | None, changed: float | None = None) -> Look:
    return Look(path="a", version=None if number is None else version(number), at=at, changed=changed)


def test_a_version_first_seen_now_settles_one_settle_time_later() -> None:
    settling = Settling(SETTLE)
    assert not settling.judge(look(10, 1))
    assert settling.next == 11
    assert settling.due(10.99, 5) == []
    assert settling.due(11, 5) == ["a"]
    assert settling.judge(look(11, 1))
    assert len(settling) == 0
    assert settling.next is None


def test_the_settle_time_counts_from_the_mtime_where_it_can_be_trusted() -> None:
    settling = Settling(SETTLE)
    assert not settling.judge(look(10, 1, changed=9.7))
    assert settling.next == 10.7


def test_an_old_file_is_seen_twice_all_the_same() -> None:
    settling = Settling(SETTLE)
    assert not settling.judge(look(10, 1, changed=0))
    assert settling.next == 10 + GLANCE
    assert settling.judge(look(10 + GLANCE, 1, changed=0))


def test_an_mtime_that_does_not_explain_a_change_counts_for_nothing() -> None:
    settling = Settling(SETTLE)
    settling.judge(look(10, 1, changed=9.9))
    assert not settling.judge(look(10.9, 2, changed=9.9))
    assert settling.next == 11.9


def test_an_mtime_in_the_future_counts_from_now() -> None:
    settling = Settling(SETTLE)
    assert not settling.judge(look(10, 1, changed=99))
    assert settling.next == 11


def test_what_is_gone_settles_too_and_its_return_starts_anew() -> None:
    settling = Settling(SETTLE)
    settling.judge(look(10, None))
    assert not settling.judge(look(10.5, 1, changed=10.4))
    assert settling.next == 11.4
    settling.judge(look(10.6, None))
    assert settling.judge(look(11.6, None))


def test_a_forgotten_path_is_not_due() -> None:
    settling = Settling(SETTLE)
    settling.judge(look(10, 1))
    settling.forget("a")
    assert settling.next is None
    assert settling.due(99, 5) == []


def test_no_more_are_due_than_were_asked_for_and_none_twice() -> None:
    settling = Settling(SETTLE)
    for name in "abcde":
        settling.judge(Look(path=name, version=version(1), at=0))
    first = settling.due(2, 3)
    assert len(first) == 3
    assert sorted(first + settling.due(2, 3)) == list("abcde")
    assert settling.due(2, 3) == []
    assert "a" in settling
    for name in "abcde":
        assert settling.judge(Look(path=name, version=version(1), at=2))


def test_without_a_settle_time_a_look_is_enough() -> None:
    assert Settling(0).judge(look(10, 1))


# Gaps between writes: a writer that goes on, one that rests a little less than the settle time, one that rests longer.
GAPS = st.lists(st.one_of(st.floats(0.001, 0.2), st.floats(0.2, 0.99), st.floats(1.2, 3.0)), min_size=1, max_size=25)


@given(
    gaps=GAPS, lags=st.lists(st.floats(0.0, 0.1), min_size=25, max_size=25), trusted=st.booleans(), long=st.booleans()
)
def test_each_final_version_settles_exactly_once_and_no_unsettled_one_does(
    gaps: list[float], lags: list[float], trusted: bool, long: bool
) -> None:
    """A notice follows each write after its lag; *long* writes stamp the mtime only when they begin."""
    writes, at = [], 0.0
    for gap in gaps:
        at += gap
        writes.append(at)

    def state(now: float) -> tuple[int, float, float]:
        """Return the version at a moment, when it was written, and its mtime."""
        number = sum(1 for moment in writes if moment <= now)
        begun = written = writes[number - 1]
        for index in range(number - 1, 0, -1):
            if not long or writes[index] - writes[index - 1] > 0.2:
                break
            begun = writes[index - 1]
        return number, written, begun

    settling, told, known = Settling(SETTLE), list[int](), 0
    notices = sorted(moment + lag for moment, lag in zip(writes, lags, strict=False))
    while notices or len(settling):
        due = settling.next
        now = min([*notices[:1], *([due] if due is not None else [])])
        looking = set(settling.due(now, 10))
        if notices and notices[0] <= now:
            notices.pop(0)
            looking.add("a")
        assert looking == {"a"}
        number, written, stamp = state(now)
        if number == known:
            settling.forget("a")
        elif settling.judge(look(now, number, stamp if trusted else None)):
            # A long write's mtime is when it began: it has rested for less than `settle`, but was seen twice.
            assert now - (stamp if trusted else written) >= SETTLE - 1e-6
            assert now - written >= 0.25 - 1e-6
            told.append(number)
            known = number
    rests = [n for n, (one, two) in enumerate(zip(writes, [*writes[1:], 1e9], strict=True), 1) if two - one > 2.3]
    assert told[-1] == len(writes)
    assert len(set(told)) == len(told)
    assert set(rests) <= set(told)


def test_stamps_are_put_on_the_steady_clock_and_doubted_after_a_step() -> None:
    clocks = Clocks(SETTLE)
    assert clocks.steady(5_000_000_000) is None
    clocks.read(steady=100.0, wall=1000.0)
    assert clocks.steady(999_500_000_000) == 99.5
    clocks.read(steady=101.0, wall=1001.01)
    assert clocks.steady(1_001_010_000_000) == 101.0
    clocks.read(steady=102.0, wall=4602.0)
    assert clocks.steady(4_602_000_000_000) is None
    clocks.read(steady=103.5, wall=4603.5)
    assert clocks.steady(4_603_500_000_000) == 103.5
