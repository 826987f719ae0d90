"""Hold what is known of a function that was made through the Lambda API.

Values are frozen and come from and go to JSON whole: one function is one record in the store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

from triggerhub.aws.reference import LATEST
from triggerhub.model import Json, Millis
from triggerhub.settings import SystemLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerUse:
    """A layer's version as a function refers to it: it stays the function's when the layer is deleted."""

    arn: str
    code: str
    code_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Code with its configuration: ``$LATEST``, which changes, or a published one, which never does."""

    number: str = LATEST
    runtime: str
    handler: str
    role: str
    description: str = ""
    timeout: int = 3
    """In seconds."""
    memory: int = 128
    """In MB."""
    storage: int = 512
    """Of /tmp, in MB."""
    env: Mapping[str, str] = field(default_factory=dict)
    env_given: bool = False
    """Whether it was ever said, if only that there are to be none."""
    log_format: str = "Text"
    """As its handlers' own lines are written: Text or JSON."""
    log_level: str | None = None
    """The least of such lines in JSON."""
    system_level: SystemLevel | None = None
    """The least of the hub's own lines of its calls, in JSON."""
    layers: tuple[LayerUse, ...] = ()
    snap: bool = False
    """Whether, once published, each call of it begins with what was loaded once: SnapStart."""
    traced: bool = False
    """Whether its calls are to be traced: ``Active``."""
    dead_letters: str = ""
    """The ARN of the queue or topic that gets the events of asynchronous invocations that failed for good."""
    code: str
    """The SHA-256 of its archive, in hexadecimal."""
    code_size: int
    modified: Millis
    revision: str

    @property
    def snapped(self) -> bool:
        """Whether SnapStart is on: it is for what never changes."""
        return self.snap and self.number != LATEST

    def updated_since(self, other: Version) -> bool:
        """Whether publishing this one after *other* makes another version: any update does, as at AWS."""
        return self.modified != other.modified or self.differs(other)

    def differs(self, other: Version) -> bool:
        """Whether this one runs otherwise than *other*."""
        same = replace(
            self,
            number=other.number,
            modified=other.modified,
            revision=other.revision,
            description=other.description,
            env_given=other.env_given,
        )
        return same != other


BUFFERED = "BUFFERED"
"""How a function URL answers where nothing is said: once the answer is whole."""
CanaryState: TypeAlias = Literal["running", "promoted", "rolled back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A new version that gets a part of an alias's calls until it is promoted or rolled back, or how that ended."""

    id: str
    version: str
    most: float
    """The share of its calls that may fail, in percent."""
    length: Millis
    least: int
    """How many calls it must have had before it is promoted."""
    began: Millis
    state: CanaryState = "running"
    ended: Millis | None = None
    calls: int = 0
    """At its end; as ``errors``."""
    errors: int = 0
    why: str = ""
    """Why it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name that leads to a version, and a part of the calls to another."""

    version: str
    description: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    revision: str
    canary: Canary | None = None
    """The one that runs, or the last one since the alias was changed by hand."""
    before: str = ""
    """The version that it led to before this one; of one that was rolled back, nothing."""

    def at(self, version: str) -> str:
        """Return what is ``before`` of it once it leads to *version*."""
        return self.before if version == self.version else self.version


@dataclass(frozen=True, slots=True, kw_only=True)
class EventConfig:
    """What becomes of asynchronous invocations."""

    retries: int | None = None
    age: int | None = None
    """In seconds."""
    on_success: str | None = None
    """An ARN, as ``on_failure``: of a function here, of a queue of SQS or a topic of SNS."""
    on_failure: str | None = None
    modified: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """How many workers of a version are kept ready."""

    count: int
    modified: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """An address of a function's own at the ingress."""

    id: str
    auth: str
    mode: str = BUFFERED
    """Or ``RESPONSE_STREAM``: what a handler streams goes on as it comes."""
    cors: Json | None = None
    created: Millis
    modified: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A function with all its versions."""

    name: str
    latest: Version
    versions: Mapping[str, Version] = field(default_factory=dict)
    published: int = 0
    """The number of the last version; numbers are never used again."""
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    reserved: int | None = None
    events: Mapping[str, EventConfig] = field(default_factory=dict)
    """By qualifier: ``$LATEST``, a number or an alias."""
    policies: Mapping[str, tuple[Json, ...]] = field(default_factory=dict)
    """The statements of resource policies, by qualifier; the empty one is the function's own."""
    urls: Mapping[str, Url] = field(default_factory=dict)
    """By alias; the empty one is the function's own."""
    provisioned: Mapping[str, Provisioned] = field(default_factory=dict)
    """By qualifier: a number or an alias."""
    recursive: bool = False

    def version(self, number: str) -> Version | None:
        return self.latest if number == LATEST else self.versions.get(number)

    @property
    def served(self) -> set[str]:
        """What the hub calls its versions and aliases."""
        return {self.name, *(f"{self.name}:{qualifier}" for qualifier in (*self.versions, *self.aliases))}

    def serving(self, number: str) -> str:
        """What the hub calls one of them."""
        return self.name if number == LATEST else f"{self.name}:{number}"

    def warm(self, number: str) -> int:
        """How many workers of a version are kept ready, for itself and for aliases that lead to it."""
        led = {name for name, alias in self.aliases.items() if alias.version == number}
        return sum(one.count for qualifier, one in self.provisioned.items() if qualifier == number or qualifier in led)

    @property
    def provisioned_in_all(self) -> int:
        """How many workers of all versions are kept ready."""
        return sum(one.count for one in self.provisioned.values())

    def without(self, qualifier: str) -> Deployed:
        """Return it without what was said of a qualifier: it does not come back with another one of its name."""

        def rest(kept: Mapping[str, Any]) -> dict[str, Any]:
            return {key: one for key, one in kept.items() if key != qualifier}

        return replace(
            self,
            events=rest(self.events),
            policies=rest(self.policies),
            urls=rest(self.urls),
            provisioned=rest(self.provisioned),
        )

    def revision(self, qualifier: str) -> str:
        """Return the RevisionId of what a qualifier names, of which there is one; the empty one is the function."""
        return self._named(qualifier).revision

    def revised(self, qualifier: str, revision: str) -> Deployed:
        """Return it with another RevisionId of what a qualifier names, as what changes about that leaves it."""
        named = replace(self._named(qualifier), revision=revision)
        if isinstance(named, Alias):
            return replace(self, aliases={**self.aliases, qualifier: named})
        if named.number == LATEST:
            return replace(self, latest=named)
        return replace(self, versions={**self.versions, qualifier: named})

    def _named(self, qualifier: str) -> Version | Alias:
        return self.aliases.get(qualifier) or self.versions.get(qualifier) or self.latest

    @property
    def codes(self) -> set[str]:
        """The archives that its versions need."""
        versions = (self.latest, *self.versions.values())
        return {code for one in versions for code in (one.code, *(layer.code for layer in one.layers))}


def written(deployed: Deployed) -> str:
    """Return the record as JSON."""
    return json.dumps(deployed, default=_members)


def _members(value: Any) -> dict[str, Any]:
    return {one.name: getattr(value, one.name) for one in fields(value)}


def from_json(value: Json) -> Deployed:
    """Read a record. ValueError, TypeError or KeyError for one that this version did not write."""
    # Policies once had revisions of their own.
    value = {name: one for name, one in value.items() if name != "policy_revisions"}
    known = {one.name for one in fields(Deployed)}
    if unknown := value.keys() - known:
        raise ValueError(f"unknown members {', '.join(sorted(unknown))}")
    return Deployed(
        **{
            **value,
            "latest": _version(value["latest"]),
            "versions": _each(_version, value["versions"]),
            "aliases": _each(_alias, value["aliases"]),
            "events": _each(lambda one: EventConfig(**one), value["events"]),
            "policies": _each(tuple, value["policies"]),
            "provisioned": _each(lambda one: Provisioned(**one), value.get("provisioned", {})),
            "urls": _each(lambda one: Url(**one), value["urls"]),
        }
    )


def _version(value: Json) -> Version:
    return Version(**{**value, "layers": tuple(LayerUse(**one) for one in value["layers"])})


def _alias(value: Json) -> Alias:
    canary = value.get("canary")
    return Alias(**{**value, "canary": None if canary is None else Canary(**canary)})


def _each(read: Any, values: Mapping[str, Json]) -> dict[str, Any]:
    return {key: read(value) for key, value in values.items()}
