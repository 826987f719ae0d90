"""The commands that put something in: call a function once, send an event to a trigger."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import click

from triggerhub.cli import words
from triggerhub.cli.session import Session, data, names, shared
from triggerhub.policy.advice import advise
from triggerhub.policy.strict import is_json
from triggerhub.telemetry.report import frame

_DATA = "JSON, @FILE, or - for standard input."


@click.command()
@click.argument("function", metavar="FN", shell_complete=names("functions"))
@click.option("-d", "--data", "payload", metavar="DATA", callback=data, help=f"What the function gets: {_DATA}")
@click.option("--async", "later", is_flag=True, help="Queue it, with retries and dead letters, and do not wait.")
@click.option("--delay", metavar="10m", help="With --async: not before so long.")
@click.option("--local", is_flag=True, help="Run it in this process: no hub, no store, no queue.")
@click.option("--log", is_flag=True, help="Show what the function wrote.")
@shared
@click.pass_obj
@click.pass_context
def invoke(
    context: click.Context,
    session: Session,
    function: str,
    payload: bytes | None,
    later: bool,
    delay: str | None,
    local: bool,
    log: bool,
) -> None:
    """Call a function once, and answer with its result.

    The answer goes to standard output, the report to standard error. Exits 1 when the function fails.
    """
    if later and (local or log):
        raise click.UsageError(f"--async does not go with {'--local' if local else '--log'}.")
    if delay is not None and not later:
        raise click.UsageError("--delay goes with --async only.")
    if later:
        query = {"async": True, "delay": delay}
        answer = session.admin.ask("POST", "functions", function, "invoke", query=query, body=payload or b"{}")
        context.exit(_sent(session, answer.json()))
    if local:
        report, body = _local(session, function, payload or b"{}")
    else:
        answer = session.admin.ask(
            "POST", "functions", function, "invoke", query={"report": True}, body=payload or b"{}", timeout=None
        )
        head, _, body = answer.body.partition(b"\n")
        report = json.loads(head)
    if session.json:
        if body and not is_json(body):
            report["payload_base64"], body = base64.b64encode(body).decode(), b""
        # The payload is spliced in as it came: nothing here may round a number of it.
        click.echo(words.raw_json(json.dumps(report).encode()[:-1] + b', "payload": ' + (body or b"null") + b"}"))
    else:
        _answer(body)
        _report(report, log=log)
    context.exit(0 if report["outcome"] == "returned" else 1)


def _local(session: Session, function: str, payload: bytes) -> tuple[dict[str, Any], bytes]:
    from triggerhub import app
    from triggerhub.hub.handmade import require_json
    from triggerhub.web import shape

    if session.hub is not None:
        raise click.UsageError("--local does not go with --hub.")
    require_json(payload)
    call = app.invoke_local(session.project, function, payload)
    return shape.report(call), shape.outcome(call.outcome)[1]


def _answer(body: bytes) -> None:
    """Write the payload as it came; to a terminal, without what it would obey."""
    if sys.stdout.isatty():
        click.echo(words.raw_json(body))
    else:
        sys.stdout.buffer.write(body + b"\n")
        sys.stdout.buffer.flush()


def _report(report: dict[str, Any], *, log: bool) -> None:
    """Write the function's lines, or only the last one that says what the call took."""
    lines = list(zip(report["streams"], report["log"], strict=True))
    places = [frame(text) if stream == "hub" else None for stream, text in lines]
    for (stream, text), place in zip(lines, places, strict=True):
        if log or place == "report":
            click.echo(words.logged(stream, text), err=True)
    if report["error"]:
        told = words.clean(words.error(report["error"]))
        click.echo(words.styled(f"{report['outcome']}: ", "red", bold=True) + told, err=True)
        if hint := advise(report["error"]["type"], report["error"]["message"]):
            click.echo(f"  {hint}", err=True)
        if not log and None in places:
            click.echo("  --log shows what the function wrote", err=True)


@click.command()
@click.argument("trigger", metavar="TRIGGER", shell_complete=names("triggers"))
@click.option("-d", "--data", "body", metavar="DATA", callback=data, help=f"What the source would receive: {_DATA}")
@click.option("--sample", metavar="NAME", help="Send one of the source's own samples instead.")
@click.option("--delay", metavar="10m", help="Deliver it not before so long.")
@click.option("--key", metavar="KEY", help="Deduplicate by this key.")
@shared
@click.pass_obj
@click.pass_context
def send(
    context: click.Context,
    session: Session,
    trigger: str,
    body: bytes | None,
    sample: str | None,
    delay: str | None,
    key: str | None,
) -> None:
    """Push one event through a trigger's filter, key and queue.

    Exits 0 when it was accepted, 5 when it was filtered or a duplicate.
    """
    if body is not None and sample:
        raise click.UsageError("-d and --sample are two ways to say what is sent; give one.")
    query = {"sample": sample, "delay": delay, "key": key, "empty": True if body == b"" else None}
    answer = session.admin.ask("POST", "triggers", trigger, "send", query=query, body=body or b"")
    context.exit(_sent(session, answer.json()))


def _sent(session: Session, answer: dict[str, Any]) -> int:
    """Say what became of an event; return the exit code."""
    if session.json:
        click.echo(words.as_json(answer))
    else:
        click.echo(told(answer))
    return 0 if answer["result"] == "accepted" else 5


def told(answer: dict[str, Any]) -> str:
    """Return the words for what became of an event, and where to look next."""
    match answer["result"]:
        case "accepted":
            lines = [f"{words.styled('accepted', 'green')} {answer['id']}"]
            lines += [f"  {words.styled('delivery', dim=True)} {one}" for one in answer["deliveries"]]
            if answer["deliveries"]:
                lines.append(words.styled(f"  triggerhub deliveries wait {answer['deliveries'][0]}", dim=True))
            return "\n".join(lines)
        case "duplicate":
            return f"{words.styled('duplicate', 'yellow')} of {answer['id']}"
        case _:
            return f"{words.styled('filtered', 'yellow')}: {words.clean(answer['why'])}"
