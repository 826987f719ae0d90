"""Say what a request of the Lambda API changes, for people who read who changed what.

Pure. What the description calls sensitive is not told: code, and a function's variables with their names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from triggerhub.aws.service import Operation, Service
from triggerhub.model import Json
from triggerhub.policy.iam import document

LONGEST = 2000
"""Characters of all that is written down of one request beside what it is about."""
_THINGS = (
    "UUID", "FunctionName", "LayerName", "Resource", "ResourceArn", "CapacityProviderName", "CodeSigningConfigArn",
    "DurableExecutionArn", "CallbackId",
)  # fmt: skip
"""The members that say what a request is about; the first that is there does."""
_PARTS = ("Qualifier", "VersionNumber")
"""What says which one of it; other members have an alias's name, which is an operation's own matter."""
_MADE = ("UUID", "Version", "FunctionUrl")
"""Names that the hub itself gave to what was made."""
_CUT = 300
_DOTS = "…"
_SECRET = ("EventSourceToken", "ClientToken", "CheckpointToken")
"""Strings that the description does not call sensitive, and whose holders prove something by them."""
_PROOF = "lambda:eventsourcetoken"
"""Where the first of them stands in a condition of a policy."""
_TELLS_NOTHING = ("RevisionId",)


def text(operation: Operation, given: Mapping[str, Json]) -> str:
    """Return the operation and what it is about: ``DeleteFunction orders:3``."""
    about = [str(given[name]) for name in _THINGS if name in given][:1]
    about += [str(given[name]) for name in _PARTS if name in given]
    return f"{operation.name} {':'.join(about)}".strip()[:_CUT]


def order(
    service: Service, operation: Operation, given: Mapping[str, Json], made: Mapping[str, Json] | None = None
) -> Json:
    """Return the rest of what is asked for, and the names of what was *made* by it; None for nothing.

    Of what would be long only the beginnings are told.
    """
    if operation.input is None:
        return None
    first = next((name for name in _THINGS if name in given), None)
    told = {name: value for name, value in given.items() if name not in (first, *_PARTS, *_TELLS_NOTHING)}
    found = _shown(service, operation.input, told)
    if len(json.dumps(found)) > LONGEST:
        found = {name: _short(value) for name, value in found.items()}
    if made is not None and operation.name.startswith(("Create", "Publish")):
        found |= {name: made[name] for name in _MADE if name in made and name not in given}
    return found or None


def _shown(service: Service, shape: str, value: Json) -> Json:
    """Return a value with dots for what is sensitive in it."""
    kind = service.shapes[shape]
    if kind.get("sensitive") or kind["type"] == "blob":
        return _DOTS
    match kind["type"]:
        case "structure":
            return {
                name: _member(service, name, reference["shape"], value[name])
                for name, reference in kind["members"].items()
                if name in value
            }
        case "list":
            return [_shown(service, kind["member"]["shape"], one) for one in value]
        case "map":
            return {key: _shown(service, kind["value"]["shape"], one) for key, one in value.items()}
    return value


def _member(service: Service, name: str, shape: str, value: Json) -> Json:
    if name in _SECRET:
        return _DOTS
    return _policy(value) if name == "Policy" else _shown(service, shape, value)


def _policy(text: str) -> str:
    """Return a policy with dots for what its conditions have callers prove something by; one that is none is dots."""
    try:
        given = document.loads(text)
        found = _without_proof(given)
        written = text if found == given else json.dumps(found, ensure_ascii=False)
    except (ValueError, RecursionError):
        return _DOTS
    # Half of a pair of surrogates, which JSON may write, can be kept nowhere.
    return written.encode(errors="replace").decode()


def _without_proof(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _DOTS if name.lower() == _PROOF else _without_proof(one) for name, one in value.items()}
    return [_without_proof(one) for one in value] if isinstance(value, list) else value


def _short(value: Json) -> Json:
    if isinstance(value, str):
        return value if len(value) <= _CUT else value[: _CUT - 1] + _DOTS
    return _DOTS if isinstance(value, (list, dict)) else value
