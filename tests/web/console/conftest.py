"""A hub as a process, with functions that succeed, fail and take their time, and a browser that looks at it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from tests.e2e.daemon import GUARD, Daemon, daemon

# A page shows at once what it shows; a machine that does ten things besides takes its time.
expect.set_options(timeout=GUARD * 1000)

LONG = "write-down-for-the-tax-office-what-was-sold-and-what-came-back"
"""As long as names may be, nearly."""
HOSTILE = "<img src=x onerror=alert(1)>"
TOML = """
[defaults]
retry = { attempts = 2, initial = "10ms", max = "10ms" }

[functions.ship]
env = { TOKEN = { secret = "SHIP_TOKEN" } }

[functions.mail]
retry = { attempts = 1 }

[functions.later]
retry = { attempts = 2, initial = "1h", max = "1h" }

[functions.asked]
dead_letters = { keep = "3d" }
[functions.asked.sandbox]
network = ["127.0.0.1:9"]

[triggers.orders]
type = "webhook"
path = "/orders"
auth = "none"
functions = ["ship", "mail"]
filter = { body = { total = [{ numeric = [">", 0] }] } }
order = "$.body.customer"
key = "$.body.id"

[alarms.losses]
when = "dead(ship) > 0 in 10m"

[alarms.silence]
when = "errors(mail) > 100 in 5m"

[triggers.nightly]
type = "cron"
schedule = "30 2 * * *"
function = "mail"

[triggers.write-down-for-the-tax-office-what-was-sold-and-what-came-back]
type = "cron"
schedule = "30 3 * * *"
function = "write-down-for-the-tax-office-what-was-sold-and-what-came-back"
"""
PAGES = [
    "/",
    "/deliveries",
    "/dead-letters",
    "/functions",
    "/functions/ship",
    "/triggers",
    "/triggers/orders",
    "/alarms",
    "/settings",
]
SECRETS = {"SHIP_TOKEN": "s3cret-of-the-shop"}
HANDLERS = {
    "ship.py": """
import json, os, sys, time
def handler(event, context):
    body = json.loads(event["body"])
    print("shipping", body["id"], "with", os.environ["TOKEN"])
    if "sold out" in body["id"]:
        raise LookupError(f"item {len(body['id'])} is sold out: {body['id']}")
    if body["id"].startswith("flood"):
        strange = "<img src=x onerror=alert(1)> \\u202egnp.exe \\x1b[2J ".encode() + b"\\xff\\xfe "
        sys.stdout.flush()
        os.write(1, strange + b"A" * 5_000_000 + b"\\n")
        raise RuntimeError(strange.decode("utf-8", "replace") + "B" * 200_000)
    if body["id"] == "telltale":
        measured = {"Namespace": "Shop", "Dimensions": [["Token"]], "Metrics": [{"Name": "Shipped"}]}
        print(json.dumps({"_aws": {"CloudWatchMetrics": [measured]}, "Token": os.environ["TOKEN"], "Shipped": 1}))
        raise ValueError(f"cannot ship {os.environ['TOKEN']}")
    if body["id"] == "out of sight":
        open("/srv/goods")
    for number in range(200) if body["id"].startswith("drip") else ():
        print("drop", number, "of", body["id"], flush=True)
        time.sleep(0.2)
    note = body.get("note")
    return {"shipped": body["id"]} | ({"with": note, "letters": sorted(note)} if note else {})
""",
    "later.py": """
def handler(event, context):
    raise TimeoutError("carrier 7 did not answer")
""",
    "asked.py": """
def handler(event, context):
    return event["total"]
""",
    f"{LONG}.py": """
def handler(event, context):
    raise OSError("the tax office is closed")
""",
    "mail.py": """
def handler(event, context):
    print("sent")
""",
}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """A running hub, asked over its admin address as a browser asks."""

    hub: Daemon

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.hub.admin}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.hub.admin, timeout=GUARD)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def order(self, identifier: str, *, customer: str = "c") -> list[str]:
        """Send an order; the ids of its deliveries, that to ``ship`` first."""
        body = json.dumps({"id": identifier, "customer": customer, "total": 1.10}).encode()
        status, answer = self.hub.post("/orders", body)
        assert status in (200, 202), answer
        return json.loads(answer)["deliveries"]

    def settled(self) -> None:
        self.hub.settled()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with daemon(tmp_path_factory.mktemp("hub"), TOML, HANDLERS, start=False) as hub:
        hub.start(environ=SECRETS)
        yield Site(hub)


@pytest.fixture(scope="module")
def axe() -> str:
    return (Path(__file__).parent / "vendor" / "axe.min.js").read_text()


CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}; Debian's package chromium brings it")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS])
        yield launched
        launched.close()


@dataclass
class Visitor:
    """One person's tab, and all that went wrong in it."""

    page: Page
    base: str
    troubles: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        self.page.goto(self.base + path)

    def sees(self, selector: str, text: str | None = None) -> None:
        """Wait until something is there, with this text in it."""
        found = self.page.locator(selector).first
        if text is None:
            found.wait_for()
        else:
            expect(found).to_contain_text(text)


@contextmanager
def visiting(browser: Browser, base: str, **options: Any) -> Iterator[Visitor]:
    """Lend a tab; afterwards nothing may have failed in it, nor may it have asked another host for anything."""
    context = browser.new_context(**options)
    context.set_default_timeout(GUARD * 1000)
    visitor = Visitor(context.new_page(), base)
    page = visitor.page
    page.on("console", lambda message: message.type == "error" and visitor.troubles.append(message.text))
    page.on("pageerror", lambda error: visitor.troubles.append(str(error)))
    page.on("request", lambda request: request.url.startswith(base) or visitor.troubles.append(request.url))
    try:
        yield visitor
    finally:
        # A page that is being loaded while it is closed lets Chromium wait for ever.
        with suppress(Error):
            page.wait_for_load_state()
        context.close()
    assert visitor.troubles == []


@pytest.fixture
def visitor(site: Site, browser: Browser) -> Iterator[Visitor]:
    with visiting(browser, site.base, viewport={"width": 1360, "height": 900}) as found:
        yield found
