"""The story of a delivery and of an event, from what the hub tells of them."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest

from triggerhub.cli import story

ID = "019a0000-0000-7000-8000-000000000001"
EVENT = "019a0000-0000-7000-8000-000000000000"


def row(state: str, **facts: Any) -> dict[str, Any]:
    return {
        "id": ID, "event_id": EVENT, "trigger": "t", "function": "f", "version": None, "state": state, "attempts": 0,
        "created": "2026-01-01T12:00:00.000Z", "due": "2026-01-01T12:00:00.000Z", "finished": None, "duration_ms": None,
        "dedup_key": None, "ordering_key": None, "error": None, "reason": None, "history": [], "event": {"data": {}}, **facts,
    }  # fmt: skip


def told(detail: dict[str, Any]) -> str:
    return click.unstyle(story.delivery(detail, json.dumps(detail).encode()))


def event(*details: dict[str, Any], trigger: str = "t", **facts: Any) -> str:
    found = {"id": EVENT, "trigger": trigger, "dedup_key": None, "ordering_key": None, **facts}
    return click.unstyle(story.event(found, details))


@pytest.mark.parametrize(
    ("state", "step"),
    [
        ("queued", f"triggerhub deliveries wait {ID}"),
        ("running", f"triggerhub deliveries wait {ID}"),
        ("dead", f"mend f, then: triggerhub dlq redrive {ID}"),
        ("cancelled", f"triggerhub deliveries redeliver {ID}"),
        ("succeeded", f"triggerhub logs --delivery {ID}"),
    ],
)
def test_every_state_says_what_to_do_next(state: str, step: str) -> None:
    assert told(row(state)).endswith(f"\n{step}")
    assert step in event(row(state))


def test_what_waits_for_its_next_attempt_can_be_tried_now() -> None:
    waiting = row("queued", attempts=1, due="2999-01-01T12:00:00.000Z")
    assert told(waiting).endswith(f"\ntriggerhub deliveries retry {ID} tries it now")
    assert told(row("queued", due="2999-01-01T12:00:00.000Z")).endswith(f"\ntriggerhub deliveries wait {ID}")


@pytest.mark.parametrize(
    ("trigger", "says"),
    [("t", "trigger t"), ("api", "invoke --async"), ("destination:pay", "a destination of function pay")],
)
def test_who_accepted_it(trigger: str, says: str) -> None:
    assert f"accepted by {says}\n" in event(row("queued"), trigger=trigger)


def test_keys_are_part_of_the_story_and_obey_nobody() -> None:
    text = event(row("queued"), dedup_key="k\x1b[2J", ordering_key="o")
    assert "accepted by trigger t (key k\\x1b[2J, order o)" in text


def test_an_event_whose_deliveries_are_gone() -> None:
    assert "pruned or discarded" in event()


def test_what_is_tried_again_says_when() -> None:
    detail = row("queued", attempts=1, due="2999-01-01T00:00:00.000Z")
    assert "queued, to be tried again in " in event(detail)
    assert "due       2999-01-01T00:00:00.000Z (in " in told(detail)


def test_a_long_payload_is_cut_and_a_binary_one_is_base64() -> None:
    assert told(row("dead", event={"data": "x" * 5000})).count("x") < 2100
    assert "(cut; --json shows all)" in told(row("dead", event={"data": "x" * 5000}))
    assert "(no text; base64) //57" in told(row("dead", event={"data": None, "data_base64": "//57"}))


def test_numbers_and_texts_are_as_they_came() -> None:
    detail = row("dead")
    body = json.dumps(detail).replace(
        '"data": {}', '"data": {"n": 1.10, "big": 123456789012345678901, "e": 1E400, "t": "\\u202e", "k": null}'
    )
    text = click.unstyle(story.delivery(detail, body.encode()))
    assert (
        '  {\n    "n": 1.10,\n    "big": 123456789012345678901,\n    "e": 1E400,\n    "t": "\\u202e",\n    "k": null\n  }'
        in text
    )
