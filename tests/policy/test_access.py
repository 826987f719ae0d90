"""Who may do what, how passwords are kept, and how often one may fail."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggerhub.policy import access, password
from triggerhub.policy.access import Needed, Principal, Role, Tries, needed, refusal

ID = "019a0000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("method", "path", "role", "payloads"),
    [
        ("GET", "/", Role.VIEWER, False),
        ("GET", "/metrics", Role.VIEWER, False),
        ("GET", f"/deliveries/{ID}", Role.VIEWER, False),
        ("GET", f"/deliveries/{ID}/event.json", Role.VIEWER, True),
        ("GET", f"/deliveries/{ID}/payload.json", Role.VIEWER, True),
        ("GET", f"/deliveries/{ID}/logs", Role.VIEWER, True),
        ("GET", f"/api/v1/events/{ID}", Role.VIEWER, True),
        ("GET", "/api/v1/output", Role.VIEWER, True),
        ("GET", "/api/v1/watch", Role.VIEWER, True),
        ("GET", "/dead-letters/export.jsonl", Role.VIEWER, True),
        ("POST", f"/api/v1/deliveries/{ID}/redeliver", Role.OPERATOR, False),
        ("POST", f"/api/v1/deliveries/{ID}/retry", Role.OPERATOR, False),
        ("POST", f"/deliveries/{ID}/retry", Role.OPERATOR, False),
        ("POST", "/api/v1/deliveries/retry", Role.OPERATOR, False),
        ("POST", f"/deliveries/{ID}/resend", Role.OPERATOR, True),
        ("POST", "/api/v1/deliveries/cancel", Role.OPERATOR, False),
        ("POST", "/api/v1/dead-letters/redrive", Role.OPERATOR, False),
        ("POST", "/triggers/t/fire", Role.OPERATOR, False),
        ("POST", "/functions/f/test", Role.OPERATOR, True),
        ("POST", "/2015-03-31/functions/f/invocations", Role.OPERATOR, True),
        ("DELETE", "/2015-03-31/functions/f", Role.ADMIN, False),
        ("POST", "/logout", Role.VIEWER, False),
        ("POST", "/api/v1/reload", Role.ADMIN, False),
        ("POST", "/api/v1/backup", Role.ADMIN, True),
        ("POST", "/what/is/to/come", Role.ADMIN, False),
        ("GET", "/settings", Role.ADMIN, False),
        ("GET", "/api/v1/tokens", Role.ADMIN, False),
        ("POST", "/api/v1/tokens/x/revoke", Role.ADMIN, False),
        ("GET", "/settings\n", Role.ADMIN, True),
        ("GET", "/api/v1//output\n", Role.ADMIN, True),
    ],
)
def test_what_a_request_takes(method: str, path: str, role: Role, payloads: bool) -> None:
    assert needed(method, path) == Needed(role=role, payloads=payloads)


@given(who=st.sampled_from(Role), what=st.sampled_from(Role), sees=st.booleans(), shows=st.booleans())
def test_a_role_may_what_those_below_it_may(who: Role, what: Role, sees: bool, shows: bool) -> None:
    somebody = Principal(name="anna", role=who, payloads=sees)
    why = refusal(somebody, Needed(role=what, payloads=shows))
    assert (why is None) == (who.rank >= what.rank and (sees or not shows))


def test_a_refusal_says_who_lacks_what() -> None:
    viewer = Principal(name="anna", role=Role.VIEWER, payloads=False)
    assert refusal(viewer, needed("POST", "/triggers/t/fire")) == "anna is a viewer; this takes an operator"
    assert refusal(viewer, needed("GET", "/api/v1/output")) == "anna may not see what events carry"


@settings(max_examples=2, deadline=None)
@given(word=st.text(min_size=1, max_size=20), other=st.text(max_size=20), salt=st.binary(min_size=16, max_size=16))
def test_a_hash_fits_its_password_alone(word: str, other: str, salt: bytes) -> None:
    kept = password.hashed(word, salt)
    assert password.checked(kept) == kept
    assert password.fits(word, kept)
    assert password.fits(other, kept) == (other == word)


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "",
        "scrypt$n=3,r=8,p=1$" + "A" * 24 + "$" + "A" * 44,
        "scrypt$n=32768,r=8,p=0$" + "A" * 24 + "$" + "A" * 44,
        "scrypt$n=67108864,r=8,p=1$" + "A" * 24 + "$" + "A" * 44,
        "scrypt$n=32768,r=8,p=1$" + "A" * 23 + "$" + "A" * 44,
    ],
)
def test_what_is_no_hash_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError) as error:
        password.checked(text)
    assert not text or text not in str(error.value)


def test_who_has_an_account_gets_no_more_tries_at_others_by_it() -> None:
    tries = Tries()
    guesses = 0
    while not access.wait(tries, 1000):
        tries = access.failed(tries, 1000)
        guesses += 1
        if not access.wait(tries, 1000):
            tries = access.succeeded(access.failed(tries, 1000))
    assert guesses == access.FREE
    assert access.succeeded(Tries()) == Tries()


def test_who_fails_often_waits_and_is_forgiven() -> None:
    tries = Tries()
    for _ in range(access.FREE):
        assert access.wait(tries, 1000) == 0
        tries = access.failed(tries, 1000)
    assert access.wait(tries, 2000) == access.FORGOTTEN - 1000 + 1
    assert access.wait(tries, 1000 + access.FORGOTTEN + 1) == 0
    assert access.failed(tries, 1000 + access.FORGOTTEN + 1).failures == 1
