"""Explain: what a problem's code means, or what happened to an event."""

from __future__ import annotations

import re
from typing import Any

import click

from triggerhub.cli.show import age, as_json, dump, milliseconds, safe
from triggerhub.client import Admin
from triggerhub.config.codes import CODES
from triggerhub.errors import BadInput

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@click.command()
@click.argument("what", metavar="CODE|ID")
@as_json
@click.pass_obj
def explain(admin: Admin, what: str, as_json: bool) -> None:
    """Explain a problem's CODE, or tell the story of the event or delivery with this ID."""
    if what in CODES:
        dump({"code": what, "text": CODES[what]}) if as_json else click.echo(CODES[what])
        return
    if not _ID.fullmatch(what):
        raise BadInput(f"{what!r} is neither a problem's code nor an id", hint=f"Codes: {', '.join(sorted(CODES))}.")
    event = admin.get(f"/events/{what[:-2]}00")
    owed = [one for one in event["deliveries"] if what.endswith("00") or one["id"] == what]
    story = [admin.get(f"/deliveries/{one['id']}") for one in owed]
    if as_json:
        dump({**event, "deliveries": story})
        return
    click.echo(f"Event {event['id']} came by trigger {event['trigger']} at {event['time']} ({age(event['time'])}).")
    if event["dedup_key"]:
        click.echo(
            safe(f"  Its dedup key is {event['dedup_key']!r}: what repeats it within the horizon does not run again.")
        )
    for one in story:
        _tell(one)


def _tell(one: dict[str, Any]) -> None:
    click.echo(f"\nDelivery {one['id']} is owed to {one['function']}: {one['state']}.")
    for number, attempt in enumerate(one["history"], 1):
        error = attempt["error"]
        text = f"{error['type']}: {error['message']}" if error else "answered"
        took = milliseconds(attempt["duration_ms"])
        click.echo(safe(f"  {attempt['started']}  attempt {number}, version {attempt['version']}, {took}: {text}"))
    if one["reason"]:
        click.echo(safe(f"  Why: {one['reason']}"))
    match one["state"]:
        case "queued":
            click.echo(f"  Next: it is due {age(one['due'])}.")
        case "dead":
            click.echo(f"  Next: triggerhub dlq redrive {one['id']}, once the cause is mended.")
