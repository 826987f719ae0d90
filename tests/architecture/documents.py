"""Take the blocks of code out of a document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))
_BLOCK = re.compile(r"(?m)^```(?P<info>[^\n`]+)\n(?P<text>.*?)^```$", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    document: Path
    line: int
    info: str
    """The language, and what stands behind it."""
    text: str

    @property
    def language(self) -> str:
        return self.info.split()[0]

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path, language: str) -> Iterator[Block]:
    """Find the blocks of a language in a document."""
    text = document.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        block = Block(document, text.count("\n", 0, found.start()) + 1, found["info"], found["text"])
        if block.language == language:
            yield block


def everywhere(language: str) -> list[Block]:
    """Find the blocks of a language in all documents."""
    return [block for document in DOCUMENTS for block in blocks(document, language)]
