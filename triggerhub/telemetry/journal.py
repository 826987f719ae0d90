"""Write the hub's own log: lines for people on a terminal, JSON elsewhere."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
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


log = structlog.get_logger("hub")

_hide: Callable[[str], str] = str


def hide_by(hide: Callable[[str], str]) -> None:
    """Write from now on what *hide* makes of each text: an error may quote a secret."""
    global _hide
    _hide = hide


def configure(level: str, form: Form, *, told: bool = False) -> None:
    """Set up structlog for this process; called once, by the command that starts the hub.

    *told* leaves out what is marked ``on_screen`` and the problems of a configuration, because whoever reads the
    log sees them already.
    """
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    renderer: list[structlog.typing.Processor] = (
        [
            _harmless,
            # Not structlog's pretty one: it shows the values of variables, secrets among them.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
        if text
        else [structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            _untold if told else _unmarked,
            structlog.processors.format_exc_info,
            _veiled,
            structlog.processors.add_log_level,
            # Beside what is drawn, as what is drawn.
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if told else "iso", utc=not told),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", Unfailing(sys.stderr))),
        cache_logger_on_first_use=True,
    )


def attend(loop: asyncio.AbstractEventLoop) -> None:
    """Have in the log, as all else is, what fails in a callback of *loop*: nobody waits for that."""
    loop.set_exception_handler(
        lambda _, context: log.error("a callback failed", what=context["message"], exc_info=context.get("exception"))
    )


class Unfailing:
    """A stream that is in nobody's way: lines that cannot be written are counted, and told once they can be.

    The log may lie on the disk that is full, or go to a reader that is gone; the hub has to go on all the same.
    Nothing is buffered, since what a buffer could not give away it would keep for ever.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0

    def write(self, text: str) -> None:
        lost = {"event": "lines before this one could not be written", "count": self._lost, "level": "warning"}
        told = f"{text}{json.dumps(lost)}\n" if self._lost else text
        try:
            self._put(told)
        except (OSError, ValueError):
            self._lost += 1
        else:
            self._lost = 0

    def flush(self) -> None:
        """Do nothing: all is written."""

    def _put(self, text: str) -> None:
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError):
            self._stream.write(text)
            return
        left = text.encode("utf-8", "backslashreplace")
        while left:
            left = left[os.write(descriptor, left) :]


def _untold(logger: object, method: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if "problems" in facts or facts.get("on_screen"):
        raise structlog.DropEvent
    return _unmarked(logger, method, facts)


def _unmarked(logger: object, method: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    facts.pop("on_screen", None)
    return facts


def _veiled(logger: object, method: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name, value in facts.items():
        if isinstance(value, str):
            facts[name] = _hide(value)
        elif isinstance(value, list | tuple):
            facts[name] = [_hide(one) if isinstance(one, str) else one for one in value]
    return facts


def _harmless(logger: object, method: str, facts: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Spell out what a terminal would obey; only a traceback keeps its lines."""
    for name, value in facts.items():
        if isinstance(value, str):
            facts[name] = "\n".join(map(spelt, value.split("\n"))) if name == "exception" else spelt(value)
    return facts
