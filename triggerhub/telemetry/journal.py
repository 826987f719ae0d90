"""Write the hub's own log: lines for people on a terminal, JSON elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Literal, TextIO, TypeAlias, cast

import structlog

from triggerhub.policy.unseen import spelt

Form: TypeAlias = Literal["auto", "text", "json"]
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


def configure(level: str, form: Form, *, told: bool = False) -> None:
    """Set up structlog for this process; called once, by the command that starts the hub.

    *told* leaves out the problems of a configuration, because whoever reads the log sees them already.
    """
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    renderer: list[structlog.typing.Processor] = (
        [
            structlog.processors.format_exc_info,
            _harmless,
            # Not structlog's pretty one: it shows the values of variables, secrets among them.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
        if text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            *([_untold] if told else []),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Patient(sys.stderr))),
        cache_logger_on_first_use=True,
    )


class _Patient:
    """A file whose failures end nobody: the terminal may be closed, or whoever reads a pipe gone."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()


def _untold(logger: object, method: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if "problems" in facts:
        raise structlog.DropEvent
    return facts


def _harmless(logger: object, method: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Spell out what a terminal would obey; only a traceback keeps its lines."""
    for name, value in facts.items():
        if isinstance(value, str):
            facts[name] = "\n".join(map(spelt, value.split("\n"))) if name == "exception" else spelt(value)
    return facts
