"""Say what a disk may hold after its power was cut.

Strict, as POSIX allows it: what was written to a file is on the disk once the file was synced, and a
name once its folder was. What was not synced may be there or not, in any choice and order, in part
by sectors. What a failed sync of a file should have written never comes to the disk, unless it is written
anew; names stay uncertain, since a file system that cannot keep its own journal takes no more changes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.powercut.disk import Record

SECTOR = 512
MODELS = ("none", "all", "subset", "prefix", "torn")
"""What of the unsynced survives: nothing, everything, each write or not, those up to one, each sector or not."""


@dataclass(slots=True, eq=False)
class Change:
    """A change that is not yet certain."""

    at: int
    op: str
    offset: int
    data: bytes

    def sectors(self) -> list[Change]:
        """Return the write as one of each sector that it touches."""
        if self.op != "w":
            return [self]
        first = SECTOR - self.offset % SECTOR
        edges = [0, *range(first, len(self.data), SECTOR), len(self.data)]
        return [
            Change(self.at, "w", self.offset + start, self.data[start:end])
            for start, end in pairwise(edges)
            if start < end
        ]

    def apply(self, content: bytearray) -> None:
        if self.op == "w":
            if len(content) < self.offset:
                content.extend(bytes(self.offset - len(content)))
            content[self.offset : self.offset + len(self.data)] = self.data
        elif self.op == "t" and len(content) > self.offset:
            del content[self.offset :]
        elif len(content) < self.offset:
            content.extend(bytes(self.offset - len(content)))


@dataclass(slots=True, eq=False)
class Node:
    """A file, or a folder."""

    folder: bool = False
    content: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Naming:
    """A change of names in a folder that is not yet certain; *node* None takes the name away."""

    at: int
    folder: Path
    names: dict[Path, Node | None]


class Disk:
    """What is certain, and what is not, as the records go by."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._inodes: dict[int, Node] = {}
        self._folders: dict[int, Path] = {}
        self._now: dict[Path, Node] = {}
        self._certain: dict[Path, Node] = {}
        self._namings: list[Naming] = []
        self._at = 0

    def play(self, records: Iterable[Record]) -> None:
        """Let the records happen."""
        for record in records:
            self._at += 1
            self._play(record)

    def _play(self, record: Record) -> None:
        match record.op:
            case "c":
                self._inodes[record.inode] = node = Node()
                self._name({Path(record.data.decode()): node})
            case "k":
                self._name({Path(record.data.decode()): Node(folder=True)})
            case "d":
                self._folders[record.inode] = Path(record.data.decode())
                self._inodes.pop(record.inode, None)
            case "r":
                before, after = (Path(one) for one in record.data.decode().split("\0"))
                self._name({before: None, after: self._now[before]})
            case "u":
                self._name({Path(record.data.decode()): None})
            case "w" | "t" | "a":
                self._inodes[record.inode].pending.append(Change(self._at, record.op, record.offset, record.data))
            case "s":
                self._sync(record)

    def _name(self, names: dict[Path, Node | None]) -> None:
        self._namings.append(Naming(self._at, next(iter(names)).parent, names))
        _rename(self._now, names)

    def _sync(self, record: Record) -> None:
        node = self._inodes.get(record.inode)
        if node is not None:
            if not record.failed:
                for change in node.pending:
                    change.apply(node.content)
            node.pending.clear()
            return
        folder = self._folders[record.inode]
        if not record.failed:
            for naming in self._namings:
                if naming.folder == folder:
                    _rename(self._certain, naming.names)
            self._namings = [naming for naming in self._namings if naming.folder != folder]

    def image(self, model: str, draw: random.Random, into: Path) -> None:
        """Write what the disk may hold if the power goes now."""
        survives = self._chooser(model, draw)
        names = dict(self._certain)
        for naming in self._namings:
            if survives(naming.at):
                _rename(names, naming.names)
        for path, node in sorted(names.items()):
            target = into / path.relative_to(self.root)
            if not target.parent.is_dir():
                continue  # its folder was never certain
            if node.folder:
                target.mkdir()
                continue
            content = bytearray(node.content)
            for change in node.pending:
                for part in change.sectors() if model == "torn" else [change]:
                    if survives(part.at):
                        part.apply(content)
            target.write_bytes(content)

    def _chooser(self, model: str, draw: random.Random) -> Callable[[int], bool]:
        if model == "prefix":
            waiting = [change.at for node in self._inodes.values() for change in node.pending]
            moments = sorted([*waiting, *(naming.at for naming in self._namings)])
            last = draw.choice(moments) if moments else 0
            return lambda at: at <= last
        if model in ("none", "all"):
            return lambda at: model == "all"
        return lambda at: draw.random() < 0.5


def _rename(names: dict[Path, Node], change: dict[Path, Node | None]) -> None:
    for path, node in change.items():
        if node is None:
            names.pop(path, None)
        else:
            names[path] = node
