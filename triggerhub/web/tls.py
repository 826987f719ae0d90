"""Make the TLS side of a listener out of a certificate and its key."""

from __future__ import annotations

import ssl
from pathlib import Path

from triggerhub.errors import ConfigError


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and newer; *certificate* is the chain, both are PEM.

    Raises ConfigError for a file that is missing, unreadable, not PEM, encrypted, or a key of another certificate.
    """
    for name, path in (("cert", certificate), ("key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"hub.tls.{name}: {path} cannot be read: {error.strerror}",
                hint="Name a PEM file that the hub's user may read.",
            ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An empty password keeps OpenSSL from asking for one on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"hub.tls: the key in {key} is not the key of the certificate in {certificate}",
                hint="Give the two files that were issued together.",
            ) from error
        raise ConfigError(
            f"hub.tls: {certificate} and {key} are not a PEM certificate and its unencrypted key"
            f"{f' ({error.reason})' if error.reason else ''}",
            hint="Convert them with openssl: x509 -outform PEM, pkey -outform PEM.",
        ) from error
    return context
