"""The commands of a project's life: make it, run it, check it, describe its configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from triggerhub.cli import words
from triggerhub.cli.lazy import Group
from triggerhub.cli.session import Session, shared

if TYPE_CHECKING:
    from triggerhub.config.load import Loaded
    from triggerhub.config.problem import Problem
    from triggerhub.runtimes.privilege import Keeper

NOTHING = "no trigger has a connection to test"


@click.command()
@click.argument("directory", metavar="[DIR]", type=click.Path(), required=False)
@shared
@click.pass_obj
def init(session: Session, directory: str | None) -> None:
    """Write a small project that works."""
    from triggerhub.config.scaffold import scaffold

    folder = session.project if directory is None else Path(directory)
    written = scaffold(folder)
    if session.json:
        click.echo(words.as_json({"project": os.path.abspath(folder), "files": [str(path) for path in written]}))  # noqa: PTH100
        return
    for path in written:
        click.echo(f"  {words.styled('+', 'green')} {folder / path}")
    click.echo("\nNext:")
    if directory is not None and folder != Path():
        click.echo(f"  cd {directory}")
    click.echo("  triggerhub run                 start the hub; it shows what happens")
    click.echo("  echo hi > inbox/a.txt          in another terminal: a file starts a function")
    click.echo("  triggerhub deliveries list     what became of it")
    click.echo("  http://127.0.0.1:8701          the console, in a browser")


@click.command()
@shared
@click.pass_obj
def run(session: Session) -> None:
    """Run the hub in the foreground until a signal ends it.

    A terminal shows what happens as it happens, and warnings; elsewhere the hub's log is lines of JSON on standard
    error.
    With --json standard output has a line for everything that happens.

    Ctrl-C or SIGTERM ends it once running calls have finished, within the time of [hub] drain; a second one cuts
    them, and they run again at the next start. SIGHUP reloads, and so a terminal that is closed leaves the hub running.
    """
    if session.hub is not None:
        raise click.UsageError("run starts a hub on this machine; it does not go with --hub.")
    with _absent("rich"):
        from triggerhub import app
    from triggerhub.cli import live

    if session.json:
        app.run(session.project, show=live.tell, form="json")
    elif sys.stdout.isatty():
        app.run(session.project, show=live.show, form="text")
        # The terminal may be closed meanwhile, which is no reason to have failed.
        with suppress(OSError):
            os.write(sys.stdout.fileno(), b"stopped\n")
    else:
        app.run(session.project)


def _refused(loaded: Loaded, keeper: Keeper | None) -> list[Problem]:
    """Return a warning for each function whose level this host cannot give."""
    from triggerhub import app
    from triggerhub.config.problem import Problem
    from triggerhub.policy.sandbox.levels import Refusal, decide, speaks

    isolated = [one for one in loaded.project.functions.values() if one.level != "trusted"] if loaded.project else []
    if not isolated:
        return []
    lacks, told = app.lacks(keeper), []
    for function in isolated:
        if isinstance(level := decide(function.level, lacks, sockets=speaks(function)), Refusal):
            message = f"functions.{function.name} will not be run: {level.message}"
            told.append(
                Problem(file=function.source, severity="warning", code="no-isolation", message=message, hint=level.hint)
            )
    return told


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """Let a module seem not to be installed: structlog brings rich along for tracebacks that the hub never draws."""
    there = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
        if there is not None:
            sys.modules[name] = there


@click.command()
@click.option("--online", is_flag=True, help="Also test the connections of triggers to their sources.")
@shared
@click.pass_obj
@click.pass_context
def check(context: click.Context, session: Session, online: bool) -> None:
    """Say everything that is wrong with the configuration."""
    from triggerhub import app
    from triggerhub.config.load import load, render

    keeper = app.become(session.project)
    loaded = load(session.project, environ=os.environ)
    loaded = replace(loaded, problems=(*loaded.problems, *_refused(loaded, keeper)))
    tested, failed = _probed(loaded) if online and loaded.project is not None else ({}, [])
    wrong = loaded.project is None or bool(failed)
    if session.json:
        click.echo(words.as_json([asdict(problem) for problem in loaded.problems] + failed))
        context.exit(3 if wrong else 0)
    if loaded.problems:
        kept = (
            " The running hub keeps its last good configuration." if loaded.project is None and session.runs(2) else ""
        )
        click.echo(words.problems(render(loaded.problems) + kept), err=True)
    for failure in failed:
        click.echo(words.problems(f"{failure['file']}: error[{failure['code']}]: {failure['message']}"), err=True)
    if wrong:
        click.echo("triggerhub explain CODE says more about a code in brackets", err=True)
        context.exit(3)
    assert loaded.project is not None
    found = f"{words.number(len(loaded.project.functions), 'function')}, "
    found += words.number(len(loaded.project.triggers), "trigger")
    click.echo(f"{words.styled('ok', 'green')}  {session.project / 'triggerhub.toml'}: {found}")
    if online:
        counted = f"{words.number(len(tested), 'connection')} tested"
        click.echo(f"    online: {counted if tested else NOTHING}")
        for name, told in tested.items():
            if told:
                click.echo(words.styled(f"    {words.clean(name)}: {words.clean(told)}", dim=True))


def _probed(loaded: Loaded) -> tuple[dict[str, str | None], list[dict[str, object]]]:
    """Test what can be tested; return what each trigger's source told, and what failed.

    A source without a probe has no connection to test.
    """
    from triggerhub.cli.probe import probe

    assert loaded.project is not None
    tested: dict[str, str | None] = {}
    failures: list[dict[str, object]] = []
    for trigger in loaded.project.triggers.values():
        module = loaded.sources[trigger.type]
        if not trigger.enabled or not hasattr(module, "probe"):
            continue
        found = probe(module, trigger, loaded.project)
        tested[trigger.name] = found.told
        if found.why is not None:
            message = f"triggers.{trigger.name}: {found.why}"
            place = {"file": "triggerhub.toml", "line": 0, "column": 0, "severity": "error", "code": "not-reachable"}
            failures.append({**place, "message": message, "hint": None, "length": 0})
    return tested, failures


@click.group(cls=Group)
def config() -> None:
    """Describe the configuration file."""


@config.command()
@shared
@click.pass_obj
def schema(session: Session) -> None:
    """Print the JSON Schema of triggerhub.toml, for editors."""
    from triggerhub.config.editor import json_schema
    from triggerhub.config.plugins import Plugins

    plugins = Plugins(Path(os.path.abspath(session.project)))  # noqa: PTH100 - links stay as they are written
    click.echo(words.as_json(json_schema({name: plugins.load(name) for name in plugins.names})))
