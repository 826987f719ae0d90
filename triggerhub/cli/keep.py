"""The commands that look after what the hub keeps: back up, restore, migrate, prune."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

import click

from triggerhub.cli import words
from triggerhub.cli.session import Session, shared
from triggerhub.errors import BadInput, ConfigError, TriggerhubError


@click.command()
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--force", is_flag=True, help="Overwrite FILE, where it is a regular file.")
@shared
@click.pass_obj
def backup(session: Session, file: str | None, force: bool) -> None:
    """Copy everything the hub keeps into one archive, while it runs or not.

    Without FILE the archive is named by the time; - writes it to standard output. It holds payloads in the clear.
    """
    name = file or time.strftime("triggerhub-%Y%m%dT%H%M%SZ.tar", time.gmtime())
    if name == "-":
        if sys.stdout.isatty():
            raise click.UsageError("backup - writes an archive to standard output, which is a terminal; name a FILE.")
        with closing(_pieces(session)) as pieces:
            size = _write(pieces, sys.stdout.buffer)
    else:
        size = _save(session, Path(name), force=force)
    told = {"file": None if name == "-" else os.path.abspath(name), "bytes": size}  # noqa: PTH100 - links stay
    if session.json and name != "-":
        click.echo(words.as_json(told))
    else:
        click.echo(f"wrote {name if name != '-' else 'the archive'}: {words.size(size)}", err=name == "-")


def _save(session: Session, path: Path, *, force: bool) -> int:
    """Write the archive beside its name first, so that there never is half of one under it."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        _may_be_written(session.project, path, force=force)
        draft.unlink(missing_ok=True)
        # In /tmp somebody else may have made it: a link to where it shall go, or a file of theirs.
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as target:
            with closing(_pieces(session)) as pieces:
                size = _write(pieces, target)
            target.flush()
            os.fsync(target.fileno())
        draft.rename(path)
    except OSError as error:
        raise TriggerhubError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return size


def _may_be_written(project: Path, path: Path, *, force: bool) -> None:
    """Raise BadInput for what an archive must not take the place of, or not without *force*. OSError."""
    from triggerhub.client import data_folder

    configuration, folder = project / "triggerhub.toml", data_folder(project).resolve()
    own = path.exists() and configuration.exists() and path.samefile(configuration)
    if own or path.parent.resolve().is_relative_to(folder):
        raise BadInput(f"{path} is the project's own", hint="Name a file outside the data folder.")
    if path.exists() and not path.is_file():
        raise BadInput(f"{path} is no regular file", hint="Name another; - writes to standard output.")
    if path.exists() and not force:
        raise BadInput(f"{path} exists", hint="Name another file, or overwrite it with --force.")


def _write(pieces: Iterator[bytes], target: IO[bytes]) -> int:
    size = 0
    for piece in pieces:
        target.write(piece)
        size += len(piece)
    target.flush()
    return size


def _pieces(session: Session) -> Generator[bytes]:
    """Ask the hub; where none runs here, read the folder that then is nobody's."""
    from triggerhub.client import data_folder

    if session.hub is None and not session.runs(10):
        from triggerhub import app

        return app.backup(data_folder(session.project))
    return session.admin.pieces("backup")


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--yes", is_flag=True, help="Do not ask.")
@shared
@click.pass_obj
def restore(session: Session, file: Path, yes: bool) -> None:
    """Put an archive of `backup` in the place of what the project keeps.

    - reads standard input. The hub must not run. What lay there is kept in a folder beside it, and nothing is
    touched before the archive was read to its end and found good.
    """
    from triggerhub import app
    from triggerhub.client import data_folder

    _here(session, "restore")
    data = data_folder(session.project)
    if (data / "hub.db").exists() and not yes and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm(f"replace what is in {data}?", abort=True)
    try:
        source = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from error
    with source:
        done = app.restore(data, source)
    if session.json:
        before = None if done.before is None else str(done.before)
        click.echo(words.as_json({"data": str(data), "schema": done.schema, "counts": done.counts, "before": before}))
        return
    counts = ", ".join(f"{number:,} {state}" for state, number in sorted(done.counts.items())) or "no deliveries"
    click.echo(f"restored {data}: {counts}")
    if done.before is not None:
        click.echo(f"what lay there before is in {done.before}; remove it when you no longer need it")


@click.command()
@shared
@click.pass_obj
def migrate(session: Session) -> None:
    """Bring the database to this version's schema without starting the hub.

    The hub does the same when it starts. A copy of what it was is kept beside it.
    """
    from triggerhub import app
    from triggerhub.client import data_folder

    _here(session, "migrate")
    before, after = app.migrate(data_folder(session.project))
    if session.json:
        click.echo(words.as_json({"before": before, "after": after}))
    elif before == after:
        click.echo(f"nothing to do: the database is of schema {after}, this version's")
    else:
        click.echo(f"migrated from schema {before} to {after}")


@click.command()
@click.option("--keep", metavar="7d", help="Keep this much of the history; without it, as [hub] keep says.")
@shared
@click.pass_obj
def prune(session: Session, keep: str | None) -> None:
    """Remove old history now, as the hub does by itself every minute.

    Dead letters follow their own dead_letters.keep; what is queued or running never goes. The file does not
    shrink: its room is used again.
    """
    told = session.admin.ask("POST", "prune", body={"keep": keep}, timeout=None).json()
    if session.json:
        click.echo(words.as_json(told))
    else:
        click.echo(f"pruned {words.number(told['pruned'], 'delivery', 'deliveries')}")


def _here(session: Session, command: str) -> None:
    if session.hub is not None:
        raise click.UsageError(f"{command} works on this machine's files; it does not go with --hub.")
    if not (session.project / "triggerhub.toml").exists():
        raise ConfigError(
            f"{session.project.absolute()} is not a triggerhub project", hint="Name its folder: triggerhub -C DIR …"
        )
