"""Draw docs/images: run a hub with a small shop's triggers, send it orders for a while, and look at every page.

    python docs/screenshots.py [--seconds 120]

Needs Debian's Chromium. What is drawn is what a person sees: nothing is made up but the orders.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.daemon import Daemon, daemon  # noqa: E402

IMAGES = ROOT / "docs" / "images"
LARGEST = 150 * 1024
TOML = """
[functions.ship-order]
retry = { attempts = 3, initial = "1s", max = "4s" }
[functions.notify]
retry = { attempts = 2, initial = "1s" }
[functions.thumbnail]
memory = "512MB"

[triggers.orders]
type = "webhook"
path = "/orders"
auth = "none"
functions = ["ship-order", "notify"]
filter = { body = { total = [{ numeric = [">", 0] }] } }
key = "$.body.id"
order = "$.body.customer"

[triggers.uploads]
type = "webhook"
path = "/uploads"
auth = "none"
function = "thumbnail"

[triggers.nightly]
type = "cron"
schedule = "30 2 * * *"
function = "report"

[triggers.heartbeat]
type = "cron"
schedule = "*/5 * * * *"
function = "report"

[alarms.orders-fail]
when = "errors(ship-order) > 5 in 10m"
then = ["function:notify"]
[alarms.orders-wait]
when = "lag(orders) > 5m"
then = ["function:notify"]
[alarms.report-missing]
when = "succeeded(report) < 1 in 25h"
then = ["function:notify"]
"""
HANDLERS = {
    "ship-order.py": """
import json, random, time
def handler(event, context):
    order = json.loads(event["body"])
    print(f"shipping order {order['id']} to {order['customer']}")
    time.sleep(random.expovariate(20))
    if order["total"] > 900:
        raise TimeoutError(f"api.carrier.example did not answer within 5 s for order {order['id']}")
    return {"shipped": order["id"], "label": f"https://carrier.example/l/{order['id']}"}
""",
    "notify.py": """
import json, random, time
def handler(event, context):
    order = json.loads(event["body"])
    time.sleep(random.uniform(0.002, 0.03))
    if order["customer"] == "c7":
        raise KeyError("email")
    print("mail sent to", order["customer"])
""",
    "thumbnail.py": """
import random, time
def handler(event, context):
    time.sleep(random.uniform(0.05, 0.4))
    return {"width": 256, "height": 256}
""",
    "report.py": "def handler(event, context):\n    return {'ok': True}\n",
}


def send(hub: Daemon, end: threading.Event) -> None:
    """Send orders and uploads until *end*, in bursts as a shop gets them."""
    draw, number = random.Random(7), 48_000
    while not end.is_set():
        number += 1
        if draw.random() < 0.7:
            order = {"id": number, "customer": f"c{draw.randrange(40)}", "total": round(draw.uniform(1, 930), 2)}
            hub.post("/orders", json.dumps(order).encode())
        else:
            hub.post("/uploads", json.dumps({"file": f"upload-{number}.jpg"}).encode())
        busy = 14 + 8 * (int(time.time() / 25) % 2)
        end.wait(draw.expovariate(busy))


def draw(browser: Browser, hub: Daemon) -> None:
    """Draw each page, and some of them as others see them."""
    base = f"http://127.0.0.1:{hub.admin}"
    desk, phone = {"width": 1360, "height": 850}, {"width": 390, "height": 844}
    dark = browser.new_page(color_scheme="dark", viewport=desk)
    light = browser.new_page(color_scheme="light", viewport=desk)
    small = browser.new_page(color_scheme="light", viewport=phone)
    for page, name, path in (
        (light, "overview", "/"),
        (light, "deliveries", "/deliveries"),
        (dark, "delivery-dark", "/deliveries?q=state%3Adead"),
        (light, "functions", "/functions/ship-order"),
        (light, "triggers", "/triggers"),
        (light, "dead-letters", "/dead-letters"),
        (light, "alarms", "/alarms"),
        (light, "settings", "/settings"),
        (dark, "overview-dark", "/"),
        (small, "overview-phone", "/"),
        (small, "delivery-phone", "/deliveries?q=state%3Adead"),
    ):
        page.goto(base + path)
        page.wait_for_selector("#live[data-state=live]")
        if "dead" in path and "deliveries" in path:
            page.click("#list tr[data-id]")
            page.wait_for_selector(".detail")
        if path == "/settings":
            page.click("#doctor button")
            page.wait_for_selector("#doctor summary")
        _keep(page, name)


def _keep(page: Page, name: str) -> None:
    page.wait_for_timeout(1500)
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as drawn:
        drawn.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            path, optimize=True
        )
    size = path.stat().st_size
    print(f"{path.relative_to(ROOT)}: {size // 1024} KB")
    if size > LARGEST:
        raise SystemExit(f"{path} is over {LARGEST // 1024} KB")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw docs/images.")
    parser.add_argument("--seconds", type=int, default=120, help="how long orders come before it is looked at")
    seconds = parser.parse_args().seconds
    IMAGES.mkdir(exist_ok=True)
    end = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "shop"
        project.mkdir()
        with daemon(project, TOML, HANDLERS) as hub, sync_playwright() as playwright:
            sender = threading.Thread(target=send, args=(hub, end))
            sender.start()
            try:
                time.sleep(seconds)
                browser = playwright.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
                )
                draw(browser, hub)
                browser.close()
            finally:
                end.set()
                sender.join()


if __name__ == "__main__":
    main()
