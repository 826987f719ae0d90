"""Read the documents of IAM's policies, and say where one is wrong. Pure.

An identity's policy says what a key may do, a resource's who may do it: the grammar is AWS's, and what is not
taken here is refused by its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from triggerhub.model import Json
from triggerhub.policy.iam.condition import Condition, conditions
from triggerhub.policy.iam.pattern import check_variables, without_variables

VERSION, OLDER = "2012-10-17", "2008-10-17"
"""The older one has no policy variables."""
MOST = 6144
"""Characters of an identity's policy without the space between its words, as at AWS of a managed one."""
_TOP = ("Version", "Id", "Statement")
_IDENTITY = ("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")
_RESOURCE = ("Sid", "Effect", "Principal", "Action", "Resource", "Condition")
_PRINCIPALS = ("AWS", "Service")
_ACTION = re.compile(r"\*|(?P<service>[a-z0-9-]+):[A-Za-z*?]+", re.IGNORECASE)
Meant = Callable[[str], bool]
"""Whether a pattern such as ``lambda:Get*`` is of any action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement of a policy."""

    allows: bool
    """Whether its effect is Allow, and not Deny."""
    actions: tuple[str, ...]
    """Patterns, in lower case: of actions IAM does not tell capitals from small letters."""
    resources: tuple[str, ...]
    principals: tuple[str, ...] = ()
    """Of a resource's: the ARNs of users, ``*`` for all; those of services are not among them."""
    conditions: tuple[Condition, ...] = ()
    but_actions: bool = False
    """Whether *actions* are those that it is not about, as ``NotAction`` says; the same of resources."""
    but_resources: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """The parts of an ARN that all of one place have in common: partition, service, region and account."""

    parts: tuple[str, ...]
    others: frozenset[str] = frozenset()
    """Other services, whose things may be of any region and account."""


def loads(text: str) -> Json:
    """Read JSON in which no name is twice. ValueError says where it is wrong."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:60]!r} is there twice in one object")
    return found


def identity(document: Json, meant: Meant, place: Place) -> tuple[Statement, ...]:
    """Return the statements of an identity's policy. ValueError says where it is wrong, or not of this hub."""
    given = _statements(document)
    size = len(json.dumps(document, separators=(",", ":"), ensure_ascii=False))
    if size > MOST:
        raise ValueError(f"it has {size:,} characters without space between words; the most are {MOST:,}")
    variable = _variables(document)
    return tuple(_located(number, partial(_identity, one, meant, place, variable)) for number, one in enumerate(given))


def resource(document: Json, meant: Meant, arn: str) -> tuple[dict[str, Json], ...]:
    """Return the statements of the policy of the resource *arn*, as they are kept. ValueError as :func:`identity`."""
    given = _statements(document)
    if document["Version"] == OLDER and "${" in json.dumps(document):
        raise ValueError(f"Version: {OLDER} has no policy variables; expected {VERSION}")
    for number, one in enumerate(given):
        _located(number, partial(_of_resource, one, meant, arn))
    return tuple(given)


def kept(statements: Sequence[Json]) -> tuple[Statement, ...]:
    """Return the statements of a resource's policy as decisions are made by them.

    One that an older version took in and this one would not grants nothing.
    """
    found = []
    for one in statements:
        try:
            found.append(_of_resource(one, lambda _: True, None))
        except ValueError:
            if one.get("Effect") != "Allow":
                raise
    return tuple(found)


def _located(number: int, read: Callable[[], Statement]) -> Statement:
    try:
        return read()
    except ValueError as error:
        raise ValueError(f"Statement[{number}]: {error}") from None


def _statements(document: Json) -> Sequence[dict[str, Json]]:
    if not isinstance(document, dict):
        raise ValueError(f"a policy is an object of {', '.join(_TOP)}")
    if unknown := sorted(document.keys() - set(_TOP)):
        raise ValueError(f"a policy is an object of {', '.join(_TOP)}; there is no {unknown[0][:60]!r}")
    if document.get("Version") not in (VERSION, OLDER):
        raise ValueError(f"Version: expected {VERSION}")
    if not isinstance(document.get("Id", ""), str):
        raise ValueError("Id: expected a text")
    found = document.get("Statement", [])
    found = found if isinstance(found, list) else [found]
    if not found:
        raise ValueError("Statement: there is none")
    sids: set[str] = set()
    for number, one in enumerate(found):
        if not isinstance(one, dict):
            raise ValueError(f"Statement[{number}]: expected an object")
        sid = one.get("Sid")
        if sid is not None and (not isinstance(sid, str) or sid in sids):
            raise ValueError(f"Statement[{number}]: Sid: {str(sid)[:60]!r} is no text, or there twice")
        sids.add(sid or "")
    return found


def _variables(document: Mapping[str, Json]) -> Callable[[str], str]:
    return without_variables if document["Version"] == OLDER else str


def _identity(one: Mapping[str, Json], meant: Meant, place: Place, variable: Callable[[str], str]) -> Statement:
    if "Principal" in one or "NotPrincipal" in one:
        raise ValueError("Principal: a key's policy has none, as it is of that key")
    _elements(one, _IDENTITY)
    for name in ("Action", "Resource"):
        if (name in one) == (f"Not{name}" in one):
            raise ValueError(f"expected {name} or Not{name}, and not both")
    actions = _texts(one, "Action" if "Action" in one else "NotAction")
    _check_actions(actions, meant, place.others)
    resources = [variable(text) for text in _texts(one, "Resource" if "Resource" in one else "NotResource")]
    for text in resources:
        check_variables(text)
        _check_place(text, place)
    return Statement(
        allows=_effect(one),
        actions=tuple(map(str.lower, actions)),
        but_actions="NotAction" in one,
        resources=tuple(resources),
        but_resources="NotResource" in one,
        conditions=tuple(conditions(one.get("Condition", {}), variable)),
    )


def _of_resource(one: Mapping[str, Json], meant: Meant, arn: str | None) -> Statement:
    """Read a statement of the policy of *arn*; None is for what was taken, and does not ask which it is of."""
    _elements(one, _RESOURCE)
    actions, resources, principals = _texts(one, "Action"), _texts(one, "Resource"), _principals(one)
    _check_actions(actions, meant)
    if arn is not None and resources != [arn]:
        raise ValueError(f"Resource: expected {arn}")
    if arn is not None and one["Principal"] != "*" and (odd := sorted(one["Principal"].keys() - set(_PRINCIPALS))):
        known = " and ".join(_PRINCIPALS)
        raise ValueError(f"Principal: {odd[0][:60]!r} is not in this version; the kinds are {known}")
    allows = _effect(one)
    if not (allows or principals):
        raise ValueError("Principal: only keys are denied something: services call by triggers, which ask no policy")
    return Statement(
        allows=allows,
        actions=tuple(map(str.lower, actions)),
        resources=tuple(resources),
        principals=principals,
        conditions=tuple(conditions(one.get("Condition", {}), str)),
    )


def _elements(one: Mapping[str, Json], known: Sequence[str]) -> None:
    if unknown := sorted(one.keys() - set(known)):
        raise ValueError(f"{unknown[0][:60]!r} is not in this version; a statement has {', '.join(known)}")
    for name in ("Effect", "Principal", "Action", "Resource"):
        if name in known and name not in one and f"Not{name}" not in known:
            raise ValueError(f"a statement has no {name}")


def _effect(one: Mapping[str, Json]) -> bool:
    if one["Effect"] not in ("Allow", "Deny"):
        raise ValueError(f"Effect: expected Allow or Deny, got {str(one['Effect'])[:60]!r}")
    return bool(one["Effect"] == "Allow")


def _texts(one: Mapping[str, Json], name: str) -> list[str]:
    found = one[name] if isinstance(one[name], list | tuple) else [one[name]]
    if not found or not all(isinstance(text, str) and text for text in found):
        raise ValueError(f"{name}: expected a text, or a list of them")
    return list(found)


def _check_actions(actions: Sequence[str], meant: Meant, others: Container[str] = ()) -> None:
    for text in actions:
        found = _ACTION.fullmatch(text)
        service = ((found and found["service"]) or "lambda").lower()
        if found is None or (service != "lambda" and service not in others):
            raise ValueError(f"Action: expected actions like lambda:InvokeFunction, got {text[:60]!r}")
        if text != "*" and not meant(text):
            whose = "Lambda has" if service == "lambda" else "here is"
            raise ValueError(f"Action: {whose} no action like {text[:60]!r}")


def _check_place(text: str, place: Place) -> None:
    """Raise ValueError for a resource that is none of this hub's, and would be named in vain."""
    parts = text.split(":")
    if text == "*" or (len(parts) > len(place.parts) and parts[0] == "arn" and parts[2] in place.others):
        return
    for got, expected in zip(parts, place.parts, strict=False):
        if "*" in got or "$" in got:
            return
        if not fnmatchcase(expected, got.replace("[", "[[]")):
            there = ":".join(place.parts)
            raise ValueError(f"Resource: {text[:120]!r} is nothing of this hub's: its ARNs begin with {there}:")
    if text.count(":") < len(place.parts):
        raise ValueError(f"Resource: expected an ARN or *, got {text[:120]!r}")


def _principals(one: Mapping[str, Json]) -> tuple[str, ...]:
    principal = one["Principal"]
    if principal == "*":
        return ("*",)
    if not isinstance(principal, dict) or not principal:
        raise ValueError('Principal: expected "*", or an object like {"AWS": "arn:aws:iam::000000000000:user/NAME"}')
    named = {kind: _texts(principal, kind) for kind in principal}
    return tuple(named.get("AWS", ()))
