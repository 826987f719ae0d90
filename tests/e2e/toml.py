"""Write the parts of a configuration that many tests have alike."""

from __future__ import annotations

HUB = '[hub]\nlisten = "127.0.0.1:{LISTEN}"\nadmin = "127.0.0.1:{ADMIN}"\n'
"""The table in which a hub has ports of its own, which ``Daemon.write`` fills in; what follows it goes on with it."""


def webhook(name: str, function: str, *keys: str, answers: bool = False) -> str:
    """Return a trigger that takes what anybody posts to /NAME, and *answers* with what its function returned.

    *keys* are further lines of it.
    """
    result = ('respond = "result"',) if answers else ()
    return _trigger(name, "webhook", f'path = "/{name}"', 'auth = "none"', f'function = "{function}"', *result, *keys)


def queue(name: str, function: str, *keys: str) -> str:
    """Return a trigger to which events are sent by its own name; *keys* are further lines of it."""
    return _trigger(name, "queue", f'name = "{name}"', f'function = "{function}"', *keys)


def _trigger(name: str, type_: str, *keys: str) -> str:
    return "\n".join(("", f"[triggers.{name}]", f'type = "{type_}"', *keys, ""))
