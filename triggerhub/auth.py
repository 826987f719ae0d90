"""Read how a caller proves who it is: the ``auth`` table of what answers HTTP."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from triggerhub import source
from triggerhub.policy import scheme, signature, token
from triggerhub.settings import HOUR, Secret
from triggerhub.source import Finding

STANDARD_KEY = 16
"""Bytes of a Standard Webhooks key; the prefix alone, for one, is a key that everybody knows."""


def _filled(secret: Secret) -> Secret:
    if not secret.reveal():
        raise ValueError("expected a secret, got an empty one: anybody could sign with it")
    return secret


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _standard(secret: Secret) -> Secret:
    try:
        key = signature.standard_key(secret)
    except ValueError:
        key = b""
    if len(key) < STANDARD_KEY:
        raise ValueError(
            f"expected a Standard Webhooks secret: base64 of {STANDARD_KEY} bytes or more, whsec_ before it or not"
        )
    return secret


_Secret = Annotated[source.SecretValue, AfterValidator(_filled)]
_ONE_OR_MANY = dict[str, str] | list[dict[str, str]]
Secrets = Annotated[
    tuple[_Secret, ...],
    Field(min_length=1, max_length=10),
    BeforeValidator(_listed, json_schema_input_type=_ONE_OR_MANY),
]
"""One secret, or several while one is being replaced: any of them is good."""
StandardSecrets = Annotated[
    tuple[Annotated[_Secret, AfterValidator(_standard)], ...],
    Field(min_length=1, max_length=10),
    BeforeValidator(_listed, json_schema_input_type=_ONE_OR_MANY),
]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", max_length=100)]
Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # fmt: skip


_SIGNED: Mapping[str, Callable[[scheme.Secrets], scheme.Scheme]] = {
    "github": scheme.Github, "gitlab": scheme.Gitlab, "stripe": scheme.Stripe,
    "slack": scheme.Slack, "shopify": scheme.Shopify, "twilio": scheme.Twilio,
}  # fmt: skip


class Signed(source.Options):
    """A provider's own signature."""

    type: Literal["github", "gitlab", "stripe", "slack", "shopify", "twilio"]
    secret: Secrets
    """What was agreed with the provider: GitLab's secret token, Twilio's auth token, Shopify's client secret."""

    def scheme(self) -> scheme.Scheme:
        return _SIGNED[self.type](self.secret)


class Standard(source.Options):
    """Standard Webhooks."""

    type: Literal["standard"]
    secret: StandardSecrets

    def scheme(self) -> scheme.Scheme:
        return scheme.Standard(self.secret)


class Bearer(source.Options):
    """A fixed token in the Authorization header."""

    type: Literal["bearer"]
    secret: Secrets

    def scheme(self) -> scheme.Scheme:
        return scheme.Bearer(self.secret)


class Basic(source.Options):
    """A user name and a password."""

    type: Literal["basic"]
    username: Annotated[str, Field(min_length=1, pattern="^[^:]*$")]
    password: Secrets

    def scheme(self) -> scheme.Scheme:
        return scheme.Basic(self.username, self.password)


class Hmac(source.Options):
    """Any other signature by HMAC over the body."""

    type: Literal["hmac"]
    secret: Secrets
    header: HeaderName
    """Which header holds the signature."""
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    """What stands before the signature: ``sha256=``."""
    timestamp_header: HeaderName | None = None
    """Which header holds the time in seconds; ``TIME.BODY`` is signed then."""
    tolerance: Annotated[source.Duration, Field(gt=0, le=HOUR)] = scheme.WINDOW
    """How far that time may be off."""

    def scheme(self) -> scheme.Scheme:
        return scheme.Hmac(
            secrets=self.secret, header=self.header, algorithm=self.algorithm, encoding=self.encoding,
            prefix=self.prefix, timestamp_header=self.timestamp_header, tolerance=self.tolerance,
        )  # fmt: skip


class Jwt(source.Options):
    """A JSON Web Token in the Authorization header."""

    type: Literal["jwt"]
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)]
    secret: Secrets | None = None
    """For HS256, HS384 and HS512."""
    key: Secrets | None = None
    """Public keys in PEM, for the others."""
    jwks: source.SecretValue | None = None
    """A JWK set as JSON."""
    issuer: str | None = None
    audience: tuple[str, ...] = ()
    """One of them must be in the token."""
    leeway: Annotated[source.Duration, Field(ge=0, le=HOUR)] = 0
    """How far the clocks may be apart."""

    @property
    def needs_cryptography(self) -> bool:
        return any(name in token.ASYMMETRIC for name in self.algorithms)

    def scheme(self) -> scheme.Scheme:
        keys = token.keys_of(self.secret or (), self.key or (), self.jwks, self.algorithms)
        return token.Token(keys=keys, issuer=self.issuer, audience=self.audience, leeway=self.leeway)


Auth: TypeAlias = Annotated[Signed | Standard | Bearer | Basic | Hmac | Jwt, Field(discriminator="type")]


def findings(auth: Auth | Literal["none"]) -> Iterator[Finding]:
    """Find what is wrong between settings of *auth* that are each right."""
    if isinstance(auth, Jwt):
        yield from _check_jwt(auth)
    secrets: tuple[Secret, ...] = getattr(auth, "secret", None) or getattr(auth, "password", None) or ()
    if len(set(secrets)) < len(secrets):
        yield Finding(option="auth", code="duplicate-secret", message="the same secret is given twice", warning=True)


def _check_jwt(auth: Jwt) -> Iterator[Finding]:
    if auth.needs_cryptography and importlib.util.find_spec("cryptography") is None:
        yield Finding(
            option="auth", code="missing-extra", message=f"{', '.join(auth.algorithms)} need the package cryptography",
            hint="Install it with: pip install 'triggerhub[jwt]'.",
        )  # fmt: skip
        return
    if not (auth.secret or auth.key or auth.jwks):
        yield Finding(
            option="auth", code="no-key", message="jwt needs secret (HS…), key (a public key) or jwks (a key set)"
        )  # fmt: skip
        return
    try:
        keys = token.keys_of(auth.secret or (), auth.key or (), auth.jwks, auth.algorithms)
    except ValueError as error:
        yield Finding(option="auth", code="bad-key", message=str(error))
        return
    served = {name for key in keys for name in key.algorithms}
    for name in (name for name in auth.algorithms if name not in served):
        yield Finding(option="auth", code="no-key", message=f"there is no key that {name} can be verified with")
