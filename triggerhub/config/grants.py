"""Look at what sandboxes are to show: where it is, that a handler may have it, and that no handler chose the place.

Each path is resolved once, when the configuration is read. Whoever may change a folder may put a link into it, so that
no link in such a folder is followed, neither then nor later.
"""

# Names are taken as the kernel gives them: os.path.
# ruff: noqa: PTH110, PTH115, PTH118, PTH120
from __future__ import annotations

import os
import stat
import sys
import sysconfig
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import triggerhub
from triggerhub.config.locate import Path as Place
from triggerhub.config.problem import Report, dotted
from triggerhub.policy.sandbox import view
from triggerhub.settings import Function, HubSettings, Trigger

FILE = "triggerhub.toml"
_MOST_LINKS = 40
"""As the kernel."""
_LOOKED_AT = 1000
"""Names that are looked at for sockets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grant:
    path: Path
    key: str
    """``read``, ``write``, or ``path`` of a trigger."""
    place: Place
    """Where it is written."""
    taken: Callable[[str], str | None] = lambda path: None
    """Says of a trigger's folder why sandboxes of its functions cannot show it."""


class Grants:
    """All that the configuration lets handlers see of the host."""

    def __init__(
        self,
        functions: Mapping[str, Function | None],
        tables: Mapping[str, Mapping[str, Any]],
        defaults: Function,
        triggers: Mapping[str, Trigger | None],
        data: Mapping[str, Any],
    ) -> None:
        """*tables* are the sandboxes of functions that are made elsewhere, which have *defaults* otherwise."""
        own = _table(data, "defaults")
        given = {name: (one.read, one.write) for name, one in functions.items() if one is not None}
        given |= {name: (one.get("read", ()), one.get("write", ())) for name, one in tables.items()}
        self._grants: list[_Grant] = []
        for name, paths in [("", (defaults.read, defaults.write)), *given.items()]:
            for key, each in zip(("read", "write"), paths, strict=True):
                written = bool(name) and key in _table(_table(data, "functions", name), "sandbox")
                base = ("functions", name) if written else ("defaults",)
                if name and not written and key in _table(own, "sandbox"):
                    continue  # looked at there
                self._grants += (
                    _Grant(path=path, key=key, place=(*base, "sandbox", key, index)) for index, path in enumerate(each)
                )
        for name, trigger in triggers.items():
            if trigger is not None and trigger.type == "files":
                place = ("triggers", name, "path")
                boxed = [one for one in trigger.functions if _level(one, functions, tables, defaults) != "trusted"]
                grant = _Grant(path=_watched(trigger), key="path", place=place)
                if boxed:
                    layers = any(_layered(data, one) for one in boxed)
                    grant = replace(grant, taken=partial(view.taken, layers=layers))
                self._grants.append(grant)
        self.loose = loose(str(one.path) for one in self._grants if one.key == "write")
        """The folders that handlers may change."""
        self._found = {one.path: follow(str(one.path), self.loose) for one in self._grants}

    @property
    def places(self) -> dict[Path, Path]:
        """Where paths are that are not where they say."""
        return {path: Path(real) for path, (real, _) in self._found.items() if real != str(path)}

    def settled(self, trigger: Trigger) -> Trigger:
        """Return the trigger with the place of the folder that it watches, if it watches one."""
        return replace(trigger, place=Path(self._found[_watched(trigger)][0])) if trigger.type == "files" else trigger

    def check(self, hub: HubSettings, trusted: Mapping[str, str], report: Report) -> None:
        """Refuse what no sandbox may show; *trusted* is what runs outside of any, and what it is to people."""
        own = os.path.realpath(hub.data)
        for one in self._grants:
            real, link = self._found[one.path]
            where = dotted(one.place)
            if link is not None:
                message = f"{where}: {link} is a link in a folder that a function may write, and is not followed"
                report.warn(one.place, "loose-link", message, "name the folder that is meant, or take the link away")
                continue
            # What a trigger's folder has of the hub's data is not shown with it.
            objection = one.taken if one.key == "path" else partial(view.objection, data=own)
            if why := objection(real) or objection(str(one.path)):
                report.error(one.place, "bad-sandbox", f"{where}: {one.path} cannot be shown to a handler: {why}")
            elif one.key == "write" and (what := _covered({real, str(one.path)}, trusted)):
                message = f"{where}: {one.path} cannot be changed by a handler, which would leave its sandbox by {what}"
                report.error(one.place, "bad-sandbox", message, "name a folder beside it")
            elif one.key == "read" and _is_socket(real):
                message = f"{where}: {one.path} is a socket, by which a handler speaks to whoever listens there"
                report.error(one.place, "bad-sandbox", message, "name it in write, if that is meant")
            else:
                self._look(one, real, report)

    def _look(self, one: _Grant, real: str, report: Report) -> None:
        where = dotted(one.place)
        if one.key != "path" and not os.path.exists(real):
            message = f"{where}: there is no {one.path}; until it is there, calls fail"
            report.warn(one.place, "no-path", message, "make it, or take it out")
        elif not (one.key == "write" and _is_socket(real)) and (socket := _socket(real)):
            message = f"{where}: there is a socket in {one.path}, by which handlers can speak to who listens: {socket}"
            report.warn(one.place, "open-socket", message, "name a folder without it")


def _level(
    name: str, functions: Mapping[str, Function | None], tables: Mapping[str, Mapping[str, Any]], defaults: Function
) -> str:
    name = _table_of(name)
    if name not in functions:
        return str(tables.get(name, {}).get("level", defaults.level))
    function = functions[name]
    return function.level if function is not None else "trusted"  # what is wrong with it is told already


def _layered(data: Mapping[str, Any], name: str) -> bool:
    return any(_table(data, *where).get("layers") for where in (("functions", _table_of(name)), ("defaults",)))


def _table_of(name: str) -> str:
    """Return whose table a function has: that of the Lambda API is of all versions and aliases."""
    return name.partition(":")[0]


def linked(function: Function, places: Mapping[Path, Path]) -> Function:
    """Return the function with where its paths are that are not where they say. Pure."""
    paths = (*function.read, *function.write, *function.shown)
    return replace(function, links=tuple((path, places[path]) for path in dict.fromkeys(paths) if path in places))


def trusted(hub: HubSettings, functions: Mapping[str, Function | None], data: Mapping[str, Any]) -> dict[str, str]:
    """Return what runs outside of sandboxes, or says what does; and what it is to people."""
    project = hub.project
    found = {
        str(project / FILE): FILE,
        str(hub.data): "the hub's data",
        str(hub.handlers): "the handlers",
        str(project / "sources"): "sources/",
        str(Path(triggerhub.__file__).parent): "triggerhub itself",
    }
    python = (
        sys.executable,
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("purelib"),
        str(Path(sys.prefix, "pyvenv.cfg")),
    )
    found |= dict.fromkeys(python, "the hub's own Python")
    for name, one in functions.items():
        if one is not None and one.interpreter and one.interpreter.program:
            program = one.interpreter.program
            parts = [program, *(str(part) for part in Path(program).parent.parent.glob("lib/python3*"))]
            found |= {part: f"the runtime of functions.{name}" for part in parts if part not in found}
    found |= {str(project / file): "the file of a secret" for file in _secrets(data)}
    for table in (data.get("defaults"), *_table(data, "functions").values()):
        for layer in _table(table).get("layers", ()) if isinstance(_table(table).get("layers"), list) else ():
            found.setdefault(str(project / str(layer)), "a layer")
    return found


def follow(path: str, loose: Collection[str]) -> tuple[str, str | None]:
    """Return where *path* is, and the first link in one of the folders *loose*: from there on nothing is followed."""
    for reached, link in _walk(path):
        if link is not None and any(view.within(link, folder) for folder in loose):
            return reached, link
    return reached, None


def loose(written: Iterable[str]) -> frozenset[str]:
    """Return the folders that handlers may change, of those that are *written*; a link in one leads to no other.

    Of those whose links lie in one another it cannot be told which was first: all count.
    """
    waiting = {path: (follow(path, ())[0], [link for _, link in _walk(path) if link is not None]) for path in written}
    found: frozenset[str] = frozenset()
    while True:
        waiting = {path: one for path, one in waiting.items() if not _any(one[1], found)}
        reals = frozenset(real for real, _ in waiting.values())
        sure = {path: real for path, (real, links) in waiting.items() if not _any(links, reals)}
        found |= frozenset(sure.values()) if sure else reals
        if not sure:
            return found
        waiting = {path: one for path, one in waiting.items() if path not in sure}


def _any(links: Iterable[str], folders: Collection[str]) -> bool:
    return any(view.within(link, folder) for link in links for folder in folders)


def _walk(path: str) -> Iterator[tuple[str, str | None]]:
    """Yield for each link on the way what is left of *path* there, and its place; at last where all lead, and None."""
    done, rest, links = "/", path.split("/")[::-1], 0
    while rest:
        name = rest.pop()
        if name == "..":
            done = os.path.dirname(done)
        if name in ("", ".", ".."):
            continue
        at = os.path.join(done, name)
        try:
            to = os.readlink(at)
        except OSError:
            done = at
            continue
        links += 1
        if links > _MOST_LINKS:
            yield path, None
            return
        yield os.path.join(at, *(one for one in rest[::-1] if one)), at
        done = "/" if to.startswith("/") else done
        rest += to.split("/")[::-1]
    yield done, None


def _secrets(data: Any) -> Iterator[str]:
    """Yield the paths of all ``{ file = … }``."""
    if isinstance(data, Mapping) and data.keys() == {"file"} and isinstance(data["file"], str):
        yield data["file"]
    elif isinstance(data, Mapping | list):
        for value in data.values() if isinstance(data, Mapping) else data:
            yield from _secrets(value)


def _watched(trigger: Trigger) -> Path:
    return Path(os.path.normpath(trigger.options.path))  # type: ignore[attr-defined]


def _covered(paths: Collection[str], trusted: Mapping[str, str]) -> str | None:
    for place, what in trusted.items():
        for one in dict.fromkeys((place, os.path.realpath(place))):
            if any(view.within(one, path) or view.within(path, one) for path in paths):
                return f"{what} ({one})"
    return None


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def _socket(path: str) -> str | None:
    """Return a socket at *path*, in that folder or in one of its folders; many names are not all looked at."""
    if _is_socket(path):
        return path
    return next((one for one in islice(_below(path), _LOOKED_AT) if _is_socket(one)), None)


def _below(path: str, levels: int = 2) -> Iterator[str]:
    try:
        with os.scandir(path) as entries:
            found = [(one.path, one.is_dir(follow_symlinks=False)) for one in islice(entries, _LOOKED_AT)]
    except OSError:
        return
    for one, folder in found:
        yield one
        if folder and levels > 1:
            yield from _below(one, levels - 1)


def _table(data: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data if isinstance(data, Mapping) else {}
