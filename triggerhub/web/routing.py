"""Find who answers a path: a dict for literal paths, a short list for those with ``{name}`` parts.

A route of the hub's own may end in ``/*`` and answers all below; a configured path never does.

Matching sees the segments as they came and decodes each by itself, so an encoded slash never
becomes a separator that a proxy in front did not see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from triggerhub.errors import ConfigError
from triggerhub.policy import paths
from triggerhub.policy.paths import Pattern
from triggerhub.source import Route

BELOW = "/*"


@dataclass(slots=True)
class _Place:
    """All that is served at one path."""

    by_method: dict[str, Route] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By method, too: what its route calls the parts."""
    vacated: dict[str, Route] = field(default_factory=dict)
    """What answered until a moment ago, and keeps its place from what is less literal."""
    pattern: Pattern | None = None


@dataclass(slots=True)
class Found:
    """The route, or which methods the path has (none: nobody serves it)."""

    route: Route | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    vacated: Route | None = None
    """The route that was served here until a moment ago: a reload, not a wrong address."""
    awaited: bool = False
    """Whether it may be served in a moment: a start, not a wrong address."""


NOWHERE = Found()
AWAITED = Found(awaited=True)


class Table:
    """The routes that are being served."""

    def __init__(self) -> None:
        self._literal: dict[str, _Place] = {}
        self._patterns: dict[tuple[str | None, ...], _Place] = {}
        self._ordered: list[_Place] = []
        self._below: dict[str, _Place] = {}
        """By what a path begins with."""
        self.awaiting = False
        """Whether routes are still to come."""

    def add(self, routes: Iterable[Route]) -> None:
        """Serve all of *routes* or none: ConfigError when one of them is served already, or is no path."""
        added: list[Route] = []
        try:
            for route in routes:
                self._add(route)
                added.append(route)
        except BaseException:
            self.remove(added)
            self.forget(added)
            raise

    def _add(self, route: Route) -> None:
        pattern = _parse(route.path)
        place = self._place(route.path, pattern) or _Place(pattern=pattern)
        for method in _methods(route):
            if taken := place.by_method.get(method):
                raise ConfigError(
                    f"{method} {_named(route)} is already served as {method} {_named(taken)}",
                    hint="Give one of the two another path, or other methods.",
                )
        for method in _methods(route):
            place.by_method[method] = route
            place.names[method] = pattern.names if pattern else ()
            place.vacated.pop(method, None)
        if pattern is not None:
            self._patterns[pattern.literals] = place
            self._ordered = sorted(self._patterns.values(), key=_order)
        elif route.path.endswith(BELOW):
            self._below[route.path[:-1]] = place
        else:
            self._literal[route.path] = place

    def remove(self, routes: Iterable[Route]) -> None:
        """Serve them no longer, nor anything less literal in their place until they are forgotten or served again."""
        for route in routes:
            place = self._place(route.path, _parse(route.path))
            assert place is not None, "only what was added is removed"
            for method in _methods(route):
                place.vacated[method] = place.by_method.pop(method)

    def forget(self, routes: Iterable[Route]) -> None:
        """Answer for *routes*, which were removed, as if they had never been served."""
        for route in routes:
            place = self._place(route.path, _parse(route.path))
            if place is None:
                continue
            for method in _methods(route):
                if place.vacated.get(method) is route:
                    del place.vacated[method]
            if not place.by_method and not place.vacated:
                self._drop(route.path, place)

    def _drop(self, path: str, place: _Place) -> None:
        if place.pattern is not None:
            del self._patterns[place.pattern.literals]
            self._ordered.remove(place)
        elif path.endswith(BELOW):
            del self._below[path[:-1]]
        else:
            del self._literal[path]

    def _place(self, path: str, pattern: Pattern | None) -> _Place | None:
        if pattern is not None:
            return self._patterns.get(pattern.literals)
        return self._below.get(path[:-1]) if path.endswith(BELOW) else self._literal.get(path)

    def find(self, method: str, raw_path: str) -> Found:
        """Return the route for *raw_path*, still percent-encoded: of those that have the method, the most literal."""
        place = self._literal.get(raw_path)
        if place is not None and (route := place.by_method.get(method)) is not None:
            return Found(route=route)
        allow: tuple[str, ...] = ()
        for place, values in self._places(raw_path):
            found = _of(place, method, values)
            if found.route is not None or found.vacated is not None:
                return found
            allow += tuple(one for one in found.allow if one not in allow)
        if self.awaiting:
            return AWAITED
        return Found(allow=allow) if allow else NOWHERE

    def _places(self, raw_path: str) -> Iterator[tuple[_Place, tuple[str, ...]]]:
        """Yield what is at *raw_path*, the most literal first, and the values of its parts."""
        segments = [unquote(segment) for segment in raw_path.split("/")] if "%" in raw_path else raw_path.split("/")
        if (place := self._literal.get(raw_path)) is not None:
            yield place, ()
        if "%" in raw_path and not any("/" in segment for segment in segments):
            place = self._literal.get("/".join(segments))
            if place is not None:
                yield place, ()
        for begin, place in self._below.items():
            if raw_path.startswith(begin):
                yield place, ()
        for place in self._ordered:
            values = place.pattern.match(segments) if place.pattern else None
            if values is not None:
                yield place, values


def _of(place: _Place, method: str, values: tuple[str, ...]) -> Found:
    if (route := place.by_method.get(method)) is not None:
        return Found(route=route, params=dict(zip(place.names[method], values, strict=True)))
    if (gone := place.vacated.get(method)) is not None:
        return Found(vacated=gone)
    if method == "HEAD":
        return _of(place, "GET", values)
    allow = [*place.by_method, *(["HEAD"] if "GET" in place.by_method else [])]
    return Found(allow=tuple(dict.fromkeys(allow)))


def _parse(path: str) -> Pattern | None:
    if path.endswith(BELOW):
        return None
    try:
        return paths.parse(path)
    except ValueError as error:
        raise ConfigError(f"a route cannot be served: {error}") from error


def _order(place: _Place) -> tuple[bool, ...]:
    """Sort the more literal pattern first, from the left."""
    return tuple(literal is None for literal in place.pattern.literals) if place.pattern else ()


def _methods(route: Route) -> Iterable[str]:
    return dict.fromkeys(method.upper() for method in route.methods)


def _named(route: Route) -> str:
    return f"{route.path} of {route.owner}" if route.owner else route.path
