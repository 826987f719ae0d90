"""Decide whether a JSON Web Token is good, after RFC 7519 and RFC 8725.

Pure: the library checks signature, issuer and audience; the times are checked here against the time
that is given. A token without an expiry would be good for ever, so it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triggerhub.model import Millis
from triggerhub.settings import SECOND, Secret

HMAC = ("HS256", "HS384", "HS512")
ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""These need the ``jwt`` extra."""
_SHORTEST = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Bytes of a secret, after RFC 7518 section 3.2: shorter ones can be guessed from one token."""
_RSA = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key to verify with; *kid* of a key set's, None fits every token."""

    material: Any
    algorithms: tuple[str, ...]
    kid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """``Authorization: Bearer <JSON Web Token>``."""

    keys: tuple[Key, ...]
    issuer: str | None = None
    audience: tuple[str, ...] = ()
    leeway: Millis = 0


def keys_of(
    secrets: tuple[Secret, ...], public: tuple[Secret, ...], key_set: Secret | None, algorithms: tuple[str, ...]
) -> tuple[Key, ...]:
    """Return the keys of HMAC *secrets*, *public* PEM keys and a JWK set's JSON; ValueError names a bad one.

    Each key is bound to the algorithms of its own kind, so that a public key is never taken for a secret.
    """
    others = tuple(name for name in algorithms if name in ASYMMETRIC)
    keys = [_shared(secret, algorithms) for secret in secrets]
    keys += [_public(secret.reveal(), others) for secret in public]
    if key_set is not None:
        keys += _of_set(key_set.reveal(), algorithms)
    return tuple(keys)


def _shared(secret: Secret, algorithms: tuple[str, ...]) -> Key:
    material = secret.reveal().encode()
    wanted = [name for name in algorithms if name in HMAC]
    fit = tuple(name for name in wanted if len(material) >= _SHORTEST[name])
    if not fit:
        least = min((_SHORTEST[name] for name in wanted), default=0)
        raise ValueError(f"expected a secret of at least {least} bytes for {' or '.join(wanted) or 'HS256'}")
    return Key(material=material, algorithms=fit)


def _public(text: str, algorithms: tuple[str, ...]) -> Key:
    import jwt  # late: it loads cryptography, and most hubs verify no token

    material, fit = None, []
    for name in algorithms:
        try:
            material = jwt.get_algorithm_by_name(name).prepare_key(text)
        except (jwt.PyJWTError, ValueError, TypeError, NotImplementedError):
            continue
        fit.append(name)
    if material is None:
        raise ValueError(f"expected a public key in PEM for {' or '.join(algorithms) or 'RS, PS, ES or EdDSA'}")
    key = Key(material=material, algorithms=tuple(fit))
    _require_strength(key)
    return key


def _require_strength(key: Key) -> None:
    """Raise ValueError for a key that can be guessed or factored."""
    name = key.algorithms[0]
    if name in HMAC and len(key.material) < _SHORTEST[name]:
        raise ValueError(f"expected a key of at least {_SHORTEST[name]} bytes for {name}, got {len(key.material)}")
    if name.startswith(("RS", "PS")) and key.material.key_size < _RSA:
        raise ValueError(f"expected an RSA key of at least {_RSA} bits, got {key.material.key_size}")


def _of_set(text: str, algorithms: tuple[str, ...]) -> list[Key]:
    import jwt

    try:
        keys = jwt.PyJWKSet.from_json(text).keys
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"expected a JWK set with keys that can be used: {error}") from error
    found = [
        Key(material=key.key, algorithms=(key.algorithm_name,), kid=key.key_id)
        for key in keys
        if key.algorithm_name in algorithms and key.public_key_use in (None, "sig")
    ]
    if not found:
        raise ValueError(f"expected a JWK set with a key for {' or '.join(algorithms)}")
    for key in found:
        _require_strength(key)
    return found


def verify_token(scheme: Token, token: str | None, now: Millis) -> str | None:
    """Return None for a good token, or why it is not."""
    if token is None:
        return "the bearer token is missing or repeated"
    import jwt

    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        return "the bearer token is no JSON Web Token"
    kid, algorithm = header.get("kid"), header.get("alg")
    why = "no key fits the token"
    for key in scheme.keys:
        if algorithm in key.algorithms and (key.kid is None or kid is None or key.kid == kid):
            try:
                return _untimely(_claims(scheme, key, token), scheme, now)
            except jwt.InvalidSignatureError:
                why = "the token's signature does not match"
            except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
                return f"the token is refused: {str(error)[:100]}"
    return why


def _claims(scheme: Token, key: Key, token: str) -> Mapping[str, Any]:
    import jwt

    claims: Mapping[str, Any] = jwt.decode(
        token,
        key.material,
        algorithms=list(key.algorithms),
        audience=list(scheme.audience) or None,
        issuer=scheme.issuer,
        options={
            "require": ["exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False,
            "verify_aud": bool(scheme.audience), "verify_iss": scheme.issuer is not None,
        },
    )  # fmt: skip
    return claims


def _untimely(claims: Mapping[str, Any], scheme: Token, now: Millis) -> str | None:
    expires, begins = claims["exp"], claims.get("nbf", 0)
    for moment in (expires, begins):
        if isinstance(moment, bool) or not isinstance(moment, (int, float)) or not abs(moment) < 1e15:
            return "the token's times are no numbers"
    if now >= expires * SECOND + scheme.leeway:
        return "the token has expired"
    if now < begins * SECOND - scheme.leeway:
        return "the token is not valid yet"
    return None
