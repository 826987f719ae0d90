"""Name a webhook delivery by what its sender calls it, so that a repeated one is known.

Only an id that stays the same when the sender tries again, and differs between any two things that
happened, may be taken: anything else would lose events.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import assert_never

from triggerhub.policy.scheme import (
    Basic,
    Bearer,
    Github,
    Gitlab,
    Hmac,
    Message,
    Scheme,
    Shopify,
    Slack,
    Standard,
    Stripe,
    Twilio,
)
from triggerhub.policy.selecting import storable
from triggerhub.policy.token import Token

GENERAL = "idempotency-key"
"""The header of any other sender (draft-ietf-httpapi-idempotency-key-header)."""


def delivery_id(scheme: Scheme | None, message: Message) -> str | None:
    """Return the id of the delivery, None where the sender gives none.

    GitLab's ``X-Gitlab-Event-UUID`` is shared by webhooks that follow from one another, and Shopify's
    ``X-Shopify-Event-Id`` by topics: neither is an id of one delivery, so neither is used.
    """
    match scheme:
        case Github():
            found = message.header("x-github-delivery")
        case Shopify():
            found = message.header("x-shopify-webhook-id")
        case Standard():
            found = message.header("webhook-id")
        case Twilio():
            found = message.header("i-twilio-idempotency-token")
        case Stripe():
            found = _field(message.body, "id")
        case Slack():
            found = _field(message.body, "event_id")
        case Gitlab() | Bearer() | Basic() | Hmac() | Token() | None:
            found = None
        case _:
            assert_never(scheme)
    return found or general(message.headers)


def general(headers: Sequence[tuple[str, str]]) -> str | None:
    """Return the id that any sender may give its delivery; None where it gives none, or more than one."""
    found = [value for name, value in headers if name == GENERAL]
    return (found[0] or None) if len(found) == 1 else None


def slack_challenge(body: bytes) -> str | None:
    """Return what Slack wants echoed when a request URL is being set up, or None for any other request."""
    if b"url_verification" not in body or _field(body, "type") != "url_verification":
        return None
    return _field(body, "challenge")


def _field(body: bytes, name: str) -> str | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = value.get(name) if isinstance(value, dict) else None
    return storable(found) if isinstance(found, str) else None
