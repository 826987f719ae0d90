"""Ask a running hub over its unix socket or a URL, as the command line does.

Only the standard library, imported at once: a command is there before a person notices.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import tomllib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from triggerhub.errors import BadInput, ConfigError, Conflict, HubUnreachable, NotFound, TriggerhubError

PATIENCE = 60.0
"""Seconds without a byte after which a request is given up; calls and streams wait without end."""
CONNECT = 5.0
PIECE = 256 * 1024
NO_HUB = "no-hub"
"""The code of an answer that is none of a hub's."""
_KINDS: dict[str, type[TriggerhubError]] = {
    "bad-input": BadInput,
    "too-large": BadInput,
    "not-available": BadInput,
    "not-found": NotFound,
    "conflict": Conflict,
    "configuration": ConfigError,
    "stopping": HubUnreachable,
    NO_HUB: HubUnreachable,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the hub answered: a status below 400."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return _read(self.body)


class Admin:
    """One hub's admin API. Raises HubUnreachable, and whatever error the hub answers with."""

    def __init__(self, place: Path | str, token: str | None = None) -> None:
        """*place* is the path of a socket or the URL of an admin address."""
        self._place = place
        self._prefix = ""
        if token is not None and not (token.isascii() and token.isprintable()):
            raise BadInput("the token has characters that none has", hint="Copy it again; it begins with th_.")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if isinstance(place, str):
            try:
                url = urlsplit(place)
                right = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
            except ValueError:
                right = False
            if not right:
                raise BadInput(f"{place!r} is not the URL of a hub", hint="It looks like http://127.0.0.1:8701.")
            self._prefix = url.path.rstrip("/")

    @classmethod
    def of(cls, project: Path) -> Admin:
        """Return the hub of the project in the folder *project*."""
        return cls(data_folder(project) / "hub.sock")

    def ask(
        self,
        method: str,
        *path: str,
        query: Mapping[str, object] | None = None,
        body: bytes | Mapping[str, object] | None = None,
        timeout: float | None = PATIENCE,
    ) -> Answer:
        """Return the whole answer to ``/api/v1/`` and the segments of *path*; *query* leaves out what is None."""
        with self._open(method, path, query, body, timeout) as response:
            return Answer(response.status, dict(response.headers), response.read())

    def get(self, *path: str, **query: object) -> Any:
        """Return what the JSON of an answer says."""
        return self.ask("GET", *path, query=query).json()

    def pieces(self, *path: str) -> Generator[bytes]:
        """Yield the bytes of an answer to a POST as they come. HubUnreachable where it breaks off."""
        with self._open("POST", path, None, None, None) as response:
            while piece := response.read(PIECE):
                yield piece

    def lines(
        self,
        method: str,
        *path: str,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Generator[dict[str, Any]]:
        """Yield the objects of an answer in JSON lines as they come; closing the iterator ends the request.

        Which line is the last one only the line can say: an answer may break off between two. HubUnreachable where it
        does within one.
        """
        with self._open(method, path, query, body, None) as response:
            while line := response.readline():
                if not line.endswith(b"\n"):
                    raise http.client.IncompleteRead(line)
                value = _read(line)
                if isinstance(error := value.get("error"), dict):
                    raise _refusal(error)
                yield value

    @contextlib.contextmanager
    def _open(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, object] | None,
        body: bytes | Mapping[str, object] | None,
        timeout: float | None,
    ) -> Iterator[http.client.HTTPResponse]:
        target = self._target(path, query or {})
        if isinstance(body, Mapping):
            body = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
        connection = self._connection(timeout)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                # A refusal may come before the body was taken; it is there to be read all the same.
                connection.request(method, target, body, {**self._headers, "Connection": "close"})
            response = connection.getresponse()
            if response.status >= 400:
                raise _refusal(_error(response))
            yield response
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _target(self, path: tuple[str, ...], query: Mapping[str, object]) -> str:
        given = {name: _text(value) for name, value in query.items() if value is not None}
        try:
            target = self._prefix + "/api/v1/" + "/".join(quote(part, safe="") for part in path)
            return f"{target}?{urlencode(given)}" if given else target
        except UnicodeEncodeError as error:
            raise BadInput(
                f"{error.object[:60]!r} is not UTF-8", hint="Is the terminal's locale one of UTF-8?"
            ) from error

    def _connection(self, timeout: float | None) -> http.client.HTTPConnection:
        if isinstance(self._place, Path):
            return _Unix(self._place, timeout)
        url = urlsplit(self._place)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        return kind(url.hostname or "", url.port, timeout=timeout)

    def _unreachable(self, error: Exception) -> HubUnreachable:
        if isinstance(error, TimeoutError):
            return HubUnreachable(
                f"the hub at {self._place} does not answer", hint="Is it busy, or stopped by a signal?"
            )
        if isinstance(error, http.client.HTTPException | ConnectionResetError | BrokenPipeError):
            return HubUnreachable(f"the hub at {self._place} ended before it answered", hint="Its log says why.")
        if isinstance(self._place, str):
            return HubUnreachable(f"no hub answers at {self._place}: {_reason(error)}", hint="Is it that address?")
        if isinstance(error, PermissionError):
            hint = "The hub runs as another user; run this command as that user."
            return HubUnreachable(f"{self._place} may not be opened", hint=hint)
        folder = self._place.parent.parent
        if not self._place.parent.exists() and not (folder / "triggerhub.toml").exists():
            hint = "Go to the project's folder or name it: triggerhub -C DIR …; a new one: triggerhub init DIR."
            return HubUnreachable(f"no hub answers at {self._place}: {folder} is not a triggerhub project", hint=hint)
        return HubUnreachable(f"no hub answers at {self._place}", hint="Start it: triggerhub run")


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT)
        # The kernel takes 107 bytes; behind a longer path lies a link to a shorter one.
        self.sock.connect(os.fspath(self._path.readlink() if self._path.is_symlink() else self._path))
        self.sock.settimeout(self.timeout)


def data_folder(project: Path) -> Path:
    """Return where the project keeps its data; where triggerhub.toml cannot be read, the default."""
    name = "var"
    with contextlib.suppress(OSError, ValueError, RecursionError):
        hub = tomllib.loads((project / "triggerhub.toml").read_text("utf-8-sig")).get("hub")
        if isinstance(hub, dict) and isinstance(hub.get("data"), str):
            name = hub["data"]
    return Path(os.path.abspath(project / Path(name).expanduser()))  # noqa: PTH100 - as the hub itself does


def _read(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HubUnreachable("this is no hub: its answer is not JSON", hint="Is it that address?") from error


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _error(response: http.client.HTTPResponse) -> Mapping[str, Any]:
    text = response.read()
    try:
        found = json.loads(text)["error"]
    except (ValueError, LookupError, TypeError):
        found = None
    if isinstance(found, dict):
        return found
    return {
        "code": NO_HUB,
        "message": f"this is no hub: it answered {response.status} {response.reason}",
        "hint": "Give the address of [hub] admin; webhooks have another.",
    }


def _refusal(error: Mapping[str, Any]) -> TriggerhubError:
    kind = _KINDS.get(error.get("code", ""), TriggerhubError)
    return kind(str(error.get("message", "refused")), hint=error.get("hint"))
