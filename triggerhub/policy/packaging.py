"""Decide which settings of a host's package clients a build gets, and which of the host's files those name.

uv, pip and npm are told by variables and files where their registries are. A build in a sandbox is to find the
same packages, and nothing else that the hub's user has: what passes is listed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote

_PREFIXES = ("PIP_", "UV_", "NPM_CONFIG_", "npm_config_")
_PASSED = (*_PREFIXES, "SSL_CERT_")
_NAMES = frozenset({
    "PATH", "HOME", "LANG", "TMPDIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "NETRC",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
})  # fmt: skip
_CONTRARY = frozenset({"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"})
"""Settings for people, which would put packages elsewhere."""

OWN = (".pip/pip.conf", ".config/pip/pip.conf", ".config/uv/uv.toml", ".npmrc", ".netrc")
"""Files in a home that say where registries are, and with which credentials."""
SHARED = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "/etc/uv/uv.toml", "/etc/xdg/uv/uv.toml", "/etc/npmrc")
"""And the host's."""
FILES = ("PIP_CONFIG_FILE", "UV_CONFIG_FILE", "NPM_CONFIG_USERCONFIG", "NPM_CONFIG_GLOBALCONFIG", "NETRC")
"""Variables that name such a file; npm's are known in small letters, too."""
_NAMING = frozenset({
    # pip and uv
    "find-links", "index", "index-url", "extra-index-url", "default-index", "url", "constraint", "constraints",
    "build-constraint", "override", "cert", "client-cert",
    # npm
    "cafile", "certfile", "keyfile", "nodedir",
    # all of them
    "ssl-cert-file", "ssl-cert-dir", "requests-ca-bundle", "curl-ca-bundle", "node-extra-ca-certs",
})  # fmt: skip
"""Settings that may name a local index or a certificate."""
_PATH = re.compile(r"(?:^|[\s\"',\[=])(?P<url>file://)?(?P<path>/[^\s\"',\]#]+)")
_URL = re.compile(r"\b(?P<scheme>https?)://(?:[^\s/@]*@)?(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?")
_PORTS = {"http": 80, "https": 443}
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_KNOWN = (("pypi.org", 443), ("files.pythonhosted.org", 443), ("registry.npmjs.org", 443))
"""Where installers look when nobody tells them where."""
_LINE = re.compile(r"^(?P<indent>\s*)(?P<key>[A-Za-z][\w-]*)\s*=\s*(?P<value>.*)$")


def passed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that an installer gets."""
    return {
        name: value
        for name, value in environ.items()
        if (name in _NAMES or name.startswith(_PASSED)) and name not in _CONTRARY
    }


def enclosed(environ: Mapping[str, str], room: str) -> dict[str, str]:
    """Return :func:`passed` for a build that may write below *room* alone: its home, its caches, its scratch."""
    caches = {"PIP_CACHE_DIR": "pip", "UV_CACHE_DIR": "uv", "NPM_CONFIG_CACHE": "npm"}
    ours = {
        "HOME": f"{room}/home",
        "TMPDIR": f"{room}/tmp",
        **{name: f"{room}/cache/{folder}" for name, folder in caches.items()},
        # The environment is no part of the cache, so that a link to it could be none.
        "UV_LINK_MODE": "copy",
        # What a build would download to run with is what the function is never run with.
        "UV_PYTHON_DOWNLOADS": "never",
    }
    names = {name.upper() for name in ours}
    return {**{name: value for name, value in passed(environ).items() if name.upper() not in names}, **ours}


def files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the configuration files that variables name, by variable."""
    return {name: value for name, value in environ.items() if name.upper() in FILES and value.startswith("/")}


def named(environ: Mapping[str, str], texts: Iterable[str]) -> tuple[str, ...]:
    """Return the absolute paths of local indexes and certificates that variables or configuration files name."""
    found: dict[str, None] = {}
    for key, value in (*_variables(environ), *(pair for text in texts for pair in _lines(text))):
        if key in _NAMING:
            for match in _PATH.finditer(value):
                path = unquote(match["path"]) if match["url"] else match["path"]
                found[path.rstrip("/") or "/"] = None
    return tuple(found)


def registries(environ: Mapping[str, str], texts: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Return host and port of the registries: the public ones, and those that variables or configuration files name."""
    found = dict.fromkeys(_KNOWN)
    told = [line for text in texts for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))]
    for text in (*environ.values(), *told):
        for match in _URL.finditer(text):
            port = int(match["port"]) if match["port"] else _PORTS[match["scheme"]]
            if 0 < port < 65536:
                found[match["host"].lower(), port] = None
    return tuple(found)


def proxied(environ: Mapping[str, str]) -> bool:
    """Whether the host reaches registries by a proxy of its own."""
    return any(value for name, value in environ.items() if name.upper() in _PROXIES)


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        prefix = next((one for one in _PREFIXES if name.startswith(one)), "")
        # uv separates some lists by commas, folders by colons.
        yield _plain(name.removeprefix(prefix)), value if "://" in value else value.replace(":", " ")


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Read what an ini file, an npmrc or a TOML table of texts has in common; a value may go on over lines."""
    key = ""
    for line in text.splitlines():
        if line.lstrip().startswith(("#", ";", "[")):
            continue
        if match := _LINE.match(line):
            key = _plain(match["key"])
            yield key, match["value"]
        elif line[:1].isspace():
            yield key, line


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
