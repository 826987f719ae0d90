"""Keep event source mappings: triggers that were made through the Lambda API.

One is a trigger of type ``sqs``, ``dynamodb`` or ``kinesis`` with ``ack = "handled"``: what Lambda's own pollers do.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import anyio
import anyio.to_thread
import structlog

from triggerhub.config.plugins import Plugins
from triggerhub.errors import TriggerhubError
from triggerhub.model import Json, Millis
from triggerhub.settings import SECOND, Batch, Destination, RetryPolicy, Trigger
from triggerhub.store import Store

log = structlog.get_logger("deploy")

SCOPE = "lambda-mapping"
FOR_EVER = 2**31 - 1
"""Attempts where there is no limit to them."""
PREFIX = "esm-"
"""With it a mapping's trigger begins its name; its UUID is the rest."""
Serve: TypeAlias = Callable[[Mapping[str, Trigger], Mapping[str, ModuleType]], Awaitable[None]]
"""Takes over all triggers there are now, with the source modules of their types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMapping:
    """A queue or a stream whose records a function gets."""

    uuid: str
    source: str
    """Its ARN."""
    function: str
    """The hub's own name of it."""
    enabled: bool = True
    batch: int = 10
    window: int = 0
    """In seconds."""
    filters: tuple[str, ...] = ()
    """Event patterns, any of which a message may match."""
    partial: bool = False
    """Whether the answer says which messages failed."""
    maximum: int | None = None
    """How many calls may run at once."""
    on_failure: str | None = None
    """Who is told of what a stream gave up: a function by the hub's own name, a queue or topic by its ARN."""
    stream: Mapping[str, Json] = field(default_factory=dict)
    """What else was said of a stream, by AWS's names."""
    tags: Mapping[str, str] = field(default_factory=dict)
    modified: Millis

    @property
    def type(self) -> str:
        """The type of its trigger."""
        return self.source.split(":")[2]


def trigger_of(mapping: SourceMapping, module: ModuleType) -> Trigger:
    """Return what the hub runs for a mapping. Raises ValueError for a source that is none."""
    retries = mapping.stream.get("MaximumRetryAttempts", -1)
    attempts = FOR_EVER if retries < 0 else 1 + retries
    told = mapping.on_failure
    return Trigger(
        name=f"{PREFIX}{mapping.uuid}",
        type=mapping.type,
        functions=(mapping.function,),
        options=module.Options.model_validate(_options(mapping)),
        enabled=mapping.enabled,
        filter=pattern_of([json.loads(text) for text in mapping.filters]),
        batch=Batch(size=mapping.batch, window=mapping.window * SECOND, partial_failures=mapping.partial),
        retry={mapping.function: RetryPolicy(attempts=attempts)},
        on_failure=() if told is None else (_told(told),),
        ack="handled",
        maximum_concurrency=mapping.maximum,
    )


def _told(name: str) -> Destination:
    if name.startswith("arn:"):
        return Destination(kind="arn", target=name.removeprefix("arn:"))
    return Destination(kind="function", target=name)


def _options(mapping: SourceMapping) -> dict[str, Json]:
    """Return the options of a mapping's source, as triggerhub.toml would have them."""
    said = mapping.stream
    if mapping.type == "sqs":
        return {"queue": mapping.source}
    start = said["StartingPosition"].lower()
    if start == "at_timestamp":
        start = datetime.fromtimestamp(said["StartingPositionTimestamp"], UTC).isoformat()
    options = {
        "stream": mapping.source,
        "start": start,
        "parallel": said.get("ParallelizationFactor", 1),
        "bisect": said.get("BisectBatchOnFunctionError", False),
    }
    if said.get("MaximumRecordAgeInSeconds", -1) > 0:
        options["max_age"] = f"{said['MaximumRecordAgeInSeconds']}s"
    if said.get("TumblingWindowInSeconds"):
        options["tumbling"] = f"{said['TumblingWindowInSeconds']}s"
    return options


def pattern_of(patterns: list[Json]) -> Json | None:
    """Return one pattern that matches what any of *patterns* does; None is everything."""
    return {"$or": patterns} if len(patterns) > 1 else patterns[0] if patterns else None


class Mappings:
    """All event source mappings. One change at a time; what a change answers is durable, and served."""

    def __init__(self, store: Store, project: Path, deploying: anyio.Lock) -> None:
        """*deploying* is held while functions change: none goes that a mapping is being made of."""
        self.mappings: dict[str, SourceMapping] = {}
        self.triggers: dict[str, Trigger] = {}
        self.modules: dict[str, ModuleType] = {}
        self._store = store
        self._project = project
        self._lock, self._deploying = anyio.Lock(), deploying
        self._serve: Serve | None = None

    async def load(self) -> None:
        """Read all records; one that cannot be used is left out and told."""
        for key, text in (await self._store.checkpoints(SCOPE)).items():
            try:
                value = json.loads(text)
                self.mappings[key] = SourceMapping(**{**value, "filters": tuple(value["filters"])})
                self.triggers |= await self.made(self.mappings[key])
            except (ValueError, TypeError, KeyError, TriggerhubError) as error:
                log.error("an event source mapping cannot be used; it is left out", uuid=key, why=repr(error))

    def serve_by(self, serve: Serve) -> None:
        """Tell *serve* of every change from now on."""
        self._serve = serve

    async def made(self, mapping: SourceMapping) -> dict[str, Trigger]:
        """Return the trigger of a mapping, by its name. Raises ValueError, TriggerhubError."""
        if mapping.type not in self.modules:
            found = await anyio.to_thread.run_sync(lambda: Plugins(self._project).load(mapping.type))
            self.modules[mapping.type] = found
        trigger = trigger_of(mapping, self.modules[mapping.type])
        return {trigger.name: trigger}

    async def change(
        self, key: str, change: Callable[[SourceMapping | None], SourceMapping | None]
    ) -> SourceMapping | None:
        """Replace a mapping by what *change* makes of it; None removes it. Cancelled: it has happened, or has not."""
        async with self._lock:
            async with self._deploying:
                after = change(self.mappings.get(key))
                made = {} if after is None else await self.made(after)
                with anyio.CancelScope(shield=True):
                    text = None if after is None else json.dumps(asdict(after))
                    await self._store.set_checkpoints(SCOPE, {key: text})
                if after is None:
                    self.mappings.pop(key, None)
                    self.triggers.pop(f"{PREFIX}{key}", None)
                else:
                    self.mappings[key] = after
                    self.triggers |= made
            if self._serve is not None:
                await self._serve(self.triggers, self.modules)
            return after
