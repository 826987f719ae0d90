from __future__ import annotations

import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from triggerhub.policy.token import HMAC, Key, Token, keys_of, verify_token
from triggerhub.settings import MINUTE, Secret

NOW = 1_800_000_000_000
SECOND = NOW // 1000
SHARED = "0123456789abcdef0123456789abcdef"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def pem(key) -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()


def jwk(key, kid: str, name: str) -> dict[str, str]:
    made = jwt.get_algorithm_by_name(name).to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, "alg": name, "use": "sig"}


def scheme(*, secret: str | None = SHARED, key: str | None = None, jwks=None, algorithms=("HS256",), **rules) -> Token:
    keys = keys_of(
        (Secret(secret),) if secret else (), (Secret(key),) if key else (),
        Secret(json.dumps(jwks)) if jwks else None, algorithms,
    )  # fmt: skip
    return Token(keys=keys, **rules)


def signed(claims: dict, key=SHARED, algorithm: str = "HS256", **header) -> str:
    return jwt.encode({"exp": SECOND + 60, **claims}, key, algorithm=algorithm, headers=header or None)


GOOD = signed({})


@pytest.mark.parametrize(
    ("rules", "token"),
    [
        pytest.param(scheme(), GOOD, id="HS256"),
        pytest.param(scheme(secret=None, key=pem(RSA), algorithms=("RS256",)), signed({}, RSA, "RS256"), id="RS256"),
        pytest.param(scheme(secret=None, key=pem(EC), algorithms=("ES256",)), signed({}, EC, "ES256"), id="ES256"),
        pytest.param(scheme(secret=None, key=pem(ED), algorithms=("EdDSA",)), signed({}, ED, "EdDSA"), id="EdDSA"),
        pytest.param(
            scheme(secret=None, key=pem(ED), algorithms=("RS256", "EdDSA")), signed({}, ED, "EdDSA"), id="a key of two"
        ),
        pytest.param(
            scheme(secret=None, jwks={"keys": [jwk(EC, "1", "ES256"), jwk(RSA, "2", "RS256")]}, algorithms=("RS256",)),
            signed({}, RSA, "RS256", kid="2"),
            id="a key set",
        ),
        pytest.param(scheme(issuer="me", audience=("a", "b")), signed({"iss": "me", "aud": ["b"]}), id="iss and aud"),
        pytest.param(scheme(leeway=MINUTE), signed({"exp": SECOND - 59}), id="expired within the leeway"),
        pytest.param(scheme(), signed({"nbf": SECOND}), id="valid from now"),
        pytest.param(scheme(), signed({"aud": "somebody"}), id="an audience nobody asked for"),
    ],
)
def test_a_good_token_is_let_in(rules, token):
    assert verify_token(rules, token, NOW) is None


CONFUSED = scheme(secret=None, key=pem(RSA), algorithms=("RS256",))


@pytest.mark.parametrize(
    ("rules", "token", "why"),
    [
        pytest.param(scheme(), None, "missing", id="none"),
        pytest.param(scheme(), "abc", "no JSON Web Token", id="nonsense"),
        pytest.param(scheme(), GOOD[:-4] + "AAAA", "signature", id="tampered signature"),
        pytest.param(scheme(), signed({}, "another secret of thirty-two bytes"), "signature", id="another secret"),
        pytest.param(scheme(), signed({"exp": SECOND}), "expired", id="expired"),
        pytest.param(scheme(), signed({"nbf": SECOND + 1}), "not valid yet", id="not yet"),
        pytest.param(scheme(), jwt.encode({"a": 1}, SHARED, algorithm="HS256"), "exp", id="no expiry"),
        pytest.param(scheme(), signed({"exp": "soon"}), "refused|numbers", id="expiry is text"),
        pytest.param(scheme(), signed({"exp": 1e400}), "refused|numbers", id="expiry is infinite"),
        pytest.param(scheme(), signed({"exp": True}), "refused|numbers", id="expiry is a truth"),
        pytest.param(scheme(issuer="me"), GOOD, "refused", id="no issuer"),
        pytest.param(scheme(issuer="me"), signed({"iss": "you"}), "refused", id="another issuer"),
        pytest.param(scheme(audience=("me",)), GOOD, "refused", id="no audience"),
        pytest.param(scheme(audience=("me",)), signed({"aud": "you"}), "refused", id="another audience"),
        pytest.param(scheme(), jwt.encode({"exp": SECOND + 60}, None, algorithm="none"), "no key fits", id="alg none"),
        pytest.param(CONFUSED, signed({}, "x" * 32), "no key fits", id="HS256 where RS256 is wanted"),
        pytest.param(
            scheme(secret=None, jwks={"keys": [jwk(RSA, "2", "RS256")]}, algorithms=("RS256",)),
            signed({}, RSA, "RS256", kid="3"), "no key fits", id="an unknown key id",
        ),
    ],
)  # fmt: skip
def test_a_bad_token_is_refused_with_a_reason(rules, token, why):
    reason = verify_token(rules, token, NOW)
    assert reason is not None
    assert any(part in reason for part in why.split("|")), reason


@pytest.mark.parametrize(
    ("secrets", "public", "key_set", "algorithms", "says"),
    [
        pytest.param(("short",), (), None, ("HS256",), "at least 32 bytes", id="a short secret"),
        pytest.param((SHARED,), (), None, ("HS512",), "at least 64 bytes", id="too short for HS512"),
        pytest.param((), (SHARED,), None, ("RS256",), "public key in PEM", id="no PEM"),
        pytest.param((), (pem(EC),), None, ("RS256",), "public key in PEM", id="another kind of key"),
        pytest.param((), (pem(WEAK),), None, ("RS256",), "at least 2048 bits", id="a short RSA key"),
        pytest.param((), (), "{}", ("RS256",), "JWK set", id="an empty set"),
        pytest.param((), (), "nonsense", ("RS256",), "JWK set", id="no JSON"),
        pytest.param((), (), json.dumps({"keys": [jwk(EC, "1", "ES256")]}), ("RS256",), "RS256", id="no fitting key"),
        pytest.param(
            (), (), json.dumps({"keys": [jwk(WEAK, "1", "RS256")]}), ("RS256",), "2048 bits", id="a short key in a set"
        ),
        pytest.param(
            (),
            (),
            '{"keys": [{"kty": "oct", "alg": "HS256", "k": "YQ"}]}',
            ("HS256",),
            "32 bytes",
            id="a short secret in a set",
        ),
    ],
)
def test_keys_that_cannot_verify_are_refused(secrets, public, key_set, algorithms, says):
    with pytest.raises(ValueError, match=says):
        keys_of(
            tuple(map(Secret, secrets)), tuple(map(Secret, public)), Secret(key_set) if key_set else None, algorithms
        )


def test_a_secret_serves_only_the_algorithms_it_is_long_enough_for():
    assert keys_of((Secret(SHARED),), (), None, HMAC) == (Key(material=SHARED.encode(), algorithms=("HS256",)),)


@pytest.mark.parametrize("order", [(RSA, EC), (EC, RSA)])
def test_public_keys_of_several_kinds_serve_each_its_own(order):
    both = Token(keys=keys_of((), tuple(Secret(pem(key)) for key in order), None, ("RS256", "PS256", "ES256")))
    for key, algorithm in ((RSA, "RS256"), (RSA, "PS256"), (EC, "ES256")):
        assert verify_token(both, signed({}, key, algorithm), NOW) is None
    assert {key.algorithms for key in both.keys} == {("RS256", "PS256"), ("ES256",)}
