"""Run the hub as users do: a process of its own, spoken to over its sockets, ended by signals."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.ports import free_port
from tests.e2e.toml import HUB

GUARD = 120.0
"""Seconds after which waiting for anything is given up: only ever a guard against hanging."""


def until(condition: Callable[[], Any], what: str, within: float = GUARD) -> Any:
    """Return the first true value of *condition*; AssertionError names *what* never came."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {within:.0f} s: {what}")


def granted(path: Path) -> str:
    """Open a folder, or a file that is made here, to every handler; return what [defaults] or a function says of it.

    Started by root, a hub runs each function as a uid of its own.
    """
    path.touch(exist_ok=True)
    path.chmod(0o777)
    return f"sandbox = {{ write = [{json.dumps(str(path))}] }}\n"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(eq=False)
class Daemon:
    """A project folder and the hub that runs on it, or does not."""

    project: Path
    listen: int = field(default_factory=free_port)
    admin: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    python: str = sys.executable
    environ: Mapping[str, str] = field(default_factory=dict)

    def filled(self, toml: str) -> str:
        """Return a configuration with this hub's ports in it."""
        text = toml if "[hub]" in toml else HUB + toml
        return text.replace("{LISTEN}", str(self.listen)).replace("{ADMIN}", str(self.admin))

    def write(self, toml: str, handlers: Mapping[str, str] | None = None) -> None:
        """Write the configuration, with its ports, and handler files."""
        self.project.joinpath("triggerhub.toml").write_text(self.filled(toml))
        folder = self.project / "handlers"
        folder.mkdir(exist_ok=True)
        for name, body in (handlers or {}).items():
            path = folder / name
            path.write_text(body)
            if body.startswith("#!"):
                path.chmod(0o755)

    def start(self, *, ready: bool = True, environ: Mapping[str, str] | None = None, under: Sequence[str] = ()) -> None:
        """Start the hub, by the command *under* if there is one; with *ready*, return once it takes events."""
        log = (self.project / "daemon.log").open("ab")
        self.process = subprocess.Popen(
            [*under, self.python, "-m", "triggerhub", "-C", str(self.project), "run"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **self.environ, **(environ or {})},
            cwd=Path(__file__).parents[2],
        )
        log.close()
        if ready:
            until(lambda: self.is_ready() or not self.alive, "the hub is ready")
            assert self.alive, self.log()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def is_ready(self) -> bool:
        try:
            return self.api("GET", "/readyz", raw=True)[0] == 200
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL, by its id, and wait for its end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(GUARD)

    def stop(self, within: float = GUARD) -> int:
        """SIGTERM and wait; return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def log(self) -> str:
        path = self.project / "daemon.log"
        return path.read_text(errors="replace")[-8000:] if path.exists() else ""

    def api(
        self, method: str, path: str, body: bytes | None = None, *, raw: bool = False, timeout: float = GUARD
    ) -> Any:
        """Ask the admin API over the unix socket; the JSON answer, or (status, body) if *raw*."""
        connection = _UnixConnection(self.project / "var" / "hub.sock", timeout)
        try:
            connection.request(method, path, body=body)
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
        if raw:
            return answer.status, text
        assert answer.status < 400, (answer.status, text)
        return json.loads(text)

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """POST to the ingress."""
        connection = http.client.HTTPConnection("127.0.0.1", self.listen, timeout=GUARD)
        try:
            connection.request("POST", path, body=body, headers={"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def cli(self, *arguments: str, stdin: str | None = None, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command of the CLI on this project."""
        return subprocess.run(
            [self.python, "-m", "triggerhub", "-C", str(self.project), *arguments],
            env={**os.environ, **self.environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=GUARD,
            check=check,
            cwd=Path(__file__).parents[2],
        )

    def deliveries(self, **filters: str) -> list[dict[str, Any]]:
        """Every delivery that is kept, newest first."""
        rows: list[dict[str, Any]] = []
        before = ""
        while True:
            query = "&".join(f"{k}={v}" for k, v in {**filters, "limit": "1000", "before": before}.items() if v)
            page = self.api("GET", f"/api/v1/deliveries?{query}")
            rows += page
            if len(page) < 1000:
                return rows
            before = page[-1]["id"]

    def counts(self) -> dict[str, int]:
        return self.api("GET", "/api/v1/status")["counts"]

    def settled(self, within: float = GUARD) -> dict[str, int]:
        """Wait until nothing is queued or running; return the counts."""
        until(lambda: (c := self.counts())["queued"] == 0 and c["running"] == 0, "everything is settled", within)
        return self.counts()


@contextmanager
def daemon(project: Path, toml: str, handlers: Mapping[str, str], *, start: bool = True) -> Iterator[Daemon]:
    """A hub on a new project; whatever happens, its process is gone afterwards."""
    hub = Daemon(project)
    hub.write(toml, handlers)
    try:
        if start:
            hub.start()
        yield hub
    except Exception:
        print(f"the end of what the hub said:\n{hub.log()}")  # shown by pytest with what failed
        raise
    finally:
        if hub.alive:
            hub.kill()
