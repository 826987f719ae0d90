"""Write the hub's own log: lines for people on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Literal, TypeAlias

import structlog

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
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
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
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def _untold(logger: object, method: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if "problems" in facts:
        raise structlog.DropEvent
    return facts
