"""Find what is wrong between parts that are each right: routes, topics, destinations, folders."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from triggerhub.config.complain import suggestion
from triggerhub.config.locate import Path as Place
from triggerhub.config.problem import Report, dotted
from triggerhub.config.values import NAME
from triggerhub.policy import globs
from triggerhub.policy.sandbox import view
from triggerhub.settings import Destination, Function, HubSettings, Trigger


def routes(triggers: Mapping[str, Trigger | None], report: Report) -> None:
    """Refuse a method and path that two enabled webhooks would answer."""
    taken: dict[tuple[str, str], str] = {}
    for name, trigger in triggers.items():
        if trigger is None or trigger.type != "webhook" or not trigger.enabled:
            continue
        written = str(getattr(trigger.options, "path", ""))
        path = re.sub(r"\{[^{}/]*\}", "{}", written)
        for method in getattr(trigger.options, "methods", ()):
            first = taken.setdefault((method.upper(), path), name)
            if first != name:
                message = f"triggers.{name}.path: triggers.{first} already answers {method.upper()} {written}"
                report.error(
                    ("triggers", name, "path"), "duplicate-route", message, "use another path or other methods"
                )
                break


def showing(function: Function, triggers: Mapping[str, Trigger | None]) -> Function:
    """Return the function with what its triggers speak of: files that it is told about, it can read."""
    joined = [one for one in triggers.values() if one is not None and function.name in one.functions]
    shown = {Path(os.path.normpath(one.options.path)) for one in joined if one.type == "files"}  # type: ignore[attr-defined]
    return replace(function, shown=tuple(sorted(shown)))


def topics(triggers: Mapping[str, Trigger | None], report: Report) -> dict[str, Trigger]:
    """Return the topics that queue triggers consume; each has one consumer."""
    consumed: dict[str, Trigger] = {}
    for name, trigger in triggers.items():
        if trigger is None or trigger.type != "queue":
            continue
        topic = str(getattr(trigger.options, "name", ""))
        first = consumed.setdefault(topic, trigger)
        if first is not trigger:
            message = f'triggers.{name}.name: triggers.{first.name} already consumes the queue "{topic}"'
            hint = f"list the functions of both in functions of triggers.{first.name}"
            report.error(("triggers", name, "name"), "duplicate-queue", message, hint)
    return consumed


class Destinations:
    """Checks where outcomes are sent."""

    def __init__(
        self, hub: HubSettings, functions: Mapping[str, Function | None], names: Collection[str],
        triggers: Mapping[str, Trigger | None], topics: Mapping[str, Trigger], unknown: Sequence[str], report: Report,
        loose: Collection[str] = (),
    ) -> None:  # fmt: skip
        """*names* are all functions there are, also those that are not of the configuration.

        *unknown* are names of topics whose triggers have errors of their own. *loose* are folders that handlers write.
        """
        self._loose = loose
        self._hub = hub
        self._functions = functions
        self._names = names
        self._triggers = triggers
        self._topics = topics
        self._unknown = unknown
        self._report = report

    def check(self, data: Mapping[str, Any]) -> None:
        """Check every destination where it is written."""
        for key in ("on_success", "on_failure"):
            defaults = _written(data.get("defaults"), key)
            self._each(("defaults", key), defaults, ())
            for name in self._functions:
                own = _written(_table(data, "functions", name), key)
                self._each(("functions", name, key), own, (name,))
                if own is None:
                    self._loops(("defaults", key), defaults or [], (name,))
        for name, trigger in self._triggers.items():
            table = _table(data, "triggers", name)
            started = trigger.functions if trigger else ()
            self._each(("triggers", name, "on_failure"), _written(table, "on_failure"), started)
        alarms = data.get("alarms")
        for name in alarms if isinstance(alarms, dict) else ():
            self._each(("alarms", name, "then"), _written(_table(data, "alarms", name), "then"), ())

    def inline(self, name: str, own: Mapping[str, Any], to: Report) -> None:
        """Check those that a handler's own metadata set."""
        for key in ("on_success", "on_failure"):
            for one in own.get(key, ()):
                where = f"tool.triggerhub.{key}"
                if wrong := self._wrong(one):
                    to.error((), wrong[0], f"{where}: {wrong[1]}", wrong[2])
                elif way := self._way(key, str(one), name):
                    to.error((), "loop", f"{where}: {_endless(str(one), 'itself', way)}")

    def _each(self, base: Place, written: list[Any] | None, owners: Sequence[str]) -> None:
        for index, text in enumerate(written or []):
            kind, colon, target = text.partition(":") if isinstance(text, str) else ("", "", "")
            if not colon or not target or kind not in ("function", "queue", "webhook", "file"):
                continue  # said already
            if wrong := self._wrong(Destination(kind=kind, target=target)):  # type: ignore[arg-type]
                path = (*base, index)
                self._report.error(path, wrong[0], f"{dotted(path)}: {wrong[1]}", wrong[2])
            elif kind == "webhook" and _tells(target):
                message = f"{dotted((*base, index))}: this URL lets whoever has it in, and is shown to whoever looks"
                hint = "write {secret:NAME} in place of what is secret in it"
                self._report.warn((*base, index), "exposed-secret", message, hint)
            elif kind == "file" and self._movable(target):
                message = "a function may write there, and the hub follows a link that it puts there"
                hint = "choose a folder that no function may write"
                self._report.warn((*base, index), "loose-link", f"{dotted((*base, index))}: {message}", hint)
        self._loops(base, written or [], owners)

    def _loops(self, base: Place, written: list[Any], owners: Sequence[str]) -> None:
        for index, text in enumerate(written):
            for owner in owners:
                if isinstance(text, str) and (way := self._way(str(base[-1]), text, owner)):
                    path = (*base, index)
                    self._report.error(path, "loop", f"{dotted(path)}: {_endless(text, owner, way)}")

    def _way(self, key: str, text: str, owner: str) -> tuple[str, ...]:
        """Return the functions by which a destination leads back to its own, that one last; none where it does not.

        Each of them leads on by the same *key*: what another outcome would lead to may end.
        """
        ways: list[tuple[str, ...]] = [(name,) for name in self._led(text)]
        seen = set[str]()
        for way in ways:
            if way[-1] == owner:
                return way
            function = self._functions.get(way[-1])
            if way[-1] in seen or function is None:
                continue
            seen.add(way[-1])
            ways += [(*way, name) for one in getattr(function, key, ()) for name in self._led(str(one))]
        return ()

    def _led(self, text: str) -> tuple[str, ...]:
        """Return the functions that a destination starts."""
        kind, _, target = text.partition(":")
        topic = self._topics.get(target) if kind == "queue" else None
        return (target,) if kind == "function" else topic.functions if topic else ()

    def _wrong(self, one: Destination) -> tuple[str, str, str | None] | None:
        match one.kind:
            case "function":
                if one.target in self._names:
                    return None
                hint = suggestion(one.target, self._names)
                return "unknown-function", f'there is no function "{one.target}"', hint
            case "queue":
                if one.target in self._topics or one.target in self._unknown:
                    return None
                hint = f'add a trigger with type = "queue" and name = "{one.target}"'
                if not NAME.fullmatch(one.target):
                    hint = "a queue's name has letters, digits, '-' and '_'"
                return "unconsumed-queue", f'no trigger consumes the queue "{one.target}"', hint
            case "webhook":
                return _wrong_url(one.target)
            case "file":
                return self._wrong_file(one.target)
            case "arn" | "dead":
                return None  # looked at where it was read

    def _movable(self, target: str) -> bool:
        """Whether a handler may put something else in the place of a file."""
        place = os.path.realpath((self._hub.project / target).parent)
        return any(view.within(place, folder) for folder in self._loose)

    def _wrong_file(self, target: str) -> tuple[str, str, str | None] | None:
        project = self._hub.project
        path = Path(os.path.normpath(project / target))
        if not Path(target).is_absolute() and not path.is_relative_to(project):
            return "outside", f'"{target}" leads out of the project', "write the whole path"
        if os.path.isdir(path):  # noqa: PTH112 - false where it cannot be seen
            return "no-file", f'"{target}" is a folder', "name a file in it: one line is appended for each outcome"
        kept = (self._hub.data, self._hub.handlers, project / "sources", project / "triggerhub.toml")
        for place in kept:
            if path.is_relative_to(place) or place.is_relative_to(path):
                return (
                    "outside",
                    f'"{target}" would write over {place.name}, which is the hub\'s own',
                    "choose another file",
                )
        return None


def _endless(text: str, owner: str, way: Sequence[str]) -> str:
    """Say that a destination leads back, and by way of which functions."""
    by = f" by way of {', '.join(way[:-1])}" if way[:-1] else ""
    return f'"{text}" leads back to the function {owner}{by}, which would never end'


_LETS_IN = re.compile(
    r"(?:^|[?&_-])(?:[\w-]*(?:token|secret|passw|auth|signature)[\w-]*|(?:api)?key|sig)=", re.IGNORECASE
)
_HOOKS = ("hooks.slack.com", "discord.com", "discordapp.com", "webhook.office.com")
"""Hosts whose hooks are addresses that nobody else may know."""


def _tells(url: str) -> bool:
    """Whether a URL seems to hold in the open what lets its owner in."""
    if "{secret:" in url:
        return False
    parts = urlsplit(url)
    host = parts.hostname or ""
    return _LETS_IN.search(f"?{parts.query}") is not None or any(
        host == one or host.endswith(f".{one}") for one in _HOOKS
    )


def _wrong_url(url: str) -> tuple[str, str, str | None] | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "bad-url", "that is not a URL", None
    if parts.scheme not in ("http", "https") or not host:
        return "bad-url", "a webhook's URL begins with http:// or https:// and a host", None
    if parts.username is not None or parts.password is not None:
        return (
            "bad-url",
            "a URL is shown in many places and must not hold a password",
            "write {secret:NAME} in its path or query",
        )
    return None


def folders(hub: HubSettings, triggers: Mapping[str, Trigger | None], report: Report) -> None:
    """Refuse a files trigger that the hub's own writing would start."""
    for name, trigger in triggers.items():
        path = getattr(trigger.options, "path", None) if trigger and trigger.type == "files" else None
        if trigger is None or path is None:
            continue
        watched = Path(os.path.normpath(hub.project / str(path)))
        if hub.data == watched or not hub.data.is_relative_to(watched):
            continue
        selection = globs.Selection(
            getattr(trigger.options, "include", ("**/*",)), getattr(trigger.options, "exclude", ())
        )
        if selection.takes(str(hub.data.relative_to(watched) / "hub.db")):
            message = f"triggers.{name}.path: {watched} holds the hub's data folder, which changes with every event"
            hint = f'watch a folder beside it, or add "{hub.data.relative_to(watched)}/**" to exclude'
            report.error(("triggers", name, "path"), "loop", message, hint)


def unsure_topics(data: Mapping[str, Any], triggers: Mapping[str, Trigger | None]) -> Iterator[str]:
    """Name the topics of queue triggers that have errors: whether they are consumed is not known yet."""
    for name, trigger in triggers.items():
        table = _table(data, "triggers", name)
        if trigger is None and table.get("type") == "queue" and isinstance(table.get("name"), str):
            yield table["name"]


def _table(data: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    tables = data.get(kind)
    table = tables.get(name) if isinstance(tables, dict) else None
    return table if isinstance(table, dict) else {}


def _written(table: Any, key: str) -> list[Any] | None:
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, list) else None
