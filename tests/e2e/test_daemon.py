"""The daemon as a process: started, fed, changed, ended."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, daemon, until
from tests.e2e.toml import webhook

TOML = (
    """
[defaults]
retry = { attempts = 2, initial = "50ms" }

[triggers.drop]
type = "files"
path = "drop"
settle = "50ms"
function = "echo"
"""
    + webhook("hook", "echo")
    + webhook("ask", "echo", answers=True)
)
ECHO = """
def handler(event, context):
    print("got it")
    return {"version": 1, "body": event.get("body")}
"""
SLOW = """
import time

def handler(event, context):
    time.sleep(60)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "drop").mkdir(parents=True)
    return folder


def test_a_webhook_is_stored_run_and_told(project: Path) -> None:
    with daemon(project, TOML, {"echo.py": ECHO}) as hub:
        status, body = hub.post("/hook", b'{"n": 1}')
        assert status == 202
        (delivery,) = json.loads(body)["deliveries"]
        assert hub.settled()["succeeded"] == 1
        shown = json.loads(hub.cli("deliveries", "show", delivery, "--json", check=True).stdout)
        assert shown["state"] == "succeeded"
        assert shown["function"] == "echo"
        log = hub.cli("logs", "--delivery", delivery, check=True).stdout
        assert "got it" in log
        assert hub.stop() == 0


def test_a_waiting_caller_gets_the_answer(project: Path) -> None:
    with daemon(project, TOML, {"echo.py": ECHO}) as hub:
        status, body = hub.post("/ask", b"hello", {"Content-Type": "text/plain"})
        assert (status, json.loads(body)) == (200, {"version": 1, "body": "hello"})


def test_a_dropped_file_runs_once_also_when_the_hub_was_down(project: Path) -> None:
    with daemon(project, TOML, {"echo.py": ECHO}) as hub:
        (project / "drop" / "a.txt").write_text("hi")
        until(lambda: hub.counts()["succeeded"] == 1, "the file ran")
        hub.kill()
        (project / "drop" / "b.txt").write_text("ho")
        hub.start()
        until(lambda: hub.counts()["succeeded"] == 2, "the file put down meanwhile ran")
        hub.stop()
        hub.start()
        assert hub.settled()["accepted"] == 2


def test_what_was_running_at_a_kill_runs_again(project: Path) -> None:
    with daemon(project, TOML, {"echo.py": SLOW}) as hub:
        hub.post("/hook", b"{}")
        until(lambda: hub.counts()["running"] == 1, "it runs")
        hub.kill()
        hub.write(TOML, {"echo.py": ECHO})
        hub.start()
        counts = hub.settled()
    assert (counts["succeeded"], counts["drift"]) == (1, 0)


def test_the_first_signal_drains_and_the_second_cuts(project: Path) -> None:
    with daemon(project, TOML, {"echo.py": SLOW}) as hub:
        hub.post("/hook", b"{}")
        until(lambda: hub.counts()["running"] == 1, "it runs")
        assert hub.process is not None
        hub.process.send_signal(signal.SIGTERM)
        until(lambda: "stopping" in hub.log(), "it drains")
        time.sleep(0.2)
        assert hub.alive
        hub.process.send_signal(signal.SIGTERM)
        assert hub.process.wait(30) == 0
        hub.write(TOML, {"echo.py": ECHO})
        hub.start()
        assert hub.settled()["succeeded"] == 1
        (row,) = hub.deliveries()
        assert row["attempts"] == 1, "what the shutdown cut was not counted"


def test_saving_a_handler_serves_the_new_version(project: Path) -> None:
    with daemon(project, TOML, {"echo.py": ECHO}) as hub:
        assert json.loads(hub.post("/ask", b"x")[1])["version"] == 1
        hub.write(TOML, {"echo.py": ECHO.replace('"version": 1', '"version": 2')})
        until(lambda: json.loads(hub.post("/ask", b"x")[1])["version"] == 2, "the new version answers")


def test_a_broken_configuration_keeps_the_last_good_one(project: Path) -> None:
    with daemon(project, TOML, {"echo.py": ECHO}) as hub:
        hub.write(TOML + '\n[triggers.bad]\ntype = "webhook"\n', {})
        until(lambda: hub.api("GET", "/api/v1/status")["problems"], "the problems are shown")
        assert hub.post("/hook", b"{}")[0] == 202
        check = hub.cli("check")
        assert check.returncode == 3
        assert "triggers.bad" in check.stdout + check.stderr
        hub.write(TOML.replace("/ask", "/question"), {})
        until(lambda: hub.post("/question", b"x")[0] == 200, "the mended configuration is in force")
        assert hub.post("/ask", b"x")[0] in (404, 503), "503 for a moment, as a changed route may come back"


def test_reloads_under_load_lose_nothing(project: Path) -> None:
    with daemon(project, TOML, {"echo.py": ECHO}) as hub:
        stop, accepted = threading.Event(), []

        def load() -> None:
            while not stop.is_set():
                status, body = hub.post("/hook", b"{}")
                if status == 202:
                    accepted.extend(json.loads(body)["deliveries"])

        sender = threading.Thread(target=load)
        sender.start()
        try:
            for number in range(10):
                marker = f'"version": {number + 2}'
                hub.write(TOML, {"echo.py": ECHO.replace('"version": 1', marker)})
                until(lambda want=number + 2: json.loads(hub.post("/ask", b"x")[1])["version"] == want, marker)
        finally:
            stop.set()
            sender.join()
        counts = hub.settled()
        states = {row["id"]: row["state"] for row in hub.deliveries()}
    assert {states.get(one) for one in accepted} == {"succeeded"}
    assert counts["drift"] == 0


def test_a_second_hub_on_the_folder_is_refused_by_pid(project: Path) -> None:
    with daemon(project, TOML, {"echo.py": ECHO}) as hub:
        assert hub.process is not None
        second = hub.cli("run")
        assert second.returncode == 3
        assert str(hub.process.pid) in second.stderr


def test_a_configuration_with_errors_does_not_start(project: Path) -> None:
    hub = Daemon(project)
    hub.write('[triggers.x]\ntype = "webhok"\nfunction = "nobody"\n', {})
    done = hub.cli("run")
    assert done.returncode == 3
    assert "triggers.x" in done.stderr
    assert "webhook" in done.stderr, "the nearest type is suggested"


def test_a_handler_sees_nothing_of_the_hub(project: Path) -> None:
    spy = (
        "import os\n\ndef handler(event, context):\n    status = open('/proc/self/status').read()\n"
        "    fds = {n: os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')}\n"
        "    return {'env': dict(os.environ), 'nnp': 'NoNewPrivs:\\t1' in status, 'fds': fds, 'cwd': os.getcwd()}\n"
    )
    with daemon(project, TOML, {"echo.py": spy}, start=False) as hub:
        hub.start(environ={"HUB_TOP_SECRET": "do-not-leak"})
        seen = json.loads(hub.post("/ask", b"x")[1])
    assert "HUB_TOP_SECRET" not in seen["env"]
    assert seen["nnp"] is True
    private = ("socket:", "pipe:", "/dev/null", "anon_inode:", "/proc/")
    assert all(target.startswith(private) for target in seen["fds"].values()), seen["fds"]
    assert len(seen["fds"]) < 8, seen["fds"]
    assert os.fspath(project / "handlers") != seen["cwd"], "it runs from its snapshot"


def test_health_readiness_and_metrics(project: Path) -> None:
    with daemon(project, TOML, {"echo.py": ECHO}) as hub:
        assert hub.api("GET", "/healthz", raw=True)[0] == 200
        hub.post("/hook", b"{}")
        hub.settled()
        page = hub.api("GET", "/metrics", raw=True)[1].decode()
        assert 'triggerhub_deliveries{state="succeeded"} 1.0' in page
        assert "triggerhub_accounting_drift 0.0" in page


def test_a_users_own_source_needs_no_other_change(project: Path) -> None:
    (project / "sources").mkdir()
    (project / "sources" / "greeting.py").write_text(
        "import json\n\nimport anyio\n\nfrom triggerhub import source\nfrom triggerhub.model import Event\n\n\n"
        "class Options(source.Options):\n    word: str\n\n\n"
        "async def run(ctx, options):\n"
        "    await ctx.emit(Event(data=json.dumps({'word': options.word}).encode(), time=ctx.now(), dedup_key='once'))\n"
        "    await anyio.sleep_forever()\n"
    )
    toml = TOML + '\n[triggers.hello]\ntype = "greeting"\nword = "hi"\nfunction = "echo"\n'
    with daemon(project, toml, {"echo.py": ECHO}) as hub:
        until(lambda: hub.counts()["succeeded"] == 1, "its event ran")
        assert hub.deliveries()[0]["trigger"] == "hello"
