"""The command that makes the hub a service of systemd."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from pathlib import Path

import click

from triggerhub.cli import words
from triggerhub.cli.lazy import Group
from triggerhub.cli.session import Session, shared
from triggerhub.errors import BadInput, ConfigError, TriggerhubError
from triggerhub.model import Millis

DRAIN: Millis = 30_000
"""Taken where the configuration cannot be read whole: the service's own secrets need not be here."""


@click.group(cls=Group)
def service() -> None:
    """Run the hub as a service of this machine."""


@service.command()
@click.option(
    "--user",
    "own",
    is_flag=True,
    help="For the user's own manager, without root; it runs while logged in, or with lingering.",
)
@click.option("--as", "runs_as", metavar="NAME", help="Whom it runs as; without it, the owner of the project's folder.")
@click.option("--name", metavar="NAME", help="The unit's name; without it, triggerhub-FOLDER.")
@click.option("--print", "only_print", is_flag=True, help="Print the unit and write nothing.")
@click.option("--force", is_flag=True, help="Overwrite a unit that says something else.")
@shared
@click.pass_obj
def install(session: Session, own: bool, runs_as: str | None, name: str | None, only_print: bool, force: bool) -> None:
    """Write a systemd unit: started with the machine, restarted when it fails, hardened, told when it is ready.

    A unit of the system is written by root. The command says what to type next; it starts nothing itself.
    """
    from triggerhub.cli.unit import unit
    from triggerhub.config.load import load

    if session.hub is not None:
        raise click.UsageError("service works on this machine; it does not go with --hub.")
    if own and runs_as:
        raise click.UsageError("--as does not go with --user: a user's own manager runs what that user may.")
    project = Path(os.path.abspath(session.project))  # noqa: PTH100 - links stay as they are written
    if not (project / "triggerhub.toml").exists():
        raise ConfigError(f"{project} is not a triggerhub project", hint="Name its folder: triggerhub -C DIR …")
    loaded = load(project, environ=os.environ)
    drain = DRAIN if loaded.project is None else loaded.project.hub.drain
    user = None if own else _user(runs_as, project)
    command = [sys.executable, "-m", "triggerhub", "-C", str(project), "run"]
    text = unit(project=str(project), command=command, drain=drain, user=user)
    path = _folder(own) / f"{_name(name, project)}.service"
    if not only_print:
        _write(path, text, force=force)
    if session.json:
        click.echo(words.as_json({"unit": str(path), "user": user, **({"text": text} if only_print else {})}))
        return
    if only_print:
        click.echo(text, nl=False)
        return
    manager = "systemctl --user" if own else "systemctl"
    click.echo(f"wrote {path}")
    if loaded.project is None:
        click.echo(words.styled("the configuration has problems here: triggerhub check", "yellow"))
    if user == "root" and not (loaded.project and loaded.project.hub.user):
        click.echo(
            words.styled(
                "it runs as root, and so do handlers at level trusted: set [hub] user, or --as somebody else", "yellow"
            )
        )
    click.echo("\nNext:")
    click.echo(f"  {manager} daemon-reload")
    click.echo(f"  {manager} enable --now {path.stem}")
    click.echo(f"  {'journalctl --user' if own else 'journalctl'} -u {path.stem} -f")
    if own:
        click.echo(
            f"  loginctl enable-linger {shlex.quote(pwd.getpwuid(os.getuid()).pw_name)}    to run while logged out"
        )


def _user(wanted: str | None, project: Path) -> str:
    if wanted is None:
        return pwd.getpwuid(project.stat().st_uid).pw_name
    try:
        return pwd.getpwnam(wanted).pw_name
    except KeyError:
        raise BadInput(
            f"there is no user {wanted!r} on this machine", hint=f"Make one: useradd --system {shlex.quote(wanted)}"
        ) from None


def _name(wanted: str | None, project: Path) -> str:
    name = wanted or f"triggerhub-{project.name}"
    fit = "".join(one if one.isascii() and (one.isalnum() or one in "-_.:") else "-" for one in name)
    if wanted is not None and fit != wanted:
        raise BadInput(f"{wanted!r} cannot name a unit", hint="Use letters, digits, '-', '_', '.' and ':'.")
    return fit


def _folder(own: bool) -> Path:
    if own:
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"
    return Path("/etc/systemd/system")


def _write(path: Path, text: str, *, force: bool) -> None:
    try:
        if path.exists() and path.read_text() != text and not force:
            raise BadInput(
                f"{path} exists and says something else",
                hint="Look at it; --force overwrites it, --name takes another name.",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    except OSError as error:
        hint = "Run it as root, or with --user for a service of your own, or with --print to place it yourself."
        raise TriggerhubError(f"{path} cannot be written: {error.strerror}", hint=hint) from error
