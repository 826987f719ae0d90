"""Ids that grow with time, and deliveries that lie right behind their event."""

from __future__ import annotations

import uuid

from hypothesis import assume, given
from hypothesis import strategies as st

from triggerhub import ids

MOMENTS = st.integers(0, 2**48 - 1)
COUNTERS = st.integers(0, 0xFFF)
RANDOM = st.integers(0, 2**54 - 1)


@given(MOMENTS, COUNTERS, RANDOM, st.integers(1, 255))
def test_ids_are_uuid7_and_deliveries_follow_their_event(at: int, counter: int, random: int, number: int) -> None:
    event = ids.event_id(at, counter, random)
    parsed = uuid.UUID(event)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert ids.milliseconds(event) == at
    delivery = ids.delivery_id(event, number)
    assert uuid.UUID(delivery).int == parsed.int + number
    assert ids.event_of(delivery) == event
    assert ids.first_at(at) <= event < delivery


@given(MOMENTS, COUNTERS, RANDOM, MOMENTS, COUNTERS, RANDOM)
def test_ids_grow_with_time_and_counter(
    at: int, counter: int, random: int, at2: int, counter2: int, random2: int
) -> None:
    assume((at, counter) != (at2, counter2))
    (one, drawn), (next_, drawn2) = sorted((((at, counter), random), ((at2, counter2), random2)))
    assert ids.delivery_id(ids.event_id(*one, drawn), 255) < ids.event_id(*next_, drawn2)
