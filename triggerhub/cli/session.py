"""Hold what every command shares: which project, which hub, how to print."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from triggerhub.errors import HubUnreachable, TriggerhubError

if TYPE_CHECKING:
    from triggerhub.client import Admin

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Session:
    """What the options before and after a command's name say."""

    project: Path
    hub: str | None = None
    token: str | None = None
    json: bool = False

    @cached_property
    def admin(self) -> Admin:
        """The hub to talk to: that of ``--hub``, else the project's own."""
        from triggerhub.client import Admin

        if self.hub is not None:
            return Admin(self.hub, self.token or os.environ.get("TRIGGERHUB_TOKEN") or None)
        if self.token is not None:
            raise click.UsageError("--token goes with --hub; on its own socket the hub asks for none.")
        return Admin.of(self.project)

    def runs(self, patience: float) -> bool:
        """Whether a hub answers within *patience* seconds, whatever it says."""
        try:
            self.admin.ask("GET", "status", timeout=patience)
        except HubUnreachable:
            return False
        except TriggerhubError:
            return True
        return True


def place(*, hidden: bool) -> Callable[[F], F]:
    """Add the options that say where the project and the hub are; a command has them, too, but does not list them."""

    def decorate(function: F) -> F:
        for option in (
            click.option(
                "--token", metavar="T", hidden=hidden, expose_value=False, callback=_keep,
                help="Token for --hub; without it, TRIGGERHUB_TOKEN.",
            ),
            click.option(
                "--hub", metavar="URL", hidden=hidden, expose_value=False, callback=_keep,
                help="The hub's admin address; without it, the project's socket.",
            ),
            click.option(
                "-C", "project", metavar="DIR", hidden=hidden, expose_value=False, callback=_keep_folder,
                type=click.Path(), help="The project's folder; without it, this one.",
            ),
        ):  # fmt: skip
            function = option(function)
        return function

    return decorate


def shared(function: F) -> F:
    """Add ``--json`` and the options of :func:`place` to a command, which takes nothing that is empty.

    A script whose variable is not set would say something else than it means: all, or whatever is the default.
    """

    @wraps(function)
    def filled(*arguments: Any, **options: Any) -> Any:
        context = click.get_current_context()
        for parameter in context.command.params:
            value = context.params.get(parameter.name or "")
            if value == "" or (isinstance(value, tuple) and "" in value):
                raise click.BadParameter("it is empty.", context, parameter)
        return function(*arguments, **options)

    return place(hidden=True)(as_json()(cast("F", filled)))


def as_json() -> Callable[[F], F]:
    """Add ``--json``."""
    return click.option("--json", is_flag=True, expose_value=False, callback=_keep, help="Print JSON.")


def plain() -> bool:
    """Whether there shall be no colours, whatever the output is."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value not in (None, False) and parameter.name is not None:
        setattr(context.obj, parameter.name, value)


def _keep_folder(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value == "":
        raise click.BadParameter("it is empty.")
    if value is not None:
        context.obj.project = Path(value)


def _since(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    from triggerhub.policy import moment

    try:
        if value is not None:
            moment.since(value, 0)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error
    return value


def chosen(function: F) -> F:
    """Add the options that choose deliveries."""
    for option in (
        click.option("--key", metavar="KEY", help="Only with this dedup or ordering key, whole."),
        click.option("--error", metavar="TEXT", help="Only with this in the error's type or message."),
        click.option("--since", metavar="TIME", callback=_since, help="Accepted since: 90s, 15m, 1h, 2d or RFC 3339."),
        click.option("--trigger", metavar="NAME", shell_complete=names("triggers"), help="Only of this trigger."),
        click.option("--function", metavar="NAME", shell_complete=names("functions"), help="Only of this function."),
    ):
        function = option(function)
    return function


def limited(default: int) -> Callable[[F], F]:
    """Add ``--limit``."""
    return click.option(
        "--limit",
        metavar="N",
        type=click.IntRange(1),
        default=default,
        show_default=True,
        help="At most so many, the newest.",
    )


since = click.option("--since", metavar="TIME", callback=_since, help="Since: 90s, 15m, 1h, 2d or RFC 3339.")


def names(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a completion of the hub's own names; without a hub there is none."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            obj = context.find_root().obj or Session(project=context.find_root().params.get("project") or Path())
            rows = obj.admin.ask("GET", kind, timeout=1).json()
        except Exception:
            return []
        return [row["name"] for row in rows if row["name"].startswith(incomplete)]

    return complete


def data(context: click.Context, parameter: click.Parameter, value: str | None) -> bytes | None:
    """Read ``-d``: the text itself, ``@FILE``, or ``-`` for standard input."""
    if value is None:
        return None
    try:
        if value == "-":
            return sys.stdin.buffer.read()
        if value.startswith("@"):
            return Path(value[1:]).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{value[1:]} cannot be read: {error.strerror or error}") from error
    return os.fsencode(value)


def given(**members: object) -> Mapping[str, object]:
    """Return the members that are there."""
    return {name: value for name, value in members.items() if value not in (None, False, ())}
