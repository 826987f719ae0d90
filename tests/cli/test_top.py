"""How the functions do, once where nobody looks on, and drawn again on a terminal."""

from __future__ import annotations

from tests.cli.conftest import Run
from tests.cli.terminal import terminal
from tests.e2e.daemon import Daemon, until
from triggerhub.cli import top


def test_it_is_shown_once_where_the_output_is_no_terminal(on: Run) -> None:
    assert on("invoke", "echo", "-d", "{}").code == 0
    ran = on("top")
    assert ran.code == 0
    heading, first, *_ = ran.out.split("\n\n")[1].split("\n")
    assert heading.split() == [
        "FUNCTION",
        "CALLS/S",
        "ERRORS",
        "P50",
        "P95",
        "RUNNING",
        "WORKERS",
        "QUEUED",
        "DEAD",
        "STATE",
    ]
    rows = on("top", "--json").json
    assert rows[0]["recent"]["calls"] >= rows[-1]["recent"]["calls"]
    assert first.split()[0] == rows[0]["name"]


def test_a_terminal_gets_its_screen_back(hub: Daemon) -> None:
    with terminal("-C", str(hub.project), "top", "--every", "0.2") as screen:
        assert screen.until("CALLS/S").startswith("\x1b[?1049h\x1b[?25l\x1b[H")
        until(lambda: screen.drain().count("CALLS/S") > 1, "it is drawn again")
        screen.interrupt()
        assert screen.end() == 0
        assert screen.text.endswith("\x1b[?25h\x1b[?1049l")
        assert "Traceback" not in screen.text


def test_no_more_is_drawn_than_there_is_room_for() -> None:
    recent = {"seconds": 300.0, "calls": 3, "errors": 1, "p50_ms": 1.5, "p95_ms": 2500.0}
    row = {
        "name": "f", "paused": False, "preparing": None, "running": 1, "workers": 2, "recent": recent,
        "counts": {"queued": 1, "dead": 2},
    }  # fmt: skip
    counts = {"queued": 1, "running": 0, "succeeded": 5, "dead": 2}
    status = {
        "version": "1", "node": "n", "ready": True, "uptime_s": 5, "pid": 1, "counts": counts, "problems": ["p\x1b[2J"],
    }  # fmt: skip
    whole = top.frame(status, [row] * 50)
    assert len(whole.split("\n")) == 55
    assert "\x1b[2J" not in whole
    assert "33.3%" in whole
    assert "2.5 s" in whole
    assert len(top.frame(status, [row] * 50, 24).split("\n")) == 23
