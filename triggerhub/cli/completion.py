"""The command that teaches a shell to complete."""

from __future__ import annotations

import click

from triggerhub.cli import words
from triggerhub.cli.session import Session, shared


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@shared
@click.pass_obj
@click.pass_context
def completion(context: click.Context, session: Session, shell: str) -> None:
    """Print what makes a shell complete commands and names.

    The names of functions and triggers are asked of the running hub.

    \b
    bash:  eval "$(triggerhub completion bash)"     in ~/.bashrc
    zsh:   eval "$(triggerhub completion zsh)"      in ~/.zshrc
    fish:  triggerhub completion fish | source      in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(context.find_root().command, {}, "triggerhub", "_TRIGGERHUB_COMPLETE").source()
    click.echo(words.as_json({"shell": shell, "script": script}) if session.json else script)
