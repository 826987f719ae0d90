"""Tell the configuration in force as it would be written in triggerhub.toml, each value with where it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_args, get_origin

from pydantic import BaseModel

from triggerhub import source
from triggerhub.policy import units
from triggerhub.settings import (
    DEPLOYED,
    Alarm,
    ConsoleSettings,
    Function,
    HubSettings,
    Project,
    Rate,
    RetryPolicy,
    Secret,
    Trigger,
)

FILE = "triggerhub.toml"
Keys: TypeAlias = tuple[str, ...]
Value: TypeAlias = tuple[str, str, str | None]
"""A key, its value, and the place where it is written; None is a default."""
Table: TypeAlias = tuple[str, list[Value]]

_HIDDEN = "•••"
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_WHOLE = (("filter",), ("input",))
"""Tables that are told as one value; their keys may stand in several places."""
_OF_CODE = ("handler", "command", "runtime", "layers")
_DURATION, _SIZE = source.Duration.__metadata__[0], source.Size.__metadata__[0]  # type: ignore[attr-defined]


class _Told(str):
    """What is TOML already."""

    __slots__ = ()


def tables(project: Project) -> list[Table]:
    """Return every table with its values, those that nobody wrote included."""
    told: list[tuple[Keys, Iterator[tuple[Keys, object]]]] = [
        (("hub",), _hub(project.hub)),
        (("console",), _console(project.console)),
        *((("functions", name), _function(project, one)) for name, one in project.functions.items()),
        *((("triggers", name), _trigger(project, one)) for name, one in project.triggers.items()),
        *((("alarms", name), _alarm(one)) for name, one in project.alarms.items()),
    ]
    return [
        (
            ".".join(_key(part) for part in top),
            [
                (".".join(_key(part) for part in keys), toml(value, project.hub.project), _place(project, top, keys))
                for keys, value in rows
            ],
        )
        for top, rows in told
    ]


def toml(value: object, project: Path = Path()) -> str:
    """Write a value as in TOML, a path within the folder *project* from there on; a secret is dots."""
    match value:
        case _Told():
            return value
        case Secret():
            return _HIDDEN
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case Rate():
            return json.dumps(units.show_rate(value))
        case Path():
            inside = value.is_relative_to(project) and value != project
            return json.dumps(str(value.relative_to(project) if inside else value), ensure_ascii=False)
        case tuple() | list() | set() | frozenset():
            return f"[{', '.join(toml(one, project) for one in value)}]"
        case Mapping():
            inner = ", ".join(f"{_key(str(key))} = {toml(one, project)}" for key, one in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case bytes():
            return toml(json.loads(value), project)
        case None:
            return "null"  # within an ``input`` alone, which is JSON
        case _:
            return json.dumps(str(value), ensure_ascii=False)


def _key(part: str) -> str:
    return part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)


def _place(project: Project, top: Keys, keys: Keys) -> str | None:
    """Return where a value is written: in its own table, in the handler's file, or in that of the defaults."""
    lines = project.lines
    path = (*top, *keys)
    line = lines.get(path)
    if line is None and keys in _WHOLE:
        line = min((at for one, at in lines.items() if one[: len(path)] == path), default=None)
    if line is None and keys[:2] == ("auth", "users") and keys[-1] == "password":
        line = lines.get(path[:-1])  # a reference alone
    if line is None and top[0] == "functions":
        if path in project.inline:
            return project.inline[path]
        line = lines.get(("defaults", *keys))
    return None if line is None else f"{FILE}:{line}"


def _hub(hub: HubSettings) -> Iterator[tuple[Keys, object]]:
    for name in ("handlers", "data"):
        yield (name,), getattr(hub, name)
    for name in ("listen", "admin"):
        host, port = getattr(hub, name)
        yield (name,), f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    yield ("timezone",), hub.timezone
    if hub.user is not None:
        yield ("user",), hub.user
    yield ("node",), hub.node
    yield ("drain",), _long(hub.drain)
    yield ("keep",), _long(hub.keep)
    yield ("keep_size",), units.show_size(hub.keep_size)
    if hub.tls is not None:
        yield ("tls", "cert"), hub.tls[0]
        yield ("tls", "key"), hub.tls[1]
    if hub.trusted_proxies:
        yield ("trusted_proxies",), hub.trusted_proxies
    yield ("log", "level"), hub.log_level
    yield ("log", "format"), hub.log_format
    yield ("durability",), hub.durability


def _console(console: ConsoleSettings) -> Iterator[tuple[Keys, object]]:
    if console.auth == "password":
        yield ("auth", "type"), console.auth
        for name, user in console.users.items():
            yield ("auth", "users", name, "password"), user.hash
            yield ("auth", "users", name, "role"), user.role
            yield ("auth", "users", name, "payloads"), user.payloads
    else:
        yield ("auth",), console.auth
    if console.hosts:
        yield ("hosts",), console.hosts


def _code(project: Project, one: Function) -> Iterator[tuple[Keys, object]]:
    for name in _OF_CODE:
        written = project.texts.get(("functions", one.name, name))
        if written is None and name == "layers" and one.source != DEPLOYED:
            written = project.texts.get(("defaults", name))
        if written is not None:
            yield (name,), _Told(written)


def _function(project: Project, one: Function) -> Iterator[tuple[Keys, object]]:
    yield from _code(project, one)
    yield ("timeout",), _long(one.timeout)
    yield ("memory",), units.show_size(one.memory)
    yield ("tmp",), units.show_size(one.tmp)
    yield ("concurrency",), one.concurrency
    if one.rate is not None:
        yield ("rate",), one.rate
    if one.runtime != "executable":
        yield ("idle",), _long(one.idle)
        yield ("reuse",), one.reuse
        yield ("warm",), one.warm
    for name, value in one.env.items():
        yield ("env", name), value
    yield from _retry(one.retry)
    yield ("dead_letters", "keep"), _long(one.dead_letters_keep)
    if one.idempotency is not None:
        yield ("idempotency", "key"), one.idempotency.key
        yield ("idempotency", "keep"), _long(one.idempotency.keep)
    for name in ("on_success", "on_failure"):
        if value := getattr(one, name):
            yield (name,), value
    yield ("sandbox", "level"), one.level
    yield ("sandbox", "network"), one.network
    for name in ("read", "write"):
        if value := getattr(one, name):
            yield ("sandbox", name), value


def _retry(policy: RetryPolicy) -> Iterator[tuple[Keys, object]]:
    for name in ("attempts", "backoff", "initial", "max", "jitter", "max_age"):
        if (value := getattr(policy, name)) is not None:
            yield ("retry", name), _long(value) if name in ("initial", "max", "max_age") else value


def _trigger(project: Project, one: Trigger) -> Iterator[tuple[Keys, object]]:
    yield ("type",), one.type
    if ("triggers", one.name, "functions") in project.lines:
        yield ("functions",), one.functions
    else:
        yield ("function",), one.functions[0]
    yield ("enabled",), one.enabled
    if one.filter is not None:
        yield ("filter",), one.filter
    if one.key is not None:
        yield ("key",), one.key
    yield ("keep",), _long(one.keep)
    if one.order is not None:
        yield ("order",), one.order
    yield ("batch", "size"), one.batch.size
    yield ("batch", "window"), _long(one.batch.window)
    yield ("batch", "partial_failures"), one.batch.partial_failures
    if one.input is not None:
        yield ("input",), one.input
    for keys, value in _retry(next(iter(one.retry.values()), RetryPolicy())):
        if ".".join(keys) in one.written:  # the rest is each function's own
            yield keys, value
    if one.on_failure is not None:
        yield ("on_failure",), one.on_failure
    yield ("ack",), one.ack
    yield ("backlog",), one.backlog
    if one.maximum_concurrency is not None:
        yield ("maximum_concurrency",), one.maximum_concurrency
    if isinstance(one.options, BaseModel):
        yield from _options(one.options)


def _options(held: BaseModel, above: Keys = ()) -> Iterator[tuple[Keys, object]]:
    """Yield what a source's own keys hold, inner tables by their path."""
    for name, about in type(held).model_fields.items():
        value = getattr(held, name)
        marks = [*about.metadata, *_marks(about.annotation)]
        if isinstance(value, BaseModel):
            yield from _options(value, (*above, name))
        elif isinstance(value, int) and _DURATION in marks:
            yield (*above, name), _long(value)
        elif isinstance(value, int) and _SIZE in marks:
            yield (*above, name), units.show_size(value)
        elif isinstance(value, tuple) and value and all(isinstance(one, Secret) for one in value):
            yield (*above, name), value if len(value) > 1 else value[0]
        elif value is not None and value not in ((), {}, []):
            yield (*above, name), value


def _marks(annotation: Any) -> Iterator[object]:
    """Yield what a type is annotated with, or one that it is made of."""
    if get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
    for inner in get_args(annotation):
        yield from _marks(inner)


def _alarm(one: Alarm) -> Iterator[tuple[Keys, object]]:
    yield ("when",), one.when.text
    yield ("hold",), _long(one.hold)
    if one.repeat is not None:
        yield ("repeat",), _long(one.repeat)
    if one.then:
        yield ("then",), one.then


def _long(milliseconds: int) -> str:
    return units.show_duration(milliseconds)
