"""Each provider's scheme against published vectors, and against every byte of tampering."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.policy.scheme import (
    Basic,
    Bearer,
    Github,
    Gitlab,
    Hmac,
    Message,
    Shopify,
    Slack,
    Standard,
    Stripe,
    Twilio,
)
from triggerhub.policy.signature import verify
from triggerhub.settings import KB, MINUTE, Secret

NOW = 1_614_265_330_000
SLACK_NOW = 1_531_420_618_000
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
FORM = ("content-type", "application/x-www-form-urlencoded")
TWILIO_FORM = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212"


def keys(*values: str) -> tuple[Secret, ...]:
    return tuple(Secret(value) for value in values)


def message(body: bytes = b"", *headers: tuple[str, str], url: str = "https://hub.example/a") -> Message:
    return Message(method="POST", url=url, headers=headers, body=body)


def digest(key: bytes, data: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(key, data, algorithm).digest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


SHA256 = hashlib.sha256(b'{"a":1}').hexdigest()
TWILIO_JSON = f"https://hub.example/a?bodySHA256={SHA256}"
BODY = b'{"id":"evt_1","amount":5}'
STRIPE_SIGNATURE = digest(b"whsec_s", b"1614265330." + BODY).hex()

GENUINE = [
    pytest.param(
        Github(keys("It's a Secret to Everybody")),
        message(
            b"Hello, World!",
            ("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
        ),
        NOW,
        id="github, as published",
    ),
    pytest.param(
        Slack(keys("8f742231b10e8888abcd99yyyzzz85a5")),
        message(
            SLACK_BODY,
            ("x-slack-request-timestamp", "1531420618"),
            ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ),
        SLACK_NOW,
        id="slack, as published",
    ),
    pytest.param(
        Standard(keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
        message(
            b'{"test": 2432232314}',
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ),
        NOW,
        id="standard webhooks, as published",
    ),
    pytest.param(
        Twilio(keys("12345")),
        message(
            TWILIO_FORM, FORM, ("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            url="https://mycompany.com/myapp.php?foo=1&bar=2",
        ),
        NOW,
        id="twilio, as published",
    ),
    pytest.param(
        Twilio(keys("token")),
        message(b'{"a":1}', ("x-twilio-signature", b64(digest(b"token", TWILIO_JSON.encode(), "sha1"))), url=TWILIO_JSON),
        NOW,
        id="twilio, JSON",
    ),
    pytest.param(
        Twilio(keys("token")),
        message(
            b"", ("x-twilio-signature", b64(digest(b"token", b"https://hub.example:443/a", "sha1"))),
        ),
        NOW,
        id="twilio, the port named",
    ),
    pytest.param(
        Twilio(keys("token")),
        message(
            b"", ("x-twilio-signature", b64(digest(b"token", b"https://[::1]:8443/a", "sha1"))), url="https://[::1]:8443/a",
        ),
        NOW,
        id="twilio, another port named",
    ),
    pytest.param(
        Twilio(keys("token")),
        message(
            b"", ("x-twilio-signature", b64(digest(b"token", b"https://[::1]/a", "sha1"))), url="https://[::1]:8443/a",
        ),
        NOW,
        id="twilio, another port not named",
    ),
    pytest.param(
        Stripe(keys("whsec_s")),
        message(BODY, ("stripe-signature", f"t=1614265330,v1={'0' * 64},v1={STRIPE_SIGNATURE},v0=x")),
        NOW,
        id="stripe, the second of two signatures",
    ),
    pytest.param(
        Shopify(keys("s")), message(BODY, ("x-shopify-hmac-sha256", b64(digest(b"s", BODY)))), NOW, id="shopify"
    ),
    pytest.param(
        Hmac(secrets=keys("s"), header="X-Sig"), message(BODY, ("x-sig", digest(b"s", BODY).hex().upper())), NOW,
        id="hmac, in capitals",
    ),
    pytest.param(
        Hmac(secrets=keys("s"), header="X-Sig", algorithm="sha512", encoding="base64", prefix="v1:"),
        message(BODY, ("x-sig", f"v1:{b64(digest(b's', BODY, 'sha512'))}")),
        NOW,
        id="hmac",
    ),
    pytest.param(
        Hmac(secrets=keys("s"), header="x-sig", timestamp_header="X-Time"),
        message(BODY, ("x-sig", digest(b"s", b"1614265330." + BODY).hex()), ("x-time", "1614265330")),
        NOW,
        id="hmac with a time",
    ),
]  # fmt: skip
TOLD = [
    pytest.param(Gitlab(keys("t0ken")), message(BODY, ("x-gitlab-token", "t0ken")), NOW, id="gitlab"),
    pytest.param(Bearer(keys("t0ken")), message(BODY, ("authorization", "bearer t0ken")), NOW, id="bearer"),
    pytest.param(
        Basic("user", keys("pass:word")),
        message(BODY, ("authorization", f"Basic {b64(b'user:pass:word')}")),
        NOW,
        id="basic",
    ),
    pytest.param(Bearer(keys("tökén")), message(BODY, ("authorization", "Bearer tÃ¶kÃ©n")), NOW, id="bearer in UTF-8"),
]


@pytest.mark.parametrize(("scheme", "genuine", "now"), GENUINE + TOLD)
def test_a_genuine_request_is_let_in(scheme, genuine, now):
    assert verify(scheme, genuine, now) is None


@pytest.mark.parametrize(("scheme", "genuine", "now"), GENUINE)
@given(data=st.data())
def test_any_change_to_the_body_is_found(scheme, genuine, now, data):
    if isinstance(scheme, Twilio) and not genuine.body:
        tampered = b"a=b"
    else:
        place = data.draw(st.integers(0, len(genuine.body) - 1))
        tampered = bytearray(genuine.body)
        if isinstance(scheme, Twilio) and FORM in genuine.headers:
            # A form is signed by its fields: what decodes to the same is the same.
            place = genuine.body.index(b"1234567890") + place % 10
            tampered[place : place + 1] = b"x"
        else:
            tampered[place] ^= data.draw(st.integers(1, 255))
        tampered = bytes(tampered)
    assert verify(scheme, replace(genuine, body=tampered), now)


@pytest.mark.parametrize(("scheme", "genuine", "now"), GENUINE + TOLD)
@given(data=st.data())
def test_any_change_to_a_header_that_counts_is_found(scheme, genuine, now, data):
    counting = [number for number, header in enumerate(genuine.headers) if header != FORM]
    chosen = data.draw(st.sampled_from(counting))
    name, value = genuine.headers[chosen]
    if name == "stripe-signature":
        start = value.index(STRIPE_SIGNATURE)
        place = start + data.draw(st.integers(0, 63))
    elif name == "authorization":
        # Not the last digit before the padding: some of its bits belong to no byte.
        place = data.draw(st.integers(value.index(" ") + 1, len(value.rstrip("=")) - 2))
    else:
        place = data.draw(st.integers(0, len(value) - 1))
    # Digits beyond 9 are the same in capitals.
    same = value[place].swapcase() if re.search("[0-9a-fA-F]{40}$", value) else ""
    other = data.draw(
        st.characters(min_codepoint=33, max_codepoint=255, blacklist_characters=f"{value[place]}{same}=,")
    )
    headers = list(genuine.headers)
    headers[chosen] = (name, value[:place] + other + value[place + 1 :])
    assert verify(scheme, replace(genuine, headers=headers), now)


@pytest.mark.parametrize(("scheme", "genuine", "now"), GENUINE + TOLD)
def test_a_header_that_is_missing_or_repeated_is_refused(scheme, genuine, now):
    signing = [header for header in genuine.headers if header != FORM]
    assert signing
    for header in signing:
        without = [one for one in genuine.headers if one is not header]
        assert verify(scheme, replace(genuine, headers=without), now)
        assert verify(scheme, replace(genuine, headers=[*genuine.headers, header]), now)


@pytest.mark.parametrize(("scheme", "genuine", "now"), GENUINE + TOLD)
def test_another_secret_is_no_secret(scheme, genuine, now):
    field = {"Bearer": "tokens", "Basic": "passwords"}.get(type(scheme).__name__, "secrets")
    wrong = keys("d3Jvbmc=")
    assert verify(replace(scheme, **{field: wrong}), genuine, now)
    rotated = (*wrong, *getattr(scheme, field))
    assert verify(replace(scheme, **{field: rotated}), genuine, now) is None


TIMED = [param for param in GENUINE if param.id.startswith(("slack", "standard", "stripe", "hmac with"))]


@pytest.mark.parametrize(("scheme", "genuine", "now"), TIMED)
@pytest.mark.parametrize(
    ("shift", "good"),
    [(5 * MINUTE, True), (-5 * MINUTE, True), (5 * MINUTE + 1, False), (-5 * MINUTE - 1, False)],
)
def test_a_replay_outside_the_window_is_refused(scheme, genuine, now, shift, good):
    assert (verify(scheme, genuine, now + shift) is None) is good


@pytest.mark.parametrize(
    ("scheme", "bad"),
    [
        (Github(keys("s")), message(b"", ("x-hub-signature-256", digest(b"s", b"").hex()))),
        (Github(keys("s")), message(b"", ("x-hub-signature-256", ""))),
        (Stripe(keys("s")), message(b"", ("stripe-signature", "nonsense"))),
        (Stripe(keys("s")), message(b"", ("stripe-signature", "t=1614265330,t=1614265330,v1=0"))),
        (Stripe(keys("s")), message(b"", ("stripe-signature", f"t=1614265330,v0={digest(b's', b'1614265330.').hex()}"))),
        (Stripe(keys("s")), message(b"", ("stripe-signature", "t=²,v1=0"))),
        (Slack(keys("s")), message(b"", ("x-slack-request-timestamp", "9" * 500), ("x-slack-signature", "v0=0"))),
        (Basic("u", keys("p")), message(b"", ("authorization", "Basic ☃"))),
        (Basic("u", keys("p")), message(b"", ("authorization", "Basic"))),
        (Bearer(keys("t")), message(b"", ("authorization", "Basic t"))),
        (Twilio(keys("t")), message(b'{"a":1}', ("x-twilio-signature", b64(digest(b"t", b"https://hub.example/a", "sha1"))))),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused_with_a_reason(scheme, bad):
    reason = verify(scheme, bad, NOW)
    assert reason
    assert len(reason) < 100


def test_twilio_signs_repeated_fields_once_and_sorted():
    body = b"b=2&a=2&a=1&a=1&c="
    signed = b64(digest(b"t", b"https://hub.example/aa1a2b2c", "sha1"))
    assert verify(Twilio(keys("t")), message(body, FORM, ("x-twilio-signature", signed)), NOW) is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"&".join([b"a=b"] * 1001), "the form has more than 1000 fields", id="fields"),
        pytest.param(b"a=" + b"%41" * 1_900_000, "the form has more than 64 KB", id="bytes"),
        pytest.param(b"a=" + b"%41" * (64 * KB // 3 - 1), "x-twilio-signature does not match", id="neither"),
    ],
)
def test_a_form_that_takes_long_to_read_is_refused_unread(body, reason):
    started = time.process_time()
    assert verify(Twilio(keys("t")), message(body, FORM, ("x-twilio-signature", "x")), NOW) == reason
    refused = time.process_time() - started
    started = time.process_time()
    parse_qsl(f"a={'%41' * 500_000}")
    assert refused < (time.process_time() - started) / 4
