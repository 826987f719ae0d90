"""Commands about a project: init, run, check, config, completion."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from triggerhub.cli.exits import CONFIGURATION
from triggerhub.cli.show import as_json, dump


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
def init(folder: Path) -> None:
    """Make a new project in FOLDER: a configuration and handlers that show what a hub does."""
    from triggerhub.config import scaffold

    for path in scaffold.scaffold(folder):
        click.echo(f"  {path}")
    where = "" if folder == Path() else f"cd {folder} && "
    click.echo(f"\nNext:  {where}triggerhub run")
    click.echo("Then, in a second terminal:  echo hi > inbox/a.txt  and  triggerhub deliveries list")


@click.command()
@click.pass_context
def run(ctx: click.Context) -> None:
    """Run the hub in the foreground until SIGTERM or Ctrl-C; a second signal cuts what still runs."""
    from triggerhub import app

    show = None
    if sys.stdout.isatty() and sys.stderr.isatty():
        from triggerhub.cli.live import show as show_live

        show = show_live
    app.run(ctx.meta["project"], show=show)


@click.command()
@click.option("--online", is_flag=True, help="Test the connections of triggers, too.")
@as_json
@click.pass_context
def check(ctx: click.Context, online: bool, as_json: bool) -> int:
    """Say everything that is wrong with the configuration, with its place. Exits 3 when there are errors."""
    from triggerhub.config.load import load
    from triggerhub.config.problem import render

    loaded = load(ctx.meta["project"], environ=os.environ)
    if as_json:
        fields = ("file", "line", "column", "severity", "code", "message", "hint")
        dump([{field: getattr(problem, field) for field in fields} for problem in loaded.problems])
    elif loaded.problems:
        click.echo(render(loaded.problems))
    elif loaded.project is not None:
        found = loaded.project
        click.echo(f"{len(found.functions)} functions and {len(found.triggers)} triggers: nothing is wrong.")
    if online and loaded.project is not None and not as_json:
        click.echo("No source of this version has a connection to test.")
    return CONFIGURATION if loaded.project is None else 0


@click.group()
def config() -> None:
    """The configuration's schema."""


@config.command()
@click.pass_context
def schema(ctx: click.Context) -> None:
    """Print a JSON Schema of triggerhub.toml, for editors."""
    from triggerhub.config.editor import json_schema
    from triggerhub.config.plugins import Plugins

    project = ctx.meta["project"]
    plugins = Plugins(project)
    dump(json_schema({name: plugins.load(name) for name in plugins.names}))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script: eval "$(triggerhub completion bash)"."""
    from click.shell_completion import get_completion_class

    from triggerhub.cli import cli

    found = get_completion_class(shell)
    assert found is not None, shell
    click.echo(found(cli, {}, "triggerhub", "_TRIGGERHUB_COMPLETE").source())
