"""Triggers of triggerhub.toml that start functions which were made through the Lambda API."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from tests.contract.conftest import client
from tests.contract.package import answering, called, create, zipped
from tests.contract.test_functions import refused
from tests.e2e.daemon import Daemon, daemon, until

READING = """
def handler(event, context):
    return open(event["Records"][0]["triggerhub"]["path"]).read()
"""
OWN = {"own.py": "def handler(event, context):\n    return 1\n"}
QUEUE = '[triggers.orders]\ntype = "queue"\nname = "orders"\nfunctions = ["own", "made"]\n'


def sent(hub: Daemon) -> set[str]:
    """Send an event to the trigger; return the functions that it was handed to."""
    done = json.loads(hub.cli("send", "orders", "-d", "{}", "--json").stdout)
    for delivery in done["deliveries"]:
        assert hub.cli("deliveries", "wait", delivery).returncode == 0
    return {hub.api("GET", f"/api/v1/deliveries/{delivery}")["function"] for delivery in done["deliveries"]}


def test_a_table_has_a_function_of_the_api_tried_more_often_than_aws_does(tmp_path: Path) -> None:
    table = '[functions.failing]\nretry = { attempts = 5, initial = "50ms", max = "50ms" }\n'
    with daemon(tmp_path, "", OWN) as hub:
        lambdas = client(hub)
        create(lambdas, "failing", zipped({"app.py": "def handler(event, context):\n    raise ValueError(event)\n"}))
        assert configured(hub, table) == []
        answer = lambdas.invoke(FunctionName="failing", InvocationType="Event", Payload=b"1")
        (row,) = until(
            lambda: [one for one in hub.deliveries(function="failing") if one["state"] == "dead"], "it is dead"
        )
        assert hub.api("GET", f"/api/v1/deliveries/{row['id']}")["reason"] == "failed 5 of 5 attempts"
        assert answer["StatusCode"] == 202
        assert refused(lambdas.delete_function, FunctionName="failing")[2] == (
            "failing is named by functions.failing in triggerhub.toml; take it out there first."
        )
        (problem,) = configured(hub, table + 'timeout = "5s"\n')
        assert "functions.failing.timeout: that function was made by the Lambda API" in problem
        assert configured(hub, "") == []
        lambdas.delete_function(FunctionName="failing")


def test_a_table_gives_a_function_of_the_api_what_it_may_touch(tmp_path: Path) -> None:
    code = "import os\ndef handler(event, context):\n    return os.path.exists(event)\n"
    seen = tmp_path / "seen"
    seen.mkdir(mode=0o755)
    with daemon(tmp_path, "", OWN) as hub:
        lambdas = client(hub)
        for name in ("given", "plain"):
            create(lambdas, name, zipped({"app.py": code}), Publish=True)
        assert configured(hub, f'[functions.given]\nsandbox = {{ read = ["{seen}"] }}\n') == []
        for _ in range(2):
            for name, there in (("given", True), ("given:1", True), ("plain", False), ("plain:1", False)):
                assert called(lambdas, name, Payload=json.dumps(str(seen))) is there
            hub.kill()
            hub.start()
        assert configured(hub, "") == []
        assert called(lambdas, "given", Payload=json.dumps(str(seen))) is False


def problems(hub: Daemon) -> list[str]:
    return hub.api("GET", "/api/v1/status")["problems"]


def configured(hub: Daemon, toml: str) -> list[str]:
    """Write the configuration and have it read."""
    hub.write(toml)
    return json.loads(hub.api("POST", "/api/v1/reload", raw=True)[1])["problems"]


def test_a_trigger_starts_what_the_api_made_as_long_as_it_is_there(tmp_path: Path) -> None:
    with daemon(tmp_path, "", OWN) as hub:
        lambdas = client(hub)
        (told,) = configured(hub, QUEUE)
        assert 'there is no function "made"' in told
        create(lambdas, "made", answering("one"))
        until(lambda: not problems(hub), "the configuration that speaks of it is read again")
        assert sent(hub) == {"own", "made"}
        assert refused(lambdas.delete_function, FunctionName="made") == (
            409, "ResourceConflictException",
            "made is named by triggers.orders in triggerhub.toml; take it out there first.",
        )  # fmt: skip
        hub.kill()
        assert hub.cli("check").returncode == 0
        hub.start()
        assert sent(hub) == {"own", "made"}
        saved = tmp_path / "saved.tar"
        assert hub.cli("backup", str(saved)).returncode == 0
        hub.stop()
        assert hub.cli("restore", str(saved)).returncode == 0
        hub.start()
        assert sent(hub) == {"own", "made"}
        assert configured(hub, "") == []
        lambdas.delete_function(FunctionName="made")
        assert 'there is no function "made"' in configured(hub, QUEUE)[0]
        hub.stop()
        assert hub.cli("check").returncode == 3


def test_a_handler_whose_metadata_speaks_of_what_the_api_makes_is_read_again(tmp_path: Path) -> None:
    own = '# /// script\n# [tool.triggerhub]\n# on_success = ["function:made"]\n# ///\n' + OWN["own.py"]
    with daemon(tmp_path, "", {"own.py": own}) as hub:
        lambdas = client(hub)
        assert 'there is no function "made"' in called(lambdas, "own")["errorMessage"]
        create(lambdas, "made", answering("one"))
        until(lambda: not problems(hub), "it is read again")
        assert called(lambdas, "own") == 1


def test_one_whose_function_was_lost_rests_until_it_is_made_again(tmp_path: Path) -> None:
    with daemon(tmp_path, "", OWN) as hub:
        create(client(hub), "made", answering("one"))
        assert configured(hub, QUEUE) == []
        hub.stop()
        with sqlite3.connect(tmp_path / "var/hub.db") as database:
            changed = database.execute("UPDATE checkpoint SET value = '{' WHERE scope = 'lambda-function'")
            assert changed.rowcount == 1
        database.close()
        hub.start()
        assert [one for one in problems(hub) if one.startswith("trigger orders rests: there is no function made")]
        assert hub.cli("send", "orders", "-d", "{}").returncode == 1
        create(client(hub), "made", answering("two"))
        assert sent(hub) == {"own", "made"}
        assert problems(hub) == []


def test_a_version_may_be_named_and_a_file_is_shown_to_its_function(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    toml = f'[triggers.files]\ntype = "files"\npath = "{inbox}"\nfunction = "reads:1"\nsettle = "10ms"\n'
    with daemon(tmp_path, "", OWN) as hub:
        lambdas = client(hub)
        create(lambdas, "reads", zipped({"app.py": READING}), Publish=True)
        assert configured(hub, toml) == []
        (inbox / "a.txt").write_text("seen")
        (row,) = until(lambda: [row for row in hub.deliveries(function="reads:1") if row["finished"]], "it was called")
        assert row["state"] == "succeeded", hub.api("GET", f"/api/v1/deliveries/{row['id']}")
        assert answered(hub, row) == "seen"
        assert refused(lambdas.delete_function, FunctionName="reads", Qualifier="1")[:2] == (
            409, "ResourceConflictException",
        )  # fmt: skip
        assert refused(lambdas.delete_function, FunctionName="reads")[0] == 409


def answered(hub: Daemon, row: dict[str, Any]) -> Any:
    return hub.api("GET", f"/api/v1/deliveries/{row['id']}")["history"][-1]["payload"]
