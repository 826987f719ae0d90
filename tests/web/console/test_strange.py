"""What strangers write, and a page that nobody closes: text, whatever it looks like, and no more than at first."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.e2e.daemon import GUARD, until
from tests.web.console.conftest import HANDLERS, Site, Visitor, visiting
from tests.web.console.test_browser import LOOKS

WEEK = 7 * 24 * 60
"""Minutes of one."""


@pytest.mark.parametrize("look", LOOKS)
def test_what_strangers_write_breaks_no_page_and_runs_nowhere(site: Site, browser: Browser, look: str) -> None:
    strange = "flood <img src=x onerror=alert(1)> \u202egnp.exe"
    body = json.dumps({"id": strange, "customer": look, "total": 1, "x": "C" * 5_000_000}).encode()
    status, answer = site.hub.post("/orders", body)
    assert status in (200, 202), answer
    delivery = json.loads(answer)["deliveries"][0]
    site.settled()
    with visiting(browser, site.base, **LOOKS[look][0]) as visitor:
        page = visitor.page
        page.on("dialog", lambda dialog: visitor.troubles.append(dialog.message))
        for path in (f"/deliveries/{delivery}?q=state%3Adead", "/dead-letters", "/functions/ship", "/"):
            visitor.go(path)
            visitor.sees("#live[data-state=live]")
            visitor.sees("main", "onerror=alert")
            for tab in ("logs",) if "deliveries" in path else ():
                page.click(f"#tab-{tab}")
                visitor.sees(f"#panel-{tab}", "onerror=alert")
            if "functions" in path:
                visitor.sees("#log", "onerror=alert")
            assert page.locator("img[src=x]").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth"), path
            assert not re.search("[\x1b\u202e]", page.content())


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>.py", "gnp\u202eexe.py", "a\x1b[2J.py", "\udcff.py"])
def test_a_handler_of_a_strange_name_is_no_function_and_shown_as_text(site: Site, name: str) -> None:
    path = site.hub.project / "handlers" / name
    path.write_text("def handler(event, context): ...")
    try:
        assert site.hub.api("POST", "/api/v1/reload")["problems"] == []
        for page in ("/", "/functions", "/settings", "/api/v1/status", "/metrics"):
            answer = site.get(page)
            assert answer.status == 200
            assert "<img src=x" not in answer.text or page.startswith("/api")
            assert not re.search("[\x1b\u202e]", answer.text), page
        assert len(site.hub.api("GET", "/api/v1/functions")) == len(HANDLERS)
        another = site.hub.project / "handlers" / "afterwards.py"
        another.write_text("def handler(event, context): ...")
        until(lambda: site.get("/functions/afterwards").status == 200, "the folder is watched still")
        another.unlink()
        until(lambda: site.get("/functions/afterwards").status == 404, "the folder is watched still")
    finally:
        path.unlink()


def test_a_page_that_is_open_for_a_week_holds_no_more_than_at_first(visitor: Visitor, site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.hub.admin, timeout=GUARD)
    connection.request("GET", "/live")
    first = json.loads(connection.getresponse().readline().removeprefix(b"data: "))
    connection.close()
    now, page = int(time.time()), visitor.page

    def told(begin: int, end: int) -> str:
        """Every minute a point; with each the lists have changed."""
        said = (
            {**first, "rate": n, "mark": f"{n}", "point": [now + 60 * n, n % 7, 0, 1.5, n % 50]}
            for n in range(begin, end)
        )
        return "".join(f"data: {json.dumps(one)}\n\n" for one in said)

    parts: Iterator[str] = iter([told(1, 1000), told(1000, WEEK + 1)])
    page.route("**/live", lambda route: route.fulfill(content_type="text/event-stream", body=next(parts, "")))
    session = page.context.new_cdp_session(page)
    visitor.go("/")
    expect(page.locator("[data-reading=rate]")).to_have_text("999")
    elements, size = held(page, session)
    # The browser asks again three seconds after a stream's end.
    expect(page.locator("[data-reading=rate]")).to_have_text(f"{WEEK:,}")
    page.wait_for_timeout(2500)  # as long as the page waits before it draws lists anew
    later, more = held(page, session)
    assert later <= elements + 20
    assert more <= size + 2


def test_a_page_that_was_long_on_its_way_knows_the_time(visitor: Visitor, site: Site) -> None:
    site.order("just now")
    late = (
        "const real = Date.now; let late = 90000; Date.now = () => real() + late; setTimeout(() => { late = 0; }, 500);"
    )
    visitor.page.add_init_script(late)
    visitor.go("/deliveries")
    visitor.sees("#live[data-state=live]")
    site.order("and another")
    expect(visitor.page.locator("#list tr[data-id] time").first).to_have_text(re.compile("^(now|\\d+ s ago)$"))


def held(page: Page, session: CDPSession) -> tuple[int, float]:
    """Return the elements of a page, and the memory of its script in MB."""
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return page.evaluate("document.querySelectorAll('*').length"), found["JSHeapUsedSize"] / 2**20
