"""Read a TOML text with its places, or say what is wrong with it and where."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triggerhub.config.locate import Path as Place
from triggerhub.config.locate import Span, TooDeepError, locate, walk
from triggerhub.config.problem import Report, dotted
from triggerhub.settings import MB

MAX_SIZE = 1 * MB
"""Far more than ten thousand triggers take; more is not a configuration."""

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")

_PLAIN = {r"illegal character '\n'": "a text in quotes is not ended on its line"}
"""What tomllib says, as people do."""
_TUPLE = re.compile(r"\(('[^()]*')\)|\(('[^()]*'),\)")
_NAME = re.compile(r"'([^']*)'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed TOML text; empty where it could not be parsed, and then ``report`` says why."""

    data: dict[str, Any]
    report: Report


def read(path: Path, name: str) -> Document | None:
    """Read the file; None where it does not exist. What cannot be read or parsed is in the report."""
    report = Report(name)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        report.error((), "unreadable", f"{name} cannot be read: {error.strerror or error}")
        return Document(data={}, report=report)
    if len(content) > MAX_SIZE:
        report.error((), "too-large", f"{name} is over 1 MB, which is not a configuration")
        return Document(data={}, report=report)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        report.at_span(Span(line, column, 1), "syntax", f"the file is not UTF-8: byte 0x{content[error.start]:02x}")
        return Document(data={}, report=report)
    return parse(text, report)


def parse(text: str, report: Report) -> Document:
    """Parse *text*; problems go to *report*, which gets the text's places."""
    text = text.replace("\r\n", "\n")
    try:
        report.places = locate(text)
        data = tomllib.loads(text)
        wrong = sorted(_unfit(data), key=lambda found: report.places.offset(found[0]))
        for place, why in wrong:
            report.error(place, "bad-value", f"{dotted(place)}: {why}")
        return Document(data={} if wrong else data, report=report)
    except TooDeepError as error:
        report.at_span(error.span, "too-deep", error.what, "write tables with headers instead")
    except RecursionError:
        report.error((), "too-deep", "values are nested too deeply", "write tables with headers instead")
    except ValueError as error:
        span, what = _said(str(error), text)
        if what.startswith("cannot overwrite a value") and report.places.again:
            path, first, where = report.places.again
            span = report.places.span(*where)
            what = f"{dotted(path)} has a value already, from line {report.places.span(*first).line}"
        unquoted = what == "invalid value" or what.endswith("after a statement")
        hint = "texts and numbers with units are written in quotes" if unquoted else None
        report.at_span(span, "syntax", what, hint)
    return Document(data={}, report=report)


def _unfit(data: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Find what half of the libraries behind a setting choke on: zero characters, and numbers that TOML has not."""
    for place, value in walk(data).items():
        if (isinstance(value, str) and "\0" in value) or (isinstance(place[-1], str) and "\0" in place[-1]):
            yield place, "a zero character can be in no setting"
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            yield place, "the number is out of TOML's range, which is 64 bits"


def _said(message: str, text: str) -> tuple[Span, str]:
    """Split tomllib's message into the place and the reason."""
    match = _PLACE.search(message)
    what = message[: match.start()] if match else message
    if what.startswith("Exceeds the limit"):
        what = "A number has too many digits"
    what = _TUPLE.sub(lambda found: dotted(_NAME.findall(found[0])), what[:1].lower() + what[1:])
    what = _PLAIN.get(what, what)
    if match and match[1]:
        return Span(int(match[1]), int(match[2]), 1), what
    lines = text.removesuffix("\n").split("\n")
    if match:
        what += ", where the file ends"
    return Span(len(lines), len(lines[-1]) + 1, 1), what
