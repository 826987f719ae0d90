"""A table that is printed while a long run goes on, and remembers what did not hold."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Sheet:
    """Rows of what was tried, what came of it and what was expected."""

    broken: list[str] = field(default_factory=list)
    width: int = 52

    def row(self, name: str, value: object, expected: str = "", *, held: bool = True) -> None:
        """Print a row; one that did not hold is broken."""
        print(f"{name:<{self.width}}{value!s:>22}   {expected:<14}{'' if held else '  BROKEN'}".rstrip(), flush=True)
        if not held:
            self.broken.append(f"{name}: {value}, expected {expected}")

    def same(self, name: str, value: object, expected: object) -> None:
        """Print a row whose value must be this one."""
        self.row(name, value, str(expected), held=value == expected)

    def code(self) -> int:
        """Say once more what is broken; return the exit code."""
        for sentence in self.broken:
            print(f"BROKEN: {sentence}")
        return 1 if self.broken else 0
