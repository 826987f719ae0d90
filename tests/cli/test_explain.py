"""What explain tells of an event beside its attempts: triggers, filters, duplicates, limits, destinations."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import ECHO, HASTY, HELD, Run
from tests.e2e.daemon import GUARD, Daemon, daemon, until
from tests.e2e.toml import queue, webhook

ORDERS = 'filter = { body = { kind = ["order"] } }'
TOML = (
    HASTY
    + """
[functions.echo]
on_success = ["queue:done", "queue:narrow", "function:after"]

[functions.held]
concurrency = 1

[functions.slow]
rate = "1/h"

[functions.flaky]
retry = { attempts = 2, initial = "10ms", max = "10ms" }

[triggers.all]
type = "files"
path = "in"
settle = "50ms"
function = "after"

[triggers.pdf]
type = "files"
path = "in"
settle = "50ms"
filter = { s3 = { object = { key = [{ suffix = ".pdf" }] } } }
function = "after"

[triggers.else]
type = "files"
path = "out"
function = "after"

[triggers.put]
type = "webhook"
path = "/hook"
methods = ["PUT", "PATCH"]
auth = "none"
function = "after"
"""
    + webhook("hook", "echo", ORDERS)
    + webhook("now", "after", ORDERS, answers=True)
    + queue("jobs", "held", 'key = "$.body.id"')
    + queue("done", "after", 'filter = { body = { never = ["so"] } }')
    + queue("narrow", "after", 'key = "$.body"')
)
FLAKY = """
def handler(event, context):
    raise ValueError("not today")
"""
HANDLERS = {"echo.py": ECHO, "after.py": ECHO, "held.py": HELD, "flaky.py": FLAKY, "slow.py": ECHO}
SECRET = "not-to-be-shown"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("explained")
    for name in ("in", "out"):
        folder.joinpath(name).mkdir()
    with daemon(folder, TOML, HANDLERS) as running:
        yield running


def page(hub: Daemon, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{hub.admin}{path}", timeout=GUARD) as answer:
        return answer.read().decode()


def test_an_answer_that_was_filtered_has_an_id_that_says_which_leaf_failed(hub: Daemon, on: Run) -> None:
    for path in ("/hook", "/now"):
        status, body = hub.post(path, json.dumps({"kind": SECRET}).encode())
        answer = json.loads(body)
        if "body" in answer:
            answer = json.loads(answer["body"])
        assert status == 200
        ran = on("explain", answer["id"])
        assert ran.code == 0
        assert f'filtered by trigger {path[1:]}: body.kind does not match; wanted "order"' in ran.out
        assert "since the hub's start" in ran.out
        assert SECRET not in ran.out, "what the event says is not kept"
        known = on("explain", answer["id"], "--json").json
        assert [one["trigger"] for one in known["filtered"]] == [path[1:]]
        request = next(name for name in known["filtered"][0]["names"] if name.endswith("="))
        assert on("explain", request, "--json").json == known


def test_a_file_is_asked_for_by_its_path_whether_it_was_stored_or_not(
    hub: Daemon, on: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hub.project / "in" / "a file\x1b[2J.txt"
    path.write_text("x")
    text = until(lambda: (ran := on("explain", str(path))).code == 0 and ran.out, "its refusal is known")
    assert "filtered by trigger pdf: s3.object.key does not match" in text
    assert "\x1b" not in text
    monkeypatch.chdir(path.parent)
    assert "filtered by trigger pdf" in on("explain", path.name).out

    def rows() -> list[dict[str, str]]:
        return on("deliveries", "list", "--trigger", "all", "--json").json

    event = until(rows, "the other trigger stored it")[0]["event_id"]
    text = on("explain", event).out
    assert "all: accepted it" in text
    assert 'pdf: its filter refuses it: s3.object.key does not match; wanted suffix ".pdf"' in text
    assert "else: reads something else (path " in text
    assert text.count("filtered by trigger pdf") == 1

    both = hub.project / "in" / "b.pdf"
    both.write_text("x")
    until(lambda: on("deliveries", "list", "--trigger", "pdf", "--json").json, "the one with the filter stored one")
    event = until(lambda: [row for row in rows() if row["event_id"] != event], "so did the other")[0]["event_id"]
    other = on("deliveries", "list", "--trigger", "pdf", "--json").json[0]["event_id"]
    assert f"pdf: accepted it, too: event {other}" in on("explain", event).out
    assert on("explain", "b.pdf").out.splitlines()[0] in (f"event {event}", f"event {other}"), "by its path, too"
    (mine,) = [row["id"] for row in rows() if row["event_id"] == event]
    told = page(hub, f"/deliveries/{mine}/story")
    (link,) = re.findall(r'accepted it, too: <a href="(.*?)">', told)
    assert f'data-id="{other[:-2]}' in page(hub, link)


def test_duplicates_and_what_a_delivery_waits_for_are_told(on: Run) -> None:
    first = on("send", "jobs", "-d", '{"id": "one"}', "--json").json
    until(lambda: on("deliveries", "show", *first["deliveries"], "--json").json["state"] == "running", "it runs")
    second = on("send", "jobs", "-d", '{"id": "two"}', "--json").json
    for _ in range(2):
        assert on("send", "jobs", "-d", '{"id": "two"}', "--json").json["result"] == "duplicate"
    assert "came again as a duplicate, 2 times since the hub's start" in on("explain", second["id"]).out
    assert "came again" not in on("explain", first["id"]).out
    waits = "the concurrency of function held is reached: 1 under way"
    assert until(lambda: waits in on("explain", second["id"]).out, "what it waits for is told")
    assert "waits since" not in on("explain", first["id"]).out
    assert on("explain", "two").out.startswith(f"event {second['id']}\n"), "its key is a name of it, too"
    on("functions", "pause", "held")
    assert "function held is paused" in on("explain", second["id"]).out
    on("functions", "resume", "held")
    on("deliveries", "cancel", *first["deliveries"], *second["deliveries"])


def test_what_a_rate_holds_back_is_told(on: Run) -> None:
    sent = [on("invoke", "slow", "--async", "-d", "{}", "--json").json["id"] for _ in range(2)]
    waits = "the rate of function slow lets no other call begin yet"
    told = until(lambda: [one for one in sent if waits in on("explain", one).out], "one of them waits")
    assert len(told) == 1
    assert "waits since" in on("explain", *told).out


def test_retries_are_told_with_what_lay_between(on: Run) -> None:
    sent = on("invoke", "flaky", "--async", "-d", "{}", "--json").json
    assert on("deliveries", "wait", *sent["deliveries"], "--timeout", "30s").code == 1
    text = on("explain", sent["id"]).out
    first, between, second = (
        text.index(part) for part in ("attempt 1 raised", "later it was tried again", "attempt 2")
    )
    assert first < between < second
    assert on("deliveries", "redeliver", *sent["deliveries"]).code == 0
    assert on("deliveries", "wait", *sent["deliveries"], "--timeout", "30s").code == 1
    again = on("explain", sent["id"]).out
    places = [
        again.index(one)
        for one in ("attempt 2 raised", "later it was queued again, its attempts counted anew", "attempt 3")
    ]
    assert places == sorted(places)
    assert again.count("later it was tried again") == 2, "within each round"


def test_destinations_are_followed_and_their_filters_told(hub: Daemon, on: Run) -> None:
    status, body = hub.post("/hook", b'{"kind": "order"}')
    assert status == 202
    sent = json.loads(body)
    assert on("deliveries", "wait", *sent["deliveries"], "--timeout", "30s").code == 0
    text = on("explain", sent["id"]).out
    request = json.loads(on("deliveries", "show", *sent["deliveries"], "--json").out)["event"]["data"]
    told = on("explain", request["requestContext"]["requestId"]).out
    assert told.startswith(f"event {sent['id']}\n")
    assert "filtered by trigger done: body.never does not match" in text
    assert "put: reads something else (path /hook, methods PUT PATCH)" in text, "the same path, by other methods"
    assert "not taken by queue:done\n" in text
    assert "not taken by queue:narrow\n" in text
    assert "now: reads something else (path /now, methods POST); its filter would take it" in text
    assert "put: reads something else (path /hook, methods PUT PATCH)\n" in text, "it has no filter"
    shown = page(hub, f"/deliveries/{sent['deliveries'][0]}/story")
    assert "not taken by queue:done" in shown
    assert "sent on to <a" in shown
    (line,) = [line for line in text.splitlines() if "sent on to function:after" in line]
    after = line.split("delivery ")[1].split(",")[0]
    assert on("deliveries", "show", after, "--json").json["function"] == "after"


def test_what_nobody_knows_is_exit_code_1_with_a_remedy(on: Run, empty: Path) -> None:
    ran = on("explain", "no such message")
    assert (ran.code, ran.out) == (1, "")
    assert "since the hub's start" in ran.err
    assert "paste the event on its trigger's page" in ran.err


def test_without_a_hub_a_word_is_no_code(run: Run, empty: Path) -> None:
    ran = run("-C", str(empty), "explain", "no such message")
    assert ran.code == 4
    assert "'no such message' is not the code of a problem, and no hub answers" in ran.err
