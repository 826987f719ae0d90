"""Load a project: read, validate, discover, and report everything that is wrong at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from triggerhub.config import alarms, console, crosscheck, daemon, deployed, document, pinned, refused
from triggerhub.config.code import Shelf
from triggerhub.config.complain import shown, suggestion
from triggerhub.config.discover import discover
from triggerhub.config.document import Document
from triggerhub.config.functions import Functions
from triggerhub.config.grants import Grants, linked, trusted
from triggerhub.config.locate import walk
from triggerhub.config.plugins import PluginError, Plugins
from triggerhub.config.problem import MOST, Problem, Report
from triggerhub.config.problem import render as render
from triggerhub.config.schema import NAMED, TABLES, given, keys
from triggerhub.config.secrets import Secrets
from triggerhub.config.triggers import Triggers
from triggerhub.settings import HubSettings, Project

FILE = "triggerhub.toml"
ENVIRONMENTS = "environments"
"""Where the packages are that functions depend on, within the data folder."""
LAYERS = "layers"
"""Where layers are put together, within the data folder."""
VERSIONS = Path("versions")
"""Where copies of the handlers are kept, within the data folder."""
_PUBLIC = (("auth", "key"), ("auth", "jwks"))
"""What verifies a token by a public key may be read by everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What came of loading a project."""

    project: Project | None
    """None where there is an error among the problems."""
    problems: tuple[Problem, ...]
    """In the order of the file."""
    sources: Mapping[str, ModuleType]
    """The modules of the types that the triggers use."""


def load(project: Path, *, environ: Mapping[str, str], versions: Path | None = None) -> Loaded:
    """Load the project in the folder *project*. Never raises for what is wrong with it.

    Snapshots of the handlers are kept below *versions*, a relative one being within the data folder;
    with None they are only hashed, nothing is written, and the functions cannot be started. Reads
    files and imports source modules, so call it from a thread where a loop is running.
    """
    project = Path(os.path.abspath(project))  # noqa: PTH100 - links stay as the user wrote them
    found = document.read(project / FILE, FILE)
    if found is None:
        problem = Problem(
            file=FILE, code="no-project", message=f"there is no {FILE} in {project}", hint=f"triggerhub init {project}"
        )
        return Loaded(project=None, problems=(problem,), sources={})
    if found.report.problems:
        return Loaded(project=None, problems=tuple(found.report.problems), sources={})
    return _Loading(project, found, environ, versions).run()


class _Loading:
    """One load, with what its steps hand on to one another."""

    def __init__(self, project: Path, found: Document, environ: Mapping[str, str], versions: Path | None) -> None:
        self._path = project
        self._data: dict[str, Any] = found.data
        self._report = found.report
        self._environ = environ
        self._versions = versions
        self._more: list[Problem] = []
        """Problems in other files."""

    def run(self) -> Loaded:
        written = walk(self._data)
        refused.refuse(self._data, self._report)
        self._tables()
        hub = daemon.settle(self._path, self._data, self._report)
        secrets = Secrets(self._path, hub.data, self._environ)
        access = console.settle(self._data, hub, self._report, secrets)
        functions = self._functions(hub, secrets)
        names = {*functions.made, *deployed.names(hub.data)}
        context = {"secrets": secrets, "project": self._path, "data": hub.data}
        triggers = Triggers(self._report, self._plugins(), functions, names, context)
        triggers.build(self._data.get("triggers", {}))
        watched = alarms.build(
            self._data.get("alarms", {}),
            names,
            {name: one.timeout for name, one in functions.made.items() if one is not None},
            triggers.made.keys(),
            hub.keep,
            self._report,
            secrets,
        )
        grants = Grants(functions.made, functions.sandboxes, functions.defaults, triggers.made, self._data)
        grants.check(hub, trusted(hub, functions.made, self._data), self._report)
        self._cross(hub, functions, names, triggers, grants)
        for reference, why in secrets.exposed:
            places = [place for place, value in written.items() if value == reference]
            if not places or any(place[2:4] not in _PUBLIC for place in places):
                self._report.warn(places[0] if places else (), "exposed-secret", why, "chmod 0600 it")
        problems = tuple(sorted(_once(self._report.problems + self._more), key=_order))
        if any(problem.severity == "error" for problem in problems):
            return Loaded(project=None, problems=problems, sources=triggers.sources)
        loaded = Project(
            hub=hub,
            lines=self._report.places.lines(),
            texts=self._report.places.texts(("handler", "command", "runtime", "layers")),
            inline={
                ("functions", name, *key): file
                for name, (file, said) in functions.inline.items()
                for key in keys(given(said))
            },
            console=access,
            defaults=functions.defaults,
            retries=functions.retries,
            sandboxes=functions.sandboxes,
            functions={
                name: linked(crosscheck.showing(one, triggers.made), grants.places)
                for name, one in functions.made.items()
                if one
            },
            places=grants.places,
            triggers={name: grants.settled(one) for name, one in triggers.made.items() if one},
            alarms=watched,
        )
        return Loaded(project=loaded, problems=problems, sources=triggers.sources)

    def _tables(self) -> None:
        """Refuse tables that do not exist, and values where tables belong; both are taken out."""
        known = [*TABLES, *NAMED]
        unknown = [name for name in self._data if name not in known]
        if len(unknown) > MOST:
            message = f"{FILE} has {len(unknown)} keys that it does not know; the first {MOST} are told"
            self._report.error((), "too-many", message)
        for name in unknown[MOST:]:
            del self._data[name]
        for name, value in list(self._data.items()):
            if name not in known:
                hint = suggestion(name, known)
                kind = "table" if isinstance(value, dict | list) else "key"
                self._report.error((name,), "unknown-key", f'{FILE} has no {kind} "{name}"', hint, at="key")
            elif not isinstance(value, dict):
                header = f"[{name}]" if name in TABLES else f"[{name}.NAME]"
                self._report.error((name,), "wrong-type", f"{name}: expected a table {header}, got {shown(value)}")
            else:
                continue
            del self._data[name]

    def _functions(self, hub: HubSettings, secrets: Secrets) -> Functions:
        versions = None
        if self._versions is not None and daemon.writable(hub, self._report):
            versions = hub.data / self._versions
        shelf = Shelf(
            project=self._path,
            handlers=hub.handlers,
            versions=versions,
            environ=self._environ,
            data=hub.data,
            layers=hub.data / LAYERS if versions else None,
            environments=hub.data / ENVIRONMENTS,
        )
        discovery = discover(hub.handlers, shelf.show(hub.handlers))
        functions = Functions(shelf, self._report, secrets, deployed.names(hub.data))
        functions.build(self._data, discovery)
        self._more += [*discovery.problems, *functions.problems, *pinned.said(hub.data, functions.made)]
        return functions

    def _plugins(self) -> Plugins | None:
        try:
            plugins = Plugins(self._path)
        except PluginError as error:
            self._more.append(Problem(file="sources", code=error.code, message=error.message, hint=error.hint))
            return None
        for used, other in plugins.clashes:
            file = f"sources/{other.relative_to(plugins.folder)}"
            message = f"there are two sources of one name: {used} and {other}"
            self._more.append(Problem(file=file, code="duplicate-source", message=message, hint="rename your own"))
        return plugins

    def _cross(
        self, hub: HubSettings, functions: Functions, names: Collection[str], triggers: Triggers, grants: Grants
    ) -> None:
        report = self._report
        crosscheck.routes(triggers.made, report)
        crosscheck.folders(hub, triggers.made, report)
        topics = crosscheck.topics(triggers.made, report)
        unsure = tuple(crosscheck.unsure_topics(self._data, triggers.made))
        destinations = crosscheck.Destinations(
            hub, functions.made, names, triggers.made, topics, unsure, report, grants.loose
        )
        destinations.check(self._data)
        for name, (file, inline) in list(functions.inline.items()):
            about = Report(file)
            destinations.inline(name, given(inline), about)
            if about.problems:
                self._more += functions.ignore(name, about.problems)


def _once(problems: list[Problem]) -> Iterator[Problem]:
    yield from dict.fromkeys(problems)


def _order(problem: Problem) -> tuple[bool, str, int, int]:
    return problem.file != FILE, problem.file, problem.line, problem.column
