"""Commands that give the hub something to do: invoke, send."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from triggerhub.cli.exits import FAILED, PARTLY
from triggerhub.cli.show import as_json, dump, safe
from triggerhub.client import Admin
from triggerhub.errors import BadInput

DATA_HELP = "The payload: text, @FILE, or - for standard input."


def data_of(given: str | None) -> bytes | None:
    """Read what -d names. BadInput for a file that cannot be read."""
    if given is None:
        return None
    if given == "-":
        return sys.stdin.buffer.read()
    if given.startswith("@"):
        try:
            return Path(given[1:]).read_bytes()
        except OSError as error:
            raise BadInput(f"cannot read {given[1:]}: {error.strerror}") from error
    return given.encode()


@click.command()
@click.argument("function")
@click.option("-d", "--data", help=DATA_HELP)
@click.option("--async", "later", is_flag=True, help="Queue it and return at once.")
@click.option("--local", is_flag=True, help="Run it here, without a hub.")
@click.option("--log", is_flag=True, help="Show what it wrote, too.")
@as_json
@click.pass_context
def invoke(
    ctx: click.Context, function: str, data: str | None, later: bool, local: bool, log: bool, as_json: bool
) -> int:
    """Call FUNCTION once: the answer on stdout, the report on stderr. Exits 1 on a function error."""
    body = data_of(data) or b"{}"
    admin: Admin = ctx.obj
    if later and local:
        raise click.UsageError("--async and --local do not go together: without a hub there is no queue")
    if later:
        accepted = admin.post(f"/functions/{function}/invoke", body, **{"async": "true"})
        dump(accepted) if as_json else click.echo(f"queued as {accepted['deliveries'][0]}")
        return 0
    if local:
        from triggerhub import app
        from triggerhub.web import shape

        call = app.invoke_local(ctx.meta["project"], function, body)
        answered = {**shape.report(call), "payload": json.loads(shape.outcome(call.outcome)[1] or b"null")}
    else:
        report, *rest = admin.lines("POST", f"/functions/{function}/invoke", body, report="true")
        answered = {**report, "payload": rest[0] if rest else None}
    if as_json:
        dump(answered)
    else:
        click.echo(json.dumps(answered["payload"], ensure_ascii=False))
        lines = answered["log"] if log else [line for line in answered["log"] if line.startswith("REPORT")]
        for line in lines:
            click.echo(safe(line), err=True)
        if answered["error"]:
            click.secho(safe(f"{answered['error']['type']}: {answered['error']['message']}"), fg="red", err=True)
    return 0 if answered["outcome"] == "returned" else FAILED


@click.command()
@click.argument("trigger")
@click.option("-d", "--data", help=f"{DATA_HELP} What the outside would send: a message, a body, a path.")
@click.option("--sample", metavar="NAME", help="Send a sample event of the trigger's source.")
@click.option("--delay", metavar="10m", help="Deliver it only after this time.")
@click.option("--key", help="Its dedup key, for a trigger without one of its own.")
@as_json
@click.pass_obj
def send(
    admin: Admin, trigger: str, data: str | None, sample: str | None, delay: str | None, key: str | None, as_json: bool
) -> int:
    """Push one event through TRIGGER's filter, key and queue. Exits 5 when it was filtered or a duplicate."""
    body = data_of(data)
    answer = admin.post(
        f"/triggers/{trigger}/send",
        body or b"",
        sample=sample,
        delay=delay,
        key=key,
        empty="1" if body == b"" else None,
    )
    if as_json:
        dump(answer)
    elif answer["result"] == "accepted":
        click.echo(f"accepted: {' '.join(answer['deliveries'])}")
    elif answer["result"] == "duplicate":
        click.echo(f"duplicate of {' '.join(answer['deliveries'])}")
    else:
        click.echo(f"filtered: {safe(answer['why'])}")
    return 0 if answer["result"] == "accepted" else PARTLY
