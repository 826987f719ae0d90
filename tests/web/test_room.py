"""What bodies at the admin address hold together, and of whom."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from starlette.types import Message, Receive

from triggerhub.settings import KB, MB
from triggerhub.web.limit import SMALL, Limits
from triggerhub.web.room import Crowded, Place, Room


@pytest.fixture
def room() -> Room:
    return Room(Limits(buffered=16 * MB))


def pieces(size: int = 64 * KB) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": bytes(size), "more_body": True}

    return receive


def held(room: Room, stack: ExitStack, whose: str | None) -> Receive:
    return stack.enter_context(Place(room, whose)).counted(pieces())


async def test_of_those_who_send_in_step_one_is_left_to_its_end(room: Room) -> None:
    with ExitStack() as stack:
        sending = [held(room, stack, "access key A") for _ in range(6)]
        left = list(sending)
        for _ in range(6 * MB // (64 * KB)):  # each is larger than the part that there is
            for one in list(left):
                try:
                    await one()
                except Crowded:
                    left.remove(one)
        assert len(left) == 1
        assert (room.held, room.by) == (6 * MB, {"access key A": 6 * MB}), "nothing is held of those that were refused"
        for one in sending:
            if one not in left:
                await one()  # to be thrown away
        assert room.held == 6 * MB
    assert (room.held, room.by) == (0, {})


@pytest.mark.parametrize(
    ("whose", "of_one", "size", "of_all", "told"),
    [
        ("user anna", 5 * MB, MB, 9 * MB, "the bodies of user anna have 4 MB together, or one that is larger"),
        ("user anna", 5 * MB, 5 * MB, 9 * MB, None),
        ("user anna", 5 * MB, SMALL, 9 * MB, None),
        (None, 0, MB, 16 * MB, None),
        (None, 0, MB, 17 * MB, "the bodies of all have 16 MB together, and small ones 4 MB more"),
        ("token ci", 5 * MB, MB, 17 * MB, "the bodies of all have 16 MB together, and small ones 4 MB more"),
        ("token ci", MB, SMALL, 21 * MB, "the bodies of all have 16 MB together, and small ones 4 MB more"),
    ],
)
def test_a_refusal_says_whose_room_is_full(
    room: Room, whose: str | None, of_one: int, size: int, of_all: int, told: str | None
) -> None:
    room.took(whose, of_one)
    room.took("others", of_all - of_one)
    assert room.refusal(whose, size) == told


async def test_what_is_counted_of_one_is_given_back_to_the_same(room: Room) -> None:
    with Place(room, "address 192.0.2.1") as place:
        place.given("access key A")
        await place.counted(pieces())()
        assert room.by == {"access key A": 64 * KB}
        with pytest.raises(AssertionError, match="somebody's already"):
            place.given("access key B")
    assert (room.held, room.by) == (0, {})


async def test_what_is_to_be_counted_is_somebodys_before_it_comes(room: Room) -> None:
    with Place(room, "access key A") as place:
        receive = place.counted(pieces())
        with pytest.raises(AssertionError, match="somebody's already"):
            place.given("access key B")
        await receive()
    assert (room.held, room.by) == (0, {})
