"""Say how a command ended: 0 done, 1 failed, 2 usage, 3 configuration, 4 hub not reachable, 5 partly done."""

from __future__ import annotations

import click

from triggerhub.errors import BadInput, ConfigError, HubUnreachable, TriggerhubError

FAILED, USAGE, CONFIGURATION, UNREACHABLE, PARTLY = 1, 2, 3, 4, 5


def exit_code(error: TriggerhubError) -> int:
    """Return the exit code of an error."""
    match error:
        case BadInput():
            return USAGE
        case ConfigError():
            return CONFIGURATION
        case HubUnreachable():
            return UNREACHABLE
        case _:
            return FAILED


def say(error: TriggerhubError) -> None:
    """Write an error for a person."""
    rendered = getattr(error, "rendered", None)
    if rendered:
        click.echo(rendered, err=True)
        return
    click.secho(f"error: {error.message}", err=True, fg="red")
    if error.hint:
        click.echo(f"  {error.hint}", err=True)
