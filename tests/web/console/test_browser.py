"""The console as people use it, in Chromium."""

from __future__ import annotations

import html
import http.client
import json
import re
import time
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.contract.conftest import client
from tests.contract.package import answering, called, create
from tests.e2e.daemon import GUARD, until
from tests.web.console.conftest import LONG, PAGES, Site, Visitor, visiting

LOOKS: dict[str, tuple[dict[str, Any], str]] = {
    "light": (
        {"color_scheme": "light", "viewport": {"width": 1360, "height": 900}},
        "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations']})",
    ),
    "dark": (
        {"color_scheme": "dark", "viewport": {"width": 1360, "height": 900}},
        "axe.run({runOnly: ['color-contrast']})",
    ),
    "phone": (
        {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "has_touch": True},
        "axe.run({runOnly: ['scrollable-region-focusable', 'label', 'button-name']})",
    ),
}
"""How it is looked at, and what is asked of it there: all of it once, and what differs."""


@pytest.fixture(scope="module")
def dead(site: Site) -> str:
    found = [site.order(f"sold out {number}")[0] for number in range(3)]
    site.order("fine")
    site.settled()
    return found[-1]


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_accessible_and_whole(site: Site, browser: Browser, axe: str, dead: str, look: str) -> None:
    options, question = LOOKS[look]
    site.hub.api("POST", f"/api/v1/functions/{LONG}/invoke?async=true", b"{}")
    site.settled()
    with visiting(browser, site.base, **options) as visitor:
        for path in (*PAGES, "/deliveries/{id}?q=state%3Adead", f"/functions/{LONG}"):
            visitor.go(path.format(id=dead))
            visitor.sees("#live[data-state=live]")
            visitor.page.evaluate(axe)
            found = visitor.page.evaluate(question)
            serious = [
                (one["id"], [node["html"][:200] for node in one["nodes"]])
                for one in found["violations"]
                if one["impact"] in ("serious", "critical")
            ]
            assert serious == [], path
            width, moved = visitor.page.evaluate("[document.documentElement.scrollWidth, scrollX]")
            assert moved == 0, f"{path} is cut off on the left"
            assert width <= visitor.page.viewport_size["width"], f"{path} is wider than the screen"  # type: ignore[index]
    site.ask("POST", "/api/v1/dead-letters/discard", json.dumps({"function": LONG, "reason": "a test"}).encode())


def test_a_phone_says_what_its_numbers_are(site: Site, browser: Browser, dead: str) -> None:
    with visiting(browser, site.base, **LOOKS["phone"][0]) as visitor:
        for path, labels in {
            "/dead-letters": ["first", "last"],
            "/triggers": ["waiting", "lag", "dead", "next"],
        }.items():
            visitor.go(path)
            for label in labels:
                cell = visitor.page.locator(f"td[data-label='{label}']:not(:empty)").first
                expect(cell).to_be_visible()
                assert cell.evaluate("cell => getComputedStyle(cell, '::before').content") == f'"{label} "', path


def test_the_first_visit_says_what_fails(visitor: Visitor, dead: str) -> None:
    visitor.go("/")
    visitor.sees("#attention", "sold out")
    visitor.sees("#attention", "for")
    visitor.page.click("#attention >> text=Look")
    visitor.sees(".detail", "LookupError")
    visitor.sees("#panel-event", "sold out")


def test_a_delivery_s_trace_says_which_triggers_saw_its_event(visitor: Visitor, site: Site, dead: str) -> None:
    event = site.hub.api("GET", f"/api/v1/deliveries/{dead}")
    body = json.loads(event["event"]["data"]["body"])
    assert site.hub.post("/orders", json.dumps(body).encode())[0] == 200, "a duplicate"
    visitor.go(f"/deliveries/{dead}")
    visitor.page.click("#tab-trace")
    visitor.sees("#panel-trace", "orders accepted it")
    visitor.sees("#panel-trace", "It came again as a duplicate, 1 time since the hub's start")
    visitor.page.click("#panel-trace >> text=orders")
    expect(visitor.page).to_have_url(f"{visitor.base}/triggers/orders")


def test_deliveries_are_searched_and_walked_by_keys(visitor: Visitor, dead: str) -> None:
    visitor.go("/")
    visitor.page.keyboard.press("/")
    visitor.sees("#q:focus")
    visitor.page.keyboard.type("fn:sh")
    visitor.sees("#choices li", "fn:ship")
    visitor.page.keyboard.press("ArrowDown")
    visitor.page.keyboard.press("Enter")
    visitor.page.keyboard.type("state:dead")
    visitor.page.keyboard.press("Enter")
    expect(visitor.page).to_have_url(f"{visitor.base}/deliveries?q=fn%3Aship+state%3Adead")
    visitor.sees("#live[data-state=live]")
    visitor.page.keyboard.press("j")
    visitor.page.keyboard.press("j")
    visitor.page.keyboard.press("k")
    visitor.page.keyboard.press("Enter")
    visitor.sees(f".detail[data-id='{dead}']")
    expect(visitor.page).to_have_url(re.compile(rf"/deliveries/{dead}\?q="))
    visitor.page.keyboard.press("Escape")
    expect(visitor.page.locator("#pane")).to_be_hidden()
    visitor.page.go_back()
    visitor.sees(f".detail[data-id='{dead}']")
    visitor.page.keyboard.press("?")
    visitor.sees("dialog#help[open]")


def test_a_failed_delivery_is_edited_and_redelivered(visitor: Visitor, dead: str) -> None:
    visitor.go(f"/deliveries/{dead}")
    visitor.page.click("#tab-logs")
    visitor.sees("#panel-logs", "shipping sold out")
    visitor.page.click("text=Edit and redeliver")
    event = json.loads(visitor.page.input_value("#edited"))
    event["body"] = json.dumps({"id": "mended", "customer": "c", "total": 3})
    visitor.page.fill("#edited", json.dumps(event))
    visitor.page.click("text=Send as a new event")
    visitor.sees("#tell", "Sent as a new event")
    visitor.sees(f".detail:not([data-id='{dead}']) .state.succeeded")
    visitor.page.click("#tab-result")
    visitor.sees("#panel-result", "mended")


def test_a_delivery_is_opened_while_its_list_is_being_drawn_anew(visitor: Visitor, site: Site, dead: str) -> None:
    held: list[Route] = []
    visitor.page.route("**/deliveries/list*", lambda route: held.append(route))
    visitor.go("/deliveries")
    visitor.sees("#live[data-state=live]")
    site.order("another")

    def asked() -> list[Route]:
        visitor.page.wait_for_timeout(50)
        return held

    until(asked, "the list is asked for")
    visitor.page.click(f"#list tr[data-id='{dead}']")
    visitor.sees(f".detail[data-id='{dead}']")
    expect(visitor.page).to_have_url(re.compile(f"/deliveries/{dead}"))
    held[0].continue_()


def test_dead_letters_are_redriven_and_the_progress_is_seen(visitor: Visitor, site: Site, dead: str) -> None:
    discarded = site.hub.counts()["discarded"]
    visitor.go("/dead-letters")
    visitor.page.check("#groups input[type=checkbox]")
    visitor.page.click("text=Redrive all")
    visitor.sees("#bulk[open]", "Redrive 3 dead letters?")
    visitor.page.click("#bulk-dry")
    visitor.sees("#bulk-told", "3 would be queued again.")
    visitor.page.fill("#bulk-rate", "1/s")
    visitor.page.click("#bulk-go")
    expect(visitor.page.locator("#bulk-told")).to_contain_text(re.compile("[12] of 3 queued again"))
    visitor.sees("#bulk-told", "3 of 3 queued again. Done.")
    visitor.page.click("#bulk-stop")
    site.settled()
    visitor.page.click("#groups [data-bulk=discard]")
    visitor.page.click("#bulk-go")
    visitor.sees("#bulk-told", "Say why")
    visitor.page.fill("#bulk-reason", "a test")
    visitor.page.click("#bulk-go")
    visitor.sees("#bulk-told", "3 of 3 discarded. Done.")
    visitor.page.click("#bulk-stop")
    visitor.sees("#groups", "No dead letters.")
    assert site.hub.counts()["discarded"] == discarded + 3


def test_chosen_causes_are_redriven_together_at_one_rate(visitor: Visitor, site: Site) -> None:
    for name in ("left", "right", "middle"):
        site.order(f"sold out {name}")
    site.settled()
    visitor.go("/dead-letters")
    for name in ("left", "right"):
        visitor.page.check(f"#groups tr:has-text('sold out {name}') input")
    visitor.page.click("text=Redrive all")
    visitor.sees("#bulk[open]", "Redrive 2 dead letters?")
    visitor.page.fill("#bulk-rate", "1/m")
    visitor.page.click("#bulk-go")
    visitor.sees("#bulk-told", "1 of 2 queued again")
    assert visitor.page.evaluate(
        "[...document.querySelectorAll('#bulk-progress')].map((bar) => [bar.value, bar.max])"
    ) == [[1, 2]]
    visitor.page.click("#bulk-stop")
    visitor.sees("#bulk-told", "Stopped. 1 of 2 queued again")
    site.settled()
    (ended,) = (one for one in site.hub.api("GET", "/api/v1/changes")[:2] if "changed" in one)
    assert [one["fingerprint"][-5:] for one in ended["order"]["causes"]] == ["right", " left"]
    assert (ended["chosen"], ended["changed"]) == (2, 1)
    site.ask("POST", "/api/v1/dead-letters/discard", json.dumps({"error": "sold out", "reason": "a test"}).encode())


def test_only_those_dead_letters_are_redriven_that_are_searched(visitor: Visitor, site: Site) -> None:
    for name in ("alpha", "beta"):
        site.order(f"sold out {name}")
    site.settled()
    visitor.go("/dead-letters")
    visitor.page.keyboard.press("/")
    visitor.page.keyboard.type("si")
    visitor.sees("#choices li", "since:")
    visitor.page.keyboard.press("Tab")
    visitor.sees("#choices li", "since:5m")
    visitor.page.fill("#q", "since:1h error~alpha")
    visitor.page.keyboard.press("Enter")
    expect(visitor.page).to_have_url(re.compile("dead-letters.q=since"))
    visitor.page.click("text=Redrive all 1…")
    visitor.page.click("#bulk-dry")
    visitor.sees("#bulk-told", "1 would be queued again.")
    visitor.page.click("#bulk-go")
    visitor.sees("#bulk-told", "1 of 1 queued again. Done.")
    for name in ("alpha", "beta"):
        site.settled()
        site.ask("POST", "/api/v1/dead-letters/discard", json.dumps({"error": name, "reason": "a test"}).encode())


def test_what_is_under_way_is_not_ended_by_a_key(visitor: Visitor, site: Site) -> None:
    for name in ("slowly", "slowly, too", "slowly as well"):
        site.order(f"sold out {name}")
    site.settled()
    visitor.go("/dead-letters?q=error~slowly")
    visitor.page.click("text=Redrive all")
    visitor.page.fill("#bulk-rate", "1/s")
    visitor.page.click("#bulk-go")
    visitor.sees("#bulk-while", "as long as this page is open")
    visitor.page.keyboard.press("Escape")
    visitor.sees("#bulk-told", "3 of 3 queued again. Done.")
    expect(visitor.page.locator("#bulk-while")).to_be_hidden()
    visitor.page.keyboard.press("Escape")
    expect(visitor.page.locator("#bulk")).to_be_hidden()
    site.settled()
    site.ask("POST", "/api/v1/dead-letters/discard", json.dumps({"error": "slowly", "reason": "a test"}).encode())


def test_what_is_copied_is_so_where_a_browser_gives_pages_no_clipboard(visitor: Visitor, site: Site) -> None:
    delivery = site.order("to be copied")[0]
    visitor.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    site.settled()
    visitor.go(f"/deliveries/{delivery}")
    visitor.page.click("text=Copy as command")
    visitor.page.click("#commands li:has-text('Show it') button")
    visitor.sees("#tell", "Copied")
    visitor.page.focus("#q")
    visitor.page.keyboard.press("Control+A")
    visitor.page.keyboard.press("Control+V")
    expect(visitor.page.locator("#q")).to_have_value(re.compile(f"deliveries show {delivery}$"))


def test_a_cause_that_has_gone_meanwhile_is_said_to_be_gone(visitor: Visitor, site: Site) -> None:
    other = site.order("sold out meanwhile")[0]
    site.settled()
    visitor.go("/dead-letters")
    visitor.page.click("#groups tr:has-text('meanwhile') >> [data-bulk=redrive]")
    site.hub.cli("dlq", "discard", other, check=True)
    visitor.page.click("#bulk-go")
    visitor.sees("#bulk-told", "Not done: there is no dead letter with function ship, cause LookupError")
    expect(visitor.page.locator("#bulk-told")).not_to_contain_text("Done.")


def test_a_refusal_is_said_on_the_page_and_is_no_error_of_it(visitor: Visitor, site: Site) -> None:
    visitor.go(f"/deliveries/{site.order('in order')[0]}")
    visitor.page.click("text=Edit and redeliver")
    visitor.page.fill("#edited", "{nonsense")
    visitor.page.click("text=Send as a new event")
    visitor.sees("#tell", "Could not parse request body into json")
    assert visitor.page.input_value("#edited") == "{nonsense"


def test_a_field_of_another_size_may_be_drawn_anew(visitor: Visitor, site: Site) -> None:
    visitor.go(f"/deliveries/{site.order('a long one')[0]}")
    visitor.page.click("text=Edit and redeliver")
    field = visitor.page.locator("#edited")
    field.scroll_into_view_if_needed()
    box = field.bounding_box()
    assert box is not None
    right, below = box["x"] + box["width"] - 4, box["y"] + box["height"] - 4
    visitor.page.mouse.move(right, below)
    visitor.page.mouse.down()
    visitor.page.mouse.move(right, below - 90, steps=3)
    visitor.page.mouse.up()
    assert field.get_attribute("style"), "the browser made it another size"
    visitor.page.click("text=Send as a new event")
    visitor.sees("#tell", "Sent as a new event")
    expect(visitor.page.locator(".htmx-settling, .htmx-added")).to_have_count(0)


def test_a_trigger_is_paused_and_an_event_examined(visitor: Visitor, site: Site) -> None:
    visitor.go("/triggers")
    visitor.page.click("#orders >> text=Pause")
    visitor.sees("#orders .state", "paused")
    assert site.hub.post("/orders", b'{"id":"late","customer":"c","total":1}')[0] == 503
    visitor.go("/")
    visitor.sees("#attention", "Trigger orders is paused.")
    visitor.page.click("#attention >> text=Resume")
    expect(visitor.page.locator("#attention")).not_to_contain_text("is paused")
    visitor.go("/triggers/orders")
    visitor.page.fill("#event", '{"id": "x", "customer": "c", "total": 0}')
    visitor.page.click("button:text-is('Examine')")
    visitor.sees("#told .trouble", "It would be filtered")
    visitor.page.fill("#event", '{"id": "x1", "customer": "c", "total": 5}')
    visitor.page.click("button:text-is('Examine')")
    visitor.sees("#told .good", "It would be accepted and delivered to ship, mail")
    visitor.sees("#told", "x1")
    visitor.page.click("button:text-is('Send')")
    visitor.sees("#told", "delivery 1")
    visitor.go("/triggers/nightly")
    visitor.page.click("button:text-is('Fire')")
    visitor.sees("#tell", "It was accepted")


def test_a_function_is_tried(visitor: Visitor) -> None:
    visitor.go("/functions")
    visitor.page.click("#functions >> text=ship")
    visitor.page.fill("#event", '{"body": "{\\"id\\": \\"sold out\\"}"}')
    visitor.page.click("button:text-is('Call')")
    visitor.sees("#tested", "LookupError")
    visitor.sees("#tested", "shipping sold out")
    visitor.page.fill("#event", '{"body": "{\\"id\\": \\"this\\"}"}')
    visitor.page.click("button:text-is('Call')")
    visitor.sees("#tested .returned")
    visitor.sees("#tested", '"shipped": "this"')


def test_a_functions_log_is_followed_and_searched(visitor: Visitor, site: Site) -> None:
    visitor.go("/functions/ship")
    visitor.sees("#live[data-state=live]")
    site.order("an elephant")
    visitor.sees("#log", "shipping an elephant")
    visitor.page.fill("#find", "giraffe")
    visitor.sees("#log", "No line has it in it")
    site.order("a giraffe")
    visitor.sees("#log", "shipping a giraffe")
    expect(visitor.page.locator("#log")).not_to_contain_text("elephant")


def test_numbers_are_kept_true(visitor: Visitor, site: Site) -> None:
    def seen(selector: str) -> int:
        return int(visitor.page.locator(selector).inner_text().replace(",", "").split()[0])

    for path, number in {
        "/": "#cards tr:has-text('ship') td:nth-child(2)",
        "/functions/ship": "#numbers .tile:first-child em",
        "/triggers/orders": "#standing .nowrap:has-text('succeeded')",
    }.items():
        site.settled()
        visitor.go(path)
        visitor.sees("#live[data-state=live]")
        # What was drawn while something before was changing still: the page has been told of that.
        before = seen(number)
        site.order(f"counted on {path}")
        until(lambda there=number, old=before: seen(there) > old, f"{path} counts on")


def test_what_fires_next_is_told_anew_once_it_has_fired(visitor: Visitor, site: Site) -> None:
    visitor.go("/")
    nightly = visitor.page.locator("#cards tr:has-text('nightly') time")
    # The clock's work: as if it were to fire in a second.
    nightly.evaluate(
        "time => { time.dateTime = new Date(Date.now() + 1000).toISOString(); time.classList.add('before'); }"
    )
    expect(visitor.page.locator("#cards time.before")).to_have_count(0)
    expect(nightly).to_have_text(re.compile(r"in \d+ (h|min)"))


PLOTS = """window.plots = []; let real;
Object.defineProperty(window, "uPlot", { get: () => real, set(made) {
  real = new Proxy(made, { construct: (of, told) => { const one = new of(...told); plots.push(one); return one; } });
} });"""
"""Keeps the charts of a page where a test can look at them."""


@pytest.mark.parametrize("points", [0, 1, 2])
def test_charts_of_a_hub_that_has_just_begun_are_of_a_minute(visitor: Visitor, points: int) -> None:
    page, begun = visitor.page, int(time.time())
    known = json.dumps([[begun + 10 * number, 1, 0, 1, 1] for number in range(points)])

    def young(route: Route) -> None:
        came = route.fetch()
        route.fulfill(response=came, body=re.sub(r'(id="series">)[^<]*', rf"\g<1>{known}", came.text()))

    page.route("**/", young)
    page.add_init_script(PLOTS)
    visitor.go("/")
    begin, end = page.evaluate("[plots[0].scales.x.min, plots[0].scales.x.max]")
    assert end - begin == pytest.approx(60)
    assert end == pytest.approx(begun, abs=GUARD)


@pytest.mark.parametrize("known", [True, False])
def test_charts_draw_what_happened_while_nobody_listened_or_nothing(visitor: Visitor, site: Site, known: bool) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.hub.admin, timeout=GUARD)
    connection.request("GET", "/live")
    first = json.loads(connection.getresponse().readline().removeprefix(b"data: "))
    connection.close()
    page, early, late = visitor.page, int(time.time()) + 1000, int(time.time()) + 1100
    told = ({**first, "rate": one, "point": [one, 1, 0, 1, 1]} for one in (early, late))
    parts = (f"data: {json.dumps(one)}\n\n" for one in told)
    # The browser asks again three seconds after a stream's end: a connection that was lost.
    page.route("**/live", lambda route: route.fulfill(content_type="text/event-stream", body=next(parts, "")))
    history = json.dumps([[one, 1, 7, 1, 1] for one in range(early, late + 1, 10)]) if known else "none"
    page.route("**/overview/series", lambda route: route.fulfill(content_type="application/json", body=history))
    page.add_init_script(PLOTS)
    visitor.go("/")
    page.wait_for_function("when => plots.at(0)?.data[0].at(-1) === when", arg=late)
    failed = "early => { const [at, , bad] = plots[0].data; return bad.slice(at.indexOf(early)); }"
    expected = [7] * 11 if known else [0, None, 0]
    page.wait_for_function(
        f"([early, text]) => JSON.stringify(({failed})(early)) === text", arg=[early, shown(expected)]
    )


def shown(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


@pytest.mark.parametrize("where", ["function", "delivery"])
def test_what_a_call_writes_is_seen_while_it_runs(visitor: Visitor, site: Site, where: str) -> None:
    delivery = site.order(f"drip {where}", customer=f"drip {where}")[0]
    try:
        if where == "function":
            visitor.go("/functions/ship")
            log = visitor.page.locator("#log")
        else:
            visitor.go(f"/deliveries/{delivery}")
            visitor.sees(".detail .state", "running")
            visitor.page.click("#tab-logs")
            log = visitor.page.locator("#panel-logs")
            visitor.page.focus("#q")
        expect(log).to_contain_text(f"of drip {where}")
        seen = int(re.findall(rf"drop (\d+) of drip {where}", log.inner_text())[0 if where == "function" else -1])
        # Nothing else happens meanwhile: no list is drawn anew.
        for later in (seen + 2, seen + 8):
            expect(log).to_contain_text(f"drop {later} of drip {where}")
        assert site.hub.api("GET", f"/api/v1/deliveries/{delivery}")["state"] == "running"
        if where == "delivery":
            expect(visitor.page.locator("#q")).to_be_focused()
    finally:
        site.hub.api("POST", f"/api/v1/deliveries/{delivery}/cancel")
    site.settled()


def test_a_log_that_has_not_grown_is_not_sent_again(site: Site) -> None:
    site.order("once")
    site.settled()
    tail = re.search(r'data-tail="([^"]+)"', site.get("/functions/ship/logs?q=once").text)
    assert tail
    again = html.unescape(tail[1])
    assert site.get(again).status == 204
    site.order("once more")
    until(lambda: "shipping once more" in site.get(again).text, "what was written since is sent")


def test_a_deployed_function_is_rolled_back(visitor: Visitor, site: Site) -> None:
    lambdas = client(site.hub)
    create(lambdas, "shop", answering("first"), Publish=True)
    lambdas.update_function_code(FunctionName="shop", ZipFile=answering("second"), Publish=True)
    lambdas.get_waiter("function_updated_v2").wait(FunctionName="shop")
    assert called(lambdas, "shop")["answer"] == "second"
    visitor.go("/functions/shop")
    with visitor.page.expect_navigation():
        visitor.page.click("tr:has(td:text-is('1')) >> text=Roll back to it")
    until(lambda: called(lambdas, "shop")["answer"] == "first", "the first version runs again")


def test_a_function_of_the_folder_is_rolled_back_and_its_pin_lifted(visitor: Visitor, site: Site, axe: str) -> None:
    mail = site.hub.project / "handlers" / "mail.py"
    good = mail.read_text()

    def said() -> str:
        return site.hub.cli("invoke", "mail").stdout.strip()

    assert said() == "null"
    mail.write_text('def handler(event, context):\n    return "bad"\n')
    until(lambda: said() == '"bad"', "the bad one serves")
    visitor.go("/functions/mail")
    visitor.sees("#versions", "runs, lies in the folder")
    with visitor.page.expect_navigation():
        visitor.page.click("#versions tr:has-text('earlier') >> text=Roll back to it")
    visitor.sees(".head", "pinned to")
    visitor.sees(".head", "; the folder holds")
    visitor.sees("#versions", "runs, pinned")
    assert said() == "null"
    visitor.page.evaluate(axe)
    found = visitor.page.evaluate(LOOKS["light"][1])
    assert [one["id"] for one in found["violations"] if one["impact"] in ("serious", "critical")] == []
    visitor.go("/functions")
    visitor.sees("tr:has-text('mail') .tag", "pinned")
    visitor.go("/")
    visitor.sees("#attention", "Function mail is pinned to")
    visitor.page.click("#attention >> text=is pinned to")
    with visitor.page.expect_navigation():
        visitor.page.click("text=Lift the pin")
    visitor.sees("#versions", "runs, lies in the folder")
    assert said() == '"bad"'
    mail.write_text(good)
    until(lambda: said() == "null", "the good one is back")


def test_the_doctor_is_asked_in_the_settings(visitor: Visitor, axe: str) -> None:
    visitor.go("/settings")
    visitor.page.click("#doctor button")
    visitor.sees("#doctor", "Look again")
    visitor.page.click("#doctor summary")
    visitor.sees("#doctor details[open]", "held by this project's hub")
    visitor.page.evaluate(axe)
    found = visitor.page.evaluate(LOOKS["light"][1])
    assert [one["id"] for one in found["violations"] if one["impact"] in ("serious", "critical")] == []


def test_settings_are_searched_by_keys(visitor: Visitor) -> None:
    visitor.go("/settings")
    visitor.page.keyboard.press("/")
    visitor.sees("#find:focus")
    visitor.page.keyboard.type("mail attempts")
    expect(visitor.page.locator("#values tr")).to_have_count(1)
    visitor.sees("#values", "retry.attempts")
    visitor.page.keyboard.type(" nowhere")
    visitor.sees("#values", "No value fits mail attempts nowhere.")
    visitor.go("/functions")
    visitor.page.keyboard.press("/")
    visitor.sees("#q:focus")


def test_what_happens_is_seen_as_it_happens(visitor: Visitor, site: Site) -> None:
    visitor.go("/deliveries")
    visitor.sees("#live[data-state=live]")
    delivery = site.order("live")[0]
    visitor.sees(f"#list tr[data-id='{delivery}']", "succeeded")
    visitor.page.keyboard.press("p")
    visitor.sees("#pause[aria-pressed=true]")
    before = site.hub.counts()["dead"]
    for number in (1, 2, 3):
        # The numbers around go on, and say that the page was told.
        other = site.order(f"sold out while paused {number}")[0]
        visitor.sees("nav [data-reading=dead]", str(before + number))
    assert visitor.page.locator(f"#list tr[data-id='{other}']").count() == 0
    visitor.page.keyboard.press("p")
    visitor.sees(f"#list tr[data-id='{other}']")
