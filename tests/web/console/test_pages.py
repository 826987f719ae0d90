"""The console over sockets: what its pages say, what they forbid a browser, and what strangers' text cannot do."""

from __future__ import annotations

import gzip
import html
import json
import re
import time
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.e2e.daemon import until
from tests.web.console.conftest import HOSTILE, PAGES, SECRETS, Site
from triggerhub.policy import alarm
from triggerhub.web.console.alarms import linked

NAUGHTY = f"{HOSTILE} \u202egnp.exe\x00\x1b[31m sold out \ud83d\ude00"


class Tags(HTMLParser):
    """Collects what a browser would build."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    return parser.tags


@pytest.fixture(scope="module")
def dead(site: Site) -> str:
    """A delivery that failed for good, of an event full of what may break a page."""
    delivery = site.order(NAUGHTY.encode("utf-16", "surrogatepass").decode("utf-16"))[0]
    site.order("fine")
    site.settled()
    return delivery


@pytest.mark.parametrize("path", PAGES)
def test_a_page_lets_a_browser_load_nothing_from_elsewhere(site: Site, dead: str, path: str) -> None:
    answer = site.get(path)
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    for tag, attributes in tags(answer.text):
        assert not {name for name in attributes if name.startswith("on") or name == "style"}, (tag, attributes)
        assert tag != "style"
        assert tag != "script" or "src" in attributes or attributes["type"] == "application/json"
        for name in ("src", "href", "action"):
            assert not re.match(r"\w+:|//", attributes.get(name) or ""), (tag, attributes)


def test_all_that_a_browser_loads_is_small_and_kept(site: Site) -> None:
    total, seen = 0, set()
    for path in PAGES:
        page = site.get(path).text
        total = max(total, len(gzip.compress(page.encode())))
        seen |= set(re.findall(r'"(/static/[^"]+)"', page))
    assert any("uplot" in one for one in seen)
    for one in seen:
        answer = site.get(one.replace("&amp;", "&"), Accept_Encoding="gzip")
        assert answer.headers["content-encoding"] == "gzip"
        assert "immutable" in answer.headers["cache-control"]
        assert site.get(one).body == gzip.decompress(answer.body)
        total += len(answer.body)
    assert total < 80 * 1024, total
    assert site.get("/static/console.css").headers["cache-control"] == "no-cache"
    assert site.get("/static/../page.html").status == 404


@pytest.mark.parametrize("path", ["/deliveries", "/deliveries/{id}", "/deliveries/{id}/pane", "/dead-letters", "/"])
def test_a_strangers_text_is_text(site: Site, dead: str, path: str) -> None:
    answer = site.get(path.format(id=dead))
    assert answer.status == 200
    assert not [attributes for tag, attributes in tags(answer.text) if attributes.get("src") == "x"]
    assert "&lt;img src=x onerror" in answer.text
    assert "\\u202e" in answer.text
    assert not re.search("[\x00\x1b\u202e]", answer.text)


def test_a_payload_is_shown_as_it_came_and_a_huge_one_in_part(site: Site) -> None:
    body = b'{"id":"big","customer":"c","total":1.10,"x":"' + b"A" * 5_000_000 + b'"}'
    status, answer = site.hub.post("/orders", body)
    assert status == 202, answer
    delivery = json.loads(answer)["deliveries"][0]
    site.settled()
    pane = site.get(f"/deliveries/{delivery}/pane")
    assert pane.status == 200
    assert len(pane.body) < 200_000
    assert "The first 64 KB of" in pane.text
    whole = site.get(f"/deliveries/{delivery}/event.json")
    assert whole.headers["content-disposition"].startswith("attachment")
    assert b"A" * 5_000_000 in whole.body


def test_bytes_that_are_no_text_are_spelt_out(site: Site) -> None:
    status, answer = site.hub.post("/orders", b'{"id":"bytes","customer":"\xff\xfe","total":1}')
    assert status in (200, 202), answer
    assert site.get("/deliveries").status == 200


def test_an_alarm_that_is_on_is_seen_after_what_can_be_redriven(site: Site, dead: str) -> None:
    said = r"Alarm <b>losses</b> is on: <code>dead\(ship\) &gt; 0 in 10m</code>, 1 now</a> <small>for <time [^>]*>\d+ (s|min)<"
    until(lambda: re.search(said, site.get("/").text), "the overview says for how long, and what was measured")
    told = r"alarm losses is on for \d+[sm]: dead\(ship\) > 0 in 10m, 1 now\n"
    for command in ("status", "top"):
        assert re.search(told, site.hub.cli(command, check=True).stdout), command
    (row,) = json.loads(site.hub.cli("status", "--json", check=True).stdout)["alarms"]
    assert (row["name"], row["value"], row["since"][-1]) == ("losses", "1", "Z")
    assert site.get("/readyz").json["reasons"][0].startswith("alarm losses is on since 2")
    first = site.get("/").text
    assert first.index('data-bulk="redrive"') < first.index("Alarm <b>losses")
    page = site.get("/alarms").text
    for shown in (first, page):
        assert 'href="/deliveries?q=fn%3Aship+state%3Adead"' in shown
    assert page.index("losses") < page.index("silence")
    assert "dead(ship) &gt; 0" in page


def test_lengths_are_said_as_such_and_one_thing_in_the_singular(site: Site, dead: str) -> None:
    for path in ("/", "/functions/ship", "/functions/mail", "/dead-letters", "/settings"):
        text = site.get(path).text
        assert not re.search(r"since <time|\b1 (attempts|workers|triggers|deliveries)\b", text), path
    assert "<dd>1 attempt, " in site.get("/functions/mail").text
    assert re.search(r"<dt>Up for</dt><dd><time [^>]* data-lasting>\d+ (s|min)<", site.get("/settings").text)


def test_the_charts_history_is_asked_for_by_itself(site: Site) -> None:
    points = until(lambda: site.get("/overview/series").json, "there is a point")
    assert all(len(one) == 5 for one in points)
    assert site.get("/overview/series").headers["content-type"] == "application/json"


def test_failed_calls_are_said_to_be_failed_ones_and_of_how_many(site: Site, dead: str) -> None:
    tile = re.search(r'data-bad="errors">.*?</div>', site.get("/").text)
    assert tile is not None
    text = re.sub("<[^>]*>", "", tile[0].split("<em>")[1])
    failed, calls = map(int, re.fullmatch(r"(\d+) of (\d+) calls failed, last 5 min", text).groups())  # type: ignore[union-attr]
    assert 2 <= failed < calls


def test_the_list_is_searched(site: Site, dead: str) -> None:
    found = site.get("/deliveries/list?q=state%3Adead+error%7Esold").text
    assert f'data-id="{dead}"' in found
    assert site.get("/deliveries/list?q=fn%3Amail+state%3Adead").text.count("<tr data-id") == 0
    assert site.get(f"/deliveries/list?q={dead}").text.count("<tr data-id") == 1
    wrong = site.get("/deliveries?q=hello%3Cb%3E")
    assert wrong.status == 200
    assert "&#39;hello&lt;b&gt;&#39; says not what to search in; write fn:…" in wrong.text


def test_where_there_is_nothing_a_browser_gets_a_page(site: Site) -> None:
    for path in ("/nope", "/alarms/x", "//evil.example/"):
        answer = site.get(path, Accept="text/html")
        assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert f"there is nothing at {path}" in answer.text
    assert site.get("/nope").json["error"]["code"] == "no-such-path"
    for path in ("/deliveries/", "/settings//"):
        answer = site.get(path, Accept="text/html")
        assert (answer.status, answer.headers["location"]) == (307, path.rstrip("/"))


def test_what_is_paused_or_wrong_is_told_to_open_pages_without_an_event(site: Site) -> None:
    def mark() -> str:
        return json.loads(re.search(r'id="first">(.*?)<', site.get("/triggers").text)[1])["mark"]  # type: ignore[index]

    site.settled()
    before = until(lambda: (one := mark()) == mark() and one, "nothing happens")
    site.hub.api("POST", "/api/v1/triggers/nightly/pause")
    paused = until(lambda: (one := mark()) != before and one, "a pause is told")
    site.hub.api("POST", "/api/v1/triggers/nightly/resume")
    until(lambda: mark() != paused, "so is its end")


def test_a_function_names_its_handler(site: Site) -> None:
    assert "<code>ship</code>" in site.get("/functions/ship").text


def test_a_delivery_shows_its_life_event_result_and_log(site: Site, dead: str) -> None:
    page = site.get(f"/deliveries/{dead}").text
    assert re.findall(r"<span>(attempt \d|queued|backoff)</span>", page)[-3:] == ["attempt 1", "backoff", "attempt 2"]
    assert len(re.findall(r"\d\d:\d\d:\d\d UTC</time> LookupError: ", page)) == 2, "what each failed with, and when"
    assert "&#34;total\\&#34;: 1.1" in page
    assert "LookupError" in page
    logs = site.get(f"/deliveries/{dead}/logs").text
    assert "with •••" in logs
    assert SECRETS["SHIP_TOKEN"] not in logs
    assert "REPORT RequestId" in logs
    gone = site.get("/deliveries/01990000-0000-7000-8000-000000000001")
    assert (gone.status, "may be pruned" in gone.text) == (404, True)
    assert site.get("/deliveries/x/pane", HX_Request="true").headers["hx-reswap"] == "none"


def test_dead_letters_are_counted_by_cause_and_exported(site: Site, dead: str) -> None:
    page = site.get("/dead-letters").text
    assert 'data-function="ship"' in page
    (line,) = site.get("/dead-letters/export.jsonl?q=fn%3Aship").text.splitlines()
    assert json.loads(line)["id"] == dead
    assert site.get("/dead-letters/export.jsonl?q=fn%3Amail").body == b""


def test_deliveries_are_delivered_again_edited_and_cancelled(site: Site) -> None:
    delivery = site.order("again")[0]
    site.settled()
    again = site.ask("POST", f"/deliveries/{delivery}/redeliver")
    assert (again.status, json.loads(again.headers["hx-trigger"])) == (200, {"tell": "Queued again"})
    site.settled()
    event = site.get(f"/deliveries/{delivery}/event.json").json
    event["body"] = json.dumps({"id": "edited", "customer": "c", "total": 2})
    form = "event=" + json.dumps(event).replace("%", "%25").replace("&", "%26").replace("+", "%2B")
    sent = site.ask("POST", f"/deliveries/{delivery}/resend", form.encode())
    new = sent.headers["hx-push-url"].split("/")[2]
    site.settled()
    assert site.get(f"/deliveries/{new}/result.json").json == {"shipped": "edited"}
    assert new != delivery
    late = site.ask("POST", f"/deliveries/{new}/cancel", headers={"HX-Request": "true"})
    assert (late.status, "has succeeded already" in late.headers["hx-trigger"]) == (200, True)
    assert site.ask("POST", f"/deliveries/{new}/cancel").status == 409
    bad = site.ask("POST", f"/deliveries/{new}/resend", b"event={nonsense", headers={"HX-Request": "true"})
    assert (bad.status, "Could not parse request body into json" in bad.headers["hx-trigger"]) == (200, True)
    assert bad.headers["hx-reswap"] == "none"
    changes = [(one["text"].split("/")[-1], one["status"]) for one in site.hub.api("GET", "/api/v1/changes")[:3]]
    assert changes == [("resend", 400), ("cancel", 409), ("cancel", 409)]


def test_who_changed_many_is_told_with_how_many_in_words(site: Site) -> None:
    for number in range(3):
        site.order(f"sold out for good {number}")
    site.settled()
    cause = "LookupError: item # is sold out: sold out for good #"
    order = {"function": "ship", "fingerprint": cause, "rate": "1000/s"}
    lines = site.ask("POST", "/api/v1/dead-letters/redrive", json.dumps(order).encode()).text.splitlines()
    assert json.loads(lines[-1])["changed"] == 3
    site.settled()
    said = f"function ship, cause {cause}, at most 1000/s"
    until(lambda: f'<span class="quiet">{said}</span><br>3 of 3 done<' in site.get("/settings").text, "it is told")
    assert site.get("/settings").text.count(said) == 1, "its beginning is not told beside its end"
    ended, began = site.hub.api("GET", "/api/v1/changes")[:2]
    assert ended["id"] == began["id"]
    assert (ended["chosen"], ended["changed"], ended["finished"], "changed" in began) == (3, 3, True, False)
    slow = json.dumps(order | {"rate": "1/h"}).encode()
    with pytest.raises(TimeoutError):
        site.hub.api("POST", "/api/v1/dead-letters/redrive", slow, raw=True, timeout=1)
    until(lambda: "1 of 3 done, then it was stopped" in site.get("/settings").text, "it is told how far it came")
    rest = json.dumps({"function": "ship", "fingerprint": cause, "reason": "a test"}).encode()
    site.settled()
    assert site.ask("POST", "/api/v1/dead-letters/discard", rest).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_page_of_another_site_changes_nothing(site: Site, dead: str, origin: str) -> None:
    refused = site.ask("POST", f"/deliveries/{dead}/redeliver", headers={"Origin": origin})
    assert (refused.status, refused.json["error"]["code"]) == (403, "bad-origin")
    assert site.hub.api("GET", f"/api/v1/deliveries/{dead}")["state"] == "dead"


def test_many_are_redriven_by_their_cause(site: Site, dead: str) -> None:
    error = site.hub.api("GET", f"/api/v1/deliveries/{dead}")["error"]
    mark = re.search(r'data-fingerprint="([^"]*)"', site.get("/dead-letters").text)
    assert mark is not None
    assert error["type"] in mark[1]
    other = site.ask("POST", "/api/v1/dead-letters/redrive", json.dumps({"fingerprint": "nothing"}).encode())
    (told,) = map(json.loads, other.text.splitlines())
    assert told["error"]["code"] == "not-found"
    assert told["error"]["message"] == "there is no dead letter with cause nothing"
    text = json.dumps({"error": "SOLD out", "dry_run": True}).encode()
    assert json.loads(site.ask("POST", "/api/v1/dead-letters/redrive", text).text.splitlines()[-1])["total"] == 1


def test_a_delivery_that_the_sandbox_refused_something_names_the_grant(site: Site, dead: str) -> None:
    refused = site.order("out of sight", customer="blind")[0]
    site.settled()
    assert "sandbox = { read = [" in site.get(f"/deliveries/{refused}").text
    assert "sandbox = {" not in site.get(f"/deliveries/{dead}").text


def test_a_functions_log_is_searched(site: Site, dead: str) -> None:
    site.order("needle in a haystack")
    site.settled()
    found = site.get("/functions/ship/logs?q=NEEDLE+in").text
    assert found.count("<tr class") == 1
    assert "shipping needle in a haystack with •••" in found
    assert "No line has it in it" in site.get("/functions/ship/logs?q=nowhere").text
    assert site.get("/functions/nobody/logs").status == 404
    lines = site.hub.cli("logs", "ship", "--search", "Haystack", check=True).stdout.splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["  shipping needle in a haystack with •••"]


def test_a_page_says_how_long_deliveries_wait_and_what_memory_is_used(site: Site) -> None:
    site.hub.api("POST", "/api/v1/functions/mail/pause")
    try:
        site.order("waits", customer="w")
        until(lambda: "the oldest that is due has waited" in site.get("/triggers/orders").text, "it has a lag")
    finally:
        site.hub.api("POST", "/api/v1/functions/mail/resume")
    site.settled()
    assert re.search(r"<b>[\d.]+ MB</b><em>peak, limit 256 MB</em>", site.get("/functions/ship").text)


def test_settings_are_searched_by_table_key_and_value(site: Site) -> None:
    def found(*words: str) -> list[str]:
        text = site.get(f"/settings/values?{urlencode({'q': ' '.join(words)})}").text
        assert text in site.get(f"/settings?{urlencode({'q': ' '.join(words)})}").text
        return re.findall(r"<h2>\[(.*?)\]|<code>(.*?)</code>", text)

    assert found("functions.MAIL", "attempts") == [("functions.mail", ""), ("", "retry.attempts")]
    assert [table for table, _ in found("numeric") if table] == ["triggers.orders"]
    assert found("s3cret") == [("", "s3cret")], "it is said that none fits"
    assert len(found()) > 40
    text = site.get("/settings/values").text
    assert not re.search(r'"what">(frozenset|[^<]*[a-z]ms<|&lt;)', text)
    written = (site.hub.project / "triggerhub.toml").read_text().split("\n")
    for key, table, line in (
        ("function", "[triggers.nightly]", 'function = "mail"'),
        ("sandbox.network", "[functions.asked]", 'network = ["127.0.0.1:9"]'),
        ("dead_letters.keep", "[functions.asked]", 'dead_letters = { keep = "3d" }'),
    ):
        place = written.index(line, written.index(table)) + 1
        assert re.search(rf"<code>{key}</code></th>[^\n]*triggerhub.toml:{place}<", text), key


def test_functions_say_how_often_they_are_called_and_fail(site: Site, dead: str) -> None:
    shown = re.search(r">ship</a>.*?</tr>", site.get("/functions").text, re.DOTALL)
    assert shown is not None
    calls, rate, errors = re.findall(r'class="num(?: \w+)*"[^>]*>([\d.,]+)', shown[0])[:3]
    assert float(calls.replace(",", "")) / 7 < float(rate) <= float(calls.replace(",", ""))
    assert re.search(rf'data-label="errors"[^>]*>{errors}<span class="quiet">, [\d.]+ %</span>', shown[0])
    page = site.get("/functions/ship").text
    assert re.search(r"<b>[\d.]+<small> per minute</small></b><em>[\d,]+ in the last \d+ (s|min), ", page)
    assert re.search(rf"<b>[\d.]+ %</b><em>{errors} in the last \d+ (s|min), ", page)


def test_what_held_an_attempt_back_is_said_not_to_be_kept(site: Site) -> None:
    site.hub.api("POST", "/api/v1/functions/mail/pause")
    try:
        late = site.order("late", customer="late")[1]
        waits = site.get(f"/deliveries/{late}/pane").text
        begun = time.monotonic()
        until(lambda: time.monotonic() - begun > 1.1, "it has waited")
    finally:
        site.hub.api("POST", "/api/v1/functions/mail/resume")
    site.settled()
    said = "What it was queued for is not kept. Now its calls are held to concurrency"
    assert said not in waits
    assert said in site.get(f"/deliveries/{late}/pane").text
    assert said not in site.get(f"/deliveries/{site.order('at once', customer='at once')[1]}/pane").text


def test_what_is_to_be_tried_again_needs_attention(site: Site) -> None:
    sent = json.loads(site.hub.cli("invoke", "later", "--async", "-d", "{}", "--json", check=True).stdout)
    try:
        said = r"<b>later</b> TimeoutError: carrier 7 did not answer</a>\s+<small>to be tried again, accepted <time "
        until(lambda: re.search(said, site.get("/overview/attention").text), "it is told")
        link = re.search(rf'href="(/deliveries/{sent["deliveries"][0]}\?q=[^"]+)"', site.get("/").text)
        assert link is not None
        shown = site.get(html.unescape(link[1])).text
        assert '<span class="state retrying">retrying</span>' in shown
        where = f"/deliveries/{sent['deliveries'][0]}"
        (seen,) = re.findall(rf'data-live="({where}/pane\?seen=[^"]+)"', shown)
        assert site.get(seen).status == 204, "it is as it was seen"
        assert f'hx-post="{where}/retry" hx-target="#pane">Retry now<' in shown
        assert f"deliveries retry {sent['deliveries'][0]}" in shown
        refused = site.ask("POST", f"{where}/redeliver")
        assert (refused.status, "retry it now" in refused.text) == (409, True)
        assert site.ask("POST", f"{where}/retry").status == 200
        assert site.ask("POST", f"{where}/retry").status == 409, "it does not wait any more"
        until(lambda: '<span class="state dead">dead</span>' in site.get(where).text, "its second attempt was the last")
        assert site.get(seen).status == 200
    finally:
        site.hub.cli("deliveries", "cancel", *sent["deliveries"])
        site.hub.cli("dlq", "discard", *sent["deliveries"], "--reason", "a test")
    until(lambda: "<b>later</b>" not in site.get("/overview/attention").text, "nothing is tried again any more")


@pytest.mark.parametrize(
    ("when", "search"),
    [
        ("dead(both) > 0 in 1m", "fn:both state:dead"),
        ("errors(both) > 0 in 1m", "/functions/both"),
        ("p95(f) > 5s in 1m", "/functions/f"),
        ("lag(both) > 5s", "trigger:both"),
        ("lag(f) > 5s", "fn:f"),
        ("accepted(both) < 1 in 1m", "trigger:both"),
    ],
)
def test_an_alarm_leads_to_what_it_is_about(when: str, search: str) -> None:
    project: Any = SimpleNamespace(
        alarms={"a": SimpleNamespace(when=alarm.parse(when))},
        triggers={"both": None},
        functions={"both": None, "f": None},
    )
    ((_, address),) = linked([{"name": "a"}], project)
    assert address == (search if search[0] == "/" else f"/deliveries?{urlencode({'q': search})}")


def test_what_fails_while_a_caller_waits_needs_attention(site: Site) -> None:
    ran = site.hub.cli("invoke", "asked", "-d", "{}")
    assert ran.returncode != 0
    text = site.get("/overview/attention").text
    assert re.search(
        r"<b>asked</b> KeyError: &#39;total&#39;</a>\s+<small>of 1 call in about five minutes; the last failed <time ",
        text,
    )
    assert 'href="/functions/asked"' in text
    log = site.hub.cli("logs", "asked", check=True).stdout
    assert "Status: error\tError Type: KeyError" in log


def test_the_doctor_looks_at_the_machine_of_a_hub_that_goes_on(site: Site) -> None:
    before = site.get("/settings").text
    assert "Look at this machine" in before
    found = site.ask("POST", "/settings/doctor")
    assert found.status == 200
    assert f"held by this project&#39;s hub (pid {site.hub.process.pid})" in found.text
    assert "every row was counted, and the ledgers agree" in found.text
    after = site.get("/settings").text
    assert "Look again" in after
    assert "every row was counted" in after


def test_dead_letters_are_searched_as_deliveries_are(site: Site) -> None:
    site.order("sold out for a search")
    site.settled()
    found = site.get("/dead-letters?q=fn%3Aship+since%3A1h+error%7E%22A+SEARCH%22").text
    assert re.search(r'data-count="1">Redrive all 1…', found)
    chosen = html.unescape(re.search(r'data-chosen="([^"]*)"', found)[1])  # type: ignore[index]
    assert json.loads(chosen) == {"function": "ship", "since": "1h", "error": "A SEARCH"}
    (line,) = site.get("/dead-letters/export.jsonl?q=error%7E%22a+search%22").text.splitlines()
    assert "sold out for a search" in json.loads(line)["error"]["message"]
    assert "No dead letter fits <code>error~nowhere</code>" in site.get("/dead-letters?q=error~nowhere").text
    for wrong, told in (
        ("state%3Aqueued", "what is queued is no dead letter"),
        ("hello", "says not what to search in"),
    ):
        assert told in site.get(f"/dead-letters?q={wrong}").text
        assert site.get(f"/dead-letters/export.jsonl?q={wrong}").status == 400
    order = json.dumps({"error": "a search", "reason": "a test"}).encode()
    assert site.ask("POST", "/api/v1/dead-letters/discard", order).status == 200


def test_dead_letters_are_chosen_by_a_cause_that_is_spelt_out(site: Site) -> None:
    site.order(NAUGHTY)
    site.settled()
    causes = re.findall(r'data-fingerprint="([^"]*)"', site.get("/dead-letters").text)
    (cause,) = {html.unescape(one) for one in causes if r"\x1b" in one}
    order = json.dumps({"fingerprint": cause, "dry_run": True}).encode()
    told = site.ask("POST", "/api/v1/dead-letters/redrive", order).text.splitlines()[-1]
    assert json.loads(told)["total"] >= 1
