"""A canary on a hub that is killed: promoted after its time, rolled back at too many failures, ended by hand."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import client
from tests.contract.package import answering, create, zipped
from tests.e2e.daemon import Daemon, daemon, until

FAILING = zipped({"app.py": "def handler(event, context):\n    raise ValueError('no')\n"})


def prepared(lambdas: Any, name: str, second: bytes) -> None:
    create(lambdas, name, answering("one"), Publish=True)
    lambdas.update_function_code(FunctionName=name, ZipFile=second, Publish=True)
    lambdas.create_alias(FunctionName=name, Name="live", FunctionVersion="1")


def call(lambdas: Any, name: str, times: int) -> set[str]:
    """Call the alias; return the versions that answered."""
    answers = [lambdas.invoke(FunctionName=name, Qualifier="live") for _ in range(times)]
    return {answer["ExecutedVersion"] for answer in answers}


def row(hub: Daemon, name: str) -> dict[str, Any]:
    (found,) = (one for one in hub.api("GET", "/api/v1/status")["canaries"] if one["function"] == name)
    return found


def leads(lambdas: Any, name: str) -> tuple[str, Any]:
    found = lambdas.get_alias(FunctionName=name, Name="live")
    return found["FunctionVersion"], found.get("RoutingConfig")


def test_one_that_fails_is_rolled_back_though_the_hub_was_killed_in_between(tmp_path: Path) -> None:
    with daemon(tmp_path, "", {}) as hub:
        lambdas = client(hub)
        prepared(lambdas, "fn", FAILING)
        began = hub.cli(
            "functions", "canary", "fn", "--weight", "50%", "--max-errors", "10", "--for", "1h", "--min-calls", "40"
        )
        assert began.stdout == "fn:live: version 2 is running on 50% of the calls: 0 of 0 failed, 10% may; 59m left\n" or (
            "1h left" in began.stdout
        ), began.stderr  # fmt: skip
        assert leads(lambdas, "fn") == ("1", {"AdditionalVersionWeights": {"2": 0.5}})
        # Of 40 calls, four may fail: three do not decide it.
        for _ in range(3):
            lambdas.invoke(FunctionName="fn", Qualifier="2")
        until(lambda: json.loads(_tally(hub))["errors"] == 3, "what was counted is written down")
        hub.kill()
        hub.start()
        found = row(hub, "fn")
        assert (found["state"], found["calls"], found["errors"]) == ("running", 3, 3)
        assert leads(lambdas, "fn") == ("1", {"AdditionalVersionWeights": {"2": 0.5}})
        for _ in range(2):
            lambdas.invoke(FunctionName="fn", Qualifier="2")
        until(lambda: row(hub, "fn")["state"] == "rolled back", "it is rolled back")
        assert leads(lambdas, "fn") == ("1", None)
        assert call(lambdas, "fn", 10) == {"1"}
        assert row(hub, "fn")["why"].startswith("5 of 5 calls failed (100%) in ")
        assert "fn:live: version 2 was rolled back: 5 of 5 calls failed" in hub.cli("status").stdout
        assert "was rolled back: 5 of 5" in hub.cli("functions", "versions", "fn").stdout
        assert "a canary was rolled back" in hub.log()
        assert "<b>fn:live</b> is back from version 2: 5 of 5" in hub.api("GET", "/", raw=True)[1].decode()
        told = [json.loads(line) for path in (tmp_path / "var/changes").rglob("*") if path.is_file()
                for line in path.read_text().splitlines()]  # fmt: skip
        assert [(one["who"], one["text"].partition(" calls")[0]) for one in told if "canary of" in one["text"]] == [
            ("hub", "canary of fn:live rolled back: 5 of 5")
        ]
        assert [one["order"]["weight"] for one in told if one["text"].endswith("/fn/canary")] == [50.0]
        hub.kill()
        hub.start()
        assert row(hub, "fn")["state"] == "rolled back"


def _tally(hub: Daemon) -> str:
    """What a hub that began anew would know, read from the store while this one runs."""
    with sqlite3.connect(f"file:{hub.project / 'var/hub.db'}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT value FROM checkpoint WHERE scope = 'lambda-canary'").fetchall()
    return rows[0][0] if rows else '{"errors": 0}'


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with daemon(
        tmp_path_factory.mktemp("canary"), "", {"own.py": "def handler(event, context):\n    return 1\n"}
    ) as hub:
        yield hub


def test_one_that_fails_is_ended_by_the_failure_that_is_too_many(kept: Daemon) -> None:
    lambdas = client(kept)
    prepared(lambdas, "soon", FAILING)
    for _ in range(3):
        lambdas.invoke(FunctionName="soon", Qualifier="2")  # no call waits for its worker any more
    kept.cli("functions", "canary", "soon", "--weight", "100", "--max-errors", "5", "--for", "1h", "--min-calls", "20")
    assert leads(lambdas, "soon")[1] == {"AdditionalVersionWeights": {"2": 1.0}}
    answers = [lambdas.invoke(FunctionName="soon", Qualifier="live")["ExecutedVersion"] for _ in range(400)]
    assert answers.count("2") < 20, "the second failure ends it"
    assert row(kept, "soon")["state"] == "rolled back"
    assert answers[-1] == "1"


def test_one_that_does_well_is_promoted_and_who_waits_is_told(kept: Daemon) -> None:
    lambdas = client(kept)
    prepared(lambdas, "well", answering("two"))
    asked = ("--alias", "live", "--to", "2", "--weight", "100", "--for", "1s", "--min-calls", "3")
    began = kept.cli("functions", "canary", "well", *asked)
    assert began.returncode == 0, began.stderr
    assert call(lambdas, "well", 2) == {"2"}
    until(lambda: row(kept, "well")["watched_ms"] >= 1000, "its time is over")
    assert row(kept, "well")["state"] == "running", "it has not had its calls"
    call(lambdas, "well", 1)
    until(lambda: row(kept, "well")["state"] == "promoted", "it is promoted")
    assert leads(lambdas, "well") == ("2", None)
    waited = kept.cli("functions", "canary", "well", "--to", "1", "--for", "1s", "--min-calls", "0", "--wait", "--json")
    assert (waited.returncode, json.loads(waited.stdout)["state"]) == (0, "promoted"), waited.stderr
    assert leads(lambdas, "well") == ("1", None)


def test_one_is_ended_by_hand_and_by_a_change_of_its_alias(kept: Daemon) -> None:
    lambdas = client(kept)
    prepared(lambdas, "hand", answering("two"))
    begin = ("functions", "canary", "hand")
    assert kept.cli(*begin).returncode == 0
    assert "tries version 2 already" in kept.cli(*begin).stderr
    page = kept.api("GET", "/functions/hand", raw=True)[1].decode()
    assert "Canaries" in page
    assert 'hx-post="/functions/hand/canary/end"' in page
    assert kept.cli(*begin, "--stop").stdout == "hand:live: version 2 was rolled back: by hand\n"
    assert leads(lambdas, "hand") == ("1", None)
    assert "no aliases of hand try a version now" in kept.cli(*begin, "--promote").stderr
    assert kept.cli(*begin).returncode == 0
    assert kept.cli("functions", "rollback", "hand", "--alias", "live").stdout == "hand:live is version 1 again\n"
    assert row(kept, "hand")["state"] == "rolled back"
    assert kept.cli(*begin).returncode == 0
    lambdas.update_alias(FunctionName="hand", Name="live", Description="said")
    assert row(kept, "hand")["state"] == "running"
    assert kept.api("POST", "/functions/hand/canary/end", b"alias=live&promote=true", raw=True)[0] == 204
    assert row(kept, "hand")["state"] == "promoted"
    assert leads(lambdas, "hand") == ("2", None)
    assert kept.cli(*begin, "--to", "1").returncode == 0
    lambdas.update_alias(FunctionName="hand", Name="live", FunctionVersion="1", RoutingConfig={})
    assert [one for one in kept.api("GET", "/api/v1/status")["canaries"] if one["function"] == "hand"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("own",), 1, "own is a function of the handlers folder"),
        (("nobody",), 1, "no function 'nobody'"),
        (("odd", "--weight", "0"), 2, "weight: expected a number from 0.1 to 100, got 0"),
        (("odd", "--weight", "nan"), 2, "weight: expected a number from 0.1 to 100, got nan"),
        (("odd", "--weight", "ten"), 2, "'ten' is no share; write percent, like 5%"),
        (("odd", "--max-errors", "100%"), 2, "max_errors: expected a number from 0 to 99.9, got 100"),
        (("odd", "--for", "soon"), 2, "for: 'soon' is not a duration"),
        (("odd", "--for", "9w"), 2, "for: expected at most 30d, got 9w"),
        (("odd", "--to", "2"), 1, "odd has no version '2'"),
        (("odd", "--stop", "--weight", "5"), 2, "nothing but --alias goes with either"),
    ],
)
def test_one_that_cannot_be_says_why(kept: Daemon, arguments: tuple[str, ...], code: int, says: str) -> None:
    lambdas = client(kept)
    if not any(one["FunctionName"] == "odd" for one in lambdas.list_functions()["Functions"]):
        create(lambdas, "odd", answering("one"), Publish=True)
        lambdas.create_alias(FunctionName="odd", Name="live", FunctionVersion="1")
    ran = kept.cli("functions", "canary", *arguments)
    assert (ran.returncode, says in ran.stderr) == (code, True), ran.stderr
