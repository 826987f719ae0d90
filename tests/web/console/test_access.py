"""Who may open the console and what he may do there: passwords, tokens, roles, and what no page of another site can."""

from __future__ import annotations

import base64
import hashlib
import html
import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.daemon import daemon, until
from tests.web.console.conftest import HANDLERS, SECRETS, TOML, Answer, Site, visiting
from triggerhub.policy.masking import DOTS

ACCESS = """
[console]
hosts = ["hub.example"]
[console.auth]
type = "password"
[console.auth.users]
anna = { secret = "ANNA" }
olga = { password = { secret = "ANNA" }, role = "operator" }
bob = { password = { secret = "ANNA" }, role = "viewer", payloads = false }
"""
WORD = "correct horse"


def cheap(word: str) -> str:
    """A hash like those of ``hash-password``, of parameters for tests."""
    salt = b"0123456789abcdef"
    key = hashlib.scrypt(word.encode(), salt=salt, n=2, r=1, p=1, dklen=32)
    return f"scrypt$n=2,r=1,p=1${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with daemon(tmp_path_factory.mktemp("hub"), TOML + ACCESS, HANDLERS, start=False) as hub:
        hub.start(environ={**SECRETS, "ANNA": cheap(WORD)})
        yield Site(hub)


@pytest.fixture(scope="module")
def dead(site: Site) -> str:
    delivery = site.order("sold out", customer="a-customer")[0]
    site.settled()
    return delivery


@dataclass
class Guest:
    """A browser as far as its cookies and the mark on its pages go."""

    site: Site
    cookie: str = ""
    mark: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        marks = {"Cookie": self.cookie, "X-CSRF-Token": self.mark}
        shown = {name: value for name, value in marks.items() if value}
        return self.site.ask(method, path, body, {"Accept": "text/html", **shown, **(headers or {})})

    def sign_in(self, name: str, word: str = WORD, there: str = "/") -> Answer:
        form = urlencode({"user": name, "password": word, "next": there}).encode()
        answer = self.site.ask("POST", "/login", form)
        if answer.status == 303:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
            found = re.search(r'<meta name="csrf" content="([^"]+)"', self.ask("GET", "/").text)
            assert found is not None
            self.mark = found[1]
        return answer


def guest(site: Site, name: str) -> Guest:
    made = Guest(site)
    assert made.sign_in(name).status == 303
    return made


def test_a_stranger_sees_nothing_but_the_door(site: Site, dead: str) -> None:
    there = site.get("/deliveries?q=state%3Adead", Accept="text/html")
    assert (there.status, there.headers["location"]) == (303, "/login?next=%2Fdeliveries%3Fq%3Dstate%253Adead")
    for path in (
        "/api/v1/status",
        "/metrics",
        f"/deliveries/{dead}/event.json",
        "/live",
        "/settings",
        "/2015-03-31/functions",
    ):
        answer = site.get(path)
        assert (answer.status, answer.json["error"]["code"]) == (401, "who-are-you"), path
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/2099-01-01/x?X-Amz-Signature=", f"/%32015-03-31/code/{'a' * 64}"):
        answer = site.get(path, Accept="text/html")
        assert (answer.status, answer.headers["content-type"]) == (404, "application/json"), path
    assert site.ask("POST", f"/api/v1/deliveries/{dead}/redeliver").status == 401
    assert [site.get(path).status for path in ("/healthz", "/readyz", "/login", "/static/console.css")] == [200] * 4
    assert site.hub.api("GET", f"/api/v1/deliveries/{dead}")["state"] == "dead", "the socket asks nobody"


def test_who_signs_in_is_known_by_a_cookie_that_no_script_reads(site: Site) -> None:
    anna = Guest(site)
    refused = anna.sign_in("anna", "wrong")
    assert (refused.status, "not a name with its password" in refused.text) == (401, True)
    assert anna.sign_in("nobody").status == 401
    entered = anna.sign_in("anna", there="/deliveries")
    assert (entered.status, entered.headers["location"]) == (303, "/deliveries")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert anna.ask("GET", "/settings").status == 200
    assert anna.ask("POST", "/logout").headers["hx-redirect"] == "/login"
    assert anna.ask("GET", "/").status == 303


@pytest.mark.parametrize(
    "there", ["//evil.example", "https://evil.example", "/\\evil.example", "/x\r\nSet-Cookie: a=b", "//[", "//[::1"]
)
def test_the_door_leads_inside_only(site: Site, there: str) -> None:
    shown = site.get(f"/login?{urlencode({'next': there})}")
    assert (shown.status, 'name="next" value="/"' in shown.text) == (200, True)
    assert Guest(site).sign_in("anna", there=there).headers["location"] == "/"


def test_a_path_that_is_no_address_leads_to_the_door_and_back_to_the_overview(site: Site) -> None:
    there = site.get("//%5B", Accept="text/html")
    assert (there.status, there.headers["location"]) == (303, "/login?next=%2F%2F%5B")
    assert site.get(there.headers["location"]).status == 200


def test_only_pages_of_the_session_change_anything(site: Site, dead: str) -> None:
    olga = guest(site, "olga")
    path = f"/deliveries/{dead}/redeliver"
    for mark in ("", "x", guest(site, "anna").mark):
        refused = site.ask("POST", path, headers={"Cookie": olga.cookie, "X-CSRF-Token": mark})
        assert (refused.status, refused.json["error"]["code"]) == (403, "bad-csrf")
    for elsewhere in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        refused = olga.ask("POST", path, headers=elsewhere)
        assert (refused.status, refused.json["error"]["code"]) == (403, "bad-origin")
    assert site.ask("GET", "/", headers={"Host": "evil.example", "Cookie": olga.cookie}).status == 421
    assert site.ask("GET", "/", headers={"Host": "hub.example", "Cookie": olga.cookie}).status == 200
    assert site.hub.api("GET", f"/api/v1/deliveries/{dead}")["state"] == "dead"
    assert olga.ask("POST", path, headers={"Origin": site.base}).status == 200
    site.settled()


def test_each_role_may_what_it_may(site: Site, dead: str) -> None:
    bob, olga = guest(site, "bob"), guest(site, "olga")
    refused = bob.ask("POST", f"/deliveries/{dead}/redeliver")
    assert refused.json["error"]["message"] == "bob is a viewer; this takes an operator"
    assert bob.ask("POST", "/api/v1/dead-letters/redrive", b'{"all": true}').status == 403
    assert olga.ask("POST", "/api/v1/triggers/nightly/pause").status == 200
    assert olga.ask("POST", "/api/v1/triggers/nightly/resume").status == 200
    assert [olga.ask("POST", path).status for path in ("/api/v1/reload", "/api/v1/prune", "/api/v1/tokens")] == [
        403
    ] * 3
    page = olga.ask("GET", "/settings")
    assert (page.status, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "<h1>olga is an operator; this takes an admin</h1>" in page.text
    assert '<a class="button" href="/">' in page.text
    assert olga.ask("GET", "/settings", headers={"HX-Request": "true"}).json["error"]["code"] == "forbidden"
    assert olga.ask("GET", "/settings", headers={"Accept": "*/*"}).json["error"]["code"] == "forbidden"
    assert olga.ask("POST", "/settings/doctor").status == 403
    assert 'href="/settings"' not in olga.ask("GET", "/").text
    assert guest(site, "anna").ask("POST", "/api/v1/reload").status == 200


def test_what_events_carry_is_a_right_of_its_own(site: Site, dead: str) -> None:
    bob = guest(site, "bob")
    page = bob.ask("GET", f"/deliveries/{dead}")
    assert (page.status, "You may not see what events carry." in page.text) == (200, True)
    assert "routeKey" not in page.text
    told = bob.ask("GET", f"/api/v1/deliveries/{dead}").json
    assert (told["hidden"], told["event"]["data"]) == (True, None)
    assert [one["payload"] for one in told["history"]] == [None] * len(told["history"])
    assert "export.jsonl" in guest(site, "anna").ask("GET", "/dead-letters").text
    for path in ("/dead-letters", "/dead-letters/groups"):
        assert "export.jsonl" not in bob.ask("GET", path).text
    assert 'id="log"' not in bob.ask("GET", "/functions/ship").text
    for path in ("/functions/ship/logs", f"/deliveries/{dead}/event.json", f"/deliveries/{dead}/logs", "/api/v1/output", "/dead-letters/export.jsonl",
                 f"/api/v1/events/{dead[:-2]}00"):  # fmt: skip
        assert bob.ask("GET", path).status == 403, path


def test_who_may_not_see_what_events_carry_is_told_an_event_s_story_without_it(site: Site, dead: str) -> None:
    anna, bob = guest(site, "anna"), guest(site, "bob")
    path = f"/api/v1/explain?id={dead}"
    full, bare = anna.ask("GET", path), bob.ask("GET", path)
    assert (full.json["dedup_key"], full.json["ordering_key"]) == ("sold out", "a-customer")
    assert (bare.json["dedup_key"], bare.json["ordering_key"]) == (DOTS, DOTS)
    for said in ("sold out", "a-customer", WORDS):
        assert said not in bare.text
    refused = json.loads(site.hub.post("/orders", b'{"id": "a-secret", "total": -98765432101}')[1])
    path = f"/api/v1/explain?id={refused['id']}"
    for who in (anna, bob):
        (row,) = who.ask("GET", path).json["filtered"]
        assert row["refuses"] == "body.total does not match; wanted numeric > 0"
        assert "98765432101" not in str(row)
        assert bool(row["names"]) is (who is anna)
    for name in ("sold%20out", "nothing"):
        answer = bob.ask("GET", f"/api/v1/explain?id={name}")
        assert (answer.status, "keys are taken from events" in answer.text) == (400, True)
    assert anna.ask("GET", "/api/v1/explain?id=sold%20out").json["id"] == full.json["id"]


WORDS = "is sold out"
"""Of the message of an error, which quotes the event."""


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/overview/attention",
        "/deliveries",
        "/deliveries/list?q=error~LookupError",
        "/deliveries/{id}",
        "/deliveries/{id}/pane",
        "/dead-letters",
        "/dead-letters/groups",
        "/functions/ship",
        "/api/v1/deliveries",
        "/api/v1/deliveries/{id}",
        "/api/v1/deliveries/{id}/wait",
    ],
)
def test_what_an_error_says_is_told_to_those_alone_who_may_see_what_events_carry(
    site: Site, dead: str, path: str
) -> None:
    anna, bob = (guest(site, name).ask("GET", path.format(id=dead)) for name in ("anna", "bob"))
    assert (anna.status, bob.status) == (200, 200)
    assert WORDS in anna.text
    assert WORDS not in bob.text
    assert "LookupError" in bob.text
    assert re.search(r"••• [0-9a-f]{12}", bob.text)
    assert "a-customer" not in bob.text


def test_nobody_finds_out_by_searching_what_he_may_not_see(site: Site, dead: str) -> None:
    anna, bob = guest(site, "anna"), guest(site, "bob")
    for search, finds in {
        "error~sold": (True, False),
        "error~LookupError": (True, True),
        f"{dead} error~sold": (True, False),
        f"{dead} error~lookup": (True, True),
        "key:a-customer": (True, False),
        f"{dead} key:a-customer": (True, False),
    }.items():
        for who, expected in zip((anna, bob), finds, strict=True):
            page = who.ask("GET", f"/deliveries/list?{urlencode({'q': search})}").text
            assert (f'href="/deliveries/{dead}' in page) == expected, search
            if not search.startswith(dead):
                named = urlencode(dict([search.replace("~", ":").split(":")]))
                assert (dead in who.ask("GET", f"/api/v1/deliveries?{named}").text) == expected, search
    assert "keys are taken from events" in bob.ask("GET", "/deliveries/list?q=key:a-customer").text


def test_an_operator_who_may_not_see_what_events_carry_chooses_by_cause_alone(site: Site, dead: str) -> None:
    made = site.hub.cli("token", "create", "night", "--role", "operator", check=True).stdout.strip()
    bearer = {"Authorization": f"Bearer {made}"}
    page = site.get("/dead-letters", Authorization=f"Bearer {made}").text
    (cause,) = {html.unescape(one) for one in re.findall(r'data-fingerprint="([^"]*)"', page)}
    assert re.fullmatch(r"LookupError: ••• [0-9a-f]{12}", cause)

    def told(order: dict[str, object]) -> str:
        body = json.dumps(order | {"dry_run": True}).encode()
        return site.ask("POST", "/api/v1/dead-letters/redrive", body, bearer).text.splitlines()[-1]

    assert json.loads(told({"fingerprint": cause}))["total"] == 1
    assert json.loads(told({"error": "LookupError"}))["total"] == 1
    assert "there is no dead letter with" in told({"error": "sold"})
    assert "there is no dead letter with" in told({"fingerprint": "LookupError: item # is sold out: sold out"})
    assert "keys are taken from events" in told({"key": "a-customer"})
    site.hub.cli("token", "revoke", "night", check=True)


@pytest.mark.parametrize("path", ["/settings%0A", "/api/v1//tokens%0A", "/api/v1//changes%0A", "/api/v1//output%0A"])
def test_a_line_break_in_a_path_opens_nothing(site: Site, path: str) -> None:
    assert guest(site, "bob").ask("GET", path).status == 403


def test_what_a_stranger_sends_is_little(site: Site) -> None:
    form = urlencode({"user": "anna", "password": "x" * 9000}).encode()
    assert site.ask("POST", "/login", form).status == 413


def test_a_program_has_a_token_until_it_is_revoked(site: Site) -> None:
    made = site.hub.cli("token", "create", "ci", "--role", "operator", check=True).stdout.strip()
    assert re.fullmatch(r"th_[0-9a-f]{12}_[\w-]{43}", made)
    assert "ci" in site.hub.cli("token", "list", check=True).stdout
    assert made.rpartition("_")[2] not in json.dumps(site.hub.api("GET", "/api/v1/tokens"))
    bearer = {"Authorization": f"Bearer {made}"}
    assert site.ask("GET", "/api/v1/status", headers=bearer).status == 200
    assert site.ask("POST", "/api/v1/triggers/nightly/fire", headers=bearer).status == 202
    assert site.ask("POST", "/api/v1/reload", headers=bearer).json["error"]["message"] == (
        "token ci is an operator; this takes an admin"
    )
    command = [sys.executable, "-m", "triggerhub", "--hub", site.base, "status"]
    environ = {**os.environ, "TRIGGERHUB_TOKEN": made}
    assert subprocess.run(command, env=environ, capture_output=True, timeout=120, check=False).returncode == 0
    named = [*command[:3], "--hub", site.base, "--token", made, "status"]
    assert subprocess.run(named, capture_output=True, timeout=120, check=False).returncode == 0
    assert site.hub.cli("token", "create", "ci").returncode == 1
    assert "is revoked" in site.hub.cli("token", "revoke", "ci", check=True).stdout
    assert site.ask("GET", "/api/v1/status", headers=bearer).json["error"]["code"] == "bad-token"
    short = site.hub.api("POST", "/api/v1/tokens", b'{"name": "short", "lasts": "1ms"}')["token"]
    until(
        lambda: site.ask("GET", "/api/v1/status", headers={"Authorization": f"Bearer {short}"}).status == 401, "its end"
    )


def test_a_stream_ends_with_the_session(site: Site) -> None:
    anna = guest(site, "anna")
    connection = http.client.HTTPConnection("127.0.0.1", site.hub.admin, timeout=120)
    connection.request("GET", "/live", headers={"Cookie": anna.cookie})
    stream = connection.getresponse()
    assert stream.readline().startswith(b"data: ")
    anna.ask("POST", "/logout")
    site.order("after that")
    stream.read()  # comes to an end
    connection.close()


def test_tabs_without_end_of_one_user_keep_nobody_else_out(site: Site) -> None:
    anna, again, olga = guest(site, "anna"), guest(site, "anna"), guest(site, "olga")
    opened: list[ExitStack] = []

    def live(who: Guest) -> int:
        tab = ExitStack()
        connection = tab.enter_context(closing(http.client.HTTPConnection("127.0.0.1", site.hub.admin, timeout=120)))
        connection.request("GET", "/live", headers={"Cookie": who.cookie})
        answer = tab.enter_context(closing(connection.getresponse()))
        opened.append(tab)
        return answer.status

    assert [live(who) for who in (anna, again) * 17] == [200] * 32 + [429] * 2
    assert (live(olga), site.get("/healthz").status, anna.ask("GET", "/").status) == (200, 200, 200)
    opened.pop(0).close()
    until(lambda: live(anna) == 200, "one that was closed makes room")
    for tab in opened:
        tab.close()


def test_who_changed_what_is_written_down(site: Site, dead: str) -> None:
    olga = guest(site, "olga")
    olga.ask("POST", "/api/v1/dead-letters/discard", b'{"function": "mail", "reason": "a drill"}')
    newest, *_ = found = site.hub.api("GET", "/api/v1/changes")
    assert (newest["who"], newest["role"], newest["text"]) == ("olga", "operator", "POST /api/v1/dead-letters/discard")
    assert newest["order"] == {"function": "mail", "reason": "a drill"}
    assert {"sign in"} <= {one["text"] for one in found}
    olga.ask("POST", "/logout")
    left = site.hub.api("GET", "/api/v1/changes")[0]
    assert (left["who"], left["text"], left["from"], left["status"]) == ("olga", "sign out", "127.0.0.1", 204)
    assert "a drill" in guest(site, "anna").ask("GET", "/settings").text


def test_settings_say_where_each_value_is_written_and_show_no_secret(site: Site) -> None:
    text = guest(site, "anna").ask("GET", "/settings").text
    assert "scrypt" not in text
    line = (site.hub.project / "triggerhub.toml").read_text().split("\n").index('path = "/orders"') + 1
    assert f"triggerhub.toml:{line}" in text
    assert "[alarms.losses]" in text
    assert "dead(ship) &gt; 0 in 10m" in text


@pytest.mark.parametrize("look", ["light", "phone"])
def test_people_sign_in_see_what_they_may_and_leave(
    site: Site, browser: Browser, dead: str, look: str, axe: str
) -> None:
    size = {"width": 390, "height": 844} if look == "phone" else {"width": 1360, "height": 900}
    with visiting(browser, site.base, viewport=size) as visitor:
        visitor.go(f"/deliveries/{dead}")
        visitor.page.evaluate(axe)
        serious = visitor.page.evaluate(
            "axe.run().then(r => r.violations.filter(v => /serious|critical/.test(v.impact)).map(v => v.id))"
        )
        assert serious == []
        visitor.page.fill("#user", "bob")
        visitor.page.fill("#password", WORD)
        visitor.page.click("text=Sign in >> nth=-1")
        visitor.sees("#panel-event", "You may not see what events carry.")
        expect(visitor.page.locator("text=Redeliver >> nth=0")).to_be_hidden()
        visitor.go("/")
        visitor.sees("#live[data-state=live]")
        visitor.page.click("text=sign out")
        expect(visitor.page).to_have_url(re.compile("/login"))
        visitor.page.fill("#user", "olga")
        visitor.page.fill("#password", WORD)
        visitor.page.click("text=Sign in >> nth=-1")
        # Whoever goes on before he is let in is not let in.
        visitor.sees("#live[data-state=live]")
        visitor.go(f"/deliveries/{dead}")
        visitor.page.click("text=Redeliver >> nth=0")
        visitor.sees("#tell", "Queued again")
        site.settled()


@pytest.mark.parametrize("hidden", [False, True], ids=["by its list", "by its stream"])
def test_a_page_whose_session_was_ended_elsewhere_leads_to_the_door(site: Site, browser: Browser, hidden: bool) -> None:
    with visiting(browser, site.base) as visitor:
        visitor.go("/login?next=%2Fdeliveries")
        visitor.page.fill("#user", "olga")
        visitor.page.fill("#password", WORD)
        visitor.page.click("text=Sign in >> nth=-1")
        visitor.sees("#live[data-state=live]")
        (cookie,) = visitor.page.context.cookies()
        mark = visitor.page.locator("meta[name=csrf]").get_attribute("content")
        assert mark is not None
        if hidden:  # no list is asked for any more
            visitor.page.evaluate("for (const one of document.querySelectorAll('[data-live]')) one.remove()")
        Guest(site, f"{cookie.get('name')}={cookie.get('value')}", mark).ask("POST", "/logout")
        site.order("after that")
        expect(visitor.page).to_have_url(re.compile("/login"))


def test_strangers_are_told_whether_the_hub_is_ready_and_not_what_limps(site: Site, dead: str) -> None:
    made = site.hub.cli("token", "create", "probe", "--role", "viewer", check=True).stdout.strip()

    def ready(**shown: str) -> list[str]:
        answer = site.get("/readyz", **shown)
        assert (answer.status, answer.json["ready"]) == (200, True)
        reasons: list[str] = answer.json["reasons"]
        return reasons

    (reason,) = until(lambda: ready(Authorization=f"Bearer {made}"), "the alarm")
    assert reason.startswith("alarm losses is on since 2")
    assert ready(Cookie=guest(site, "bob").cookie) == [reason]
    assert json.loads(site.hub.api("GET", "/readyz", raw=True)[1])["reasons"] == [reason], "the socket asks nobody"
    for stranger in ({}, {"Authorization": "Bearer th_0"}, {"Cookie": "triggerhub_session=x"}):
        assert ready(**stranger) == []
    site.hub.cli("token", "revoke", "probe", check=True)


def test_what_handlers_measure_is_told_to_those_alone_who_may_see_what_events_carry(site: Site) -> None:
    site.order("telltale")
    site.settled()
    anna, bob = (guest(site, name).ask("GET", "/metrics") for name in ("anna", "bob"))
    assert (anna.status, bob.status) == (200, 200)
    own = 'triggerhub_handler_metric_count{dimensions="Token=•••",function="ship",metric="Shipped",namespace="Shop"'
    assert own in anna.text
    assert "Shipped" not in bob.text
    assert "Shop" not in bob.text
    assert 'triggerhub_invocations_total{function="ship"}' in bob.text


def test_who_is_gone_from_the_configuration_is_gone(site: Site) -> None:
    bob = guest(site, "bob")
    path = site.hub.project / "triggerhub.toml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("bob")))
    site.hub.api("POST", "/api/v1/reload")
    assert bob.ask("GET", "/").status == 303


def test_who_guesses_has_to_wait(site: Site) -> None:
    answers = [Guest(site).sign_in("anna", f"guess {number}").status for number in range(7)]
    assert answers[-1] == 429
    late = Guest(site).sign_in("anna")
    assert (late.status, int(late.headers["retry-after"]) > 0) == (429, True)
