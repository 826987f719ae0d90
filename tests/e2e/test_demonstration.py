"""The repository's own triggerhub.toml does, for real, what its comments say."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import GUARD, Daemon, until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One hub on a copy, for all tests: what they look for is their own."""
    project = tmp_path_factory.mktemp("demonstration")
    shutil.copytree(ROOT / "handlers", project / "handlers", ignore=shutil.ignore_patterns("__pycache__"))
    (project / "inbox").mkdir()
    hub = Daemon(project)
    text = (ROOT / "triggerhub.toml").read_text()
    assert text.count('"127.0.0.1:8700"') == text.count('"127.0.0.1:8701"') == 1
    hub.write(text.replace(":8700", ":{LISTEN}").replace(":8701", ":{ADMIN}"))
    try:
        hub.start()
        yield hub
        assert hub.stop() == 0
    finally:
        if hub.alive:
            hub.kill()


def done(hub: Daemon, function: str, state: str = "succeeded", *, among: list[str] | None = None) -> dict[str, Any]:
    """Wait for a delivery of *function* in *state*, and return it."""

    def found() -> Any:
        rows = hub.deliveries(function=function, state=state)
        return next((row for row in rows if among is None or row["id"] in among), None)

    return until(found, f"a delivery of {function} has {state}")


def log(hub: Daemon, delivery: str) -> str:
    return hub.cli("logs", "--delivery", delivery, check=True).stdout


def test_a_dropped_file_is_processed(hub: Daemon) -> None:
    (hub.project / "inbox" / "a.txt").write_text("hi\n")
    row = done(hub, "on_file")
    assert (row["trigger"], row["attempts"]) == ("inbox", 1)
    assert "ObjectCreated:Put: a.txt, 3 bytes" in log(hub, row["id"])
    (listed,) = json.loads(hub.cli("deliveries", "list", "--function", "on_file", "--json", check=True).stdout)
    assert listed["state"] == "succeeded"


def test_the_clock_ticks(hub: Daemon) -> None:
    (trigger,) = [one for one in hub.api("GET", "/api/v1/triggers") if one["name"] == "tick"]
    assert trigger["next"], "it is due within the minute"
    hub.cli("triggers", "fire", "tick", check=True)
    assert "it is 20" in log(hub, done(hub, "tick")["id"])


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"], ids=["json", "curl -d"])
def test_one_webhook_is_stored_and_run_by_two_functions(hub: Daemon, kind: str) -> None:
    body = b'{"name": "you"}'
    status, answer = hub.post("/hooks/demo", body, {"Content-Type": kind})
    assert status == 202
    told = json.loads(answer)
    assert len(told["deliveries"]) == 2
    hello, count = (done(hub, name, among=told["deliveries"]) for name in ("hello", "count"))
    assert hello["event_id"] == count["event_id"] == told["id"]
    assert "hello you!" in log(hub, hello["id"])


def test_a_webhook_is_answered_with_the_functions_result(hub: Daemon) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", hub.listen, timeout=GUARD)
    connection.request("GET", "/greet/you")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert answer.read() == b"Hello you!\n"
    connection.close()


def test_what_fails_is_a_dead_letter_until_it_is_mended_and_redriven(hub: Daemon) -> None:
    status, answer = hub.post("/hooks/broken", b"")
    assert status == 202
    (id_,) = json.loads(answer)["deliveries"]
    row = done(hub, "broken", "dead", among=[id_])
    assert (row["attempts"], row["error"]["type"]) == (2, "ValueError")
    (letter,) = json.loads(hub.cli("dlq", "list", "--json", check=True).stdout)
    assert letter["id"] == id_
    before = row["version"]
    (hub.project / "handlers" / "broken.py").write_text("def handler(event, context):\n    return 'mended'\n")
    functions = lambda: {one["name"]: one for one in hub.api("GET", "/api/v1/functions")}  # noqa: E731
    until(lambda: functions()["broken"]["version"] != before, "the mended version serves")
    hub.cli("dlq", "redrive", "--all", check=True)
    assert done(hub, "broken", among=[id_])["version"] != before


@pytest.mark.parametrize(
    ("name", "again"),
    [("filter", b'{"filtered"'), ("key", b'{"id"'), ("order", b'{"id"')],
)
def test_what_a_comment_offers_works_when_its_sign_is_put_away(hub: Daemon, name: str, again: bytes) -> None:
    file = hub.project / "triggerhub.toml"
    before = file.read_text()
    assert before.count(f"\n# {name} ") == 1
    try:
        file.write_text(before.replace(f"\n# {name} ", f"\n{name} "))
        checked = hub.cli("check")
        assert checked.returncode == 0, checked.stderr
        statuses = {"filter": 200, "key": 200, "order": 202}

        def answered() -> bool:
            status, body = hub.post("/hooks/demo", b'{"name": "somebody"}')
            return status == statuses[name] and body.startswith(again)

        until(answered, f"{name} is in force")
        if name == "order":
            until(
                lambda: answered() and hub.deliveries(function="hello")[0]["ordering_key"] == "somebody",
                "it is ordered",
            )
    finally:
        file.write_text(before)
