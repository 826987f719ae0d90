"""Which shards are read: parents before children, from where, and which are forgotten."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from triggerhub.policy.streaming import Position, tree
from triggerhub.policy.streaming.pace import BASE, BUSY, IDLE, rest
from triggerhub.policy.streaming.tree import Listed
from triggerhub.settings import DAY, SECOND

NOW = 1_767_225_600_500
SPLIT = [Listed(id="a", closed=True), Listed(id="b", parents=("a",)), Listed(id="c", parents=("a",))]
DONE = Position(ended=NOW)


def test_the_beginning() -> None:
    assert tree.beginning(SPLIT, "TRIM_HORIZON", NOW) == dict.fromkeys("abc", Position())
    assert tree.beginning(SPLIT, "AT_TIMESTAMP", 7) == dict.fromkeys("abc", Position(since=7))
    latest = Position(since=NOW - 500 - SECOND)
    assert tree.beginning(SPLIT, "LATEST", NOW) == {"a": DONE, "b": latest, "c": latest}


def test_children_wait_for_their_parent() -> None:
    known = tree.beginning(SPLIT, "TRIM_HORIZON", NOW)
    assert tree.readable(SPLIT, known) == ["a"]
    assert tree.readable(SPLIT, {**known, "a": DONE}) == ["b", "c"]


def test_the_child_of_a_merge_waits_for_both_parents() -> None:
    merged = [Listed(id="a", closed=True), Listed(id="b", closed=True), Listed(id="m", parents=("a", "b"))]
    known = tree.grown(merged, {})
    assert tree.readable(merged, known) == ["a", "b"]
    assert tree.readable(merged, {**known, "a": DONE}) == ["b"]
    assert tree.readable(merged, {**known, "a": DONE, "b": DONE}) == ["m"]


def test_a_parent_that_is_no_longer_listed_holds_nobody_up() -> None:
    listed = [Listed(id="b", parents=("a",))]
    assert tree.readable(listed, {"b": Position()}) == ["b"]
    assert tree.readable(listed, {"a": Position(after="1"), "b": Position()}) == ["b"]
    assert tree.trimmed(listed, {"a": Position(after="1"), "b": Position()}) == ["a"]


def test_a_stream_is_done_with_its_listed_shards() -> None:
    listed = [Listed(id="b", parents=("a",), closed=True)]
    assert tree.undone(listed, {})
    assert tree.undone(listed, {"a": DONE})
    assert tree.undone(listed, {"a": DONE, "b": Position(after="1")})
    assert not tree.undone(listed, {"a": Position(after="1"), "b": DONE})
    assert not tree.undone([], {"a": Position(after="1")})


def test_what_came_into_being_is_read_from_its_oldest_record() -> None:
    assert tree.grown(SPLIT, {"a": DONE}) == {"b": Position(), "c": Position()}


def test_handled_shards_are_forgotten_a_day_after_they_are_gone() -> None:
    known = {"a": DONE, "b": Position(), "z": Position(after="1")}
    assert tree.forgotten(SPLIT[1:], known, NOW + DAY) == []
    assert tree.forgotten(SPLIT[1:], known, NOW + DAY + 1) == ["a"]
    assert tree.forgotten(SPLIT, known, NOW + 9 * DAY) == []


@given(st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_no_shard_is_read_before_its_parents_and_all_are(random: object) -> None:
    listed = [Listed(id="0")]
    for number in range(1, 12):
        open_ = [one.id for one in listed if not one.closed]
        parents = tuple(random.sample(open_, min(len(open_), random.choice((1, 1, 2)))))  # type: ignore[attr-defined]
        listed = [replace(one, closed=one.closed or one.id in parents) for one in listed]
        listed.append(Listed(id=str(number), parents=parents))
        if len(parents) == 1:
            listed.append(Listed(id=f"{number}b", parents=parents))
    random.shuffle(listed)  # type: ignore[attr-defined]
    known = tree.grown(listed, {})
    order: list[str] = []
    while ready := tree.readable(listed, known):
        order.append(random.choice(ready))  # type: ignore[attr-defined]
        known[order[-1]] = DONE
    assert sorted(order) == sorted(known)
    for one in listed:
        assert all(order.index(parent) < order.index(one.id) for parent in one.parents)


def test_the_pace() -> None:
    assert rest(more=True, empty=0) == BUSY
    assert rest(more=False, empty=0) == rest(more=False, empty=8) == BASE
    assert BASE < rest(more=False, empty=12) < IDLE
    assert rest(more=False, empty=10_000) == IDLE
