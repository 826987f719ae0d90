"""Commands about the hub as it stands: status, functions, triggers."""

from __future__ import annotations

import click

from triggerhub.cli.show import Column, age, as_json, dump, milliseconds, safe, table
from triggerhub.client import Admin
from triggerhub.policy.units import show_duration, show_size

FUNCTIONS: list[Column] = [
    ("name", lambda row: row["name"]),
    ("runtime", lambda row: row["runtime"]),
    ("version", lambda row: row["version"]),
    ("state", lambda row: "paused" if row["paused"] else "ready"),
    ("running", lambda row: row["running"]),
    ("queued", lambda row: row["counts"]["queued"]),
    ("succeeded", lambda row: row["counts"]["succeeded"]),
    ("dead letters", lambda row: row["counts"]["dead"]),
    ("timeout", lambda row: show_duration(row["timeout_ms"])),
    ("memory", lambda row: show_size(row["memory"])),
]
TRIGGERS: list[Column] = [
    ("name", lambda row: row["name"]),
    ("type", lambda row: row["type"]),
    ("functions", lambda row: " ".join(row["functions"])),
    ("state", lambda row: row["state"]),
    ("next", lambda row: age(row["next"])),
    ("queued", lambda row: row["counts"]["queued"]),
    ("succeeded", lambda row: row["counts"]["succeeded"]),
    ("dead letters", lambda row: row["counts"]["dead"]),
    ("why", lambda row: row["why"] or ""),
]


@click.command()
@as_json
@click.pass_obj
def status(admin: Admin, as_json: bool) -> None:
    """Say how the hub does."""
    found = admin.get("/status")
    if as_json:
        dump(found)
        return
    counts = found["counts"]
    click.echo(f"triggerhub {found['version']}, process {found['pid']}, up {milliseconds(found['uptime_s'] * 1000)}")
    click.echo(f"  project    {found['project']}")
    click.echo(f"  ingress    {found['listen']}    admin {found['admin']}")
    click.echo(f"  handlers   run unisolated (level {found['level']})")
    storage = found["storage"]
    click.echo(f"  storage    {storage['bytes'] / 2**20:.1f} MB, {storage['free_share']:.0%} of the disk free")
    click.echo(
        "  deliveries " + ", ".join(f"{number} {name}" for name, number in counts.items() if number or name == "drift")
    )
    for problem in found["problems"]:
        click.secho(f"  problem    {safe(problem)}", fg="red")
    if found["ready"] and not found["problems"]:
        click.secho("  All is well: events are being taken.", fg="green")


@click.group()
def functions() -> None:
    """List, pause and resume functions."""


@functions.command("list")
@as_json
@click.pass_obj
def list_functions(admin: Admin, as_json: bool) -> None:
    """List the functions."""
    rows = admin.get("/functions")
    dump(rows) if as_json else table(rows, FUNCTIONS, nothing="No functions: drop a file into the handlers' folder.")


@functions.command("show")
@click.argument("name")
@as_json
@click.pass_obj
def show_function(admin: Admin, name: str, as_json: bool) -> None:
    """Show one function."""
    _show(admin.get(f"/functions/{name}"), as_json)


@click.group()
def triggers() -> None:
    """List, pause, resume and fire triggers."""


@triggers.command("list")
@as_json
@click.pass_obj
def list_triggers(admin: Admin, as_json: bool) -> None:
    """List the triggers."""
    rows = admin.get("/triggers")
    dump(rows) if as_json else table(rows, TRIGGERS, nothing="No triggers: write one into triggerhub.toml.")


@triggers.command("show")
@click.argument("name")
@as_json
@click.pass_obj
def show_trigger(admin: Admin, name: str, as_json: bool) -> None:
    """Show one trigger."""
    _show(admin.get(f"/triggers/{name}"), as_json)


@triggers.command()
@click.argument("name")
@as_json
@click.pass_obj
def fire(admin: Admin, name: str, as_json: bool) -> None:
    """Make a trigger fire now."""
    answer = admin.post(f"/triggers/{name}/fire")
    dump(answer) if as_json else click.echo(f"{answer['result']}: {' '.join(answer.get('deliveries', []))}")


def _show(row: dict[str, object], as_json: bool) -> None:
    if as_json:
        dump(row)
        return
    width = max(map(len, row))
    for key, value in row.items():
        click.echo(f"{key.ljust(width)}  {safe(str(value))}")


def _pausing(kind: str, word: str) -> click.Command:
    @click.command(word, help=f"{word.capitalize()} a {kind}; survives a restart.")
    @click.argument("name")
    @as_json
    @click.pass_obj
    def command(admin: Admin, name: str, as_json: bool) -> None:
        done = admin.post(f"/{kind}s/{name}/{word}")
        dump(done) if as_json else click.echo(f"{kind} {name} is {'paused' if word == 'pause' else 'running again'}")

    return command


for _word in ("pause", "resume"):
    functions.add_command(_pausing("function", _word))
    triggers.add_command(_pausing("trigger", _word))
