"""What was not stored is remembered for a while, in bounded memory and without what it carried."""

from __future__ import annotations

from triggerhub.hub.unstored import FILTERED, REPEATED, Again, Unstored
from triggerhub.source import Filtered


def test_the_latest_refusals_are_found_by_id_name_and_origin() -> None:
    unstored = Unstored()
    for number in range(FILTERED + 1):
        one = Filtered(why="a is 1", leaf="a", names=(f"name {number}",), id=f"id {number}")
        unstored.refused("t", one, number, f"origin {number}")
    assert unstored.find(["id 0"], ["name 0"]) == [], "the oldest made room"
    (found,) = unstored.find(["id 1"], [])
    assert (found.trigger, found.time, found.leaf) == ("t", 1, "a")
    assert unstored.find([], ["name 1"]) == unstored.find(["origin 1", "id 1"], ["x"]) == [found]
    assert unstored.find(["name 1"], ["id 1"]) == []


def test_how_often_an_event_came_again_is_kept_of_the_latest() -> None:
    unstored = Unstored()
    unstored.repeated("first", 1)
    unstored.repeated("second", 2)
    unstored.repeated("first", 3)
    for number in range(REPEATED - 1):
        unstored.repeated(f"other {number}", 4)
    assert unstored.again("first") == Again(count=2, last=3)
    assert unstored.again("second") is None
