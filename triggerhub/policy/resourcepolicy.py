"""Read what a resource's policy grants, and to whom. Pure.

Only what is granted is here: a statement that denies is refused where policies are taken in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from triggerhub.model import Json

VERSIONS = ("2012-10-17", "2008-10-17")
KNOWN = ("Sid", "Effect", "Principal", "Action", "Resource", "Condition")
_ACTION = re.compile(r"\*|lambda:[A-Za-z*?]+", re.IGNORECASE)
REQUIRED = ("Effect", "Principal", "Action", "Resource")


def grants(statements: Sequence[Json], action: str, context: Mapping[str, str], who: str | None = None) -> bool:
    """Whether *who* may do *action*, such as ``lambda:InvokeFunctionUrl``, in a call of which *context* is known.

    *who* is the ARN of a user, None one who is not known: to him is granted what is granted to everybody. A whole
    account as the principal grants nothing by itself; as in IAM, it leaves that to what its users are allowed.
    Every condition must be one that such a call fulfils; one of another kind, or of what is not known, fulfils none.
    """
    return any(
        _names(one["Principal"], who)
        and any(fnmatchcase(action.lower(), pattern.lower()) for pattern in _each(one["Action"]))
        and all(_holds(operator, pairs, context) for operator, pairs in one.get("Condition", {}).items())
        for one in statements
    )


def _names(principal: Json, who: str | None) -> bool:
    if principal == "*":
        return True
    named = _each(principal.get("AWS", ())) if isinstance(principal, dict) else ()
    return "*" in named or (who is not None and who in named)


def _holds(operator: str, pairs: Mapping[str, Json], context: Mapping[str, str]) -> bool:
    known = {key.lower(): value for key, value in context.items()}
    if operator not in ("StringEquals", "StringLike", "Bool"):
        return False
    like = operator == "StringLike"
    for key, wanted in pairs.items():
        value = known.get(key.lower())
        # Of a pattern's signs IAM has these two alone.
        texts = [_text(one).replace("[", "[[]") if like else _text(one) for one in _each(wanted)]
        if value is None or not any(fnmatchcase(value, text) if like else value == text for text in texts):
            return False
    return True


def _text(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _each(value: Json) -> Sequence[Json]:
    """Return the values of what may be written as one or as a list."""
    return value if isinstance(value, list | tuple) else (value,)


def statements(document: Json) -> Iterator[dict[str, Json]]:
    """Yield the statements of a policy. ValueError says what is wrong with it, or is not in this version."""
    if not isinstance(document, dict) or document.keys() - {"Version", "Id", "Statement"}:
        raise ValueError("a policy is an object of Version, Id and Statement")
    if document.get("Version") not in VERSIONS:
        raise ValueError(f"Version: expected {VERSIONS[0]}")
    found = _each(document.get("Statement", ()))
    if not found:
        raise ValueError("Statement: there is none")
    sids: set[str] = set()
    for one in found:
        if not isinstance(one, dict):
            raise ValueError("Statement: expected objects")
        if unknown := sorted(one.keys() - set(KNOWN)):
            raise ValueError(f"{unknown[0]!r} is not in this version; a statement has {', '.join(KNOWN)}")
        if missing := [name for name in REQUIRED if name not in one]:
            raise ValueError(f"a statement has no {missing[0]}")
        _check(one)
        if (sid := one.get("Sid")) is not None:
            if not isinstance(sid, str) or sid in sids:
                raise ValueError(f"Sid: {sid!r} is no text, or there twice")
            sids.add(sid)
        yield one


def _check(one: Mapping[str, Json]) -> None:
    if one["Effect"] != "Allow":
        raise ValueError("Effect: only Allow is in this version; what keys may do is said by their own actions")
    for name in ("Action", "Resource"):
        if not _each(one[name]) or not all(isinstance(text, str) and text for text in _each(one[name])):
            raise ValueError(f"{name}: expected a text, or a list of them")
    if not all(_ACTION.fullmatch(text) for text in _each(one["Action"])):
        raise ValueError("Action: expected actions like lambda:InvokeFunction")
    principal, condition = one["Principal"], one.get("Condition", {})
    named = isinstance(principal, dict) and [text for texts in principal.values() for text in _each(texts)]
    if principal != "*" and not (named and all(isinstance(text, str) for text in named)):
        raise ValueError('Principal: expected "*", or an object like {"Service": "s3.amazonaws.com"}')
    if not isinstance(condition, dict) or not all(isinstance(pairs, dict) for pairs in condition.values()):
        raise ValueError("Condition: expected an object of operators")
