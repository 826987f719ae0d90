"""Make the events that people ask for: sent, sampled or fired by hand."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from types import ModuleType
from typing import Any

import anyio.to_thread

from triggerhub import hooks
from triggerhub.errors import BadInput, Conflict
from triggerhub.model import Event, Millis
from triggerhub.policy.stepwise import is_long
from triggerhub.policy.strict import refuse
from triggerhub.settings import Trigger


def sent(trigger: Trigger, module: ModuleType, body: bytes | None, sample: str | None, now: Millis) -> Event:
    """Return the event of *body*, shaped as the trigger's source shapes it, or the named *sample*.

    BadInput, SourceFailed.
    """
    if sample is not None:
        made = samples(trigger, module, now)
        if sample not in made:
            raise BadInput(f"no sample {sample!r}", hint=f"There is: {', '.join(made) or 'none for this type'}.")
        return made[sample]
    if body is None:
        if hasattr(module, "fire"):
            return fired(trigger, module, now)
        raise BadInput("there is nothing to send", hint="Give the event with -d, or --sample NAME.")
    if hasattr(module, "wrap"):
        return _made(module, "wrap", trigger.options, trigger.name, body, now)
    require_json(body)
    return Event(data=body, time=now)


def fired(trigger: Trigger, module: ModuleType, now: Millis) -> Event:
    """Return what the trigger's source makes when it fires. Conflict where it has nothing to fire; SourceFailed."""
    if not hasattr(module, "fire"):
        raise Conflict(
            f"trigger {trigger.name!r} of type {trigger.type} does not fire by itself",
            hint=f"Send it an event: triggerhub send {trigger.name} -d …",
        )
    return _made(module, "fire", trigger.options, trigger.name, now)


def samples(trigger: Trigger, module: ModuleType, now: Millis) -> Mapping[str, Event]:
    """Return the events that the trigger's source has for trying out, by name. SourceFailed."""
    if not hasattr(module, "samples"):
        return {}
    found = hooks.ask(module, "samples", Mapping, trigger.options, trigger.name, now)  # type: ignore[type-abstract]
    return {str(name): _event(module, "samples", one) for name, one in found.items()}


def _made(module: ModuleType, hook: str, *given: Any) -> Event:
    return _event(module, hook, hooks.ask(module, hook, Event, *given))


def _event(module: ModuleType, hook: str, made: object) -> Event:
    event = hooks.expect(module, hook, Event, made)
    try:
        event.check()
    except TypeError as error:
        raise hooks.failure(module, hook, error) from error
    return event


async def check_json(body: bytes) -> None:
    """Raise BadInput as :func:`require_json` does; what takes long is looked at in a thread, which holds up nobody."""
    if is_long(body):
        await anyio.to_thread.run_sync(require_json, body)
    else:
        require_json(body)


def require_json(body: bytes) -> None:
    """Raise BadInput for what no handler could be given."""
    try:
        text = body.decode()
        if not is_long(body):
            _read(text)
        elif not _is_json(text):
            raise ValueError("it is no JSON")
    except (ValueError, RecursionError) as error:
        raise BadInput(f"Could not parse request body into json: {error}") from error


def _is_json(text: str) -> bool:
    """Whether a text is JSON, without a value made of it, and with no lock of Python's held: by SQLite."""
    if "\0" in text:
        return False
    with closing(sqlite3.connect(":memory:")) as database:
        return bool(database.execute("SELECT json_valid(?)", (text,)).fetchone()[0])


_read = json.JSONDecoder(parse_constant=refuse).decode
