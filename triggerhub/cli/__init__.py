"""Be the command line: ``triggerhub``. Each command imports what it needs when it runs."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import click

from triggerhub import __version__
from triggerhub.cli.exits import exit_code, say

COMMANDS = {
    "init": ("project", "Make a new project."),
    "run": ("project", "Run the hub in the foreground."),
    "check": ("project", "Say everything that is wrong with the configuration."),
    "doctor": ("doctor", "Say what this host can and cannot give."),
    "invoke": ("calls", "Call a function once."),
    "send": ("calls", "Push one event through a trigger."),
    "deliveries": ("deliveries", "The queue and its history."),
    "dlq": ("dlq", "Dead letters: what failed for good."),
    "logs": ("logs", "What functions wrote."),
    "status": ("state", "How the hub does."),
    "functions": ("state", "List, pause and resume functions."),
    "triggers": ("state", "List, pause, resume and fire triggers."),
    "config": ("project", "The configuration's schema."),
    "completion": ("project", "Print a completion script for your shell."),
    "explain": ("explain", "Explain a problem's code, or tell the story of an event."),
}
LATER = ("service", "backup", "restore", "migrate", "prune", "token", "hash-password", "top")


class Lazy(click.Group):
    """A group whose commands are imported when one of them is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in LATER:
            ctx.fail(f"{name!r} is not in this version.")
        if name not in COMMANDS:
            return None
        module = import_module(f"triggerhub.cli.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-C", "project", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="The project's folder."
)
@click.option("--hub", metavar="URL", help="Talk to the hub at this address instead of the project's own.")
@click.option("--token", metavar="T", help="The token for --hub.")
@click.version_option(__version__, prog_name="triggerhub")
@click.pass_context
def cli(ctx: click.Context, project: Path, hub: str | None, token: str | None) -> None:
    """AWS Lambda's programming model on your own machine."""
    from triggerhub.client import Admin

    ctx.obj = Admin(project.absolute(), hub, token)
    ctx.meta["project"] = project.absolute()


def main() -> None:
    """Run a command; its error is one sentence and a hint, its exit code says which kind."""
    from triggerhub.errors import TriggerhubError

    try:
        code = cli.main(prog_name="triggerhub", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except TriggerhubError as error:
        say(error)
        sys.exit(exit_code(error))
    sys.exit(code if isinstance(code, int) else 0)
