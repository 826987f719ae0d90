"""Be the command line: read the options, run one command, turn errors into words and exit codes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

import triggerhub
from triggerhub.cli.lazy import LazyGroup
from triggerhub.cli.session import Session, as_json, place, plain
from triggerhub.errors import BadInput, ConfigError, HubUnreachable, TriggerhubError

SECTIONS = {
    "Project": {
        "init": ("project:init", "Write a small project that works."),
        "run": ("project:run", "Run the hub in the foreground until a signal ends it."),
        "check": ("project:check", "Say everything that is wrong with the configuration."),
        "doctor": ("doctor:doctor", "Say what this host can and cannot give."),
        "config": ("project:config", "Describe the configuration file."),
    },
    "Events in": {
        "invoke": ("call:invoke", "Call a function once, and answer with its result."),
        "send": ("call:send", "Push one event through a trigger's filter, key and queue."),
    },
    "What became of them": {
        "deliveries": ("deliveries:deliveries", "The queue and its history."),
        "dlq": ("dlq:dlq", "Dead letters: deliveries that failed for good."),
        "logs": ("logs:logs", "Show what functions wrote, oldest first."),
        "explain": ("explain:explain", "Explain a problem's code, or tell the story of an event."),
    },
    "The hub": {
        "status": ("status:status", "Say what the hub is and how it does."),
        "top": ("top:top", "Show how the functions do, the busiest first, until Ctrl-C."),
        "functions": ("functions:functions", "Functions: list, show, versions, rollback, canary, pause, resume."),
        "triggers": ("triggers:triggers", "Triggers: list, show, pause, resume, fire."),
        "alarms": ("alarms:alarms", "List the alarms: which are on, since when, and what they measure."),
        "token": ("token:token", "Tokens by which programs prove who they are: create, list, show, revoke."),
        "hash-password": (
            "token:hash_password",
            "Ask for a password and print its hash, for [console] auth.",
        ),
        "service": ("service:service", "Run the hub as a service of this machine."),
        "backup": ("keep:backup", "Copy everything the hub keeps into one archive, while it runs or not."),
        "restore": ("keep:restore", "Put an archive of `backup` in the place of what the project keeps."),
        "migrate": ("keep:migrate", "Bring the database to this version's schema without starting the hub."),
        "prune": ("keep:prune", "Remove old history now, as the hub does by itself every minute."),
        "completion": ("completion:completion", "Print what makes a shell complete commands and names."),
    },
}
"""Where each command is, and what the list of commands says of it without importing it."""
EXITS: tuple[tuple[type[TriggerhubError], int], ...] = (
    (BadInput, 2),
    (ConfigError, 3),
    (HubUnreachable, 4),
    (TriggerhubError, 1),
)


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    package=__name__,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@place(hidden=False)
@as_json()
@click.version_option(triggerhub.__version__, message="triggerhub %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """AWS Lambda's programming model on your own machine.

    Files, clocks, queues and webhooks run handlers, and nothing is lost.
    """
    if plain():
        context.color = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and exit: 0 done, 1 failed, 2 usage, 3 configuration, 4 hub not reachable, 5 partly done."""
    if sys.stdout is None or sys.stderr is None:
        # Started with one of them closed: what would be written to it is lost, nothing else.
        sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: PTH123, SIM115
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
    except TriggerhubError as error:
        _tell(error)
        return next(code for kind, code in EXITS if isinstance(error, kind))
    except PermissionError as error:
        if error.filename is None:
            raise
        text = f"{os.fsdecode(error.filename)} may not be used: {error.strerror}"
        _tell(TriggerhubError(text, hint="It is another user's; run this command as that user."))
        return 1
    except OSError as error:
        return _unwritten(error)


def _unwritten(error: OSError) -> int:
    """Return the exit code for an output that takes no more; any other error is one of the program's own."""
    if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO) or error.filename is not None:
        raise error
    # The interpreter must not try to flush once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # A reader that had enough, a `head` perhaps, needs no word.
    if error.errno != errno.EPIPE:
        click.echo(f"error: the output cannot be written: {error.strerror}", err=True)
    return 1


def _tell(error: TriggerhubError) -> None:
    from triggerhub.cli import words

    color = False if plain() else None
    if rendered := getattr(error, "rendered", None):
        click.echo(words.problems(rendered), err=True, color=color)
        return
    click.echo(click.style("error: ", fg="red", bold=True) + words.clean(error.message), err=True, color=color)
    if error.hint:
        click.echo(f"  {words.clean(error.hint)}", err=True)
