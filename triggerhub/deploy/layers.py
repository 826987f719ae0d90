"""Keep layers that were published through the Lambda API: archives with versions, that functions refer to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TypeAlias

import anyio
import structlog

from triggerhub.aws import arn
from triggerhub.model import Json, Millis
from triggerhub.store import Store

log = structlog.get_logger("deploy")

SCOPE = "lambda-layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVersion:
    """One published archive; it never changes, but in who may use it."""

    number: int
    code: str
    """The SHA-256 of its archive, in hexadecimal."""
    code_size: int
    description: str = ""
    runtimes: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    license: str | None = None
    created: Millis
    statements: tuple[Json, ...] = ()
    """Of its policy."""
    policy_revision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer with the versions that are not deleted."""

    name: str
    published: int = 0
    """The number of the last version; numbers are never used again."""
    versions: Mapping[int, LayerVersion] = field(default_factory=dict)


LayerChange: TypeAlias = Callable[[Layer], Layer]


class Layers:
    """All layers. What a change answers is durable."""

    def __init__(self, store: Store) -> None:
        self.layers: dict[str, Layer] = {}
        self._store = store
        self._lock = anyio.Lock()

    async def load(self) -> bool:
        """Read all records; one that is damaged is left out and told. Returns whether there was none."""
        whole = True
        for name, text in (await self._store.checkpoints(SCOPE)).items():
            try:
                self.layers[name] = _from_json(json.loads(text))
            except (ValueError, TypeError, KeyError) as error:
                whole = False
                log.error("the record of a layer cannot be read; it is left out", layer=name, why=repr(error))
        return whole

    async def change(self, name: str, change: LayerChange) -> Layer:
        """Replace a layer's record by what *change* makes of it, or of a new one. Cancelled: it has happened or not."""
        async with self._lock:
            before = self.layers.get(name, Layer(name=name))
            after = change(before)
            if after != before:
                with anyio.CancelScope(shield=True):
                    await self._store.set_checkpoints(SCOPE, {name: json.dumps(asdict(after))})
                self.layers[name] = after
            return after

    def find(self, name: str, number: int) -> LayerVersion | None:
        layer = self.layers.get(name)
        return None if layer is None else layer.versions.get(number)

    @property
    def codes(self) -> set[str]:
        """The archives that layers have."""
        return {version.code for layer in self.layers.values() for version in layer.versions.values()}


def published(layer: Layer, version: LayerVersion) -> Layer:
    """Return the layer with *version* as its next one, whatever its number says."""
    number = layer.published + 1
    return replace(layer, published=number, versions={**layer.versions, number: replace(version, number=number)})


def layer_arn(name: str, number: int | None = None) -> str:
    """Return the ARN of a layer, or of one of its versions."""
    base = f"arn:aws:lambda:{arn.REGION}:{arn.ACCOUNT}:layer:{name}"
    return base if number is None else f"{base}:{number}"


def _from_json(value: Json) -> Layer:
    versions = {
        int(number): LayerVersion(
            **{
                **one,
                "runtimes": tuple(one["runtimes"]),
                "architectures": tuple(one["architectures"]),
                "statements": tuple(one.get("statements", ())),
            }
        )
        for number, one in value["versions"].items()
    }
    return Layer(**{**value, "versions": versions})
