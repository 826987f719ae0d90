"""Talk to a running hub, over the socket in its data folder or over HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from triggerhub import errors
from triggerhub.errors import ConfigError, HubUnreachable, TriggerhubError
from triggerhub.model import Json

TIMEOUT = 3700.0
"""Seconds; longer than anything the hub itself waits for."""


class _Local(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        path = self._path.resolve() if self._path.is_symlink() else self._path
        self.sock.connect(str(path))


def data_folder(project: Path) -> Path:
    """Return where the project keeps its data; only the one setting is read."""
    try:
        table = tomllib.loads((project / "triggerhub.toml").read_text())
    except (OSError, ValueError):
        table = {}
    hub = table.get("hub", {})
    data = hub.get("data", "var") if isinstance(hub, dict) else "var"
    return project / (data if isinstance(data, str) else "var")


class Admin:
    """A hub's admin API, one request at a time."""

    def __init__(self, project: Path, url: str | None = None, token: str | None = None) -> None:
        self._project, self._url, self._token = project, url, token

    def get(self, path: str, **query: object) -> Json:
        """Return the JSON answer. Raises the error that the hub answered, or HubUnreachable."""
        return self._ask("GET", path, None, query)

    def post(self, path: str, body: bytes | Mapping[str, Json] = b"", **query: object) -> Json:
        """Send bytes as they are, or a mapping as JSON; return the JSON answer."""
        return self._ask("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode(), query)

    def lines(self, method: str, path: str, body: Mapping[str, Json] | None = None, **query: object) -> Iterator[Json]:
        """Yield the JSON lines of a streamed answer."""
        content = None if body is None else json.dumps(body).encode()
        with self._asked(method, path, content, query) as answer:
            for line in answer:
                yield json.loads(line)

    def _ask(self, method: str, path: str, body: bytes | None, query: Mapping[str, object]) -> Json:
        with self._asked(method, path, body, query) as answer:
            return json.loads(answer.read())

    @contextmanager
    def _asked(
        self, method: str, path: str, body: bytes | None, query: Mapping[str, object]
    ) -> Iterator[http.client.HTTPResponse]:
        connection, base = self._connection()
        given = {key: value for key, value in query.items() if value not in (None, "", False)}
        target = f"{base}/api/v1{quote(path)}" + (f"?{urlencode(given)}" if given else "")
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            connection.request(method, target, body=body, headers=headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                raise _error(answer.status, answer.read())
            yield answer
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        if self._url is None:
            return _Local(data_folder(self._project) / "hub.sock"), ""
        parts = urlsplit(self._url if "://" in self._url else f"http://{self._url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{self._url!r} is not the address of a hub", hint="Like http://127.0.0.1:8701.")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname, parts.port, timeout=TIMEOUT), parts.path.rstrip("/")

    def _unreachable(self, error: Exception) -> HubUnreachable:
        where = self._url or str(data_folder(self._project) / "hub.sock")
        return HubUnreachable(
            f"no hub answers at {where}: {error}",
            hint=f"Start it with: triggerhub -C {self._project} run; or name another project with -C DIR.",
        )


def _error(status: int, body: bytes) -> TriggerhubError:
    try:
        found = json.loads(body)["error"]
        kind = getattr(errors, found["code"], TriggerhubError)
        message, hint = found["message"], found["hint"]
    except (ValueError, KeyError, TypeError):
        return TriggerhubError(f"the hub answered {status}: {body[:200].decode(errors='replace')}")
    made: TriggerhubError = TriggerhubError.__new__(kind if issubclass(kind, TriggerhubError) else TriggerhubError)
    TriggerhubError.__init__(made, message, hint=hint)
    return made
