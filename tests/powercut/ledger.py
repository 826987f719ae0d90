"""Keep account of what a store said that it had done, and compare that with what it knows afterwards.

Every command is announced before it is given and acknowledged after it was answered, both as marks in
the record of the disk. What was acknowledged must be there; what was only announced may be there,
wholly or not at all; what was refused must not be.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from triggerhub.model import State
from triggerhub.stores import rows
from triggerhub.stores.sqlite import SQLiteStore

Value = Any
"""A delivery's ``"open"`` or ``[state, finished]``, a checkpoint's text, the event that has a dedup key."""


class Book:
    """The side of the one who gives the commands: writes the marks."""

    def __init__(self, mark: Callable[[bytes], None]) -> None:
        self._mark = mark
        self.number = 0

    def will(self, values: dict[str, Value], *, data: dict[str, int] | None = None, prune: int | None = None) -> int:
        """Announce a command, by what it would change; returns its number."""
        self.number += 1
        self._write({"will": self.number, "values": values, "data": data or {}, "prune": prune})
        return self.number

    def did(self, number: int) -> None:
        """Acknowledge a command."""
        self._write({"did": number})

    def refused(self, number: int) -> None:
        """Note that the store answered with an error that says it did nothing."""
        self._write({"refused": number})

    def opened(self, epoch: int) -> None:
        """Note the epoch of an opening."""
        self._write({"epoch": epoch})

    def resume(self, number: int) -> None:
        """Go on after the numbers of an earlier process."""
        self.number = number

    def _write(self, what: dict[str, Any]) -> None:
        self._mark(json.dumps(what).encode())


@dataclass(slots=True)
class Command:
    values: dict[str, Value]
    prune: int | None
    did: bool = False
    refused: bool = False


@dataclass(slots=True)
class Ledger:
    """The side of the one who checks: reads the marks up to a moment."""

    commands: dict[int, Command] = field(default_factory=dict)
    data: dict[str, int] = field(default_factory=dict)
    """The checksum of each delivery's payload."""
    acknowledged: int = 0
    epoch: int = 0

    def read(self, marks: Iterable[bytes]) -> None:
        for mark in marks:
            self._read(json.loads(mark))

    def _read(self, what: dict[str, Any]) -> None:
        if "will" in what:
            self.commands[what["will"]] = Command(what["values"], what["prune"])
            self.data |= what["data"]
        elif "did" in what:
            self.commands[what["did"]].did = True
            self.acknowledged += 1
        elif "refused" in what:
            self.commands[what["refused"]].refused = True
        else:
            self.epoch = what["epoch"]

    def broken(self, known: Known) -> list[str]:
        """Return one sentence for each promise that *known* breaks."""
        seen = known.values
        legal: dict[str, list[Value]] = {}
        whole: dict[str, int] = {}
        pruned = 0
        for number, command in self.commands.items():
            pruned = max(pruned, command.prune or 0)
            if command.refused:
                continue
            for key, value in command.values.items():
                before = legal.get(key, [None])
                legal[key] = [value] if command.did else [*before, value]
                if not command.did and before != [value]:
                    whole[key] = number
                else:
                    whole.pop(key, None)
        found = [
            f"{key} is {seen.get(key)}, expected {' or '.join(map(str, values))}"
            for key, values in legal.items()
            if seen.get(key) not in values and not _pruned(seen.get(key), values, pruned)
        ]
        found += [f"{key} is known, and nobody was told so" for key in seen.keys() - legal.keys()]
        halves: dict[int, set[bool]] = {}
        for key, number in whole.items():
            value = self.commands[number].values[key]
            halves.setdefault(number, set()).add(seen.get(key) == value or _pruned(seen.get(key), [value], pruned))
        found += [f"half of command {number} was done" for number, done in halves.items() if len(done) > 1]
        found += [
            f"the payload of {one} is another one" for one, crc in known.sums.items() if crc != self.data.get(one)
        ]
        if known.epoch <= self.epoch:
            found.append(f"the epoch is {known.epoch}, after {self.epoch}")
        return found + [f"{one} succeeded, and its attempt is not known" for one in known.hollow]


def _pruned(seen: Value, values: list[Value], before: int) -> bool:
    """Whether it is gone, and may be: it was finished before what was pruned."""
    return seen is None and any(isinstance(one, list) and one[1] < before for one in values)


@dataclass(slots=True)
class Known:
    """What a store knows of all that the ledger speaks of."""

    values: dict[str, Value]
    sums: dict[str, int]
    hollow: list[str]
    epoch: int
    integrity: str


async def known(store: SQLiteStore) -> Known:
    """Ask the store."""
    return await store._slow.read(_known, store)


def _known(db: sqlite3.Connection, store: SQLiteStore) -> Known:
    values: dict[str, Value] = {}
    sums: dict[str, int] = {}
    hollow = []
    for row in db.execute(f"{rows.BOTH}").fetchall():
        one = rows.delivery(row)
        values[f"delivery {one.id}"] = [str(one.state), one.finished] if one.state.finished else "open"
        sums[one.id] = zlib.crc32(rows.event(row, store._blobs, checked=False).data)
        if one.state is State.SUCCEEDED and not rows.attempts(db, one.id):
            hollow.append(one.id)
    values |= {f"checkpoint {scope} {key}": value for scope, key, value in db.execute("SELECT * FROM checkpoint")}
    values |= {
        f"key {trigger} {key}": event for trigger, key, event in db.execute("SELECT trigger, key, event FROM key")
    }
    (integrity,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    return Known(values, sums, hollow, store.owner, integrity)
