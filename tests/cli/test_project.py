"""init, run, check, config, doctor, completion: a project's life on this machine."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import HANDLERS, TOML, Run
from tests.e2e.daemon import GUARD, Daemon, daemon, until
from triggerhub.config.codes import CODES

ROOT = Path(__file__).parents[2]


def test_init_writes_a_project_that_check_finds_right(run: Run, empty: Path) -> None:
    ran = run("init", str(empty / "demo"))
    assert (ran.code, ran.err) == (0, "")
    assert f"  + {empty}/demo/triggerhub.toml\n" in ran.out
    assert f"\nNext:\n  cd {empty}/demo\n  triggerhub run" in ran.out
    checked = run("-C", str(empty / "demo"), "check")
    assert (checked.code, checked.err) == (0, "")
    assert checked.out == f"ok  {empty}/demo/triggerhub.toml: 6 functions, 5 triggers\n"


def test_init_never_writes_over_what_is_there(run: Run, empty: Path) -> None:
    (empty / "triggerhub.toml").write_text("# mine\n")
    ran = run("init", str(empty))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"error: {empty}/triggerhub.toml is there already\n  Name a new folder: triggerhub init DIR.\n"
    assert [path.name for path in empty.iterdir()] == ["triggerhub.toml"]
    blocked = run("init", "/dev/null/x")
    assert blocked.code == 3
    assert "cannot be written: Not a directory" in blocked.err


def test_init_tells_json_what_it_wrote(run: Run, empty: Path) -> None:
    found = run("init", str(empty / "a"), "--json").json
    assert found["project"] == str(empty / "a")
    assert "triggerhub.toml" in found["files"]


def test_check_tells_all_problems_with_their_places(run: Run, empty: Path) -> None:
    (empty / "triggerhub.toml").write_text('[hub]\nlisten = "127.0.0.1:8700"\nbacth = 1\n[functions.ghost]\n')
    ran = run("-C", str(empty), "check")
    assert (ran.code, ran.out) == (3, "")
    assert "triggerhub.toml:3:1: error[unknown-key]: hub" in ran.err
    assert "error[no-handler]: " in ran.err
    assert "\n2 problems.\n" in ran.err
    assert "The running hub" not in ran.err
    found = run("-C", str(empty), "check", "--json")
    assert found.code == 3
    assert [(one["code"], one["line"], one["severity"]) for one in found.json] == [
        ("unknown-key", 3, "error"), ("no-handler", 4, "error"),
    ]  # fmt: skip
    assert set(found.json[0]) == {"file", "line", "column", "severity", "code", "message", "hint", "length"}


def test_warnings_alone_are_exit_code_0(run: Run, empty: Path) -> None:
    (empty / "handlers").mkdir()
    (empty / "handlers" / "a.py").write_text("def handler(event, context): ...\n")
    (empty / "triggerhub.toml").write_text('[triggers.t]\ntype = "cron"\nschedule = "0 0 13 * 5"\nfunction = "a"\n')
    ran = run("-C", str(empty), "check")
    assert ran.code == 0
    assert "warning[cron-both-days]" in ran.err
    assert ran.out.startswith("ok  ")


@pytest.mark.parametrize(
    "text",
    ["= nonsense", "\x00", "[a" * 20_000, "a = 1\na = 2\n", "\udcff"],
    ids=["syntax", "nul", "deep", "twice", "bytes"],
)
def test_what_is_no_toml_is_a_problem_of_its_own(text: str, run: Run, empty: Path) -> None:
    (empty / "triggerhub.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    ran = run("-C", str(empty), "check")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("triggerhub.toml:1:" if text[0] != "a" else "triggerhub.toml:2:")
    assert run("-C", str(empty), "status").code == 4


def test_a_project_that_is_none_or_cannot_be_read_is_exit_code_3(run: Run, empty: Path) -> None:
    ran = run("-C", str(empty), "check")
    assert ran.code == 3
    assert f"error[no-project]: there is no triggerhub.toml in {empty}; triggerhub init {empty}" in ran.err
    (empty / "triggerhub.toml").mkdir()
    ran = run("-C", str(empty), "check")
    assert ran.code == 3
    assert "error[unreadable]" in ran.err
    assert run("-C", str(empty / "nowhere"), "check").code == 3


def test_check_online_asks_the_sources_that_have_a_connection(run: Run, empty: Path) -> None:
    (empty / "handlers").mkdir()
    (empty / "sources").mkdir()
    (empty / "handlers" / "a.py").write_text("def handler(event, context): ...\n")
    (empty / "sources" / "dial.py").write_text(
        "from triggerhub import source\n"
        "from triggerhub.errors import Conflict\n"
        "class Options(source.Options):\n"
        "    number: str\n"
        "async def run(ctx, options): ...\n"
        "async def probe(ctx, options):\n"
        "    assert await ctx.checkpoint('x') is None\n"
        "    if options.number == '2':\n"
        "        raise Conflict('nobody answers at 2', hint='dial 1')\n"
        "    if options.number == '3':\n"
        "        raise RuntimeError('bad line')\n"
    )
    head = '[triggers.{0}]\ntype = "dial"\nnumber = "{0}"\nfunction = "a"\n'
    (empty / "triggerhub.toml").write_text(head.format(1))
    ran = run("-C", str(empty), "check", "--online")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("\n    online: 1 connection tested\n")
    (empty / "triggerhub.toml").write_text("".join(head.format(number) for number in (1, 2, 3)))
    ran = run("-C", str(empty), "check", "--online")
    assert (ran.code, ran.out) == (3, "")
    assert "triggerhub.toml: error[not-reachable]: triggers.2: nobody answers at 2; dial 1\n" in ran.err
    assert "triggerhub.toml: error[not-reachable]: triggers.3: RuntimeError: bad line\n" in ran.err
    found = run("-C", str(empty), "check", "--online", "--json")
    assert (found.code, [one["code"] for one in found.json]) == (3, ["not-reachable"] * 2)
    assert run("-C", str(empty), "check", "--json").json == []
    assert run("explain", "not-reachable").code == 0


def test_check_online_says_when_there_is_nothing_to_test(run: Run, empty: Path) -> None:
    (empty / "triggerhub.toml").write_text("")
    assert run("-C", str(empty), "check", "--online").out.endswith("online: no trigger has a connection to test\n")


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_explained(code: str, run: Run) -> None:
    assert run("explain", code).out == f"{CODES[code]}\n"
    assert run("explain", f"[{code}]", "--json").json == {"code": code, "text": CODES[code]}


def test_every_code_that_is_given_has_its_explanation() -> None:
    """What looks like a code where problems are made is one that explain knows."""
    import re

    given = set()
    for top in ("triggerhub/config", "triggerhub/cli", "triggerhub/auth.py", "sources"):
        place = ROOT / top
        for path in [place] if place.is_file() else place.glob("*.py"):
            text = path.read_text()
            given |= set(re.findall(r"code=\"([a-z-]+)\"", text))
            given |= set(
                re.findall(r"(?:report|about|to)\.(?:error|warn)\(\s*[^\n]*?,\s*\"([a-z]+(?:-[a-z]+)+)\"", text)
            )
            given |= set(re.findall(r"PluginError\(\s*\"([a-z-]+)\"", text))
    assert len(given) > 30
    assert given <= set(CODES), given - set(CODES)


def test_the_schema_is_json_schema_with_the_projects_own_sources(run: Run, empty: Path) -> None:
    (empty / "triggerhub.toml").write_text("")
    found = run("-C", str(empty), "config", "schema")
    assert found.code == 0
    assert found.json["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"hub", "defaults", "functions", "triggers"} <= set(found.json["properties"])
    assert run("-C", str(empty), "config", "schema", "--json").json == found.json


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_a_shell(shell: str, run: Run) -> None:
    ran = run("completion", shell)
    assert ran.code == 0
    assert "_TRIGGERHUB_COMPLETE" in ran.out
    assert run("completion", shell, "--json").json == {"shell": shell, "script": ran.out.removesuffix("\n")}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("triggerhub dl", {"dlq"}),
        ("triggerhub deliveries ", {"list", "show", "wait", "cancel", "retry", "redeliver"}),
        (
            "triggerhub -C {project} invoke ",
            {"broken", "doomed", "echo", "ending", "failing", "held", "nasty", "shell"},
        ),
        ("triggerhub -C {project} send ke", {"keyed"}),
        ("triggerhub -C {project} dlq list --function do", {"doomed"}),
        ("triggerhub -C /nowhere invoke ", set()),
    ],
)
def test_a_shell_completes_commands_and_the_hubs_own_names(line: str, expected: set[str], hub: Daemon) -> None:
    text = line.format(project=hub.project)
    environ = {
        **os.environ, "_TRIGGERHUB_COMPLETE": "bash_complete", "COMP_WORDS": text,
        "COMP_CWORD": str(len(text.split()) - (not text.endswith(" "))),
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", "from triggerhub.cli import main; main()"],
        capture_output=True, text=True, env=environ, timeout=GUARD, check=False, cwd=ROOT,
    )  # fmt: skip
    assert ran.stderr == ""
    assert {row.split(",")[1] for row in ran.stdout.splitlines() if row} == expected


def test_doctor_says_what_this_host_gives(run: Run, empty: Path) -> None:
    ran = run("-C", str(empty), "doctor", "--json")
    readings = ran.json
    assert {
        "python", "packages", "sqlite", "disk", "sync", "data folder", "descriptors", "inotify", "memory", "clock", "time zones",
        "node", "cryptography", "isolation", "network", "installers", "listen", "admin", "runtimes",
    } == {one["name"] for one in readings}  # fmt: skip
    for one in readings:
        assert list(one) == ["name", "verdict", "found", "remedy"]
        assert (one["remedy"] is None) is (one["verdict"] == "good")
    assert ran.code == (1 if any(one["verdict"] == "bad" for one in readings) else 0)
    text = run("-C", str(empty), "doctor")
    assert text.code == ran.code
    for one in readings:
        assert f"{one['name']}  " in text.out
    assert list(empty.iterdir()) == [], "nothing is left behind"


def test_doctor_finds_that_the_disk_cannot_be_written(empty: Path, run: Run) -> None:
    (empty / "triggerhub.toml").write_text('[hub]\ndata = "/proc/self"\n')
    ran = run("-C", str(empty), "doctor", "--json")
    assert ran.code == 1
    (disk,) = [one for one in ran.json if one["name"] == "disk" and one["verdict"] == "bad"]
    assert disk["found"].startswith("/proc/self cannot be written")


def test_run_tells_its_log_in_json_where_there_is_no_terminal(hub: Daemon) -> None:
    lines = [json.loads(line) for line in hub.log().splitlines()]
    ready = next(line for line in lines if line["event"] == "ready")
    assert ready["level"] == "info"
    assert ready["functions"] == 8
    assert not any("unisolated" in line["event"] for line in lines)


def test_run_with_json_tells_everything_that_happens(empty: Path) -> None:
    with daemon(empty, '[triggers.q]\ntype = "queue"\nname = "q"\nfunction = "echo"\n', HANDLERS, start=False) as hub:
        out, log = empty / "out.jsonl", (empty / "log.jsonl")
        with out.open("wb") as stdout, log.open("wb") as stderr:
            hub.process = subprocess.Popen(
                [sys.executable, "-m", "triggerhub", "-C", str(empty), "run", "--json"],
                stdout=stdout,
                stderr=stderr,
                cwd=ROOT,
            )
        until(hub.is_ready, "it is ready")
        sent = json.loads(hub.cli("send", "q", "-d", "{}", "--json", check=True).stdout)
        until(lambda: "succeeded" in out.read_text(), "it is told")
        assert hub.stop() == 0
        told = [json.loads(line) for line in out.read_text().splitlines()]
        mine = [one for one in told if one["delivery"] in sent["deliveries"]]
        assert [one["kind"] for one in mine] == ["accepted", "started", "output", "succeeded"]
        assert set(told[0]) == {"time", "kind", "trigger", "function", "delivery", "attempt", "duration_ms", "text"}
        assert all(json.loads(line)["event"] for line in log.read_text().splitlines())


def test_a_second_hub_on_the_folder_and_a_wrong_project_are_exit_code_3(hub: Daemon, empty: Path) -> None:
    second = hub.cli("run")
    assert (second.returncode, second.stdout) == (3, "")
    assert f"another hub, process {hub.process.pid}, already runs on {hub.project}/var" in second.stderr
    project = Daemon(empty)
    assert project.cli("run").returncode == 3
    project.write("[nonsense]\n")
    wrong = project.cli("run")
    assert wrong.returncode == 3
    assert 'error[unknown-key]: triggerhub.toml has no table "nonsense"' in wrong.stderr
    assert wrong.stderr.endswith("\n1 problem.\n")
    project.write(f'[hub]\nadmin = "127.0.0.1:{hub.admin}"\nlisten = "127.0.0.1:{project.listen}"\n')
    taken = project.cli("run")
    assert taken.returncode == 3
    assert f"error: hub.admin: 127.0.0.1:{hub.admin} cannot be listened on: Address already in use\n" in taken.stderr


def test_a_reader_that_has_enough_is_no_error(hub: Daemon) -> None:
    """As in ``triggerhub logs | head -1``."""
    assert hub.cli("invoke", "echo").returncode == 0
    for command in (["logs"], ["config", "schema"], ["logs", "-f"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "triggerhub", "-C", str(hub.project), *command],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        process.stderr.close()
        assert process.wait(GUARD) == 1, (command, said)
        assert said == b""


@pytest.mark.parametrize("full", [True, False], ids=["full", "closed"])
def test_an_output_that_takes_nothing_is_told_without_a_traceback(full: bool, hub: Daemon) -> None:
    ran = subprocess.run(
        ["sh", "-c", f'exec "$@" {">/dev/full" if full else ">&-"}', "sh", sys.executable, "-m", "triggerhub", "-C", str(hub.project), "status"],
        stderr=subprocess.PIPE, text=True, timeout=GUARD, check=False, cwd=ROOT,
    )  # fmt: skip
    expected = (1, "error: the output cannot be written: No space left on device\n") if full else (0, "")
    assert (ran.returncode, ran.stderr) == expected


def test_the_end_of_the_hub_ends_what_follows_it(empty: Path) -> None:
    with daemon(empty, TOML, HANDLERS) as hub:
        for _ in range(2):
            hub.cli("invoke", "broken", "--async", check=True)
        until(lambda: hub.counts()["dead"] == 2, "they are dead")
        following, driving, waiting = (
            subprocess.Popen(
                [sys.executable, "-m", "triggerhub", "-C", str(empty), *command],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            )
            for command in (
                ["logs", "-f", "--json", "--since", "0s"], ["dlq", "redrive", "--all", "--rate", "1/h"],
                ["deliveries", "wait", hub.cli("invoke", "held", "--async", "--json", check=True).stdout.split('"')[-2]],
            )
        )  # fmt: skip
        assert following.stdout is not None
        until(lambda: hub.cli("invoke", "echo") and select.select([following.stdout], [], [], 0)[0], "it follows")
        assert json.loads(following.stdout.readline())["function"] in ("echo", "held", "broken")
        oldest = hub.deliveries(function="broken")[-1]["id"]
        until(lambda: len(hub.api("GET", f"/api/v1/deliveries/{oldest}")["history"]) == 2, "the first ran again")
        hub.stop()
        assert following.communicate(timeout=GUARD)[1] == "error: the hub ended\n  Start it: triggerhub run\n"
        said = driving.communicate(timeout=GUARD)[1]
        assert "error: the hub ended before all was done\n  1 were done; run the command again for the rest.\n" in said
        assert "hub" in waiting.communicate(timeout=GUARD)[1]
        assert (following.returncode, driving.returncode, waiting.returncode) == (4, 4, 4)


def test_an_interrupted_command_is_exit_code_130(hub: Daemon) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "triggerhub", "-C", str(hub.project), "logs", "-f", "--since", "0s"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    # What it prints shows that it follows.
    until(lambda: hub.cli("invoke", "shell") and select.select([process.stdout], [], [], 0)[0], "it follows")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=GUARD)
    assert (process.returncode, said) == (130, b"\n")
