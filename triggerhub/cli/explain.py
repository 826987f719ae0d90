"""The command that explains: what a problem's code means, or what happened to an event."""

from __future__ import annotations

import difflib
import os
import re

import click

from triggerhub import ids
from triggerhub.cli import words
from triggerhub.cli.session import Session, shared
from triggerhub.errors import BadInput, HubUnreachable

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@click.command()
@click.argument("what", metavar="CODE|ID")
@shared
@click.pass_obj
def explain(session: Session, what: str) -> None:
    """Explain a problem's code, or tell the story of an event.

    CODE stands in brackets in what check says; ID is that of an event or of one of its deliveries, or what its source
    calls it: a file's path, a message's id, a request's id, a key. So it also tells which filter refused an event.
    """
    from triggerhub.config.codes import CODES

    wanted = what.strip()
    code = wanted.lower().strip("[]")
    if _ID.fullmatch(wanted.lower()):
        _story(session, wanted.lower())
    elif code in CODES:
        click.echo(words.as_json({"code": code, "text": CODES[code]}) if session.json else CODES[code])
    elif close := difflib.get_close_matches(code, CODES, n=1, cutoff=0.75):
        raise BadInput(f"{code!r} is neither the code of a problem nor an id", hint=f'Did you mean "{close[0]}"?')
    else:
        try:
            _story(session, wanted, os.path.abspath(wanted))  # noqa: PTH100 - as the source of files does
        except HubUnreachable as error:
            raise HubUnreachable(
                f"{wanted!r} is not the code of a problem, and {error.message}", hint=error.hint
            ) from error


def _story(session: Session, name: str, path: str | None = None) -> None:
    """Tell of an event and its deliveries, or of the one delivery that is asked for."""
    from triggerhub.cli import story

    query = {"id": _sendable(name), "path": None if path is None else _sendable(path)}
    answer = session.admin.ask("GET", "explain", query=query)
    known = answer.json()
    if known["id"] is None:
        click.echo(words.raw_json(answer.body) if session.json else story.refused(known))
        return
    one = path is None and name != known["id"] == ids.event_of(name)
    rows = [row for row in known["deliveries"] if not one or row["id"] == name]
    details = [session.admin.ask("GET", "deliveries", row["id"]) for row in rows]
    if not details and one:
        # Its event is still kept, so the refusal speaks of the delivery.
        details = [session.admin.ask("GET", "deliveries", name)]
    if session.json:
        body = session.admin.ask("GET", "events", known["id"]).body if known["told"] else None
        click.echo(_joined(body, answer.body, [one.body for one in details]))
    else:
        click.echo(story.event(known, [one.json() for one in details], known))


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _joined(event: bytes | None, known: bytes, details: list[bytes]) -> str:
    """Return the event with its deliveries' histories in place of their rows; payloads stay as they came."""
    # The rows are the answer's last member, and a payload cannot end like them.
    head = b"{" if event is None else event[: event.rindex(b',"deliveries":[')] + b","
    return words.raw_json(head + b'"explained":' + known + b',"deliveries":[' + b",".join(details) + b"]}")
