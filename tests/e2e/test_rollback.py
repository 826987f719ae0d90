"""Somebody has copied a bad handler over a good one: the earlier content serves again, until the folder changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import client
from tests.e2e.daemon import Daemon, daemon, granted, until
from tests.e2e.toml import webhook

TOML = webhook("ask", "echo", answers=True)


def saying(word: str) -> str:
    return f'def handler(event, context):\n    return "{word}"\n'


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Daemon]:
    """A hub whose function said "one" and says "two" now."""
    with daemon(tmp_path, TOML, {"echo.py": saying("one")}) as running:
        assert ask(running) == "one"
        edit(running, "two")
        yield running


def ask(hub: Daemon) -> str:
    return hub.post("/ask", b"")[1].decode()


def edit(hub: Daemon, word: str) -> None:
    hub.write(TOML, {"echo.py": saying(word)})
    until(lambda: ask(hub) == word, f"it says {word}")


def versions(hub: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = hub.api("GET", "/api/v1/functions/echo/versions")
    return found


def states(hub: Daemon) -> list[str]:
    return [row["state"] for row in versions(hub)]


def test_the_earlier_content_serves_at_once_after_a_kill_and_until_the_next_edit(hub: Daemon) -> None:
    two, one = json.loads(hub.cli("functions", "versions", "echo", "--json").stdout)
    assert [two["state"], one["state"]] == ["runs, lies in the folder", "earlier"]
    listed = hub.cli("functions", "versions", "echo").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["VERSION", two["version"], one["version"]]
    assert one["created"] < two["created"]
    done = hub.cli("functions", "rollback", "echo")
    assert (done.returncode, done.stdout) == (0, f"echo is version {one['version']} again\n")
    assert ask(hub) == "one"
    assert (hub.project / "handlers" / "echo.py").read_text() == saying("two"), "the files are not touched"
    hub.kill()
    hub.start()
    assert ask(hub) == "one"
    assert states(hub) == ["lies in the folder", "runs, pinned"]
    # What is written over it without a change changes nothing; other settings are the current ones.
    api = client(hub)
    hub.write(TOML + '[functions.echo]\ntimeout = "9s"\n', {"echo.py": saying("two")})
    until(lambda: api.get_function(FunctionName="echo")["Configuration"]["Timeout"] == 9, "the new timeout")
    assert ask(hub) == "one"
    hub.write(TOML, {"echo.py": saying("three")})
    until(lambda: ask(hub) == "three", "the new content serves")
    until(lambda: "a pin is gone" in hub.log(), "it is logged")
    assert states(hub) == ["runs, lies in the folder", "earlier", "earlier"]
    hub.kill()
    hub.start()
    assert ask(hub) == "three"


def test_a_pin_is_seen_wherever_people_look(hub: Daemon) -> None:
    two, one = versions(hub)
    assert hub.api("POST", "/api/v1/functions/echo/rollback", b"{}")["version"] == one["version"]
    plain = f"pinned to {one['version']}; the folder holds {two['version']}"
    assert f"function echo is {plain}" in hub.cli("status").stdout
    assert plain in hub.cli("functions", "show", "echo").stdout
    assert "pinned" in hub.cli("functions", "list").stdout
    checked = hub.cli("check")
    assert (checked.returncode, plain in checked.stdout + checked.stderr) == (0, True)
    assert client(hub).get_function(FunctionName="echo")["Configuration"]["Version"] == one["version"]
    (change,) = [one for one in _changes(hub) if one["text"].endswith("/rollback")]
    assert (change["status"], change["role"]) == (200, "admin")


def _changes(hub: Daemon) -> list[dict[str, Any]]:
    files = sorted((hub.project / "var" / "changes").iterdir())
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def test_rolling_back_to_what_lies_in_the_folder_lifts_the_pin(hub: Daemon) -> None:
    two, one = (row["version"] for row in versions(hub))
    edit(hub, "three")
    three = versions(hub)[0]["version"]
    for word, version in (("two", two), ("one", one)):
        assert hub.cli("functions", "rollback", "echo").stdout.split()[3] == version
        assert ask(hub) == word, "each time a step further"
    assert hub.cli("functions", "rollback", "echo", "--to", three).returncode == 0
    assert ask(hub) == "three"
    assert states(hub) == ["runs, lies in the folder", "earlier", "earlier"]
    hub.kill()
    hub.start()
    assert ask(hub) == "three"


def test_content_that_cannot_start_is_put_aside_for_the_next_start_too(hub: Daemon) -> None:
    hub.write(TOML, {"echo.py": "raise ValueError('not today')"})
    until(lambda: "not today" in hub.log(), "it was tried")
    until(lambda: "lies in the folder, did not start" in states(hub), "it is listed")
    assert hub.cli("functions", "rollback", "echo").returncode == 0
    hub.kill()
    hub.start()
    assert ask(hub) == "two"
    refused = hub.cli("functions", "rollback", "echo", "--to", versions(hub)[0]["version"])
    assert (refused.returncode, "does not start: " in refused.stderr, "not today" in refused.stderr) == (1, True, True)
    assert ask(hub) == "two"


def test_content_whose_metadata_is_wrong_is_put_aside_too(hub: Daemon) -> None:
    hub.write(TOML, {"echo.py": '# /// script\n# dependencies = ["./_lib"]\n# ///\n' + saying("three")})
    until(lambda: "lies in the folder, did not start" in states(hub), "it is listed")
    assert ask(hub) == "two"
    assert hub.cli("functions", "rollback", "echo").returncode == 0
    hub.kill()
    hub.start()
    assert ask(hub) == "two"
    refused = hub.cli("functions", "rollback", "echo", "--to", versions(hub)[0]["version"])
    assert (refused.returncode, "expected a requirement" in refused.stderr) == (1, True)
    assert ask(hub) == "two"


def test_what_cannot_be_gone_back_to_is_refused_with_the_remedy(hub: Daemon) -> None:
    two, one = (row["version"] for row in versions(hub))
    unknown = hub.cli("functions", "rollback", "echo", "--to", "0123456789ab")
    assert (unknown.returncode, f"These are kept: {two}, {one}" in unknown.stderr) == (1, True)
    copy = hub.project / "var" / "versions" / "echo" / one
    (copy / "echo.py").chmod(0o644)
    (copy / "echo.py").write_text("")
    damaged = hub.cli("functions", "rollback", "echo")
    assert (damaged.returncode, "is damaged" in damaged.stderr, "folder instead" in damaged.stderr) == (1, True, True)
    copy.chmod(0o755)
    shutil.rmtree(copy)
    gone = hub.cli("functions", "rollback", "echo")
    assert (gone.returncode, "is gone from" in gone.stderr) == (1, True)
    assert ask(hub) == "two"
    hub.kill()
    hub.start()
    assert states(hub) == ["runs, lies in the folder"], "what is gone is no longer listed"
    alone = hub.cli("functions", "rollback", "echo")
    assert (alone.returncode, "functions versions echo" in alone.stderr) == (1, True)
    alias = hub.cli("functions", "rollback", "echo", "--alias", "live")
    assert (alias.returncode, "no aliases" in alias.stderr) == (2, True)


def test_a_pinned_copy_that_was_damaged_meanwhile_is_not_run_nor_is_what_was_put_aside(hub: Daemon) -> None:
    two, one = (row["version"] for row in versions(hub))
    assert hub.cli("functions", "rollback", "echo").returncode == 0
    hub.kill()
    copy = hub.project / "var" / "versions" / "echo" / one / "echo.py"
    copy.chmod(0o644)
    copy.write_text(saying("half"))
    hub.start()
    status, body = hub.post("/ask", b"")
    assert status >= 500
    assert b"two" not in body
    assert b"half" not in body
    told = hub.cli("status").stdout
    assert "is damaged" in told
    assert "functions rollback echo --to" in told
    assert hub.cli("functions", "rollback", "echo", "--to", two).returncode == 0
    assert ask(hub) == "two"
    assert "damaged" not in hub.cli("status").stdout


def test_a_hub_that_is_killed_while_it_pins_has_pinned(hub: Daemon) -> None:
    hub.kill()
    hub.start(environ={"TRIGGERHUB_CRASH_AT": "after-pin"})
    assert hub.cli("functions", "rollback", "echo").returncode == 4
    hub.process.wait()  # type: ignore[union-attr]
    hub.start()
    assert ask(hub) == "one"


WAITING = """
import time
from pathlib import Path
{at_start}
def handler(event, context):
    {at_call}
    return "{word}"
"""
GATE = "[Path({gate!r}, '{name}').touch()] and [time.sleep(0.02) for _ in iter(lambda: Path({gate!r}, 'go').exists(), True)]"


def _waiting(hub: Daemon, gate: Path, word: str, *, start: bool) -> None:
    hold = GATE.format(gate=str(gate), name=word)
    text = WAITING.format(at_start=hold if start else "", at_call="pass" if start else hold, word=word)
    hub.write(TOML + f"[functions.echo]\n{granted(gate)}", {"echo.py": text})


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    folder = tmp_path / "gate"
    folder.mkdir(mode=0o777)
    return folder


def test_a_call_under_way_finishes_on_its_version(hub: Daemon, gate: Path) -> None:
    _waiting(hub, gate, "slow", start=False)
    until(lambda: len(versions(hub)) == 3, "the slow one is there")
    with ThreadPoolExecutor() as pool:
        under_way = pool.submit(ask, hub)
        until(lambda: (gate / "slow").exists(), "its call has begun")
        assert hub.cli("functions", "rollback", "echo").returncode == 0
        assert ask(hub) == "two"
        (gate / "go").touch()
        assert under_way.result() == "slow"


def test_a_rollback_waits_for_the_reload_that_is_under_way(hub: Daemon, gate: Path) -> None:
    one = versions(hub)[1]["version"]
    _waiting(hub, gate, "slow", start=True)
    until(lambda: (gate / "slow").exists(), "it is being tried")
    with ThreadPoolExecutor() as pool:
        done = pool.submit(hub.cli, "functions", "rollback", "echo", "--to", one)
        assert ask(hub) == "two"
        (gate / "go").touch()
        assert done.result().returncode == 0
    assert ask(hub) == "one"
    assert states(hub) == ["lies in the folder", "earlier", "runs, pinned"]


def test_an_edit_during_a_rollback_takes_over(hub: Daemon, gate: Path) -> None:
    (gate / "go").touch()
    _waiting(hub, gate, "slow", start=True)
    until(lambda: ask(hub) == "slow", "the slow one serves")
    slow = versions(hub)[0]["version"]
    hub.write(TOML + f"[functions.echo]\n{granted(gate)}", {"echo.py": saying("three")})
    until(lambda: ask(hub) == "three", "the third serves")
    (gate / "go").unlink()
    (gate / "slow").unlink()
    with ThreadPoolExecutor() as pool:
        done = pool.submit(hub.cli, "functions", "rollback", "echo", "--to", slow)
        until(lambda: (gate / "slow").exists(), "the earlier one is being tried")
        hub.write(TOML + f"[functions.echo]\n{granted(gate)}", {"echo.py": saying("four")})
        assert ask(hub) == "three"
        (gate / "go").touch()
        assert done.result().returncode == 0
    until(lambda: ask(hub) == "four", "the edit takes over")
    assert states(hub)[0] == "runs, lies in the folder"
    assert "pinned" not in hub.cli("status").stdout
