"""What was asked for, and how far it came, in words."""

from __future__ import annotations

from typing import Any

import pytest

from triggerhub.policy.orders import KEPT, LONGEST, asked, came_to, chosen, kept


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (None, ""),
        ({}, ""),
        ({"all": True, "dry_run": True}, "all of them, a dry run"),
        ({"rate": "10/s", "fingerprint": "KeyError: #", "function": "ship"}, "function ship, cause KeyError: #, at most 10/s"),
        ({"function": "ship", "fingerprint": ""}, "function ship, no cause"),
        ({"since": "1h", "error": "sold out", "key": "k", "trigger": "t"}, "trigger t, since 1h, error with sold out, key k"),
        ({"ids": ["a", "b"], "reason": "by hand"}, "ids a, b, reason by hand"),
        ({"ids": ["a", "b", "c", "d"]}, "ids a, b, c, …"),
        ({"causes": [{"function": "ship", "fingerprint": "KeyError: #"}, {"function": "mail", "fingerprint": ""}], "rate": "1/m"},
         "causes ship: KeyError: #; mail: no cause, at most 1/m"),
        ({"causes": [{"function": f, "fingerprint": "E"} for f in "abcd"]}, "causes a: E; b: E; c: E; …"),
        ({"causes": ["odd", 2]}, "causes odd; 2"),
        ({"name": "ci", "payloads": False, "lasts": None, "role": "operator"}, "name ci, role operator"),
        ('{"ids": ["a", "b', '{"ids": ["a", "b'),
        ([1, 2], "[1, 2]"),
    ],
)  # fmt: skip
def test_an_order_is_said_in_words(order: Any, text: str) -> None:
    assert asked(order) == text


def test_no_value_pushes_out_another() -> None:
    text = asked({"function": "f" * 1000, "reason": "r" * 1000, "rate": "1/s"})
    assert text.endswith(", at most 1/s")
    assert len(text) < 3 * LONGEST


def test_of_many_ids_some_are_written_down_and_how_many_there_are() -> None:
    few, many = {"ids": ["a"] * KEPT}, {"ids": ["a"] * 10_000, "reason": "x"}
    assert kept(few) == few
    assert kept(many) == {"ids": ["a"] * KEPT, "reason": "x", "ids_in_all": 10_000}
    assert asked(kept(many)) == "ids a, a, a, …, reason x, ids in all 10000"
    assert kept({"causes": [1] * 60}) == {"causes": [1] * KEPT, "causes_in_all": 60}


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({}, ""),
        ({"chosen": 0, "changed": 0}, "there was none"),
        ({"chosen": 1204, "changed": 1203, "finished": True}, "1,203 of 1,204 done"),
        ({"chosen": 40, "changed": 12}, "12 of 40 done, then it was stopped"),
        ({"chosen": 3, "changed": 0, "dry_run": True, "finished": True}, "it would be 3"),
        ({"left_out": 1204}, "after 1,204 more refusals, which are not written down"),
    ],
)
def test_it_is_said_how_far_it_came(entry: dict[str, Any], text: str) -> None:
    assert came_to(entry) == text


def test_what_chooses_is_apart_from_how_it_is_done() -> None:
    assert chosen({"function": "ship", "rate": "1/s", "reason": "r", "dry_run": True}) == "function ship"
    assert chosen({"all": None, "rate": "1/s"}) == ""
