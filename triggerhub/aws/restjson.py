"""Read requests and write answers of a rest-json service by its description."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping

from triggerhub.aws import constraints
from triggerhub.aws.service import Operation, Service, Shape
from triggerhub.model import Json

_WORDS = {"integer": "Integer", "long": "Long", "double": "Double", "boolean": "Boolean", "string": "String"}
_RANGE = {"integer": 2**31, "long": 2**63}
_DEPTH = 32
_MEMBERS = 1_000
"""The most members of a list or map, unless the description allows more: each is looked at on its own."""


class ApiError(Exception):
    """An answer that is an error: its class, its message, and what else its shape has."""

    def __init__(self, kind: str, message: str, **more: Json) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.more = more


def unreadable(message: str) -> ApiError:
    """Return the error of a request whose body or parameters are of the wrong form."""
    return ApiError("SerializationException", message)


def read(
    service: Service,
    operation: Operation,
    *,
    path: Mapping[str, str],
    query: Mapping[str, list[str]],
    headers: Mapping[str, str],
    body: bytes,
) -> dict[str, Json]:
    """Return the input of *operation* by member name, each value of its shape's type; what is null is left out.

    Header names are in lower case. Raises ApiError. Constraints are another matter: ``constraints.violations``.
    """
    if operation.input is None:
        return {}
    shape = service.shapes[operation.input]
    found: dict[str, Json] = {}
    inside: dict[str, Shape] = {}
    for name, reference, kind in service.members(operation.input):
        texts: list[str] | None = None
        match reference.get("location"):
            case "uri":
                texts = [path[reference["locationName"]]]
            case "querystring":
                texts = query.get(reference["locationName"])
            case "header":
                text = headers.get(reference["locationName"].lower())
                texts = None if text is None else [text]
            case _:
                inside[name] = kind
        if texts is not None:
            found[name] = _texts(service, kind, texts, name)
    payload = shape.get("payload")
    if payload is not None:
        # The one that may be absent is told apart from the one that is empty by nobody.
        if body or payload in shape.get("required", ()):
            kind = inside[payload]
            found[payload] = body if kind["type"] == "blob" else _value(service, kind, _object(body), payload, 0)
    elif inside:
        found |= _members(service, inside, _object(body), "", 0)
    return found


def _object(body: bytes) -> dict[str, Json]:
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise unreadable(f"Could not parse request body into json: {error}") from error
    if not isinstance(value, dict):
        raise unreadable("Could not parse request body into json: expected an object")
    return value


def _texts(service: Service, shape: Shape, texts: list[str], name: str) -> Json:
    if shape["type"] == "list":
        member = service.shapes[shape["member"]["shape"]]
        return [_text(member, one, name) for one in texts]
    return _text(shape, texts[-1], name)


def _text(shape: Shape, text: str, name: str) -> Json:
    """Read a value that came in a path, a query or a header."""
    try:
        match shape["type"]:
            case "integer" | "long":
                value = int(text) if len(text) < 20 else 2**64
                if not text.isascii() or abs(value) >= _RANGE[shape["type"]]:
                    raise ValueError
                return value
            case "double":
                return float(text)
            case "boolean":
                return {"true": True, "false": False}[text.lower()]
            case _:
                return text
    except (ValueError, KeyError):
        raise unreadable(f"{name}: '{text[:100]}' cannot be converted to {_WORDS[shape['type']]}") from None


def _members(
    service: Service, shapes: Mapping[str, Shape], given: Mapping[str, Json], at: str, depth: int
) -> dict[str, Json]:
    for name in given:
        if name not in shapes:
            raise unreadable(f"Unknown member {at}{name[:100]}: this version does not know what it asks for")
    return {
        name: _value(service, shapes[name], value, f"{at}{name}", depth)
        for name, value in given.items()
        if value is not None
    }


def _value(service: Service, shape: Shape, value: Json, at: str, depth: int) -> Json:
    kind = shape["type"]
    _bound(shape, value, at, depth)
    match kind, value:
        case "structure", dict():
            shapes = {name: service.shapes[one["shape"]] for name, one in shape.get("members", {}).items()}
            return _members(service, shapes, value, f"{at}.", depth + 1)
        case "list", list():
            inner = service.shapes[shape["member"]["shape"]]
            return [_value(service, inner, one, at, depth + 1) for one in _no_null(value, at)]
        case "map", dict():
            inner = service.shapes[shape["value"]["shape"]]
            _no_null(value.values(), at)
            return {_writable(key, at): _value(service, inner, one, at, depth + 1) for key, one in value.items()}
        case "string", str():
            return _writable(value, at)
        case "boolean", bool():
            return value
        case (("integer" | "long"), int()) if not isinstance(value, bool) and abs(value) < _RANGE[kind]:
            return value
        case "double", int() | float() if not isinstance(value, bool):
            return _finite(value, at)
        case "timestamp", int() | float() | str() if not isinstance(value, bool):
            return value
        case "blob", str():
            try:
                return base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError) as error:
                raise unreadable(f"{at}: expected base64: {error}") from error
    raise unreadable(f"{at}: {_kind(value)} cannot be converted to {_WORDS.get(kind, kind.capitalize())}")


def _bound(shape: Shape, value: Json, at: str, depth: int) -> None:
    """Refuse what is nested too deeply, and a list or map of more members than anybody has any use for."""
    if depth > _DEPTH:
        raise unreadable(f"{at} is nested too deeply")
    most = max(shape.get("max", 0), _MEMBERS)
    if shape["type"] in ("list", "map") and isinstance(value, list | dict) and len(value) > most:
        path = ".".join(f"{name[:1].lower()}{name[1:]}" for name in at.split("."))
        must = f"Member must have length less than or equal to {most}"
        raise ApiError("ValidationException", constraints.message([constraints.violation("***", path, must)]))


def _no_null(values: Iterable[Json], at: str) -> Iterable[Json]:
    if any(value is None for value in values):
        raise unreadable(f"{at}: NULL_VALUE cannot be a member of it")
    return values


def _writable(text: str, at: str) -> str:
    """Refuse half of a surrogate pair, which JSON can say and nothing else can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise unreadable(f"{at}: expected a text that is valid Unicode") from None
    return text


def _finite(value: float, at: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if number - number != 0:
        raise unreadable(f"{at}: expected a number that has a value")
    return number


def _kind(value: Json) -> str:
    match value:
        case bool():
            return "TRUE_VALUE" if value else "FALSE_VALUE"
        case str():
            return "STRING_VALUE"
        case int() | float():
            return "NUMBER_VALUE"
        case dict():
            return "START_OBJECT"
        case _:
            return "START_ARRAY"


def write(
    service: Service, operation: Operation, result: Mapping[str, Json]
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body of an answer; the members of *result* go where the description has them."""
    status, headers, body = operation.status, [("content-type", "application/json")], b""
    rest = dict(result)
    if operation.output is not None:
        shape = service.shapes[operation.output]
        for name, reference, _ in service.members(operation.output):
            if name not in rest:
                continue
            match reference.get("location"):
                case "header":
                    headers.append((reference["locationName"].lower(), str(rest.pop(name))))
                case "statusCode":
                    status = rest.pop(name)
        if "payload" in shape:
            body = rest.pop(shape["payload"], b"")
        elif status != 204:
            body = dump(rest)
    return status, headers, body


def dump(value: Json) -> bytes:
    """Return *value* as JSON; bytes are base64."""
    return json.dumps(value, separators=(",", ":"), default=lambda one: base64.b64encode(one).decode()).encode()


def write_error(service: Service, error: ApiError) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body of an error."""
    status = service.status_of(error.kind)
    body = {"Type": "User" if status < 500 else "Service", service.words_of(error.kind): error.message, **error.more}
    headers = [("content-type", "application/json"), ("x-amzn-errortype", error.kind)]
    return status, headers, dump(body)
