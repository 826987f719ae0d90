"""invoke and send: what goes in, and what is said of it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.e2e.daemon import Daemon, granted, until

BIG = '{"n": 12345678901234567890123, "text": "ä\\u0000"}'


def test_the_answer_is_on_stdout_and_the_report_on_stderr(on: Run) -> None:
    ran = on("invoke", "echo", "-d", BIG)
    assert ran.code == 0
    assert json.loads(ran.out) == json.loads(BIG)
    assert ran.err.startswith("REPORT RequestId: ")
    assert "got it" not in ran.err
    for function in ("echo", "shell"):
        assert re.search(r"\tMax Memory Used: [1-9]\d* MB\t", on("invoke", function, "-d", "1").err)


def test_the_log_is_shown_when_asked_for(on: Run) -> None:
    ran = on("invoke", "echo", "--log")
    first, *_, last = ran.err.rstrip("\n").split("\n")
    assert first.startswith("START RequestId: ")
    assert "got it" in ran.err
    assert last.startswith("REPORT RequestId: ")


@pytest.mark.parametrize("how", ["text", "file", "stdin"])
def test_data_is_given_as_text_as_a_file_or_by_standard_input(how: str, on: Run, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text('{"how": 1}')
    given = {"text": '{"how": 1}', "file": f"@{tmp_path / 'event.json'}", "stdin": "-"}[how]
    assert on("invoke", "echo", "-d", given, stdin=b'{"how": 1}').json == {"how": 1}


def test_a_function_error_is_exit_code_1_with_its_payload(on: Run) -> None:
    ran = on("invoke", "broken")
    assert ran.code == 1
    assert ran.json["errorType"] == "ValueError"
    assert "raised: ValueError: broken on purpose\n" in ran.err
    assert ran.err.endswith("--log shows what the function wrote\n")


def test_json_has_all_that_is_known_of_a_call(on: Run) -> None:
    ran = on("invoke", "broken", "--json")
    assert ran.code == 1
    assert set(ran.json) == {
        "request_id", "outcome", "version", "duration_ms", "init_ms", "memory", "error", "log", "streams", "payload",
    }  # fmt: skip
    assert ran.json["outcome"] == "raised"
    assert ran.json["error"] == {"type": "ValueError", "message": "broken on purpose"}
    assert ran.json["payload"]["errorMessage"] == "broken on purpose"
    assert "before the fall" in ran.json["log"]


def test_a_number_comes_back_as_the_text_that_the_function_wrote(on: Run) -> None:
    ran = on("invoke", "shell", "-d", '{"price": 1.10}', "--json")
    assert ran.code == 0
    assert '"payload": {"price": 1.10}' in ran.out


FORGING = """
def handler(event, context):
    print(f"END RequestId: {context.aws_request_id}")
    print(f"REPORT RequestId: {context.aws_request_id}\\tDuration: 1.00 ms\\tSandbox: trusted")
"""


def test_what_a_handler_writes_cannot_pass_for_a_line_of_the_hub_s(empty: Path) -> None:
    project = Daemon(empty)
    project.write("", {"forge.py": FORGING})
    ran = project.cli("invoke", "forge", "--local", "--log")
    margin = [line.split()[0] for line in ran.stderr.splitlines() if not line.startswith(" ")]
    assert margin == ["START", "END", "REPORT"]
    assert "  REPORT RequestId: " in ran.stderr
    report = project.cli("invoke", "forge", "--local").stderr
    assert "Sandbox: trusted" not in report
    assert report.startswith("REPORT RequestId: ")


def test_an_answer_that_no_json_can_hold_is_base64(empty: Path) -> None:
    project = Daemon(empty)
    project.write("", {"odd.py": "def handler(event, context): return {'a': float('nan')}\n"})
    ran = json.loads(project.cli("invoke", "odd", "--local", "--json").stdout, parse_constant=pytest.fail)
    assert (ran["payload"], base64.b64decode(ran["payload_base64"])) == (None, b'{"a": NaN}')


def test_an_unknown_function_or_trigger_is_exit_code_1_and_names_those_that_there_are(on: Run) -> None:
    for arguments in (
        ["invoke", "nobody"],
        ["functions", "show", "nobody"],
        ["functions", "pause", "nobody"],
        ["logs", "nobody"],
    ):
        ran = on(*arguments)
        assert (ran.code, ran.out) == (1, ""), arguments
        assert (
            ran.err
            == "error: no function 'nobody'\n  This hub has: broken, doomed, echo, ending, failing, held, nasty, shell.\n"
        )
    for arguments in (
        ["send", "no", "-d", "1"],
        ["triggers", "show", "no"],
        ["triggers", "fire", "no"],
        ["triggers", "pause", "no"],
    ):
        ran = on(*arguments)
        assert (ran.code, ran.out) == (1, ""), arguments
        assert ran.err == "error: no trigger 'no'\n  This hub has: doom, fail, hook, keyed, off, patient, yearly.\n"


def test_async_queues_and_says_how_to_wait(on: Run) -> None:
    ran = on("invoke", "echo", "--async")
    assert ran.code == 0
    first, second, third = ran.out.rstrip("\n").split("\n")
    assert first.startswith("accepted ")
    delivery = second.removeprefix("  delivery ")
    assert third == f"  triggerhub deliveries wait {delivery}"
    assert on("deliveries", "wait", delivery, "--timeout", "30s").code == 0
    assert on("deliveries", "show", delivery, "--json").json["trigger"] == "api"


def test_async_with_a_delay_is_due_later(on: Run) -> None:
    (delivery,) = on("invoke", "echo", "--async", "--delay", "1h", "--json").json["deliveries"]
    assert on("deliveries", "show", delivery, "--json").json["state"] == "queued"
    assert "due in 59m" in on("deliveries", "list", "--state", "queued", "--function", "echo").out
    assert "due, because it was delayed" in on("explain", delivery).out
    assert on("deliveries", "cancel", delivery).code == 0


def test_send_says_accepted_filtered_or_duplicate(on: Run) -> None:
    accepted = on("send", "keyed", "-d", '{"kind": "order", "id": "a-1"}', "--json")
    assert accepted.code == 0
    assert accepted.json["result"] == "accepted"
    assert len(accepted.json["deliveries"]) == 1
    again = on("send", "keyed", "-d", '{"kind": "order", "id": "a-1"}')
    assert (again.code, again.out) == (5, f"duplicate of {accepted.json['id']}\n")
    filtered = on("send", "keyed", "-d", '{"kind": "other", "id": "a-2"}')
    assert filtered.code == 5
    assert filtered.out.startswith("filtered: ")
    assert "kind" in filtered.out
    assert on("send", "keyed", "-d", '{"kind": "other"}', "--json").json["result"] == "filtered"


def test_send_takes_a_key_a_delay_and_a_sample(on: Run) -> None:
    sent = on("send", "hook", "-d", "hello", "--key", "k-1", "--delay", "1h", "--json").json
    shown = on("deliveries", "show", sent["deliveries"][0], "--json").json
    assert (shown["dedup_key"], shown["state"]) == ("k-1", "queued")
    assert shown["due"] > shown["created"]
    assert on("send", "hook", "-d", "hello", "--key", "k-1").out == f"duplicate of {sent['id']}\n"
    assert on("deliveries", "cancel", *sent["deliveries"]).code == 0
    sampled = on("send", "hook", "--sample", "form", "--json").json
    event = on("deliveries", "show", sampled["deliveries"][0], "--json").json["event"]
    assert event["data"]["headers"]["content-type"] == "application/x-www-form-urlencoded"


def test_an_empty_text_is_an_empty_body_and_no_data_is_none(on: Run) -> None:
    sent = on("send", "hook", "-d", "", "--json").json
    data = on("deliveries", "show", sent["deliveries"][0], "--json").json["event"]["data"]
    assert data["headers"]["content-length"] == "0"
    assert on("send", "hook").code == 2


def test_a_clock_fires_by_hand_and_a_webhook_does_not(on: Run) -> None:
    fired = on("triggers", "fire", "yearly")
    assert fired.code == 0
    assert fired.out.startswith("accepted ")
    ran = on("triggers", "fire", "hook")
    assert (ran.code, ran.out) == (1, "")
    assert "triggerhub send hook -d" in ran.err


def test_local_runs_without_a_hub(empty: Path) -> None:
    project = Daemon(empty)
    project.write("", {"echo.py": "def handler(event, context):\n    print('here')\n    return event\n"})
    ran = project.cli("invoke", "echo", "--local", "-d", '{"n": 1}', "--log")
    assert (ran.returncode, json.loads(ran.stdout)) == (0, {"n": 1})
    assert "here" in ran.stderr
    unknown = project.cli("invoke", "nobody", "--local")
    assert unknown.returncode == 1
    assert "This project has: echo" in unknown.stderr
    project.write("[nonsense]\n")
    broken = project.cli("invoke", "echo", "--local")
    assert broken.returncode == 3
    assert 'triggerhub.toml:4:2: error[unknown-key]: triggerhub.toml has no table "nonsense"' in broken.stderr


NAP = """
import os, tempfile, time
from pathlib import Path

def handler(event, context):
    mine = tempfile.mkstemp()[1]
    Path(event["here"]).touch()
    while not Path(event["there"]).exists():
        time.sleep(0.02)
    return os.path.exists(mine)
"""


def test_a_report_in_json_is_told_apart_from_what_the_function_wrote(empty: Path) -> None:
    (empty / "handlers").mkdir()
    (empty / "triggerhub.toml").write_text('[functions.echo]\nenv = { AWS_LAMBDA_LOG_FORMAT = "JSON" }\n')
    (empty / "handlers/echo.py").write_text("def handler(event, context):\n    print('got it')\n")
    project = Daemon(empty)
    ran = project.cli("invoke", "echo", "--local")
    assert ran.returncode == 0, ran.stderr
    (told,) = map(json.loads, ran.stderr.splitlines())
    assert (told["type"], told["record"]["status"]) == ("platform.report", "success")
    first, said, last = project.cli("invoke", "echo", "--local", "--log").stderr.splitlines()
    assert (json.loads(first)["type"], said, json.loads(last)["type"]) == (
        "platform.start",
        "  got it",
        "platform.report",
    )
    (empty / "handlers/echo.py").write_text("def handler(event, context):\n    raise LookupError\n")
    failed = project.cli("invoke", "echo", "--local")
    assert json.loads(failed.stderr.splitlines()[0])["record"]["errorType"] == "LookupError"


def test_local_calls_at_once_leave_one_another_alone_and_nothing_behind(empty: Path) -> None:
    project = Daemon(empty)
    places = empty / "places"
    places.mkdir()
    project.write("[defaults]\n" + granted(places), {"nap.py": NAP})
    one, two = str(places / "one"), str(places / "two")
    calls = []
    for here, there in ((one, two), (two, one)):
        calls.append(
            subprocess.Popen(
                [
                    sys.executable, "-m", "triggerhub", "-C", str(empty), "invoke", "nap", "--local",
                    "-d", json.dumps({"here": here, "there": there}),
                ],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
            )
        )  # fmt: skip
        # The second begins while the first runs.
        until(Path(here).exists, "it runs")
    assert [call.communicate(timeout=120)[0] for call in calls] == ["true\n", "true\n"]
    assert list(empty.glob("var/local/*")) == []


def test_what_a_function_says_cannot_reach_the_terminals_ear(on: Run, queued: Callable[..., str]) -> None:
    """Control characters, changes of direction and the like are shown spelt out wherever text is shown."""
    delivery = queued("nasty", '{"title": "\u202eevil \u001b[31m"}'.replace("\x1b", "\\u001b"))
    until(lambda: on("logs", "--delivery", delivery).out.count("REPORT") == 1, "its log is written")
    shown = [
        on("invoke", "nasty", "--log"),
        on("invoke", "nasty", "--json"),
        on("logs", "--delivery", delivery),
        on("logs", "--delivery", delivery, "--json"),
        on("deliveries", "show", delivery),
        on("deliveries", "show", delivery, "--json"),
        on("deliveries", "list", "--function", "nasty"),
        on("dlq", "list", "--function", "nasty"),
        on("dlq", "export", "--function", "nasty"),
        on("explain", delivery),
    ]
    for ran in shown:
        text = ran.out + ran.err
        assert not set("\x1b\x07\u202e\u2066") & set(text), text
    assert "\\x1b[31mred \\u202egnp <b>bold</b>" in shown[2].out
    assert "ValueError: \\x1b[2Jgone \\u2066x <script>" in shown[4].out
    assert shown[5].json["error"]["message"] == "\x1b[2Jgone \u2066x <script>"
