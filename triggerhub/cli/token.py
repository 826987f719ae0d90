"""The commands of access: tokens for programs, hashes of passwords for people."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

import click

from triggerhub.cli import words
from triggerhub.cli.lazy import Group
from triggerhub.cli.session import Session, shared

HEADER = ("NAME", "MAY", "PAYLOADS", "CREATED", "EXPIRES", "ID")


@click.group(cls=Group)
def token() -> None:
    """Tokens by which programs prove who they are: create, list, show, revoke."""


@token.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator", "admin"]),
    help="What it may do, unless --action or --policy says it; viewer if nothing does.",
)
@click.option("--payloads", is_flag=True, help="It may see what events carry and handlers answer, and what errors say.")
@click.option("--lasts", metavar="TIME", help="It ends after this time, like 30d.")
@click.option("--aws", is_flag=True, help="Make an access key for the Lambda API: an id and a secret to sign with.")
@click.option("--action", "actions", multiple=True, metavar="PATTERN", help="With --aws: only such, like lambda:Get*.")
@click.option(
    "--function", "functions", multiple=True, metavar="PATTERN", help="With --aws: only such functions, by name or ARN."
)
@click.option("--policy", type=click.File(), help="With --aws: the IAM policy in this file; - is standard input.")
@shared
@click.pass_obj
def create(session: Session, /, name: str, policy: TextIO | None, role: str | None, **given: Any) -> None:
    """Make a token and print it, the only time that it is shown.

    With --aws it is an access key for the Lambda API. Once there was one, that API takes no request without, and where
    [console] auth asks nobody, keys are made and revoked by the hub's socket alone.
    """
    chosen = {"policy": policy.read() if policy else None, "role": role}
    body = {"name": name, **given, **{key: value for key, value in chosen.items() if value is not None}}
    made = session.admin.ask("POST", "tokens", body=body).json()
    if session.json:
        click.echo(words.as_json(made))
        return
    if made["key"]:
        click.echo(f"AWS_ACCESS_KEY_ID={made['key']}\nAWS_SECRET_ACCESS_KEY={made['secret']}")
        click.echo(words.styled("The secret is not shown again.", dim=True), err=True)
        return
    click.echo(made["token"])
    click.echo(words.styled("It is not shown again. Use it with --token, or in TRIGGERHUB_TOKEN.", dim=True), err=True)


@token.command("list")
@shared
@click.pass_obj
def list_(session: Session) -> None:
    """List the tokens, oldest first; what proves them is not kept."""
    rows = session.admin.get("tokens")
    if session.json:
        click.echo(words.as_json(rows))
    elif rows:
        click.echo(words.table(HEADER, map(_row, rows), right=(), spare=(5, 0)))
    else:
        click.echo("no tokens; triggerhub token create NAME makes one", err=True)


def _row(row: dict[str, Any]) -> list[words.Cell | str]:
    expires = words.age(row["expires"]) if row["expires"] else "never"
    payloads = "shown" if row["payloads"] else "hidden"
    return [row["name"], _may(row), payloads, words.age(row["created"]), expires, row["id"]]


def _may(row: dict[str, Any]) -> str:
    """Say what a token may do: its role, or what an access key has instead."""
    return "policy" if row["policy"] else "actions" if row["actions"] else str(row["role"])


@token.command()
@click.argument("name")
@shared
@click.pass_obj
def show(session: Session, name: str) -> None:
    """Show what a token may do, by its name or id; an access key's policy is whole."""
    found = session.admin.get("tokens", name)
    if session.json:
        click.echo(words.as_json(found))
        return
    rows = {
        "id": found["id"],
        "key": found["key"],
        "may": _may(found),
        "actions": ", ".join(found["actions"]),
        "functions": ", ".join(found["functions"]),
        "payloads": "shown" if found["payloads"] else "hidden",
        "created": words.age(found["created"]),
        "expires": words.age(found["expires"]) if found["expires"] else "never",
    }
    click.echo(found["name"])
    for label, value in rows.items():
        if value:
            click.echo(f"  {label:<10} {value}")
    if found["policy"]:
        click.echo(words.as_json(found["policy"]))


@token.command()
@click.argument("name")
@click.option(
    "--open", "open_", is_flag=True, help="Of the last access key: let the Lambda API take any signature again."
)
@shared
@click.pass_obj
def revoke(session: Session, name: str, *, open_: bool) -> None:
    """Take a token's power at once, by its name or id.

    When the last access key is revoked the Lambda API takes no request, until there is another key or --open was said.
    """
    body = {"open": True} if open_ else None
    gone = session.admin.ask("POST", "tokens", name, "revoke", body=body).json()
    if session.json:
        click.echo(words.as_json(gone))
        return
    click.echo(f"token {gone['name']} is revoked")
    if gone["last_key"]:
        state = "any signature" if gone["signatures"] == "any" else "no signature: there is no access key any more"
        click.echo(words.styled(f"The Lambda API takes {state}.", dim=True), err=True)


@click.command("hash-password")
@shared
@click.pass_obj
def hash_password(session: Session) -> None:
    """Ask for a password and print its hash, for [console] auth.

    Without a terminal the password is the first line of standard input.
    """
    from triggerhub.policy import password

    if sys.stdin.isatty():
        word = click.prompt("Password", hide_input=True, confirmation_prompt="Once more", err=True)
    else:
        word = sys.stdin.readline().rstrip("\r\n")
    if not word:
        raise click.UsageError("the password is empty.")
    kept = password.hashed(word, os.urandom(password.SALT))
    click.echo(words.as_json({"hash": kept}) if session.json else kept)
