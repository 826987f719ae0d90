"""Keep a stream's shards read: find them, parents before children, and begin and end with each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import anyio

from triggerhub.awsfault import AwsFault
from triggerhub.model import Millis
from triggerhub.policy.streaming import Plan, Position, decode, tree
from triggerhub.source import Context
from triggerhub.stream.endpoint import Described, Endpoint, ExpiredError, GoneError, Latest, TrimmedError
from triggerhub.stream.handling import ShardHandling
from triggerhub.stream.storing import ShardStoring
from triggerhub.stream.trouble import Trouble

LOOK = 60.0
"""Seconds between looks for new shards; after the end of one they are looked for sooner."""
SOON = 1.0
GENERATION = "stream"
"""The checkpoint under which a stream's generation is kept …"""
SCOPE = "scope"
"""… and, once it was made anew, what tells its records from those before: emulators number them as they did those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where reading of a stream begins that this trigger has not read before."""

    where: tree.Start
    at: Millis = 0
    """The moment of AT_TIMESTAMP."""

    def __str__(self) -> str:
        if self.where != "AT_TIMESTAMP":
            return self.where.lower()
        return datetime.fromtimestamp(self.at / 1000, UTC).isoformat().replace("+00:00", "Z")


async def keep(ctx: Context, endpoint: Endpoint, start: Start, plan: Plan) -> None:
    """Read the stream until cancelled: one generation of it after the other."""
    trouble = Trouble(ctx)
    stored = await ctx.checkpoint(GENERATION)
    generation = stored if stored is not None and endpoint.owns(stored) else None
    described = await _described(ctx, endpoint, generation, trouble)
    scope = (await ctx.checkpoint(SCOPE) or "") if generation is not None else ""
    while True:
        if generation is not None and described.generation != generation:
            ctx.log.warning("the stream was made anew and is read from its oldest record", stream=described.arn)
            start = Start(where="TRIM_HORIZON")
            scope = f"{described.generation}/"
            for key in await ctx.checkpoints(f"{generation}/"):
                await ctx.set_checkpoints({key: None})
        if generation != described.generation:
            generation = described.generation
            await ctx.set_checkpoints({GENERATION: generation, SCOPE: scope or None})
        described = await Keeper(ctx, endpoint, start, plan, trouble, replace(described, scope=scope)).run()


async def probe(endpoint: Endpoint) -> str:
    """Ask for everything that :func:`keep` asks for, and return the stream's ARN. Raises AwsFault, GoneError."""
    described = await endpoint.describe(None)
    for shard in described.shards[-1:]:
        with suppress(ExpiredError, TrimmedError):
            await endpoint.read(await endpoint.iterator(described, shard.id, Latest()), 1)
    return described.arn


async def _described(ctx: Context, endpoint: Endpoint, generation: str | None, trouble: Trouble) -> Described:
    while True:
        try:
            described = await endpoint.describe(generation)
        except (AwsFault, GoneError) as error:
            await trouble.rest("", error)
        else:
            trouble.over("")
            return described


class Keeper:
    """The shards of one generation of a stream."""

    def __init__(
        self, ctx: Context, endpoint: Endpoint, start: Start, plan: Plan, trouble: Trouble, described: Described
    ) -> None:
        self._ctx = ctx
        self._endpoint = endpoint
        self._start = start
        self._plan = plan
        self._trouble = trouble
        self._described = described
        self._generation = described.generation
        self._prefix = f"{described.generation}/"
        self._known: dict[str, Position] = {}
        self._fresh: set[str] = set()
        """Shards whose reading begins at their end, and has not begun yet."""
        self._running: set[str] = set()
        self._missing: set[str] = set()
        self._ended = anyio.Event()
        self._look = LOOK
        self._began: Millis | None = None
        """When a stream that was never read was listed first, by its own clock."""

    async def run(self) -> Described:
        """Return the generation to go on with, once this one is gone, or handled whole while there is another."""
        following: Described | None = await self._next()
        async with anyio.create_task_group() as tasks:
            while following is None:
                await self._learn()
                for shard in tree.readable(self._described.shards, self._known):
                    if shard not in self._running:
                        self._running.add(shard)
                        tasks.start_soon(self._read, shard)
                self._ctx.begun()
                with anyio.move_on_after(self._look):
                    await self._ended.wait()
                self._look = SOON if self._ended.is_set() else min(LOOK, 2 * self._look)
                self._ended = anyio.Event()
                self._described = await self._describe(self._generation)
                following = await self._next()
            tasks.cancel_scope.cancel()
        assert following is not None, "the loop ends with one"
        return following

    async def _next(self) -> Described | None:
        if self._described.generation != self._generation:
            return self._described
        if self._running or tree.undone(self._described.shards, self._known):
            return None
        current = await self._describe(None)
        return current if current.generation != self._generation else None

    async def _describe(self, generation: str | None) -> Described:
        described = await _described(self._ctx, self._endpoint, generation, self._trouble)
        return replace(described, scope=self._described.scope)

    async def _learn(self) -> None:
        """Know every listed shard's position, those of new shards stored before anything is read."""
        async with self._ctx.lease("shards"):
            stored = await self._ctx.checkpoints(self._prefix)
            known = {key.removeprefix(self._prefix): decode(value) for key, value in stored.items()}
            listed = self._described.shards
            new = tree.grown(listed, known) if known else self._begin(listed)
            gone = tree.forgotten(listed, known, self._ctx.now())
            changed: dict[str, str | None] = {
                self._prefix + shard: position.encode() for shard, position in new.items()
            }
            changed |= dict.fromkeys((self._prefix + shard for shard in gone), None)
            if changed:
                await self._ctx.set_checkpoints(changed)
            self._known = {shard: position for shard, position in {**known, **new}.items() if shard not in gone}
        for shard in tree.trimmed(listed, self._known):
            if shard not in self._missing:
                self._missing.add(shard)
                self._ctx.log.error(
                    "a shard outlived the stream's retention before all of it was read", shard=shard, on_screen=True
                )

        self._trouble.only({"", *(one.id for one in listed)})

    def _begin(self, listed: Sequence[tree.Listed]) -> dict[str, Position]:
        """Return where a stream is begun that was never read; one that lists no shard yet is looked at again soon."""
        now = self._described.now if self._described.now is not None else self._ctx.now()
        if self._began is None and self._start.where == "LATEST":
            self._fresh = {one.id for one in listed if not one.closed}
        self._began = now if self._began is None else self._began
        if not listed:
            self._look = SOON
        return tree.beginning(listed, self._start.where, self._start.at or self._began)

    async def _read(self, shard: str) -> None:
        try:
            async with self._ctx.lease(self._prefix + shard):
                # Another hub may have read on while the lease was waited for.
                stored = await self._ctx.checkpoint(self._prefix + shard)
                position = decode(stored or "{}")
                if position.ended is None:
                    await self._reader(shard, position).run()
        except GoneError as error:
            await self._trouble.rest(shard, error)
        finally:
            self._running.discard(shard)
            self._ended.set()

    def _reader(self, shard: str, position: Position) -> ShardHandling | ShardStoring:
        fresh = shard in self._fresh and position.after is None
        self._fresh.discard(shard)
        given = (self._ctx, self._endpoint, self._described, shard, self._prefix + shard)
        if self._ctx.trigger.ack == "stored":
            return ShardStoring(*given, position, self._trouble, fresh=fresh)
        return ShardHandling(*given, self._plan, position, self._trouble, fresh=fresh)
