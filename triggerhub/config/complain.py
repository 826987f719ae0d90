"""Turn pydantic's errors into problems with places, in the words of a TOML file.

A value is quoted only where it cannot be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, PlainValidator, ValidationError, WrapValidator
from pydantic.fields import FieldInfo

from triggerhub.config.locate import Path
from triggerhub.config.problem import MOST, Report, dotted
from triggerhub.errors import TriggerhubError
from triggerhub.policy import units
from triggerhub.source import SecretResolver

T = TypeVar("T", bound=BaseModel)

_SECRETIVE = re.compile(r"secret|token|passw|credential|jwks|^auth$|^env$", re.IGNORECASE)
_UNIT = re.compile(r"a word with a unit in quotes|is not a (duration|size|rate);")
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text in quotes",
    "list": 'a list like ["…"]',
    "tuple": 'a list like ["…"]',
    "set": 'a list like ["…"]',
    "frozen_set": 'a list like ["…"]',
    "dict": "a table like { … }",
    "model": "a table like { … }",
    "model_attributes": "a table like { … }",
    "dataclass": "a table like { … }",
    "path": "a path in quotes",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """Return ``did you mean "batch"?`` for a name close to a known one; a short list of what there is otherwise."""
    names = sorted(known)
    if close := _closest(name, names):
        return f'did you mean "{close}"?'
    return f"it has {', '.join(names)}" if 0 < len(names) <= 10 else None


def _closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that *name* is but for the case of its letters, or else the one that looks most like it."""
    names = {one.lower(): one for one in known}
    close = get_close_matches(name.lower(), names, n=1, cutoff=0.55)
    return names[close[0]] if close else None


def _is_secretive(path: Path) -> bool:
    return any(isinstance(part, str) and _SECRETIVE.search(part) for part in path)


def shown(value: Any, path: Path = ()) -> str:
    """Write a value for people: scalars as TOML has them, never what a secret's key holds."""
    if _is_secretive(path):
        return "something else"
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"' if len(value) <= 60 else f'"{value[:59]}…"'
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return str(value)[:60]


@dataclass(frozen=True, slots=True)
class _Complaint:
    path: Path
    code: str
    text: str
    """What was expected, where ``code`` is wrong-type or bad-choice; else the whole message."""
    at: Literal["key", "value"] = "value"
    hint: str | None = None
    union: bool = False
    got: str = ""

    @property
    def expects(self) -> bool:
        return self.code in ("wrong-type", "bad-choice")


def validate(model: type[T], raw: Any, base: Path, to: Report, secrets: SecretResolver) -> T | None:
    """Return the table of what is right in *raw*, so that the rest of it can be checked; None where nothing is.

    What is wrong is in the report then, and whoever asks must look there.
    """
    context = {"secrets": secrets}
    try:
        return model.model_validate(raw, context=context)
    except ValidationError as error:
        complain(error, raw if isinstance(raw, dict) else {}, [model], base, to)
        wrong = {one["loc"][0] for one in error.errors(include_url=False, include_context=False) if one["loc"]}
    with suppress(ValidationError):
        if isinstance(raw, dict):
            return model.model_validate({key: raw[key] for key in raw if key not in wrong}, context=context)
    return None


def complain(
    error: ValidationError, raw: Mapping[str, Any], models: list[type[BaseModel]], base: Path, to: Report
) -> None:
    """Note every error of *raw*, the table at *base*; *models* know the keys that it may have."""
    errors = [one for one in error.errors(include_url=False) if not _follows(one, raw)]
    if len(errors) > MOST:
        to.error(base, "too-many", f"{dotted(base)} has {len(errors)} mistakes; the first {MOST} are told", at="key")
    complaints = [_complaint(one, raw, models, base) for one in errors[:MOST]]
    for complaint in _joined(complaints):
        where = dotted(complaint.path)
        match complaint.code:
            case "wrong-type" | "bad-choice":
                message = f"{where}: expected {complaint.text}{complaint.got}"
            case "unknown-key" | "missing-key":
                message = complaint.text
            case _:
                message = f"{where}: {complaint.text}"
        to.error(complaint.path, complaint.code, message, complaint.hint, at=complaint.at)


def _follows(error: Any, raw: Mapping[str, Any]) -> bool:
    """Whether an error is but the consequence of another: of a list, only what is right in it is counted."""
    _, value, rest = _follow(error["loc"], raw)
    return error["type"] == "too_short" and not rest and len(value) >= error["ctx"]["min_length"]


def _joined(complaints: list[_Complaint]) -> Iterator[_Complaint]:
    """Make one complaint of what the members of a union say, and leave out members of another shape."""
    done: set[Path] = set()
    for one in complaints:
        if not one.union:
            yield one
            continue
        # A member that took the shape and found fault within it knows best.
        within = [other for other in complaints if other.path[: len(one.path)] == one.path and other is not one]
        if one.path in done or (one.expects and any(other.path != one.path or not other.expects for other in within)):
            continue
        done.add(one.path)
        same = [other for other in complaints if other.path == one.path and other.expects]
        if one.expects and len(same) > 1:
            texts = list(dict.fromkeys(other.text for other in same))
            yield _Complaint(one.path, one.code, " or ".join(texts), one.at, None, got=one.got)
        else:
            yield one


def _complaint(error: Any, raw: Mapping[str, Any], models: list[type[BaseModel]], base: Path) -> _Complaint:
    kind: str = error["type"]
    place, value, rest = _follow(error["loc"], raw)
    path = (*base, *place)
    context = error.get("ctx", {})
    if error["loc"][-1:] == ("[key]",):
        return _Complaint(path, *_other(kind, error, context, value), "key")
    union = len(place) + len(rest) < len(error["loc"]) or bool(rest and kind != "missing")
    got = f", got {shown(error['input'], path)}" if not _is_secretive(path) else ""
    if kind == "extra_forbidden":
        name = str(place[-1])
        text = f'{dotted(path[:-1])} has no key "{name}"'
        hint = suggestion(name, _keys(models, error["loc"][:-1]))
        return _Complaint(path, "unknown-key", text, "key", hint)
    if kind == "missing":
        return _Complaint(path, "missing-key", f'{dotted(path)} needs the key "{error["loc"][-1]}"', "key")
    if kind in ("literal_error", "enum"):
        text = context["expected"].replace("'", '"')
        return _Complaint(path, "bad-choice", text, "value", _close(value, text), union, got)
    if kind == "union_tag_invalid":
        tag = context["discriminator"].strip("'")
        text = " or ".join(context["expected_tags"].replace("'", '"').rsplit(", ", 1))
        got = f", got {shown(context['tag'])}"
        return _Complaint((*path, tag), "bad-choice", text, "value", _close(context["tag"], text), union, got)
    if kind == "union_tag_not_found":
        tag = context["discriminator"].strip("'")
        return _Complaint(path, "missing-key", f'{dotted(path)} needs the key "{tag}"', "key")
    stem = re.sub(r"_(type|parsing|from_float|parsing_size)$", "", kind)
    if stem != kind and stem in _EXPECTED:
        return _Complaint(path, "wrong-type", _EXPECTED[stem], "value", None, union, got)
    return _Complaint(path, *_other(kind, error, context, value), union=union)


def _close(value: Any, text: str) -> str | None:
    """Suggest one of the words in quotes in *text* where it is close to *value*."""
    close = _closest(value, re.findall(r'"([^"]*)"', text)) if isinstance(value, str) else None
    return f'did you mean "{close}"?' if close else None


def _other(kind: str, error: Any, context: Mapping[str, Any], value: Any) -> tuple[str, str]:
    if kind in ("value_error", "assertion_error") and "error" in context:
        said = str(context["error"])
        said = said if len(said) <= 500 else f"{said[:499]}…"
        if isinstance(context["error"].__cause__, TriggerhubError) or said.startswith("a secret is written"):
            return "bad-secret", said
        return "bad-unit" if _UNIT.search(said) else "bad-value", said
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return "bad-value", f"expected {words} {_in_words(context[name], value)}, got {shown(value)}"
    if kind in ("string_too_short", "too_short"):
        least = context["min_length"]
        return "bad-value", "must not be empty" if least == 1 else f"needs at least {least}"
    return "bad-value", error["msg"][:1].lower() + error["msg"][1:]


def _in_words(bound: Any, written: Any) -> str:
    """Write a bound in the unit that the value was written with."""
    if isinstance(written, str) and isinstance(bound, int):
        for read, show in ((units.duration, units.show_duration), (units.size, units.show_size)):
            with suppress(ValueError):
                read(written)
                return show(bound)
    return str(bound)


def _follow(loc: tuple[str | int, ...], raw: Any) -> tuple[Path, Any, list[str | int]]:
    """Follow pydantic's location through the written value; it also names members of unions, which are skipped."""
    path: list[str | int] = []
    rest: list[str | int] = []
    for part in loc:
        written = range(len(raw)) if isinstance(raw, list) else raw if isinstance(raw, dict) else ()
        if part in written:
            raw, rest = raw[part], []
            path.append(part)
        else:
            rest.append(part)
    return tuple(path), raw, rest


def _keys(models: Iterable[type[BaseModel]], loc: tuple[str | int, ...]) -> set[str]:
    """Collect the keys that the table at *loc* may have."""
    here = list(models)
    for part in loc:
        fields = [model.model_fields[part] for model in here if isinstance(part, str) and part in model.model_fields]
        if fields:
            here = [found for one in fields for found in _models(one.annotation)]
        else:
            here = [model for model in here if part == model.__name__ or part in _tags(model)] or here
    return {name for model in here for name in model.model_fields}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("type")
    return get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()


def coerced(model: type[BaseModel], raw: Mapping[str, Any], base: Path, to: Report) -> bool:
    """Note numbers and truths that pydantic would read out of a text: TOML has types of its own.

    For the options of sources, which are validated leniently so that a list may become a tuple and a
    text a path. Return whether there were any.
    """
    found = False
    for name, field in model.model_fields.items():
        if name not in raw:
            continue
        value, path = raw[name], (*base, name)
        if isinstance(value, dict) and len(nested := list(_models(field.annotation))) == 1:
            found |= coerced(nested[0], value, path, to)
        elif expected := _plain(field):
            right = (int, float) if expected is float else (expected,)
            if type(value) not in right:
                text = _EXPECTED[expected.__name__]
                to.error(path, "wrong-type", f"{dotted(path)}: expected {text}, got {shown(value, path)}")
                found = True
    return found


def _plain(field: FieldInfo) -> Any:
    """Return bool, int or float where a field wants just that and reads no words itself."""
    if any(isinstance(one, BeforeValidator | PlainValidator | WrapValidator) for one in field.metadata):
        return None
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 and kinds[0] in (bool, int, float) else None
