"""A change of configuration stops and starts no more than it must."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.reconcile import plan

TABLES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2))


@given(TABLES, TABLES)
def test_the_plan_turns_one_into_the_other_and_leaves_equals_alone(
    running: dict[str, int], wanted: dict[str, int]
) -> None:
    change = plan(running, wanted)
    after = {name: value for name, value in running.items() if name not in change.stop} | dict(change.start)
    assert after == wanted
    for name in running.keys() & wanted.keys():
        if running[name] == wanted[name]:
            assert name not in change.stop
            assert name not in change.start
