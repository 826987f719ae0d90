"""Make the events that people ask for: sent, sampled or fired by hand."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from types import ModuleType

import anyio.to_thread

from triggerhub.errors import BadInput, Conflict
from triggerhub.model import Event, Millis
from triggerhub.policy.stepwise import is_long
from triggerhub.policy.strict import refuse
from triggerhub.settings import Trigger


def sent(trigger: Trigger, module: ModuleType, body: bytes | None, sample: str | None, now: Millis) -> Event:
    """Return the event of *body*, shaped as the trigger's source shapes it, or the named *sample*. BadInput."""
    if sample is not None:
        samples = module.samples(trigger.options, trigger.name, now) if hasattr(module, "samples") else {}
        if sample not in samples:
            raise BadInput(f"no sample {sample!r}", hint=f"There is: {', '.join(samples) or 'none for this type'}.")
        made: Event = samples[sample]
        return made
    if body is None:
        if hasattr(module, "fire"):
            return fired(trigger, module, now)
        raise BadInput("there is nothing to send", hint="Give the event with -d, or --sample NAME.")
    if hasattr(module, "wrap"):
        wrapped: Event = module.wrap(trigger.options, trigger.name, body, now)
        return wrapped
    require_json(body)
    return Event(data=body, time=now)


def fired(trigger: Trigger, module: ModuleType, now: Millis) -> Event:
    """Return what the trigger's source makes when it fires. Conflict where it has nothing to fire."""
    if not hasattr(module, "fire"):
        raise Conflict(
            f"trigger {trigger.name!r} of type {trigger.type} does not fire by itself",
            hint=f"Send it an event: triggerhub send {trigger.name} -d …",
        )
    event: Event = module.fire(trigger.options, trigger.name, now)
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
