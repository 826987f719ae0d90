"""Hash passwords and compare with a hash, by scrypt. Pure: the salt is an argument."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

N, R, P = 1 << 15, 8, 1
"""About a tenth of a second and 32 MB."""
SALT = 16
"""Bytes of a salt."""
_FORM = re.compile(r"scrypt\$n=(\d{1,8}),r=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/=]{16,100})\$([A-Za-z0-9+/=]{40,100})")
_MOST = 1 << 28
"""Bytes that a hash may make scrypt take."""


def hashed(password: str, salt: bytes) -> str:
    """Return the text to keep instead of *password*."""
    key = _scrypt(password, salt, N, R, P)
    return f"scrypt$n={N},r={R},p={P}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def checked(text: str) -> str:
    """Return *text* where it is a hash. ValueError says what one looks like, and never shows the text."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("expected a hash as `triggerhub hash-password` prints it; a password itself is not taken")
    n, r, p = (int(one) for one in match.group(1, 2, 3))
    if n < 2 or n & (n - 1) or not r or not p or 128 * n * r * p > _MOST:
        raise ValueError("the hash asks scrypt for parameters that it does not have, or for over 256 MB")
    try:
        base64.b64decode(match[4], validate=True), base64.b64decode(match[5], validate=True)
    except ValueError as error:
        raise ValueError("the hash is damaged: its parts are not base64") from error
    return text


def fits(password: str, kept: str) -> bool:
    """Whether *kept* is a hash of *password*; takes its time."""
    match = _FORM.fullmatch(checked(kept))
    assert match is not None
    salt, key = base64.b64decode(match[4]), base64.b64decode(match[5])
    return hmac.compare_digest(_scrypt(password, salt, int(match[1]), int(match[2]), int(match[3])), key)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    text = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=_MOST + (1 << 20), dklen=32)
