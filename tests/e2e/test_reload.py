"""A saved file is in force at once; a broken one changes nothing but what the log and `status` say."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.daemon import Daemon, daemon, until
from tests.e2e.toml import webhook

TOML = webhook("ask", "echo", answers=True)
ECHO = 'def handler(event, context):\n    return "one"\n'
SOURCE = """
import json

import anyio

from triggerhub import source
from triggerhub.model import Event


class Options(source.Options):
    word: str


async def run(ctx, options):
    await ctx.emit(Event(data=json.dumps({"said": "SAID " + options.word}).encode(), time=ctx.now()))
    ctx.begun()
    await anyio.sleep_forever()
"""
GREETING = '\n[triggers.hello]\ntype = "greeting"\nword = "WORD"\nfunction = "echo"\n'


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("project"), TOML, {"echo.py": ECHO}) as running:
        yield running


@pytest.fixture(autouse=True)
def good(hub: Daemon) -> Iterator[None]:
    """Each test begins and ends with the good configuration in force, in the same process."""
    process = hub.process
    yield
    shutil.rmtree(hub.project / "sources", ignore_errors=True)
    path = hub.project / "triggerhub.toml"
    if path.is_dir():
        path.rmdir()
    hub.write(TOML, {"echo.py": ECHO})
    until(lambda: ask(hub) == "one" and not problems(hub), "it is mended")
    assert hub.process is process
    assert hub.alive


def ask(hub: Daemon) -> str:
    return hub.post("/ask", b"")[1].decode()


def problems(hub: Daemon) -> str:
    return "\n".join(hub.api("GET", "/api/v1/status")["problems"])


def broken(hub: Daemon, word: str) -> None:
    """Wait until the problem is told everywhere; what ran goes on."""
    until(lambda: word in problems(hub), f"status shows {word}")
    until(lambda: word in hub.log(), f"the log says {word}")
    assert ask(hub) == "one"
    ready = json.loads(hub.api("GET", "/readyz", raw=True)[1])
    assert ready["ready"] is True, "events are taken as before"
    assert word in "\n".join(ready["reasons"])


def saved(hub: Daemon, path: str, text: str) -> None:
    """Save a file as editors do."""
    draft = hub.project / f"{path}.tmp"
    draft.parent.mkdir(exist_ok=True)
    draft.write_text(text)
    draft.rename(hub.project / path)


def test_a_saved_handler_and_a_saved_toml_are_in_force_soon(hub: Daemon) -> None:
    saved(hub, "handlers/echo.py", ECHO.replace("one", "two"))
    # Less than a second on a machine of its own; here others run beside.
    until(lambda: ask(hub) == "two", "the new handler answers", 20)
    toml = (hub.project / "triggerhub.toml").read_text()
    saved(hub, "triggerhub.toml", toml.replace('"/ask"', '"/question"'))
    until(lambda: hub.post("/question", b"")[1] == b"two", "the new path answers", 20)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        pytest.param("[triggers.ask", "syntax", id="no TOML"),
        pytest.param("\0", "syntax", id="a zero byte"),
        pytest.param("x = " + "[" * 10_000, "triggerhub.toml", id="very deep"),
        pytest.param(TOML.replace("auth", "author"), "did you mean", id="an unknown key"),
        pytest.param(TOML.replace("echo", "nobody"), "nobody", id="an unknown function"),
        pytest.param(TOML.replace("/ask", "ask"), "slash", id="a path that is none"),
        pytest.param(
            TOML + '[triggers.a]\ntype="cron"\nschedule="61 * * * *"\nfunction="echo"', "minute 61", id="cron"
        ),
        pytest.param(TOML + "filter = { a = [{ nonsense = 1 }] }", "nonsense", id="a pattern"),
        pytest.param(TOML + 'key = "$["', "ask.key", id="a JSONPath"),
    ],
)
def test_a_broken_toml_changes_nothing_and_is_told(hub: Daemon, text: str, word: str) -> None:
    hub.write(text)
    broken(hub, word)
    assert hub.cli("check").returncode == 3


def test_a_toml_that_was_emptied_changes_nothing_until_it_says_that_it_means_it(hub: Daemon) -> None:
    saved(hub, "triggerhub.toml", "")
    broken(hub, "triggerhub.toml holds no table any more; if that is meant, write [hub] into it")
    saved(hub, "triggerhub.toml", "[hub]\n")
    until(lambda: hub.post("/ask", b"")[0] == 404, "nothing is configured any more", 20)


def test_a_toml_that_is_gone_or_a_folder_changes_nothing(hub: Daemon) -> None:
    path = hub.project / "triggerhub.toml"
    path.unlink()
    broken(hub, "triggerhub.toml")
    path.mkdir()
    os.kill(hub.process.pid, signal.SIGHUP)  # type: ignore[union-attr]
    broken(hub, "Is a directory")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        pytest.param("def handler(", "SyntaxError", id="a syntax error"),
        pytest.param("raise ValueError('not today')", "not today", id="an import that fails"),
        pytest.param("x = 1", "handler", id="no handler in it"),
        pytest.param('# /// script\n# dependencies = ["./_lib"]\n# ///\n', "expected a requirement", id="metadata"),
    ],
)
def test_a_broken_handler_keeps_its_last_version_serving(hub: Daemon, text: str, word: str) -> None:
    saved(hub, "handlers/echo.py", text)
    until(lambda: word in problems(hub), f"status shows {word}")
    assert ask(hub) == "one"


def inline(line: str) -> str:
    return f"# /// script\n# [tool.triggerhub]\n# {line}\n# ///\n{ECHO}"


def test_what_becomes_wrong_elsewhere_takes_no_serving_handler_down(hub: Daemon) -> None:
    """Its version is the same: what is wrong is that the function its metadata names is no longer there."""
    hub.write(TOML, {"echo.py": inline('on_success = ["function:b"]'), "b.py": ECHO})
    until(lambda: "b" in [row["name"] for row in hub.api("GET", "/api/v1/functions")], "both are there")
    version = hub.api("GET", "/api/v1/functions/echo")["version"]
    (hub.project / "handlers" / "b.py").unlink()
    broken(hub, f"version {version} goes on serving")
    assert 'there is no function "b"' in problems(hub)
    assert hub.api("GET", "/api/v1/functions/echo")["version"] == version
    (problem,) = hub.api("POST", "/api/v1/reload")["problems"]
    assert problem.startswith("handlers/echo.py"), "the next reload says it again"
    hub.api("POST", "/api/v1/functions/echo/invoke?async=true", b"{}")
    until(lambda: [row["state"] for row in hub.deliveries(function="echo")] == ["succeeded"], "an event is handled")
    refused = hub.cli("functions", "rollback", "echo", "--to", version)
    assert (refused.returncode, 'no function "b"' in refused.stderr) == (1, True)
    assert ask(hub) == "one"
    saved(hub, "handlers/b.py", ECHO)
    until(lambda: not problems(hub), "it is mended, and what waited for b is handled")
    hub.write(TOML, {"echo.py": ECHO})
    (hub.project / "handlers" / "b.py").unlink()


def test_defaults_that_a_handlers_own_limits_do_not_go_with_are_refused(hub: Daemon) -> None:
    hub.write(TOML, {"echo.py": inline('retry = { initial = "1m" }')})
    until(lambda: not problems(hub) and hub.api("POST", "/api/v1/reload")["problems"] == [], "it is in force")
    hub.write(TOML + '[defaults]\nretry = { max = "10s" }\n')
    broken(hub, "error[bad-retry]: functions.echo.retry: initial is 1m, over max, which is 10s")
    assert hub.cli("check").returncode == 3


def test_a_new_handler_that_cannot_be_started_is_told_by_each_reload(hub: Daemon) -> None:
    saved(hub, "handlers/new.py", inline('timeout = "1h"'))
    broken(hub, "1h is too much: at most 15m; until that is mended, calls of new fail")
    (problem,) = hub.api("POST", "/api/v1/reload")["problems"]
    assert "calls of new fail" in problem
    (hub.project / "handlers" / "new.py").unlink()


def test_a_source_of_the_users_own_is_added_edited_broken_mended_and_removed(hub: Daemon) -> None:
    def said() -> list[str]:
        # A name that neither the configuration nor the history knows is a mistake.
        known = any(row["name"] == "hello" for row in hub.api("GET", "/api/v1/triggers"))
        found = hub.deliveries(trigger="hello") if known else []
        return [hub.api("GET", f"/api/v1/deliveries/{row['id']}")["event"]["data"]["said"] for row in found]

    saved(hub, "sources/greeting.py", SOURCE)
    hub.write(TOML + GREETING)
    until(lambda: said() == ["SAID WORD"], "the new source told its event")
    saved(hub, "sources/greeting.py", SOURCE.replace("SAID", "TOLD"))
    until(lambda: said() == ["TOLD WORD", "SAID WORD"], "the edited one told its own")
    for text, word in (
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("async def run(", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
        (SOURCE.replace("async def run", "async def walk"), "coroutine function"),
    ):
        saved(hub, "sources/greeting.py", text)
        broken(hub, word)
    (trigger,) = [row for row in hub.api("GET", "/api/v1/triggers") if row["name"] == "hello"]
    assert trigger["state"] == "running", "the last good one goes on"
    saved(hub, "sources/greeting.py", SOURCE.replace("SAID", "MENDED"))
    until(lambda: said()[0] == "MENDED WORD", "the mended one is in force")
    (hub.project / "sources" / "greeting.py").unlink()
    broken(hub, "no source named")
    hub.write(TOML)
    until(lambda: not problems(hub), "without its trigger nothing is wrong")
    assert "hello" not in [row["name"] for row in hub.api("GET", "/api/v1/triggers")]


def test_a_source_that_fails_while_it_runs_is_shown_and_harms_no_other(hub: Daemon) -> None:
    saved(
        hub, "sources/greeting.py", SOURCE.replace("    await anyio.sleep_forever()", "    raise SystemExit('enough')")
    )
    hub.write(TOML + GREETING)
    broken(hub, "SystemExit: enough")
    (trigger,) = [row for row in hub.api("GET", "/api/v1/triggers") if row["name"] == "hello"]
    assert trigger["state"] == "degraded"


def test_hangup_reloads_what_no_watch_has_seen(hub: Daemon) -> None:
    assert hub.process is not None
    log = hub.project / "daemon.log"
    before = log.read_text().count('"reloaded"')
    hub.process.send_signal(signal.SIGHUP)
    until(lambda: log.read_text().count('"reloaded"') > before, "it has reloaded")
    assert ask(hub) == "one"


def test_what_only_a_restart_changes_is_said(hub: Daemon) -> None:
    path = hub.project / "triggerhub.toml"
    path.write_text(path.read_text().replace(f":{hub.listen}", ":1"))
    until(lambda: "[hub] listen takes effect at the next start" in problems(hub), "status says so")
    assert hub.api("POST", "/api/v1/reload")["problems"] == ["[hub] listen takes effect at the next start"]
    assert ask(hub) == "one"


def test_a_name_that_is_not_utf8_is_told_of_once_and_everything_else_is_taken_up(hub: Daemon) -> None:
    odd = os.fsencode(hub.project / "handlers") + b"/odd\xff.py"
    for number in range(3):
        with open(odd, "w") as file:
            file.write(f"number = {number}\n")
        hub.write(TOML, {"echo.py": ECHO.replace("one", f"beside {number}")})
        said = f"beside {number}".encode()
        until(lambda said=said: said in hub.post("/ask", b"{}")[1], "the new handler answers")
    even = odd.replace(b"odd\xff", b"even\xfe")

    def heard() -> bool:
        # What is saved between two watches is looked for, not heard.
        with open(even, "w"):
            return "even\\\\udcfe.py" in hub.log()

    until(heard, "another name is told of")
    os.unlink(odd)
    os.unlink(even)
    told = [json.loads(line) for line in hub.log().splitlines() if "cannot be watched" in line]
    assert [one["path"] for one in told] == [
        f"{hub.project}/handlers/odd\\udcff.py",
        f"{hub.project}/handlers/even\\udcfe.py",
    ]
