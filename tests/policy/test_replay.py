from __future__ import annotations

import pytest

from triggerhub.policy.replay import delivery_id, slack_challenge
from triggerhub.policy.scheme import Bearer, Github, Gitlab, Message, Shopify, Slack, Standard, Stripe, Twilio

GENERAL = ("idempotency-key", "i-1")


def message(*headers: tuple[str, str], body: bytes = b"") -> Message:
    return Message(method="POST", url="", headers=headers, body=body)


@pytest.mark.parametrize(
    ("scheme", "received", "expected"),
    [
        pytest.param(Github(()), message(("x-github-delivery", "d"), GENERAL), "d", id="github"),
        pytest.param(
            Shopify(()), message(("x-shopify-webhook-id", "d"), ("x-shopify-event-id", "e")), "d", id="shopify"
        ),
        pytest.param(Standard(()), message(("webhook-id", "d")), "d", id="standard"),
        pytest.param(Twilio(()), message(("i-twilio-idempotency-token", "d")), "d", id="twilio"),
        pytest.param(Stripe(()), message(body=b'{"id":"evt_1"}'), "evt_1", id="stripe"),
        pytest.param(Slack(()), message(body=b'{"event_id":"Ev1"}'), "Ev1", id="slack"),
        pytest.param(Slack(()), message(body=b"command=%2Fx"), None, id="slack command"),
        pytest.param(Stripe(()), message(body=b'{"id":"\\ud800"}'), '"\\ud800"', id="half a surrogate pair"),
        pytest.param(Stripe(()), message(body=b'{"id":5}'), None, id="no string"),
        pytest.param(Stripe(()), message(body=b"[" * 100_000), None, id="nested without end"),
        pytest.param(Gitlab(()), message(GENERAL, ("x-gitlab-event-uuid", "shared")), "i-1", id="gitlab"),
        pytest.param(Gitlab(()), message(("x-gitlab-event-uuid", "shared")), None, id="gitlab before 17.4"),
        pytest.param(Bearer(()), message(GENERAL), "i-1", id="any other"),
        pytest.param(None, message(GENERAL), "i-1", id="no auth"),
        pytest.param(None, message(("idempotency-key", "")), None, id="empty"),
        pytest.param(None, message(GENERAL, GENERAL), None, id="repeated"),
        pytest.param(Github(()), message(GENERAL), "i-1", id="github without its own"),
    ],
)
def test_a_delivery_is_named_by_its_sender(scheme, received, expected):
    assert delivery_id(scheme, received) == expected


@pytest.mark.parametrize(
    ("body", "challenge"),
    [
        (b'{"type":"url_verification","challenge":"c1","token":"t"}', "c1"),
        (b'{"type":"event_callback","text":"url_verification","challenge":"c1"}', None),
        (b'{"type":"url_verification"}', None),
        (b"url_verification", None),
        (b'{"type":"url_verification","challenge":"\\ud800"}', '"\\ud800"'),
    ],
)
def test_only_a_challenge_is_echoed(body, challenge):
    assert slack_challenge(body) == challenge
