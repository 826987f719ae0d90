"""What cannot be meant is refused with exit code 2 and a sentence."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.cli.conftest import Run
from triggerhub import cli
from triggerhub.cli.lazy import Group

ID = "019a0000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["--nonsense"], "No such option '--nonsense'"),
        (["invoke"], "Missing argument 'FN'"),
        (["invoke", "echo", "-d", "@/no/such/file"], "/no/such/file cannot be read: No such file or directory"),
        (["invoke", "echo", "-d", "@/"], "/ cannot be read: Is a directory"),
        (["invoke", "echo", "--async", "--log"], "--async does not go with --log"),
        (["invoke", "echo", "--async", "--local"], "--async does not go with --local"),
        (["invoke", "echo", "--delay", "1m"], "--delay goes with --async only"),
        (["--hub", "http://127.0.0.1:1", "invoke", "echo", "--local"], "--local does not go with --hub"),
        (["send", "keyed", "-d", "{}", "--sample", "x"], "give one"),
        (["deliveries", "list", "--since", "yesterday"], "'yesterday' is not a time; write 90s, 15m"),
        (["deliveries", "list", "--since", "2026-13-01T00:00:00Z"], "is not a time"),
        (["deliveries", "list", "--since", "2026-11-28T00:00:00"], "does not say in which time zone"),
        (["logs", "--since", "36600d"], "is more than a hundred years"),
        (["deliveries", "list", "--limit", "0"], "0 is not in the range"),
        (["deliveries", "list", "--limit", "many"], "'many' is not a valid integer"),
        (["deliveries", "list", "--state", "lost"], "'lost' is not one of"),
        (["deliveries", "wait", ID, "--timeout", "soon"], "soon"),
        (["deliveries", "cancel"], "deliveries cancel: which ones?"),
        (["deliveries", "retry"], "deliveries retry: which ones?"),
        (["deliveries", "redeliver"], "Missing argument"),
        (["dlq", "redrive"], "dlq redrive: which ones?"),
        (["dlq", "discard"], "dlq discard: which ones?"),
        (["dlq", "redrive", ID, "--all"], "IDs do not go with a filter or --all"),
        (["dlq", "discard", ID, "--function", "echo"], "IDs do not go with a filter or --all"),
        (["logs", "echo", "--delivery", ID], "a delivery has one function"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
        (["explain"], "Missing argument"),
        (["run", "--hub", "http://127.0.0.1:1"], "does not go with --hub"),
        (["doctor", "--hub", "http://127.0.0.1:1"], "does not go with --hub"),
        (["status", "--token", "x"], "--token goes with --hub"),
        (["status", "--token", ""], "--token goes with --hub"),
        (["status", "--hub", ""], "'' is not the URL of a hub"),
        (["status", "--hub", "http://127.0.0.1:1", "--token", "\udcff"], "the token has characters that none has"),
        (["invoke", "\udcff"], "'\\udcff' is not UTF-8"),
        (["logs", "--search", "\udcff"], "'\\udcff' is not UTF-8"),
        (["send", "x", "--key", "\udcff", "-d", "1"], "'\\udcff' is not UTF-8"),
        (["-C", "", "status"], "Invalid value for '-C': it is empty"),
        (["init", ""], "Invalid value for '[DIR]': it is empty"),
        (["invoke", ""], "Invalid value for 'FN': it is empty"),
        (["deliveries", "show", ""], "Invalid value for 'ID': it is empty"),
        (["deliveries", "list", "--function", ""], "Invalid value for '--function': it is empty"),
        (["deliveries", "cancel", ID, ""], "it is empty"),
        (["deliveries", "list", "--since", ""], "is not a time"),
        (["dlq", "discard", "--function", ""], "Invalid value for '--function': it is empty"),
        (["functions", "show", ""], "it is empty"),
        (["triggers", "pause", ""], "it is empty"),
        (["send", "keyed", "-d", "{}", "--key", ""], "Invalid value for '--key': it is empty"),
        (["prune", "--keep", ""], "Invalid value for '--keep': it is empty"),
        (["token", "create", "ci", "--lasts", ""], "Invalid value for '--lasts': it is empty"),
        (["top", "--every", "nan"], "nan is no number of seconds"),
        (["top", "--every", "inf"], "inf is not in the range"),
        (["status", "--hub", "ftp://host"], "'ftp://host' is not the URL of a hub"),
        (["status", "--hub", "http://127.0.0.1:port"], "is not the URL of a hub"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_cannot_be_meant_is_a_usage_error(arguments: list[str], says: str, run: Run) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["invoke", "echo", "-d", "{oops"], "Could not parse request body into json"),
        (["invoke", "echo", "--async", "-d", "{oops"], "Could not parse request body into json"),
        (["invoke", "echo", "--async", "--delay", "soon"], "delay"),
        (["send", "keyed"], "there is nothing to send"),
        (["send", "keyed", "--sample", "nonsense"], "no sample 'nonsense'"),
        (["send", "keyed", "-d", "{}", "--delay", "soon"], "delay"),
        (["deliveries", "show", "nonsense"], "'nonsense' is not an id"),
        (["dlq", "redrive", "nonsense"], "'nonsense' is not an id"),
        (["dlq", "redrive", "--all", "--rate", "fast"], "rate"),
        (["explain", "bad-kron"], 'Did you mean "bad-cron"?'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_the_hub_cannot_use_is_a_usage_error_too(arguments: list[str], says: str, on: Run) -> None:
    ran = on(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert says in ran.err


def test_a_token_that_is_none_is_refused_and_never_ignored(run: Run, hub: object) -> None:
    ran = run("status", "--hub", f"http://127.0.0.1:{hub.admin}", "--token", "t")  # type: ignore[attr-defined]
    assert ran.code == 1
    assert ran.err == (
        "error: this token is not one of this hub's\n  See `triggerhub token list`; a token is shown once, when it is made.\n"
    )


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version").out == f"triggerhub {importlib.metadata.version('triggerhub')}\n"


def test_the_list_of_commands_says_what_each_command_says(run: Run) -> None:
    context = click.Context(cli.cli)
    for section in cli.SECTIONS.values():
        for name, (_, sentence) in section.items():
            command = cli.cli.get_command(context, name)
            assert command is not None
            assert command.get_short_help_str(200) == sentence, name
            assert f"  {name} " in run("--help").out


def test_every_command_has_help_and_takes_json(run: Run) -> None:
    every = list(commands())
    assert len(every) > 40
    for path, command in every:
        ran = run(*path, "--help")
        assert ran.code == 0, path
        assert command.help, path
        if not isinstance(command, click.Group):
            assert "--json" in ran.out, path


def test_the_options_of_place_stand_before_or_after_the_command(hub: object, run: Run) -> None:
    folder = str(hub.project)  # type: ignore[attr-defined]
    for arguments in (["-C", folder, "status"], ["status", "-C", folder], ["-C", "/nowhere", "status", "-C", folder]):
        assert run(*arguments, "--json").json["project"] == folder
    assert run("--json", "-C", folder, "status").json["project"] == folder


def test_help_imports_neither_the_hub_nor_what_talks_to_one() -> None:
    """The list of commands is there before a person notices."""
    code = (
        "import sys; from triggerhub import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    loaded = set(ran.stderr.split())
    assert "Usage: triggerhub" in ran.stdout
    heavy = {
        "asyncio",
        "anyio",
        "pydantic",
        "rich",
        "starlette",
        "sqlite3",
        "http.client",
        "triggerhub.hub.hub",
        "triggerhub.app",
    }
    assert not loaded & heavy


def test_a_command_that_asks_the_hub_does_not_import_one(hub: object) -> None:
    code = (
        "import sys; from triggerhub import cli\n"
        f"try: cli.main(['-C', {str(hub.project)!r}, 'status'])\n"  # type: ignore[attr-defined]
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "ready" in ran.stdout
    assert not set(ran.stderr.split()) & {"asyncio", "anyio", "pydantic", "starlette", "sqlite3", "triggerhub.hub.hub"}


def test_python_m_is_the_same_program(empty: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "triggerhub", "-C", str(empty), "status"],
        capture_output=True, text=True, check=False, timeout=120, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert ran.returncode == 4
    assert "is not a triggerhub project" in ran.stderr


def test_an_interrupt_while_it_is_imported_is_no_traceback(empty: Path) -> None:
    (empty / "click.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(empty), str(Path(__file__).parents[2])])
    ran = subprocess.run(
        [sys.executable, "-m", "triggerhub", "status"],
        capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def commands(group: click.Group = cli.cli, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command, the groups among them."""
    found: list[tuple[tuple[str, ...], click.Command]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, Group):
            found += commands(command, (*path, name))
    return found
