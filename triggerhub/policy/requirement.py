"""Decide whether what a function depends on is settled by its own words, whatever else lies in its code.

Then functions with the same words share one environment, and a build of it sees these words alone. All else may lead
to files of the code, and is built apart, by the name of all of them. What is settled is listed here, not what leads
elsewhere: who is taken for settled and is not finds that file missing, and nobody else's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_ARCHIVE = re.compile(r"(?i)\.(whl|egg|zip|t[a-z]z2?|tar(\.[a-z0-9]+)?)$")
"""What pip and npm take for a file before they look for a package of that name."""
_URL = r"(?:https?|git\+https)://[^\s$\\]+"
_COMMENT = re.compile(r"(^|\s)#.*$")
_VERSION = r"(?:===|[=!<>~]=|<|>) ?[\w.*+!-]+"
_PYTHON = re.compile(
    rf"(?P<words>[A-Za-z0-9][\w.-]* ?(?:\[[\w ,.-]*\] ?)?(?:@ ?{_URL}|\(?(?:{_VERSION} ?(?:, ?{_VERSION} ?)*,?\)?)?))"
    r"(?: ?;[\w .\"'=!<>~()*+,-]*)?(?: --hash=\w+:[0-9a-fA-F]+)*"
)
"""Of PEP 508: a name, extras, versions or a URL, a marker; and pip's hashes."""
_NODE = re.compile(
    rf"[\w.*^~<>=|+ -]*|npm:(?:@[\w.-]+/)?[\w.-]+(?:@[\w.*^~<>=|+ -]*)?|{_URL}"
    r"|(?:github|gitlab|bitbucket|gist):[\w.-]+(?:/[\w.-]+)?(?:#\S*)?"
)
"""A range of versions or a tag, an alias of a package, a URL, a repository that is known by a word."""
_NPMRC = re.compile(
    r"(?:[;#].*|(?:@[\w.-]+:)?registry\s*=\s*https?://[^\s$]+"
    r"|//[^\s=]+:(?:_authToken|_auth|_password|username|email|always-auth)\s*=.*|[\w-]+\s*=\s*(?:true|false|\d+))?"
)
"""Registries, credentials, yes or no, a number."""
_SPECIFIED = ("devDependencies", "peerDependencies", "overrides")
_LEADING = (".", "/", "~", "file:", "link:")

TABLES = ("dependencies", "optionalDependencies")
"""Where a package.json says what is installed."""
OF_NPM = ("package-lock.json", "npm-shrinkwrap.json", ".npmrc")
"""And what npm reads beside it."""
_AT_INSTALL = frozenset({
    "preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare", "dependencies",
})  # fmt: skip
"""Scripts that npm runs while it installs: with them, any file of the code may decide what becomes of it."""
_TELLING = frozenset({
    "name", "version", "private", "type", "description", "keywords", "homepage", "bugs", "license", "author",
    "contributors", "funding", "files", "main", "module", "types", "exports", "imports", "repository", "sideEffects",
    "scripts",
})  # fmt: skip
"""Keys of a package.json that change nothing of what is installed, where no script of its own runs meanwhile."""


def of_python(packages: Iterable[str], text: str) -> bool:
    """Whether requirements are settled: *packages* one by one, *text* as a requirements.txt has them."""
    joined = re.sub(r"\\\r?\n", " ", text)
    lines = (_COMMENT.sub("", line).strip() for line in joined.splitlines())
    return all(_python(one) for one in (*packages, *(line for line in lines if line)))


def _python(one: str) -> bool:
    match = _PYTHON.fullmatch(" ".join(one.split()))
    return match is not None and not _archive(re.sub(r"\[[^]]*\]|[ ()]", "", match["words"]))


def of_node(package: Mapping[str, Any], beside: Mapping[str, str]) -> bool:
    """Whether a package.json is settled; *beside* has npm's other files by name."""
    scripts = package.get("scripts")
    if "workspaces" in package or (isinstance(scripts, dict) and not _AT_INSTALL.isdisjoint(scripts)):
        return False
    specified = {key: package[key] for key in (*TABLES, *_SPECIFIED) if key in package}
    rest = {key: value for key, value in package.items() if key not in specified}
    return (
        all(_node(text) for text in _texts(specified))
        and not any(text.startswith(_LEADING) for text in _texts(decisive(rest)))
        and all(_npmrc(text) if name == ".npmrc" else _lock(text) for name, text in beside.items())
    )


def decisive(package: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a settled package.json decides what is installed: the build of it sees no more."""
    return {key: value for key, value in package.items() if key not in _TELLING}


def _node(text: str) -> bool:
    # "$NAME" in overrides is what the package itself asks for by that name.
    return (_NODE.fullmatch(text.strip()) is not None and not _archive(text)) or text.startswith("$")


def _archive(text: str) -> bool:
    """Whether it is read as a file's name."""
    return "://" not in text and _ARCHIVE.search(text.strip()) is not None


def _npmrc(text: str) -> bool:
    return all(_NPMRC.fullmatch(line.strip()) for line in text.splitlines())


def _lock(text: str) -> bool:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return not any((key == "link" and one is True) or _leads(one) for key, one in _leaves(found))


def _leads(one: object) -> bool:
    return isinstance(one, str) and one.startswith(("file:", "link:"))


def _texts(value: Any) -> Iterator[str]:
    return (one for _, one in _leaves(value) if isinstance(one, str))


def _leaves(value: Any) -> Iterator[tuple[str, object]]:
    """Yield what in it is neither a table nor a list, each with the key that it stands below."""
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        key, one = left.pop()
        if isinstance(one, dict):
            left += one.items()
        elif isinstance(one, list):
            left += ((key, below) for below in one)
        else:
            yield key, one
