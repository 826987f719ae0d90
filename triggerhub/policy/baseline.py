"""Decide which files were there before anybody asked for their events.

A files trigger that starts for the first time, or whose globs come to select more, finds files that
nothing happened to. Which they are is decided by one stored moment, so that a crash in the middle of
the first scan changes nothing. Pure: the moment is an argument.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from triggerhub.policy.globs import Selection
from triggerhub.policy.inventory import Version

KEY = "scope"
"""The checkpoint that holds the baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a trigger looks at."""

    root: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The scope in force and, until a full scan has been told under it, where it came from."""

    scope: Scope
    before: Scope | None = None
    """What was looked at until *since*: None is nothing."""
    since: int | None = None
    """In nanoseconds since the epoch; None once the scan is done."""
    mounted: bool = False
    """Whether a volume is mounted at the folder: without it, the empty folder below is not what is watched."""

    def encode(self) -> str:
        """Return the value of the checkpoint."""
        return json.dumps(
            {
                "scope": _plain(self.scope),
                "before": self.before and _plain(self.before),
                "since": self.since,
                "mounted": self.mounted,
            }
        )

    @classmethod
    def decode(cls, text: str) -> Baseline:
        """Read what :meth:`encode` wrote."""
        value = json.loads(text)
        before = value["before"]
        return cls(
            scope=_scope(value["scope"]),
            before=before and _scope(before),
            since=value["since"],
            mounted=value.get("mounted", False),
        )

    def done(self) -> Baseline:
        """Return the baseline after its scan."""
        return replace(self, before=None, since=None)


def begin(stored: str | None, scope: Scope, now: int) -> Baseline:
    """Return the baseline to start with, given what an earlier run stored and the *scope* of this one."""
    if stored is None:
        return Baseline(scope=scope, since=now)
    last = Baseline.decode(stored)
    if last.scope == scope:
        return last
    if last.scope.root != scope.root:
        return Baseline(scope=scope, since=now)
    # An unfinished baseline keeps what it came from: nothing was told under the scope between.
    before = last.scope if last.since is None else last.before
    return Baseline(scope=scope, before=before, since=now, mounted=last.mounted)


class Existing:
    """Tells the files that were there already from those that came since."""

    def __init__(self, baseline: Baseline) -> None:
        self._since = baseline.since
        before = baseline.before
        self._before = Selection(before.include, before.exclude) if before else Selection(())

    def covers(self, path: str, version: Version) -> bool:
        """Return whether an unknown file was there, unselected, before the baseline began."""
        return self._since is not None and version.ctime_ns <= self._since and not self._before.takes(path)


def _plain(scope: Scope) -> dict[str, object]:
    return {"root": scope.root, "include": list(scope.include), "exclude": list(scope.exclude)}


def _scope(value: dict[str, list[str]]) -> Scope:
    return Scope(root=str(value["root"]), include=tuple(value["include"]), exclude=tuple(value["exclude"]))
