"""Decide whether a request was sent by who holds the secret.

Each scheme is its provider's own, over the raw bytes of the body. Pure: the time is an argument. All
comparisons take the same time wherever the first difference is; several secrets are all tried, so that
one can be rotated without losing a request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import assert_never
from urllib.parse import parse_qsl

from triggerhub.model import Millis
from triggerhub.policy.scheme import (
    WINDOW,
    Basic,
    Bearer,
    Github,
    Gitlab,
    Hmac,
    Message,
    Scheme,
    Secrets,
    Shopify,
    Slack,
    Standard,
    Stripe,
    Twilio,
)
from triggerhub.policy.token import Token, verify_token
from triggerhub.settings import KB, SECOND, Secret

FORM = 64 * KB
FORM_FIELDS = 1000
"""Of a form that Twilio signed: to take a stranger's apart must not keep the others waiting."""


def verify(scheme: Scheme, message: Message, now: Millis) -> str | None:
    """Return None if *message* is authentic, or why it is not, in a few words for the log."""
    match scheme:
        case Github():
            return _signed(scheme.secrets, message, "x-hub-signature-256", prefix="sha256=")
        case Shopify():
            return _signed(scheme.secrets, message, "x-shopify-hmac-sha256", encoding="base64")
        case Gitlab():
            return _told(message.header("x-gitlab-token"), scheme.secrets, "X-Gitlab-Token")
        case Stripe():
            return _stripe(scheme, message, now)
        case Slack():
            return _slack(scheme, message, now)
        case Twilio():
            return _twilio(scheme, message)
        case Standard():
            return _standard(scheme, message, now)
        case Bearer():
            return _told(_authorization(message, "bearer"), scheme.tokens, "the bearer token")
        case Basic():
            return _basic(scheme, message)
        case Hmac():
            return _hmac(scheme, message, now)
        case Token():
            return verify_token(scheme, _authorization(message, "bearer"), now)
        case _:
            assert_never(scheme)


def _digest(key: bytes, data: bytes, algorithm: str, encoding: str) -> bytes:
    digest = hmac.digest(key, data, algorithm)
    return base64.b64encode(digest) if encoding == "base64" else digest.hex().encode()


def _any_matches(given: Iterable[bytes], expected: Iterable[bytes]) -> bool:
    matched = False
    wanted = list(expected)
    for one in given:
        for other in wanted:
            matched |= hmac.compare_digest(one, other)
    return matched


def _keys(secrets: Secrets) -> list[bytes]:
    return [secret.reveal().encode() for secret in secrets]


def _raw(text: str) -> bytes:
    """Return a header's value as the bytes that came."""
    return text.encode("latin-1", "replace")


def _signed(
    secrets: Secrets,
    message: Message,
    header: str,
    *,
    data: bytes | None = None,
    algorithm: str = "sha256",
    encoding: str = "hex",
    prefix: str = "",
) -> str | None:
    given = message.header(header)
    if given is None:
        return f"{header} is missing or repeated"
    if not given.startswith(prefix):
        return f"{header} does not start with {prefix}"
    data = message.body if data is None else data
    told = given[len(prefix) :]
    actual = _raw(told.lower() if encoding == "hex" else told)
    expected = [_digest(key, data, algorithm, encoding) for key in _keys(secrets)]
    return None if _any_matches([actual], expected) else f"{header} does not match"


def _told(given: str | None, secrets: Secrets, what: str) -> str | None:
    if given is None:
        return f"{what} is missing or repeated"
    return None if _any_matches([_raw(given)], _keys(secrets)) else f"{what} does not match"


def _authorization(message: Message, kind: str) -> str | None:
    scheme, _, value = (message.header("authorization") or "").partition(" ")
    return value.strip() if scheme.lower() == kind and value else None


def _basic(scheme: Basic, message: Message) -> str | None:
    given = _authorization(message, "basic")
    if given is None:
        return "the credentials are missing or repeated"
    try:
        credentials = base64.b64decode(given, validate=True)
    except ValueError:
        return "the credentials are not base64"
    expected = [scheme.username.encode() + b":" + key for key in _keys(scheme.passwords)]
    return None if _any_matches([credentials], expected) else "the credentials do not match"


def _untimely(text: str | None, now: Millis, tolerance: Millis = WINDOW) -> str | None:
    """Say what is wrong with a signed time, in seconds since the epoch."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 12:
        return "the timestamp is missing or no number of seconds"
    if abs(int(text) * SECOND - now) > tolerance:
        return "the timestamp is too far from now"
    return None


def _stripe(scheme: Stripe, message: Message, now: Millis) -> str | None:
    header = message.header("stripe-signature")
    if header is None:
        return "stripe-signature is missing or repeated"
    pairs = [item.strip().partition("=")[::2] for item in header.split(",")]
    times = [value for name, value in pairs if name == "t"]
    if len(times) != 1:
        return "stripe-signature has not one timestamp"
    if wrong := _untimely(times[0], now):
        return wrong
    data = times[0].encode() + b"." + message.body
    expected = [_digest(key, data, "sha256", "hex") for key in _keys(scheme.secrets)]
    given = [_raw(value) for name, value in pairs if name == "v1"]
    return None if _any_matches(given[:16], expected) else "stripe-signature does not match"


def _slack(scheme: Slack, message: Message, now: Millis) -> str | None:
    time = message.header("x-slack-request-timestamp")
    if wrong := _untimely(time, now):
        return wrong
    data = f"v0:{time}:".encode() + message.body
    return _signed(scheme.secrets, message, "x-slack-signature", data=data, prefix="v0=")


def _standard(scheme: Standard, message: Message, now: Millis) -> str | None:
    identifier, time = message.header("webhook-id"), message.header("webhook-timestamp")
    header = message.header("webhook-signature")
    if not identifier or header is None:
        return "webhook-id or webhook-signature is missing or repeated"
    if wrong := _untimely(time, now):
        return wrong
    data = _raw(f"{identifier}.{time}.") + message.body
    expected = [_digest(standard_key(secret), data, "sha256", "base64") for secret in scheme.secrets]
    given = [_raw(item.removeprefix("v1,")) for item in header.split(" ") if item.startswith("v1,")]
    return None if _any_matches(given[:16], expected) else "webhook-signature does not match"


def standard_key(secret: Secret) -> bytes:
    """Return the key of a Standard Webhooks secret: base64 behind ``whsec_``. ValueError when it is not."""
    return base64.b64decode(secret.reveal().removeprefix("whsec_"), validate=True)


def _hmac(scheme: Hmac, message: Message, now: Millis) -> str | None:
    data = message.body
    if scheme.timestamp_header is not None:
        time = message.header(scheme.timestamp_header.lower())
        if wrong := _untimely(time, now, scheme.tolerance):
            return wrong
        data = f"{time}.".encode() + data
    return _signed(
        scheme.secrets, message, scheme.header.lower(), data=data, algorithm=scheme.algorithm,
        encoding=scheme.encoding, prefix=scheme.prefix,
    )  # fmt: skip


def _twilio(scheme: Twilio, message: Message) -> str | None:
    given = message.header("x-twilio-signature")
    if given is None:
        return "x-twilio-signature is missing or repeated"
    digests = [value for name, value in parse_qsl(message.url.partition("?")[2]) if name == "bodySHA256"]
    form = ""
    if digests:
        actual = hashlib.sha256(message.body).hexdigest().encode()
        if len(digests) != 1 or not hmac.compare_digest(digests[0].lower().encode(), actual):
            return "bodySHA256 does not match the body"
    elif (message.header("content-type") or "").lower().startswith("application/x-www-form-urlencoded"):
        if len(message.body) > FORM:
            return f"the form has more than {FORM // KB} KB"
        try:
            fields = parse_qsl(
                message.body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FORM_FIELDS
            )
        except ValueError:
            return f"the form has more than {FORM_FIELDS} fields"
        form = "".join(f"{name}{value}" for name, value in sorted(set(fields)))
    elif message.body:
        return "the body is neither a form nor covered by bodySHA256"
    expected = [
        _digest(key, f"{url}{form}".encode(), "sha1", "base64")
        for key in _keys(scheme.secrets)
        for url in _with_and_without_port(message.url)
    ]
    return None if _any_matches([_raw(given)], expected) else "x-twilio-signature does not match"


def _with_and_without_port(url: str) -> list[str]:
    """Return the ways in which Twilio may have written the URL: by product, it names the port or not."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    bracketed, bracket, host = authority.rpartition("]")
    name, colon, _ = host.partition(":")
    bare = f"{bracketed}{bracket}{name}"
    named = authority if colon else f"{bare}:{443 if scheme == 'https' else 80}"
    return [f"{scheme}://{one}{slash}{path}" for one in (bare, named)]
