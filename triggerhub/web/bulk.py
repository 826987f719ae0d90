"""Act on many deliveries at once, named by id or chosen by a filter, and tell how far it is.

The chosen ones are found first, so that the number is known and the oldest come first; a delivery that
dies again meanwhile is not taken twice. Ending the request ends the work between two chunks.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias
from uuid import UUID

import anyio

from triggerhub.errors import BadInput, NotFound
from triggerhub.hub.hub import Hub
from triggerhub.hub.veil import Veil
from triggerhub.model import Delivery, Json, Millis, State
from triggerhub.policy import orders, units
from triggerhub.policy.grouping import fingerprint
from triggerhub.policy.unseen import spelt
from triggerhub.settings import Rate
from triggerhub.store import Query
from triggerhub.web import asked
from triggerhub.web.stream import Tell

Act: TypeAlias = Callable[[Sequence[str], str], Awaitable[list[str]]]
"""Does it to these, for this reason; returns those it was done to."""
Note: TypeAlias = Callable[..., None]
"""Takes facts by name."""
Cause: TypeAlias = tuple[str | None, str]
"""A function, None being any, and the fingerprint of its error; see :mod:`triggerhub.policy.grouping`."""

DEAD = (State.DEAD,)
UNFINISHED = (State.QUEUED, State.RUNNING)
RETRYING = (State.QUEUED,)
"""Of these, those alone that wait for their next attempt."""
MEMBERS: dict[str, type] = {
    "ids": list,
    "function": str,
    "trigger": str,
    "since": str,
    "error": str,
    "key": str,
    "fingerprint": str,
    "causes": list,
    "all": bool,
    "rate": str,
    "reason": str,
    "dry_run": bool,
}
NOUNS = {
    DEAD: "dead letter",
    UNFINISHED: "delivery that is queued or running",
    RETRYING: "delivery that waits for its next attempt",
}
FILTERS = ("ids", "function", "trigger", "since", "error", "key", "fingerprint", "causes", "all")
"""The members that say which ones."""
CHUNK = 100
PAGE = 1000
NAMED = 10_000
"""Ids in one request."""
STEP = 0.1
"""Seconds between two chunks that a rate holds back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done: to *ids*, or to whatever *query* finds in one of the *states*."""

    states: tuple[State, ...]
    ids: tuple[str, ...] = ()
    query: Query = field(default_factory=Query)
    causes: frozenset[Cause] | None = None
    """Only those that died of one of them."""
    told: bool = True
    """Whether who gave it may see what events carry, and so choose by what an error says."""
    rate: Rate | None = None
    reason: str = "by hand"
    dry_run: bool = False
    said: str = ""
    """Which ones, in words; empty where it is all there are."""

    def takes(self, row: Delivery, now: Millis) -> bool:
        """Whether a delivery stands as it must for this."""
        return row.state in self.states and (self.states != RETRYING or row.retrying(now))


def order(fields: dict[str, Json], states: tuple[State, ...], *, told: bool) -> Order:
    """Read an order from the members of a request. BadInput, also where nothing says which ones."""
    chosen = [name for name in FILTERS if fields.get(name)]
    if not chosen:
        hint = 'Give "ids", a filter ("function", "trigger", "since", "error", "key", "causes"), or "all": true.'
        raise BadInput("which ones?", hint=hint)
    if "ids" in chosen and len(chosen) > 1:
        raise BadInput('"ids" does not go with a filter')
    causes = _causes(fields)
    ids = fields.get("ids") or []
    if len(ids) > NAMED or not all(isinstance(one, str) for one in ids):
        raise BadInput(f'"ids": expected at most {NAMED} texts')
    try:
        rate = units.rate(fields["rate"]) if "rate" in fields else None
    except ValueError as error:
        raise BadInput(f"rate: {error}") from error
    return Order(
        states=states,
        ids=tuple(dict.fromkeys(map(asked.identifier, ids))),
        query=Query(
            function=fields.get("function") or _alone(causes),
            trigger=fields.get("trigger"),
            since=asked.since(fields.get("since")),
            error=fields.get("error"),
            key=fields.get("key"),
            limit=PAGE,
        ),
        causes=causes,
        told=told,
        rate=rate,
        reason=fields.get("reason", "by hand"),
        dry_run=fields.get("dry_run", False),
        said=orders.chosen({**fields, "all": None}),
    )


def _causes(fields: dict[str, Json]) -> frozenset[Cause] | None:
    """Read the causes that are named, be it one or a list of them; None is whatever the cause. BadInput."""
    named, mark = fields.get("causes"), fields.get("fingerprint")
    if not named:
        return None if mark is None else frozenset({(fields.get("function"), mark)})
    if mark is not None:
        raise BadInput('"causes" does not go with "fingerprint"')
    return frozenset(map(_cause, named))


def _cause(named: Json) -> Cause:
    match named:
        case {"function": str(function), "fingerprint": str(mark)} if len(named) == 2:
            return function, mark
    raise BadInput('"causes": expected {"function": NAME, "fingerprint": TEXT} for each')


def _alone(causes: frozenset[Cause] | None) -> str | None:
    """Return the function that all of the causes are of, if they are of one."""
    functions = {name for name, _ in causes or ()}
    return functions.pop() if len(functions) == 1 else None


async def carry_out(hub: Hub, work: Order, act: Act, tell: Tell, note: Note) -> None:
    """Tell ``{"total", "done", "changed"}`` after every chunk; the last line has ``"finished": true`` besides.

    NotFound where a filter chooses none. *note* is given how far it is, for the log of changes.
    """
    note(chosen=0, changed=0, dry_run=work.dry_run)
    found = await _named(hub, work) if work.ids else await _chosen(hub, work)
    total, done, changed = len(found) // 16, 0, 0
    note(chosen=total)
    if not work.dry_run:
        await tell({"total": total, "done": 0, "changed": 0})
        pace = _Pace(work.rate)
        for chunk in _chunks(found, pace.chunk):
            await pace.wait(done)
            changed += len(await act(chunk, work.reason))
            done += len(chunk)
            note(changed=changed)
            await tell({"total": total, "done": done, "changed": changed})
    skipped = len(work.ids) - total if work.ids else 0
    note(finished=True)
    last = {"total": total, "done": done, "changed": changed, "skipped": skipped + done - changed}
    await tell({**last, "dry_run": work.dry_run, "finished": True})


async def _named(hub: Hub, work: Order) -> bytearray:
    """Return those of the ids that stand in the right state, 16 bytes each."""
    found, now = bytearray(), asked.now()
    for identifier in work.ids:
        try:
            row = (await hub.deliveries.get(identifier)).delivery
        except NotFound:
            if len(work.ids) == 1:
                raise
            continue
        if work.takes(row, now):
            found += UUID(identifier).bytes
    return found


async def _chosen(hub: Hub, work: Order) -> bytearray:
    """Return all that the filter finds, oldest first, 16 bytes each: there may be a million."""
    pages: list[bytes] = []
    causes, now = work.causes, asked.now()
    for state in work.states:
        query = replace(work.query, state=state)
        while True:
            rows = await hub.deliveries.page(query, told=work.told)
            fit = (row for row in reversed(rows) if work.takes(row, now))
            fit = (row for row in fit if causes is None or causes & _died_of(row, hub.veil, told=work.told))
            pages.append(b"".join(UUID(row.id).bytes for row in fit))
            if len(rows) < query.limit:
                break
            query = replace(query, before=rows[-1].id)
    found = bytearray(b"".join(reversed(pages)))
    if not found:
        await hub.deliveries.known(work.query)
        if work.said:
            noun = NOUNS[work.states]
            raise NotFound(f"there is no {noun} with {work.said}", hint="It may be done already; ask for the list.")
    return found


def _died_of(row: Delivery, veil: Veil, *, told: bool) -> set[Cause]:
    """Return what the cause of a death may be called, with its secrets or without, as it is shown or as it is.

    Who is not *told* what errors say knows their cause alone, see :meth:`Veil.cause`.
    """
    if row.error is None:
        return {(row.function, ""), (None, "")}
    kind, message, named = row.error.type, row.error.message, veil.text(row.error.type)
    if told:
        marks = {fingerprint(kind, message), fingerprint(named, veil.text(message))}
    else:
        marks = {f"{named}: {veil.cause(kind, message)}"}
    marks |= set(map(spelt, marks))
    return {(function, mark) for function in (row.function, None) for mark in marks}


def _chunks(found: bytearray, size: int) -> Iterator[list[str]]:
    for start in range(0, len(found), 16 * size):
        part = bytes(found[start : start + 16 * size])
        yield [str(UUID(bytes=part[at : at + 16])) for at in range(0, len(part), 16)]


class _Pace:
    """Holds the work to a rate, in even steps and not in bursts."""

    def __init__(self, rate: Rate | None) -> None:
        self._each: Millis | float = rate.per / rate.count if rate else 0
        self._began = time.monotonic()
        self.chunk = max(1, min(CHUNK, int(STEP * 1000 / self._each))) if self._each else CHUNK

    async def wait(self, done: int) -> None:
        due = self._began + done * self._each / 1000
        await anyio.sleep(max(0.0, due - time.monotonic()))
