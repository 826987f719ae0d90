"""Secrets are dots wherever they stand in a text."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from triggerhub.policy.masking import DOTS, SHORTEST, mask, secrets_in
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
