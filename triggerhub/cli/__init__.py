"""Be the command line: read the options, run one command, turn errors into words and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

import triggerhub
from triggerhub.cli.lazy import LazyGroup
from triggerhub.cli.session import Session, place
from triggerhub.errors import BadInput, ConfigError, HubUnreachable, TriggerhubError

SECTIONS = {
    "Project": {
        "init": "project:init",
        "run": "project:run",
        "check": "project:check",
        "doctor": "doctor:doctor",
        "config": "project:config",
    },
    "Events in": {
        "invoke": "call:invoke",
        "send": "call:send",
    },
    "What became of them": {
        "deliveries": "deliveries:deliveries",
        "dlq": "dlq:dlq",
        "logs": "logs:logs",
        "explain": "explain:explain",
    },
    "The hub": {
        "status": "status:status",
        "functions": "functions:functions",
        "triggers": "triggers:triggers",
        "completion": "completion:completion",
    },
}
LATER = ("backup", "hash-password", "migrate", "prune", "restore", "service", "token", "top")
EXITS: tuple[tuple[type[TriggerhubError], int], ...] = (
    (BadInput, 2),
    (ConfigError, 3),
    (HubUnreachable, 4),
    (TriggerhubError, 1),
)


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    later=LATER,
    package=__name__,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@place(hidden=False)
@click.version_option(triggerhub.__version__, message="triggerhub %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """AWS Lambda's programming model on your own machine.

    Files, clocks, queues and webhooks run handlers, and nothing is lost.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and exit: 0 done, 1 failed, 2 usage, 3 configuration, 4 hub not reachable, 5 partly done."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="triggerhub", standalone_mode=False, obj=Session(project=Path()))
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader, a `head` perhaps, had enough; the interpreter must not try to flush once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except TriggerhubError as error:
        _tell(error)
        return next(code for kind, code in EXITS if isinstance(error, kind))


def _tell(error: TriggerhubError) -> None:
    from triggerhub.cli import words

    color = False if os.environ.get("NO_COLOR") else None
    if rendered := getattr(error, "rendered", None):
        click.echo(words.problems(rendered), err=True, color=color)
        return
    click.echo(click.style("error: ", fg="red", bold=True) + words.clean(error.message), err=True, color=color)
    if error.hint:
        click.echo(f"  {words.clean(error.hint)}", err=True)
