"""Read an AWS service description: which request is which operation, and what each takes and answers.

The description is botocore's ``service-2.json`` of a rest-json service. Pure: it is given, not looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from triggerhub.model import Json

Shape = Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that the service does."""

    name: str
    method: str
    path: tuple[str, ...]
    """The components of the path; ``{Name}`` stands for any one, which is that member of the input."""
    fixed: tuple[tuple[str, str], ...]
    """What the query must say for a request to be this operation and not another of the same path."""
    status: int
    input: str | None
    output: str | None
    errors: tuple[str, ...]

    @property
    def route(self) -> str:
        """The path as people write it."""
        query = "&".join(f"{name}={value}" for name, value in self.fixed)
        return "/" + "/".join(self.path) + (f"?{query}" if query else "")

    def match(self, parts: list[str], query: Mapping[str, list[str]]) -> dict[str, str] | None:
        """Return what the path's components say, by member; None where it is another operation's."""
        found = {}
        for wanted, part in zip(self.path, parts, strict=True):
            if wanted.startswith("{"):
                if not part:
                    return None
                found[wanted[1:-1]] = unquote(part, errors="replace")
            elif wanted != part:
                return None
        return found if all(value in query.get(name, ()) for name, value in self.fixed) else None


class Service:
    """All operations and shapes of one description."""

    def __init__(self, description: Mapping[str, Json]) -> None:
        self.shapes: Mapping[str, Shape] = description["shapes"]
        self.operations = {name: _operation(name, one) for name, one in sorted(description["operations"].items())}
        self._routes: dict[tuple[str, int], list[Operation]] = {}
        # What says more comes first: a fixed query, then the words of a path.
        for one in sorted(self.operations.values(), key=_precision, reverse=True):
            self._routes.setdefault((one.method, len(one.path)), []).append(one)
        self._dates = {one.path[0] for one in self.operations.values()}

    def serves(self, raw_path: str) -> bool:
        """Whether a path is one of this service, by the date that it begins with."""
        return raw_path[1:].partition("/")[0] in self._dates

    def find(
        self, method: str, raw_path: str, query: Mapping[str, list[str]]
    ) -> tuple[Operation, dict[str, str]] | None:
        """Return the operation that a request is, and what its path says; *raw_path* is as it came, encoded."""
        parts = _parts(raw_path)
        for operation in self._routes.get((method, len(parts)), ()):
            found = operation.match(parts, query)
            if found is not None:
                return operation, found
        return None

    def members(self, shape: str) -> Iterator[tuple[str, Shape, Shape]]:
        """Yield name, reference and shape of each member of a structure."""
        for name, reference in self.shapes[shape].get("members", {}).items():
            yield name, reference, self.shapes[reference["shape"]]

    def status_of(self, error: str) -> int:
        """Return the HTTP status of an error class; 400 for one that the description does not have."""
        shape = self.shapes.get(error, {})
        status: int = shape.get("error", {}).get("httpStatusCode", 400)
        return status

    def words_of(self, error: str) -> str:
        """Return the member in which an error class has its message: ``Message`` or ``message``."""
        members = self.shapes.get(error, {}).get("members", {"message": {}})
        return "Message" if "Message" in members else "message"


def _operation(name: str, description: Mapping[str, Json]) -> Operation:
    http = description["http"]
    path, _, query = http["requestUri"].partition("?")
    return Operation(
        name=name,
        method=http["method"],
        path=tuple(_parts(path)),
        fixed=tuple((key, value) for key, _, value in (part.partition("=") for part in query.split("&") if part)),
        status=http.get("responseCode", 200),
        input=description["input"]["shape"] if "input" in description else None,
        output=description["output"]["shape"] if "output" in description else None,
        errors=tuple(sorted(error["shape"] for error in description.get("errors", ()))),
    )


def _parts(raw_path: str) -> list[str]:
    # A slash at the end says nothing: older clients of this service send one, newer ones do not.
    return raw_path.removeprefix("/").removesuffix("/").split("/")


def _precision(operation: Operation) -> tuple[int, int]:
    return len(operation.fixed), sum(not part.startswith("{") for part in operation.path)
