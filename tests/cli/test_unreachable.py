"""Where no hub answers, exit code 4 says so, and why."""

from __future__ import annotations

import http.server
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.e2e.ports import free_port

ID = "019a0000-0000-7000-8000-000000000001"
ASKING = [
    ["status"], ["invoke", "f"], ["invoke", "f", "--async"], ["send", "t", "-d", "1"], ["deliveries", "list"],
    ["deliveries", "show", ID], ["deliveries", "wait", ID], ["deliveries", "cancel", ID], ["deliveries", "redeliver", ID],
    ["dlq", "list"], ["dlq", "show", ID], ["dlq", "redrive", "--all"], ["dlq", "discard", ID], ["dlq", "export"], ["logs"],
    ["logs", "-f"], ["functions", "list"], ["functions", "show", "f"], ["functions", "pause", "f"], ["functions", "resume", "f"],
    ["triggers", "list"], ["triggers", "show", "t"], ["triggers", "pause", "t"], ["triggers", "resume", "t"],
    ["triggers", "fire", "t"], ["explain", ID],
]  # fmt: skip


@pytest.fixture
def project(empty: Path) -> Path:
    (empty / "triggerhub.toml").write_text("")
    return empty


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["", "json"])
def test_every_command_that_asks_a_hub(command: list[str], form: list[str], run: Run, project: Path) -> None:
    ran = run("-C", str(project), *command, *form)
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == f"error: no hub answers at {project}/var/hub.sock\n  Start it: triggerhub run\n"


def test_a_folder_that_is_no_project_is_called_so(run: Run, empty: Path) -> None:
    ran = run("-C", str(empty), "status")
    assert ran.code == 4
    assert ran.err == (
        f"error: no hub answers at {empty}/var/hub.sock: {empty} is not a triggerhub project\n"
        "  Go to the project's folder or name it: triggerhub -C DIR …; a new one: triggerhub init DIR.\n"
    )


def test_the_socket_is_looked_for_where_the_project_keeps_its_data(run: Run, project: Path) -> None:
    (project / "triggerhub.toml").write_text('[hub]\ndata = "elsewhere"\n')
    assert f"no hub answers at {project}/elsewhere/hub.sock" in run("-C", str(project), "status").err


def test_what_a_dead_hub_left_there_does_not_answer(run: Run, project: Path) -> None:
    (project / "var").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(project / "var" / "hub.sock"))
    assert run("-C", str(project), "status").code == 4
    (project / "var" / "hub.sock").unlink()
    (project / "var" / "hub.sock").write_text("no socket")
    assert run("-C", str(project), "status").code == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_another_users_hub_is_called_so(run: Run, project: Path) -> None:
    (project / "var").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(project / "var" / "hub.sock"))
        (project / "var" / "hub.sock").chmod(0)
        ran = run("-C", str(project), "status")
    assert ran.code == 4
    assert "may not be opened\n  The hub runs as another user" in ran.err


def test_an_address_that_nobody_listens_on(run: Run) -> None:
    port = free_port()
    ran = run("status", "--hub", f"http://127.0.0.1:{port}")
    assert ran.code == 4
    assert ran.err == f"error: no hub answers at http://127.0.0.1:{port}: Connection refused\n  Is it that address?\n"
    assert run("status", "--hub", "http://no-such-host.invalid:1").code == 4
    nameless = run("status", "--hub", "http://a..b:1")
    assert (nameless.code, nameless.err.splitlines()[-1]) == (4, "  Is it that address?")


@contextmanager
def answering(status: int, body: bytes, *, length: int | None = None) -> Iterator[str]:
    """A web server that is no hub."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "length", "says"),
    [
        (404, b"<h1>Not Found</h1>", None, "this is no hub: it answered 404 Not Found"),
        (502, b'{"error": "text"}', None, "this is no hub: it answered 502 Bad Gateway"),
        (200, b"<h1>Welcome</h1>", None, "this is no hub: its answer is not JSON"),
        (200, b"[" * 100_000, None, "this is no hub: its answer is not JSON"),
        (200, b"{", 100, "ended before it answered"),
    ],
)
def test_what_answers_is_no_hub(status: int, body: bytes, length: int | None, says: str, run: Run) -> None:
    with answering(status, body, length=length) as url:
        ran = run("status", "--hub", url)
    assert (ran.code, ran.out) == (4, "")
    assert says in ran.err


LINE = b'{"time": "2026-01-31T12:00:00Z", "function": "f", "stream": "out", "text": "one", "request_id": null}\n'


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["", "json"])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the hub ended before it had told all"),
        (LINE, "the hub ended before it had told all"),
        (LINE + LINE[:20], "ended before it answered"),
    ],
)
def test_lines_that_break_off_are_not_taken_for_all(body: bytes, says: str, form: list[str], run: Run) -> None:
    with answering(200, body) as url:
        ran = run("logs", "--hub", url, *form)
    assert ran.code == 4
    assert says in ran.err
    with answering(200, body[: len(LINE)] + b'{"finished": true}\n') as url:
        assert run("logs", "--hub", url, *form).code == 0


def test_a_hub_that_has_nothing_says_what_would_be_there(run: Run) -> None:
    with answering(200, b"[]") as url:
        for command, says in (
            ("functions", "no functions; a file in handlers/ is one"),
            ("triggers", "no triggers; triggerhub.toml has none"),
            ("deliveries", "no deliveries yet"),
            ("dlq", "no dead letters"),
        ):
            ran = run(command, "list", "--hub", url)
            assert (ran.code, ran.out, ran.err) == (0, "", f"{says}\n")
            assert run(command, "list", "--hub", url, "--json").json == []


def test_an_answer_that_is_no_http_is_no_hub(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        ran = run("status", "--hub", f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert (ran.code, ran.out) == (4, "")
    assert "Traceback" not in ran.err


def test_a_hub_that_does_not_answer_in_time_is_called_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from triggerhub import client

    monkeypatch.setattr(
        client.Admin.ask, "__kwdefaults__", {**(client.Admin.ask.__kwdefaults__ or {}), "timeout": 0.05}
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        ran = run("functions", "pause", "f", "--hub", f"http://127.0.0.1:{server.getsockname()[1]}")
    assert ran.code == 4
    assert "does not answer\n  Is it busy, or stopped by a signal?" in ran.err
