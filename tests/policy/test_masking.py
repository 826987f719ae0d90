"""Secrets are dots wherever they stand in a text."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggerhub.policy.masking import DOTS, SHORTEST, Mask, mask, restored, secrets_in
from triggerhub.settings import ConsoleSettings, Function, Secret, User


def test_secrets_are_found_wherever_settings_hold_them() -> None:
    function = Function(name="f", runtime="python", env={"A": "plain", "B": Secret("in the environment")})
    console = ConsoleSettings(users={"anna": User(hash=Secret("a hash"))})
    found = [one.reveal() for one in secrets_in((function, console, {"x": [Secret("deep")]}))]
    assert found == ["in the environment", "a hash", "deep"]


def test_without_a_secret_worth_masking_nothing_is_done() -> None:
    assert mask([]) is None
    assert mask([Secret("a" * (SHORTEST - 1))]) is None


@settings(max_examples=60)
@given(secret=st.text(min_size=SHORTEST, max_size=30), around=st.text(max_size=20))
def test_a_secret_is_masked_as_it_is_and_as_json_writes_it(secret: str, around: str) -> None:
    masked = mask([Secret(secret), Secret(secret + " and more")])
    assert masked is not None
    assert secret not in masked(f"{around}{secret}{around}") or secret in around + DOTS + around
    assert masked(json.dumps({"k": secret})) == json.dumps({"k": DOTS}, ensure_ascii=False)
    assert masked(secret + " and more") == DOTS


def of(*secrets: str) -> Mask:
    made = mask(map(Secret, secrets))
    assert made is not None
    return made


@settings(max_examples=60)
@given(secret=st.text(min_size=SHORTEST, max_size=30), around=st.sampled_from(["", "body of a request: "]))
def test_json_stays_json_however_deep_a_secret_lies_in_it(secret: str, around: str) -> None:
    inner = json.dumps({"token": secret, "n": 1.10})
    payload = json.dumps({"body": around + inner, "more": [secret, 1e-7]}).encode()
    told = json.loads(of(secret).payload(payload))
    assert json.loads(told["body"][len(around) :]) == {"token": DOTS, "n": 1.1}
    assert told["more"] == [DOTS, 1e-7]


@settings(max_examples=60)
@given(secret=st.text(min_size=SHORTEST + 3, max_size=30), before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_a_secret_is_masked_in_base64(secret: str, before: bytes, after: bytes) -> None:
    text = base64.b64encode(before + secret.encode() + after).decode()
    shown = of(secret)(text)
    assert DOTS in shown
    # What is left of it are the characters that it shares with its neighbours.
    assert len(shown) - len(DOTS) <= len(base64.b64encode(before + after)) + 8


@pytest.mark.parametrize(
    ("secret", "payload", "shown"),
    [
        pytest.param("123456", b'{"n":1.123456,"t":"123456"}', '{"n":1.123456,"t":"•••"}', id="digits"),
        pytest.param("nabcdef", rb'{"t":"a\nabcdef"}', '{"t":"•••"}', id="begins within an escape"),
        pytest.param("hunter2", b"hunter2 \xff", b"\xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2 \xff", id="no text"),
        pytest.param("hunter2", b'{ "n" :1.10,"t":"x" }', '{ "n" :1.10,"t":"x" }', id="none in it"),
    ],
)
def test_a_payload_is_masked_and_otherwise_what_it_was(secret: str, payload: bytes, shown: str | bytes) -> None:
    assert of(secret).payload(payload) == (shown.encode() if isinstance(shown, str) else shown)


def test_each_line_of_a_secret_of_several_is_one() -> None:
    assert of("-----BEGIN KEY-----\nMIIEvQIBADAN\nab\n")("key: MIIEvQIBADAN ab") == "key: ••• ab"


@settings(max_examples=60)
@given(parts=st.lists(st.sampled_from(["hunter2", 's"cret\\x', "•••1•••", "•••", "plain"]), max_size=8))
def test_what_is_shown_for_editing_is_restored_as_it_was(parts: list[str]) -> None:
    masked = of("hunter2", 's"cret\\x')
    for text in (" ".join(parts), json.dumps(parts)):
        shown, marks = masked.numbered(text)
        assert "hunter2" not in shown
        assert restored(shown, marks) == text


def test_marks_go_where_they_are_moved_and_nothing_else_is_restored() -> None:
    shown, marks = of("hunter2", "swordfish").numbered("a hunter2 b swordfish c hunter2")
    assert shown == "a •••1••• b •••2••• c •••1•••"
    assert restored("•••2••• then •••1•••, not •••3•••", marks) == "swordfish then hunter2, not •••3•••"
