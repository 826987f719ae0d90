"""What is drawn on a terminal: colours, a terminal's width, and never what a terminal would obey."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import HANDLERS, TOML, Run
from tests.cli.terminal import SGR, terminal
from tests.e2e.daemon import Daemon, until
from triggerhub.cli import words

Env = dict[str, str]


def obeyed(raw: str) -> set[str]:
    """What a terminal would obey, apart from colours and line ends."""
    return set(
        re.findall("[^\n\r\t\x20-\x7e\xa1-\U000cffff]|[\u200b-\u200f\u202a-\u202e\u2066-\u2069]", SGR.sub("", raw))
    )


@pytest.fixture
def project(empty: Path) -> Daemon:
    """A project whose hub is not started."""
    made = Daemon(empty)
    made.write(TOML, HANDLERS)
    return made


def test_a_run_shows_what_happens_as_it_happens(project: Daemon) -> None:
    folder = str(project.project)
    with terminal("-C", folder, "run", columns=120) as screen:
        head = screen.until("Ctrl-C stops it")
        assert head.startswith("triggerhub 0")
        assert "runs 8 functions, 7 triggers\n" in head
        assert f"  project   {folder}\n" in head
        assert f"  webhooks  http://127.0.0.1:{project.listen}\n" in head
        assert f"  console   http://127.0.0.1:{project.admin}\n" in head
        assert "  handlers  run isolated\n" in head
        assert "  hook     webhook → echo, shell\n" in head
        assert "  off      cron → echo  disabled\n" in head

        assert project.post("/hook", b"{}")[0] == 202
        screen.until("succeeded hook → shell")
        drawn = screen.until("succeeded hook → echo")
        assert re.search(r"\n\d\d:\d\d:\d\d accepted  hook {18,} *[0-9a-f-]{36}\n", drawn)
        assert re.search(r"\n\d\d:\d\d:\d\d {11}echo │ got it\n", drawn)
        assert re.search(r"\n\d\d:\d\d:\d\d succeeded hook → echo {2,}[\d.]+ ms  [0-9a-f-]{36}\n", drawn)
        assert "\x1b[32msucceeded" in screen.raw

        project.cli("send", "fail", "-d", "{}")
        drawn = screen.until("triggerhub dlq show ")
        assert re.search(r"dead +fail → broken +[\d.]+ ms  ValueError: broken on purpose \(failed 1 of 1", drawn)
        assert "\x1b[31mdead" in screen.raw

        project.cli("invoke", "echo")
        assert "answered  api → echo" in screen.until("answered")
        project.cli("invoke", "broken")
        screen.until("failed    api → broken")

        project.write(TOML + "\n[nonsense]\n")
        drawn = screen.until('error[unknown-key]: triggerhub.toml has no table "nonsense"')
        assert "rejected  the running configuration is kept\n" in drawn
        project.write(TOML)
        screen.until("reloaded  8 functions, 7 triggers")

        screen.interrupt()
        assert screen.end() == 0
        assert screen.text.endswith("\nstopping\nstopped\n")
        assert not obeyed(screen.raw)


def test_stopping_says_what_still_runs(project: Daemon) -> None:
    with terminal("-C", str(project.project), "run") as screen:
        screen.until("Ctrl-C stops it")
        project.cli("invoke", "held", "--async")
        until(lambda: project.counts()["running"] == 1, "it runs")
        screen.interrupt()
        screen.until("stopping; 1 call may finish, Ctrl-C again cuts it short")
        screen.interrupt()
        assert screen.end() == 0


def test_warnings_of_the_configuration_are_under_the_head(project: Daemon) -> None:
    odd = '[triggers.odd]\ntype = "cron"\nschedule = "0 0 13 * 5"\nfunction = "echo"\n'
    project.write(TOML + odd + '[triggers.lost]\ntype = "files"\npath = "nowhere"\nfunction = "echo"\n')
    with terminal("-C", str(project.project), "run") as screen:
        head = screen.until("Ctrl-C stops it")
        assert "warning[cron-both-days]: " in head
        assert re.search(r"  lost +files → echo  degraded: |degraded +lost", screen.until("degraded"))
        assert "\x1b[33m\x1b[1mwarning" in screen.raw


def test_a_run_says_why_a_request_was_not_let_in_and_nothing_twice(project: Daemon) -> None:
    shut = (
        'type = "webhook"\npath = "/shut"\nauth = { type = "github", secret = { secret = "S" } }\nfunction = "echo"\n'
    )
    project.write(TOML + "\n[triggers.shut]\n" + shut)
    with terminal("-C", str(project.project), "run", environ={"S": "of nobody's"}, columns=120) as screen:
        screen.until("Ctrl-C stops it")
        assert project.post("/shut", b"{}")[0] == 401
        screen.until("why=")
        drawn = screen.until("or repeated").replace("\n", "")
        assert re.search(r"\d\d:\d\d:\d\d \[warning +\] a request is not authentic +.*trigger=shut", drawn)
        project.cli("send", "fail", "-d", "{}")
        screen.until("triggerhub dlq show ")
        project.cli("invoke", "echo")
        drawn = screen.until("answered  api → echo")
        assert "unisolated" not in drawn
        assert "is a dead letter" not in drawn


@pytest.mark.parametrize("columns", [40, 80])
def test_a_run_keeps_within_a_narrow_terminal_and_obeys_nobody(columns: int, project: Daemon) -> None:
    with terminal("-C", str(project.project), "run", columns=columns) as screen:
        screen.until("Ctrl-C stops it")
        project.cli("invoke", "nasty", "--async", "-d", '"\\u001b[2J"')
        screen.until("dlq show")
        lines = [line for line in screen.text.split("\n") if re.match(r"\d\d:\d\d:\d\d (accepted|dead)", line)]
        assert len(lines) == 2
        assert all(words.width(line) <= columns for line in lines)
        assert "\\x1b]0;owned\\x07\\x1b[31mred \\u202egnp <b>bold</b>" in screen.text
        assert not obeyed(screen.raw)


def test_a_run_without_colours_has_none(project: Daemon) -> None:
    with terminal("-C", str(project.project), "run", environ={"NO_COLOR": "1"}) as screen:
        screen.until("Ctrl-C stops it")
        project.cli("invoke", "echo")
        screen.until("answered")
        screen.interrupt()
        assert screen.end() == 0
        assert "\x1b" not in screen.raw


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
@pytest.mark.parametrize("command", ["status", "check", "doctor"])
def test_without_colours_there_are_none(environ: Env, command: str, empty: Path) -> None:
    with terminal("-C", str(empty), command, environ=environ) as screen:
        assert screen.end() == {"status": 4, "check": 3, "doctor": 0}[command]
        assert screen.raw
        assert "\x1b" not in screen.raw


ILL = r"""
from triggerhub import source

class Options(source.Options):
    pass

async def run(ctx, options):
    while not (ctx.project / "go").exists():
        await ctx.sleep_until(ctx.now() + 20)
    raise RuntimeError("\x1b[2J ill")
"""


def test_the_log_beside_a_run_is_harmless_and_shows_no_variables(project: Daemon) -> None:
    (project.project / "sources").mkdir()
    (project.project / "sources" / "ill.py").write_text(ILL)
    project.write(TOML + '[triggers.ill]\ntype = "ill"\nfunction = "echo"\n')
    with terminal("-C", str(project.project), "run") as screen:
        screen.until("Ctrl-C stops it")
        (project.project / "go").touch()
        screen.until("RuntimeError: \\x1b[2J ill\n")
        assert re.search(r"degraded +ill +RuntimeError: \\x1b\[2J ill; it is", screen.until("degraded"))
        assert "options =" not in screen.text
        assert not obeyed(screen.raw)


def test_a_terminal_that_is_closed_does_not_end_the_hub(project: Daemon) -> None:
    (project.project / "sources").mkdir()
    (project.project / "sources" / "ill.py").write_text(ILL)
    project.write(TOML + '[triggers.ill]\ntype = "ill"\nfunction = "echo"\n')
    with terminal("-C", str(project.project), "run") as screen:
        screen.until("Ctrl-C stops it")
        screen.close()
        (project.project / "go").touch()
        until(lambda: "degraded" in project.cli("triggers", "show", "ill").stdout, "it failed, and so did the telling")
        assert project.cli("invoke", "echo").returncode == 0
        screen.interrupt()
        assert screen.process.wait(30) == 0


def test_a_terminal_that_hangs_does_not_hold_up_the_hub(project: Daemon) -> None:
    """Nobody reads the pty: what does not fit is left out, and the hub goes on."""
    project.write(
        TOML, {"chatty.py": "def handler(event, context):\n    for n in range(5000):\n        print('x' * 100)\n"}
    )
    with terminal("-C", str(project.project), "run") as screen:
        screen.until("Ctrl-C stops it")
        assert project.cli("invoke", "chatty").returncode == 0
        screen.drain()
        until(
            lambda: project.cli("invoke", "echo").returncode == 0 and "answered  api → echo" in screen.drain(),
            "it is drawn again",
        )
        assert "left out: the terminal is slow" in screen.text
        screen.interrupt()
        assert screen.end() == 0


def test_errors_and_states_are_in_colour(hub: Daemon, run: Run) -> None:
    folder = str(hub.project)
    with terminal("-C", "/nowhere", "status") as screen:
        assert screen.end() == 4
        assert screen.raw.startswith("\x1b[31m\x1b[1merror: \x1b[0mno hub answers")
    run("-C", folder, "invoke", "echo", "--async")
    with terminal("-C", folder, "status") as screen:
        assert screen.end() == 0
        assert "\x1b[32m\x1b[1mready\x1b[0m" in screen.raw


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("command", [["deliveries", "list"], ["functions", "list"], ["triggers", "list"]], ids=" ".join)
def test_tables_keep_within_the_terminal(command: list[str], columns: int, hub: Daemon, run: Run) -> None:
    run("-C", str(hub.project), "invoke", "broken", "--async")
    with terminal("-C", str(hub.project), *command, columns=columns) as screen:
        assert screen.end() == 0
    assert all(words.width(line) <= columns for line in screen.text.split("\n"))
    assert len(screen.text.split("\n")) > 2
    assert not obeyed(screen.raw)


def test_an_answer_on_a_terminal_is_harmless_and_still_json(hub: Daemon) -> None:
    with terminal("-C", str(hub.project), "invoke", "shell", "-d", '"\u202egnp\x7f"', stdin=False) as screen:
        assert screen.end() == 0
    assert '"\\u202egnp\\u007f"' in screen.text
    assert not obeyed(screen.raw)


def test_many_are_asked_about_and_show_progress(hub: Daemon, run: Run) -> None:
    folder = str(hub.project)
    ids = [run("-C", folder, "invoke", "doomed", "--async", "--json").json["deliveries"][0] for _ in range(30)]
    for one in ids:
        run("-C", folder, "deliveries", "wait", one, "--timeout", "30s")
    order = ["-C", folder, "dlq", "redrive", "--function", "doomed"]
    with terminal(*order) as screen:
        screen.until("? [y/N]: ")
        screen.type("n\n")
        assert screen.end() == 130
        assert re.search(r"dlq redrive: \d+ dead letters\? \[y/N\]: n\n", screen.text)
    assert run("-C", folder, "dlq", "show", ids[0], "--json").json["state"] == "dead"
    with terminal(*order, "--yes", "--rate", "40/s") as screen:
        assert re.search(r"dlq redrive +[━╸ ]*.* \d+/\d+", screen.until("/"))
        assert screen.end() == 0
        assert re.search(r"queued \d+ dead letters again\n", screen.text)
    for one in ids:
        assert run("-C", folder, "deliveries", "wait", one, "--timeout", "30s").code == 1
    with terminal("-C", folder, "dlq", "discard", "--function", "doomed") as screen:
        screen.until("? [y/N]: ")
        screen.type("y\n")
        assert screen.end() == 0


def test_no_question_is_asked_where_nobody_can_answer(hub: Daemon, run: Run) -> None:
    run("-C", str(hub.project), "invoke", "broken", "--async")
    with terminal("-C", str(hub.project), "dlq", "redrive", "--function", "broken", stdin=False) as screen:
        assert screen.end() == 0
    assert "[y/N]" not in screen.text
