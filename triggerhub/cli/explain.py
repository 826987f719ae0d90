"""The command that explains: what a problem's code means, or what happened to an event."""

from __future__ import annotations

import difflib
import re

import click

from triggerhub import ids
from triggerhub.cli import words
from triggerhub.cli.session import Session, shared
from triggerhub.errors import BadInput

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@click.command()
@click.argument("what", metavar="CODE|ID")
@shared
@click.pass_obj
def explain(session: Session, what: str) -> None:
    """Explain a problem's code, or tell the story of an event.

    CODE stands in brackets in what check says; ID is that of an event or of one of its deliveries.
    """
    wanted = what.strip().lower()
    if _ID.fullmatch(wanted):
        _story(session, wanted)
    else:
        _code(session, wanted.strip("[]"))


def _code(session: Session, code: str) -> None:
    from triggerhub.config.codes import CODES

    if code not in CODES:
        close = difflib.get_close_matches(code, CODES, n=1, cutoff=0.75)
        hint = f'Did you mean "{close[0]}"?' if close else f"Codes: {', '.join(sorted(CODES))}."
        raise BadInput(f"{code!r} is neither the code of a problem nor an id", hint=hint)
    if session.json:
        click.echo(words.as_json({"code": code, "text": CODES[code]}))
    else:
        click.echo(CODES[code])


def _story(session: Session, identifier: str) -> None:
    """Tell of an event and its deliveries, or of the one delivery that is asked for."""
    answer = session.admin.ask("GET", "events", ids.event_of(identifier))
    found = answer.json()
    rows = [row for row in found["deliveries"] if identifier in (found["id"], row["id"])]
    details = [session.admin.ask("GET", "deliveries", row["id"]) for row in rows]
    if not details and identifier != found["id"]:
        # Its event is still kept, so the refusal speaks of the delivery.
        details = [session.admin.ask("GET", "deliveries", identifier)]
    if session.json:
        click.echo(_joined(answer.body, [one.body for one in details]))
        return
    from triggerhub.cli import story

    click.echo(story.event(found, [one.json() for one in details]))


def _joined(body: bytes, details: list[bytes]) -> str:
    """Return the event with its deliveries' histories in place of their rows; payloads stay as they came."""
    # The rows are the answer's last member, and a payload cannot end like them.
    head = body[: body.rindex(b',"deliveries":[')]
    return words.raw_json(head + b',"deliveries":[' + b",".join(details) + b"]}")
