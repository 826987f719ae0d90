"""Say what a webhook's sender has to show: one value per scheme, each its provider's own.

:mod:`triggerhub.policy.signature` verifies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from triggerhub.model import Millis
from triggerhub.policy.token import Token
from triggerhub.settings import MINUTE, Secret

WINDOW: Millis = 5 * MINUTE
"""How far a signed time may be off, either way: what Stripe, Slack and Standard Webhooks advise."""
Secrets: TypeAlias = tuple[Secret, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is verified. Header names are lower case; *url* is whole, as the client saw it."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the one header of that name; None when it is missing or repeated, so that nobody can choose."""
        found = [value for key, value in self.headers if key == name]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Github:
    """``X-Hub-Signature-256: sha256=<hex>`` (docs.github.com, validating webhook deliveries)."""

    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Gitlab:
    """``X-Gitlab-Token`` is the secret itself (docs.gitlab.com, webhooks)."""

    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Stripe:
    """``Stripe-Signature: t=…,v1=<hex>,…`` over ``t.body`` (docs.stripe.com, webhook signatures)."""

    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Slack:
    """``X-Slack-Signature: v0=<hex>`` over ``v0:timestamp:body`` (docs.slack.dev, verifying requests)."""

    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Shopify:
    """``X-Shopify-Hmac-Sha256: <base64>`` (shopify.dev, verify webhook deliveries)."""

    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Twilio:
    """``X-Twilio-Signature`` over the URL and the form, by SHA-1 (twilio.com/docs/usage/security)."""

    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Standard:
    """``webhook-signature: v1,<base64> …`` over ``id.timestamp.body`` (standardwebhooks.com)."""

    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Bearer:
    """``Authorization: Bearer <token>`` (RFC 6750)."""

    tokens: Secrets


@dataclass(frozen=True, slots=True)
class Basic:
    """``Authorization: Basic <base64 of username:password>`` (RFC 7617)."""

    username: str
    passwords: Secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Hmac:
    """Any other sender that signs its body; with a timestamp header, ``timestamp.body``."""

    secrets: Secrets
    header: str
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    timestamp_header: str | None = None
    tolerance: Millis = WINDOW


Scheme: TypeAlias = (
    Github | Gitlab | Stripe | Slack | Shopify | Twilio | Standard | Bearer | Basic | Hmac | Token
)  # fmt: skip
