"""What a supervisor does to the hub: signals, probes, systemd's notifications; and what the hub answers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, daemon, granted, until
from tests.e2e.toml import HUB, webhook

TOML = (
    HUB
    + """
drain = "DRAIN"

[defaults]
GRANTED
"""
    + webhook("hook", "gated")
    + webhook("ask", "gated", answers=True)
)
GATED = """
import pathlib, time

def handler(event, context):
    gate = pathlib.Path({gate!r})
    name = event["body"] if isinstance(event, dict) and "body" in event else "invoked"
    (gate / f"{name}.began").touch()
    while not (gate / "open").exists():
        time.sleep(0.01)
    return "passed"
"""


class Gated:
    """A hub whose one function waits until a gate is opened."""

    def __init__(self, hub: Daemon, gate: Path) -> None:
        self.hub = hub
        self._gate = gate
        self.answers: dict[str, tuple[int, bytes]] = {}
        self._threads: list[threading.Thread] = []

    def call(self, name: str) -> None:
        """Make a call that waits for its answer, by the ingress or the admin API, and return once it runs."""

        def ask() -> None:
            try:
                if name == "invoked":
                    answer = self.hub.api("POST", "/api/v1/functions/gated/invoke", b"{}", raw=True)
                else:
                    answer = self.hub.post("/ask", name.encode(), {"Content-Type": "text/plain"})
            except OSError:
                answer = (0, b"the connection was cut")
            self.answers[name] = answer

        thread = threading.Thread(target=ask)
        thread.start()
        self._threads.append(thread)
        self.began(name)

    def queue(self, name: str) -> str:
        status, body = self.hub.post("/hook", name.encode(), {"Content-Type": "text/plain"})
        assert status == 202
        return json.loads(body)["deliveries"][0]

    def began(self, name: str) -> None:
        until(lambda: (self._gate / f"{name}.began").exists(), f"{name} runs")

    def open(self) -> None:
        (self._gate / "open").touch()

    def close(self) -> None:
        (self._gate / "open").unlink()

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.hub.process is not None
        self.hub.process.send_signal(number)

    def ended(self) -> int:
        """Wait for the end; the exit code."""
        assert self.hub.process is not None
        code = self.hub.process.wait(30)
        for thread in self._threads:
            thread.join(30)
        return code


@contextmanager
def gated(tmp_path: Path, drain: str = "30s") -> Iterator[Gated]:
    project, gate = tmp_path / "project", tmp_path / "gate"
    project.mkdir()
    gate.mkdir()
    toml = TOML.replace("DRAIN", drain).replace("GRANTED", granted(gate))
    with daemon(project, toml, {"gated.py": GATED.replace("{gate!r}", repr(str(gate)))}) as hub:
        yield Gated(hub, gate)


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_first_signal_lets_every_running_call_finish_and_takes_nothing_new(tmp_path: Path) -> None:
    with gated(tmp_path) as g:
        running = g.queue("queued")
        g.began("queued")
        g.call("asked")
        g.call("invoked")
        waiting = [g.queue(f"waiting{n}") for n in range(6)]
        g.signal()
        until(lambda: refuses(g.hub.listen), "the ingress takes no connection")
        status, body = g.hub.api("GET", "/readyz", raw=True)
        assert (status, json.loads(body)) == (503, {"ready": False, "reasons": ["the hub is stopping"]})
        assert g.hub.api("GET", "/healthz", raw=True)[0] == 200
        assert g.hub.api("GET", "/api/v1/status")["ready"] is False
        refused = g.hub.api("POST", "/api/v1/functions/gated/invoke", b"{}", raw=True)
        assert (refused[0], json.loads(refused[1])["error"]["code"]) == (503, "stopping")
        assert g.hub.alive
        g.open()
        assert g.ended() == 0
        assert g.answers == {"asked": (200, b"passed"), "invoked": (200, b'"passed"')}
        began = {path.name for path in (tmp_path / "gate").iterdir()}
        g.hub.start()
        counts = g.hub.settled()
        attempts = {row["id"]: (row["state"], row["attempts"]) for row in g.hub.deliveries()}
    assert attempts[running] == ("succeeded", 1)
    assert {attempts[one] for one in waiting} == {("succeeded", 1)}
    assert not all(f"waiting{n}.began" in began for n in range(6)), "a stopping hub claims no more"
    assert counts["drift"] == 0


def test_what_outlasts_the_drain_is_cut_all_at_once_and_given_back_uncounted(tmp_path: Path) -> None:
    with gated(tmp_path, drain="5s") as g:
        running = g.queue("queued")
        g.began("queued")
        g.call("asked")
        g.call("invoked")
        began = time.monotonic()
        g.signal(signal.SIGINT)
        assert g.ended() == 0
        # One time to drain for all three together, not one after the other: that would be fifteen.
        assert 4.9 < time.monotonic() - began < 14
        assert "cut and given back" in g.hub.log()
        assert running in g.hub.log()
        g.open()
        g.hub.start()
        g.hub.settled()
        (row,) = g.hub.deliveries()
    assert (row["state"], row["attempts"]) == ("succeeded", 1)
    assert g.answers["asked"] == (503, b'{"message":"Service Unavailable"}')
    assert b"the hub cut the call short" in g.answers["invoked"][1]


def test_the_second_signal_cuts_at_once_whatever_waits(tmp_path: Path) -> None:
    with gated(tmp_path) as g:
        g.queue("queued")
        g.began("queued")
        g.call("asked")
        g.call("invoked")
        g.signal()
        until(lambda: "stopping" in g.hub.log(), "it drains")
        began = time.monotonic()
        g.signal(signal.SIGINT)
        assert g.ended() == 0
        assert time.monotonic() - began < 10
        g.open()
        g.hub.start()
        g.hub.settled()
        (row,) = g.hub.deliveries()
    assert (row["state"], row["attempts"]) == ("succeeded", 1)


def test_a_signal_during_the_start_ends_the_hub_in_order(tmp_path: Path) -> None:
    with daemon(tmp_path, TOML.replace("DRAIN", "1s").replace("GRANTED", ""), {"gated.py": GATED}, start=False) as hub:
        hub.start(ready=False)
        until(lambda: (tmp_path / "var" / "hub.sock").exists() or not hub.alive, "it starts")
        assert hub.process is not None
        hub.process.send_signal(signal.SIGTERM)
        assert hub.process.wait(20) == 0
        assert "Traceback" not in hub.log()
        assert not (tmp_path / "var" / "hub.sock").exists()


def test_a_signal_while_a_new_version_is_tried_is_not_kept_waiting(tmp_path: Path) -> None:
    with gated(tmp_path) as g:
        g.open()
        tried = tmp_path / "gate" / "tried"
        text = f"import pathlib, time\npathlib.Path({str(tried)!r}).touch()\ntime.sleep(60)\n\ndef handler(event, context): ...\n"
        (g.hub.project / "handlers" / "gated.py").write_text(text)
        until(tried.exists, "the new version is being tried")
        g.signal(signal.SIGHUP)
        g.signal()
        began = time.monotonic()
        assert g.ended() == 0
        assert time.monotonic() - began < 10
        assert "Traceback" not in g.hub.log()


# systemd


@contextmanager
def listening(place: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(place)
        receiver.settimeout(20)
        yield receiver


def told(receiver: socket.socket, wanted: str) -> list[str]:
    """Return what was told up to the state *wanted*."""
    heard = []
    while not heard or not heard[-1].startswith(wanted):
        heard.append(receiver.recv(4096).decode())
    return heard


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_is_told_of_ready_reloads_stopping_and_that_the_hub_lives(tmp_path: Path, kind: str) -> None:
    name = str(tmp_path / "notify") if kind == "path" else f"@triggerhub-test-{os.getpid()}"
    project = tmp_path / "project"
    project.mkdir()
    toml = TOML.replace("DRAIN", "1s").replace("GRANTED", "")
    with (
        listening(name.replace("@", "\0")) as systemd,
        daemon(project, toml, {"gated.py": GATED}, start=False) as hub,
    ):
        hub.start(ready=False, environ={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000"})
        before = told(systemd, "READY=1")
        assert set(before) == {"WATCHDOG=1", "READY=1"}
        assert hub.is_ready()
        assert hub.process is not None
        hub.process.send_signal(signal.SIGHUP)
        reloading = told(systemd, "RELOADING=1")[-1]
        stamp = int(reloading.partition("MONOTONIC_USEC=")[2])
        assert abs(time.monotonic_ns() // 1000 - stamp) < 20_000_000
        told(systemd, "READY=1")
        for _ in range(3):
            told(systemd, "WATCHDOG=1")
        hub.process.send_signal(signal.SIGTERM)
        told(systemd, "STOPPING=1")
        assert hub.process.wait(20) == 0


def test_nobody_is_told_that_another_process_lives_and_a_lost_systemd_harms_nobody(tmp_path: Path) -> None:
    with daemon(tmp_path, TOML.replace("DRAIN", "1s").replace("GRANTED", ""), {"gated.py": GATED}, start=False) as hub:
        place = str(tmp_path / "notify")
        with listening(place) as systemd:
            hub.start(environ={"NOTIFY_SOCKET": place, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"})
            assert told(systemd, "READY=1") == ["READY=1"]
        Path(place).unlink()
        assert hub.process is not None
        hub.process.send_signal(signal.SIGHUP)
        until(lambda: "systemd could not be told" in hub.log(), "it says so")
        assert hub.is_ready()
        assert hub.stop() == 0


# probes


def test_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    with gated(tmp_path) as g:
        g.open()
        g.queue("queued")
        g.hub.settled()
        connection = http.client.HTTPConnection("127.0.0.1", g.hub.admin, timeout=20)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.getheader("content-type", "").startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
        connection.close()
    samples = {(one.name, *one.labels.values()): one.value for f in families.values() for one in f.samples}
    assert samples["triggerhub_ready",] == 1
    assert samples["triggerhub_accounting_drift",] == 0
    assert samples["triggerhub_deliveries", "succeeded"] == 1
    assert samples["triggerhub_events_accepted_total", "hook"] == 1
    assert all(family.documentation and family.type != "unknown" for family in families.values())
