"""Tumbling windows: which records belong together, the state they carry, and how a window is closed."""

from __future__ import annotations

from dataclasses import replace

from triggerhub.policy.streaming import (
    Call,
    Failed,
    FailedFrom,
    GiveUp,
    Plan,
    Position,
    Record,
    Shard,
    Succeeded,
    Unheard,
    Window,
    decode,
)
from triggerhub.settings import MINUTE, SECOND, RetryPolicy

START = 1_767_225_600_000
"""A whole minute, and so the start of a window of one."""
PLAN = Plan(size=10, tumbling=MINUTE, retry=RetryPolicy(attempts=2, initial=SECOND, jitter=False))


def at(number: int, second: float) -> Record:
    return Record(str(number), "k", START + int(second * 1000), b"{}")


def made(*records: Record, position: Position | None = None, **changes: object) -> Shard:
    shard = Shard(replace(PLAN, **changes), position or Position())  # type: ignore[arg-type]
    shard.feed(records, START)
    return shard


def only(shard: Shard, now: int = START) -> Call:
    (step,) = shard.take(now)
    assert isinstance(step, Call)
    assert step.windowed is not None
    return step


def seen(call: Call) -> tuple[list[int], int, str, bool, bool]:
    """What the function sees: records, the window's start, its state, whether it is final, and early."""
    assert call.windowed is not None
    window = call.windowed.window
    assert call.windowed.end == window.start + MINUTE
    numbers = [int(one.sequence) for one in call.records]
    return numbers, (window.start - START) // 1000, window.state, call.windowed.final, window.early


def test_the_state_goes_from_call_to_call_and_ends_with_its_window() -> None:
    shard = made(at(1, 1), at(2, 59), at(3, 60), at(4, 61), size=1)
    expected = [
        ([1], 0, "{}", False, False),
        ([2], 0, '{"n":1}', False, False),
        ([], 0, '{"n":2}', True, False),
        ([3], 60, "{}", False, False),
        ([4], 60, '{"n":4}', False, False),
    ]
    for count, what in enumerate(expected, 1):
        call = only(shard)
        assert seen(call) == what
        shard.settle(call, Succeeded(f'{{"n":{count}}}'), START, 0)
    assert shard.position(START) == Position(after="4", window=Window(start=START + MINUTE, state='{"n":5}'))


def test_a_batch_never_spans_windows() -> None:
    shard = made(at(1, 30), at(2, 59.999), at(3, 60), at(4, 61))
    assert seen(only(shard))[0] == [1, 2]


def test_a_window_is_closed_once_a_read_after_its_end_found_nothing() -> None:
    shard = made(at(1, 1))
    shard.settle(only(shard), Succeeded('{"a":1}'), START, 0)
    shard.quiet(START + MINUTE)
    assert shard.take(START + MINUTE) == []
    shard.quiet(START + MINUTE + SECOND)
    call = only(shard, START + MINUTE + SECOND)
    assert seen(call) == ([], 0, '{"a":1}', True, False)
    shard.settle(call, Succeeded(), START, 0)
    assert shard.position(START) == Position(after="1")
    assert shard.take(START + 2 * MINUTE) == []


def test_the_end_of_a_shard_closes_its_window() -> None:
    shard = made(at(1, 1))
    shard.end()
    shard.settle(only(shard), Succeeded(), START, 0)
    assert not shard.finished
    call = only(shard)
    assert seen(call)[3]
    shard.settle(call, Succeeded(), START, 0)
    assert shard.finished


def test_the_window_and_its_state_outlive_the_hub() -> None:
    shard = made(at(1, 1), at(2, 2), size=1)
    shard.settle(only(shard), Succeeded('{"é":"\\ud83d"}'), START, 0)
    anew = made(at(2, 2), position=decode(shard.position(START).encode()))
    assert seen(only(anew)) == ([2], 0, '{"é":"\\ud83d"}', False, False)


def test_a_window_that_cannot_be_closed_is_tried_for_ever_and_holds_the_next_one_up() -> None:
    shard = made(at(1, 1), at(2, 61))
    shard.settle(only(shard), Succeeded(), START, 0)
    now = START
    for attempt in range(1, 30):
        call = only(shard, now)
        assert seen(call)[3]
        assert call.attempt == attempt
        shard.settle(call, Failed(), now, 0)
        assert shard.take(now) == []
        now = shard.next() or 0
    call = only(shard, now)
    shard.settle(call, Unheard(), now, 0)
    call = only(shard, shard.next() or 0)
    assert call.attempt == 30
    shard.settle(call, Succeeded(), now, 0)
    assert seen(only(shard, now))[0] == [2]


def test_a_state_that_outgrows_its_limit_closes_the_window_early_and_it_goes_on_afresh() -> None:
    shard = made(at(1, 1), at(2, 2), at(3, 3), size=1)
    large = '{"x":"' + "x" * (1 << 20) + '"}'
    shard.settle(only(shard), Succeeded(large), START, 0)
    call = only(shard)
    assert seen(call) == ([], 0, large, True, True)
    shard.settle(call, Succeeded(), START, 0)
    assert seen(only(shard)) == ([2], 0, "{}", False, False)


def test_a_state_that_outgrows_its_limit_after_a_partial_failure_closes_the_window_before_the_rest() -> None:
    shard = made(at(1, 1), at(2, 2), partial=True)
    shard.settle(only(shard), FailedFrom(1, state='{"x":"' + "x" * (1 << 20) + '"}'), START, 0)
    call = only(shard, START + SECOND)
    assert seen(call)[3:] == (True, True)
    shard.settle(call, Succeeded(), START + SECOND, 0)
    assert seen(only(shard, START + SECOND)) == ([2], 0, "{}", False, False)


def test_a_failed_batch_leaves_the_state_as_it_was() -> None:
    shard = made(at(1, 1), at(2, 2), size=1)
    shard.settle(only(shard), Succeeded('{"n":1}'), START, 0)
    now = START
    for _ in range(2):
        shard.settle(only(shard, now), Failed(), now, 0)
        now += 10 * SECOND
    (step,) = shard.take(now)
    assert isinstance(step, GiveUp)
    shard.gave_up(step)
    assert shard.position(now) == Position(after="2", window=Window(start=START, state='{"n":1}'))


def test_what_arrives_late_joins_the_window_that_is_open() -> None:
    shard = made(at(1, 1), at(2, 60), at(3, 59), size=1)
    order = []
    for _ in range(4):
        call = only(shard)
        order.append(seen(call)[:2])
        shard.settle(call, Succeeded(), START, 0)
    assert order == [([1], 0), ([], 0), ([2], 60), ([3], 60)]


def test_a_batch_window_that_is_longer_does_not_keep_a_window_open() -> None:
    shard = made(at(1, 1), window=10 * MINUTE)
    assert shard.take(START + MINUTE) == []
    shard.quiet(START + MINUTE + SECOND)
    assert seen(only(shard, START + MINUTE + SECOND))[0] == [1]
