"""status, functions, triggers: what the hub is and how it does."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.conftest import Run
from tests.e2e.daemon import Daemon, until

COUNTS = {"queued", "running", "succeeded", "dead", "cancelled"}


def test_status_says_what_the_hub_is(on: Run, hub: Daemon) -> None:
    found = on("status", "--json").json
    assert {
        "version", "pid", "node", "project", "started", "uptime_s", "ready", "listen", "admin", "level", "storage", "counts", "preparing",
        "problems", "functions", "triggers",
    } <= set(found)  # fmt: skip
    assert (found["project"], found["pid"], found["ready"]) == (str(hub.project), hub.process.pid, True)
    assert (found["functions"], found["triggers"]) == (8, 7)
    counts = found["counts"]
    assert counts["accepted"] == sum(counts[name] for name in (*COUNTS, "discarded", "pruned"))
    assert counts["drift"] == 0
    text = on("status").out
    assert "ready, up " in text
    assert f"webhooks   127.0.0.1:{hub.listen}" in text
    assert re.search(r"sandbox +(contained|isolated)", text)
    assert "drift" not in text


def test_functions_are_listed_and_shown(on: Run) -> None:
    rows = on("functions", "list", "--json").json
    assert [row["name"] for row in rows] == ["broken", "doomed", "echo", "ending", "failing", "held", "nasty", "shell"]
    for row in rows:
        assert {
            "name", "runtime", "handler", "version", "source", "timeout_ms", "memory", "concurrency", "level", "paused",
            "workers", "running", "triggers", "counts",
        } <= set(row)  # fmt: skip
        assert set(row["counts"]) == COUNTS
    assert on("functions", "show", "shell", "--json").json["runtime"] == "executable"
    header, *lines = on("functions", "list").out.rstrip("\n").split("\n")
    assert header.split()[:4] == ["NAME", "RUNTIME", "VERSION", "STATE"]
    assert [line.split()[0] for line in lines] == [row["name"] for row in rows]
    shown = on("functions", "show", "echo").out
    assert shown.startswith("echo\n")
    assert "timeout      30.0 s" in shown
    assert "triggers     hook, yearly, off, keyed" in shown


def test_triggers_are_listed_and_shown(on: Run) -> None:
    rows = {row["name"]: row for row in on("triggers", "list", "--json").json}
    assert list(rows) == ["hook", "yearly", "off", "keyed", "fail", "doom", "patient"]
    for row in rows.values():
        assert {"name", "type", "functions", "state", "why", "next", "counts"} <= set(row)
    assert rows["yearly"]["next"].endswith("-01-01T00:00:00.000Z")
    assert (rows["off"]["state"], rows["off"]["next"]) == ("disabled", None)
    assert rows["hook"]["functions"] == ["echo", "shell"]
    header, *lines = on("triggers", "list").out.rstrip("\n").split("\n")
    assert header.split() == ["NAME", "TYPE", "STATE", "NEXT", "QUEUED", "RUNNING", "DONE", "DEAD", "FUNCTIONS", "WHY"]
    assert len(lines) == 7
    shown = on("triggers", "show", "yearly").out
    assert "-01-01T00:00:00.000Z (in " in shown


@pytest.mark.parametrize(("kind", "name"), [("functions", "shell"), ("triggers", "doom")])
def test_a_pause_is_told_with_what_undoes_it(kind: str, name: str, on: Run) -> None:
    paused = on(kind, "pause", name)
    assert (paused.code, paused.err) == (0, "")
    assert "state" in paused.out
    assert "paused" in paused.out
    assert paused.out.endswith(f"triggerhub {kind} resume {name} undoes it\n")
    try:
        assert "paused" in on(kind, "show", name).out
        row = on(kind, "pause", name, "--json").json
        assert row.get("paused", row.get("state")) in (True, "paused")
    finally:
        resumed = on(kind, "resume", name)
    assert (resumed.code, "paused" in resumed.out) == (0, False)


def test_a_paused_function_keeps_its_deliveries_queued(on: Run) -> None:
    on("functions", "pause", "shell")
    try:
        (delivery,) = on("invoke", "shell", "--async", "--json").json["deliveries"]
        waited = on("deliveries", "wait", delivery, "--timeout", "100ms")
        assert (waited.code, waited.out) == (5, "still queued after 100ms\n")
    finally:
        on("functions", "resume", "shell")
    assert on("deliveries", "wait", delivery, "--timeout", "30s").code == 0


def test_the_hub_is_asked_by_its_address_just_as_well(run: Run, hub: Daemon) -> None:
    url = f"http://127.0.0.1:{hub.admin}"
    assert run("status", "--hub", url, "--json").json["pid"] == hub.process.pid
    assert run("--hub", f"{url}/", "functions", "list", "--json").code == 0
    ran = run("invoke", "echo", "--hub", url, "-d", '{"a": 1}')
    assert (ran.code, json.loads(ran.out)) == (0, {"a": 1})


def test_problems_of_the_running_hub_are_in_its_status(on: Run, hub: Daemon) -> None:
    path = hub.project / "triggerhub.toml"
    good = path.read_text()
    try:
        path.write_text(good + "\n[nonsense]\n")
        until(lambda: on("status", "--json").json["problems"], "the mistake is found")
        text = on("status").out
        assert "1 problem" in text
        assert 'error[unknown-key]: triggerhub.toml has no table "nonsense"' in text
        checked = on("check")
        assert checked.code == 3
        assert "1 problem. The running hub keeps its last good configuration." in checked.err
        assert checked.err.endswith("triggerhub explain CODE says more about a code in brackets\n")
    finally:
        path.write_text(good)
        until(lambda: not on("status", "--json").json["problems"], "the mistake is mended")
