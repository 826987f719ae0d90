"""Secrets are dots wherever they would be shown, and themselves wherever they are used."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import urlencode

import pytest

from tests.web.console.conftest import SECRETS, Site
from triggerhub.policy.masking import DOTS

(SECRET,) = SECRETS.values()


@pytest.fixture(scope="module")
def told(site: Site) -> str:
    """A delivery whose event, key, log and error carry a secret."""
    body = json.dumps({"id": "telltale", "customer": SECRET, "total": 1, "note": SECRET}).encode()
    status, answer = site.hub.post("/orders", body)
    assert status == 202, answer
    site.settled()
    return json.loads(answer)["deliveries"][0]


@pytest.mark.parametrize(
    "path",
    [
        "/deliveries/{id}",
        "/deliveries/{id}/pane",
        "/deliveries/{id}/logs",
        "/deliveries/{id}/event.json",
        "/deliveries/{id}/result.json",
        "/deliveries",
        "/dead-letters",
        "/dead-letters/export.jsonl",
        "/",
        "/api/v1/deliveries",
        "/api/v1/deliveries/{id}",
        "/api/v1/deliveries/{id}/wait",
        "/api/v1/output",
        "/api/v1/output?delivery={id}",
    ],
)
def test_nothing_that_is_read_shows_a_secret(site: Site, told: str, path: str) -> None:
    answer = site.get(path.format(id=told))
    assert answer.status == 200
    assert SECRET not in answer.text
    assert DOTS in answer.text
    assert len(answer.body) == int(answer.headers.get("content-length", len(answer.body)))


def test_no_command_and_no_file_shows_a_secret(site: Site, told: str) -> None:
    event = site.hub.api("GET", f"/api/v1/deliveries/{told}")["event_id"]
    for command in (
        ("deliveries", "show", told),
        ("deliveries", "show", told, "--json"),
        ("deliveries", "list", "--json"),
        ("logs", "--delivery", told),
        ("logs", "ship", "--json"),
        ("dlq", "export"),
        ("explain", event),
    ):
        shown = site.hub.cli(*command, check=True).stdout
        assert SECRET not in shown, command
        assert "telltale" in shown or DOTS in shown, command
    logs = [path.read_text() for path in (site.hub.project / "var" / "logs").glob("*.jsonl")]
    assert any("shipping telltale with" in text for text in logs)
    assert not [text for text in logs if SECRET in text]


def test_neither_metrics_nor_the_hub_s_own_log_show_a_secret(site: Site, told: str) -> None:
    metrics = site.get("/metrics").text
    assert SECRET not in metrics
    assert f"Token={DOTS}" in metrics
    log = site.hub.log()
    assert SECRET not in log
    assert f"ValueError: cannot ship {DOTS}" in log or f"cannot ship {json.dumps(DOTS)[1:-1]}" in log


def test_what_somebody_asked_for_is_written_down_and_shown_without_secrets(site: Site, told: str) -> None:
    site.ask("POST", "/api/v1/dead-letters/redrive", json.dumps({"error": SECRET, "dry_run": True}).encode())
    assert SECRET not in site.get("/api/v1/changes").text
    assert DOTS in site.get("/api/v1/changes").text


def test_an_event_is_delivered_again_with_its_secrets(site: Site, told: str) -> None:
    found = site.get(f"/deliveries/{told}/event.json").json
    body = json.loads(found["body"])
    assert (body["customer"], body["note"]) == (DOTS, DOTS)
    page = site.get(f"/deliveries/{told}").text
    start = page.index("spellcheck", page.index('id="edited"'))
    assert "•••1•••" in page[start : page.index("</textarea>", start)]

    mark = "•••1•••"
    found["body"] = json.dumps({**body, "id": "seen to", "customer": mark, "note": mark}, ensure_ascii=False)
    form = urlencode({"event": json.dumps(found, ensure_ascii=False)}).encode()
    sent = site.ask("POST", f"/deliveries/{told}/resend", form)
    new = sent.headers["hx-push-url"].split("/")[2]
    site.settled()
    assert site.get(f"/deliveries/{new}/result.json").json == {
        "shipped": "seen to",
        "with": DOTS,
        "letters": sorted(SECRET),
    }
    call = json.dumps({"body": json.dumps({"id": "x", "note": SECRET})}).encode()
    answer = site.ask("POST", "/api/v1/functions/ship/invoke", call)
    assert answer.json["with"] == SECRET, "who calls gets what was answered"


def test_no_search_tells_what_is_behind_the_dots(site: Site, told: str) -> None:
    assert told in site.get("/deliveries/list?q=error~Cannot").text
    assert told not in site.get(f"/deliveries/list?q=error~{SECRET[:6]}").text


def test_dead_letters_are_chosen_by_a_cause_that_has_a_secret_in_it(site: Site, told: str) -> None:
    page = site.get("/dead-letters").text
    (cause,) = {one for one in re.findall(r'data-fingerprint="([^"]*)"', page) if DOTS in one}
    order = json.dumps({"fingerprint": html.unescape(cause), "dry_run": True}).encode()
    told_of = site.ask("POST", "/api/v1/dead-letters/redrive", order).text.splitlines()[-1]
    assert json.loads(told_of)["total"] == 1
