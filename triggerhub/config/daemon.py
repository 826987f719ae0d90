"""Settle the ``[hub]`` table: paths made absolute, addresses that can be told apart, a time zone that exists."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from triggerhub.config.complain import validate
from triggerhub.config.problem import Report
from triggerhub.config.schema import Hub
from triggerhub.config.secrets import Secrets
from triggerhub.errors import ConfigError
from triggerhub.runtimes.privilege import account, owning
from triggerhub.settings import HubSettings


def settle(project: Path, data: Mapping[str, Any], report: Report) -> HubSettings:
    """Return the settings; where the table has errors, those are in the report and the defaults stand in."""
    raw = data.get("hub", {})
    table = validate(Hub, raw, ("hub",), report, Secrets(project, project, {})) or Hub()
    handlers, kept = _folders(project, table, report)
    settings = HubSettings(
        project=project,
        handlers=handlers,
        data=kept,
        listen=table.listen,
        admin=table.admin,
        timezone=table.timezone,
        user=table.user,
        node=table.node or socket.gethostname() or "hub",
        drain=table.drain,
        keep=table.keep,
        keep_size=table.keep_size,
        tls=(_placed(project, table.tls.cert), _placed(project, table.tls.key)) if table.tls else None,
        trusted_proxies=tuple(table.trusted_proxies),
        log_level=table.log.level,
        log_format=table.log.format,
        durability=table.durability,
    )
    _addresses_differ(settings, report)
    _zone_exists(settings.timezone, report)
    _user_exists(settings.user, report)
    for key, file in zip(("cert", "key"), settings.tls or (), strict=False):
        if not os.access(file, os.R_OK) or not file.is_file():
            report.error(("hub", "tls", key), "no-file", f"hub.tls.{key}: {file} is no file that can be read")
    return settings


def _placed(project: Path, path: str) -> Path:
    return Path(os.path.normpath(project / path))


def writable(settings: HubSettings, report: Report) -> bool:
    """Whether the hub can keep its data; where it cannot, the report says why."""
    path = settings.data
    while not os.path.lexists(path):
        path = path.parent
    why = ""
    if os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        try:
            settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            # Whatever the permissions say: a file system may take no folder of ours.
            why = f": {error.strerror}"
        else:
            return _ours(settings, report)
    try:
        owner = f" of the user {path.owner()}"
    except (KeyError, OSError):
        owner = ""
    message = f"hub.data: the hub's data would be kept in {settings.data}, but {path}{owner} may not be written{why}"
    hint = "start the hub as its owner, or name another folder"
    if settings.user is not None:
        make = f"install -d -m 0700 -o {shlex.quote(settings.user)} {shlex.quote(str(settings.data))}"
        hint = owning(settings.user, path) if path == settings.data else make
    report.error(("hub", "data"), "unreadable", message, hint)
    return False


def _ours(settings: HubSettings, report: Report) -> bool:
    """Whether what lies in the data folder is the hub's user's; what an administrator put into ``secrets`` is not."""
    for entry in sorted(settings.data.iterdir()) if settings.user is not None else ():
        if entry.name != "secrets" and entry.lstat().st_uid != os.geteuid() and os.geteuid() != 0:
            message = f"hub.data: {entry} belongs to another user than {settings.user}, who could not write it"
            report.error(("hub", "data"), "unreadable", message, owning(settings.user or "", settings.data))
            return False
    return True


def _addresses_differ(settings: HubSettings, report: Report) -> None:
    (host, port), (other, other_port) = settings.listen, settings.admin
    every = ("0.0.0.0", "::")
    if port and port == other_port and (host == other or host in every or other in every):
        message = f"hub.listen and hub.admin are both on port {port}"
        report.error(("hub", "listen"), "same-port", message, "the admin port must not be the one that the world sees")


def _folders(project: Path, table: Hub, report: Report) -> tuple[Path, Path]:
    """Return the folders of handlers and data; the defaults where they cannot be those that are written."""
    handlers, data = _placed(project, table.handlers), _placed(project, table.data)
    before = len(report.problems)
    for key, path in (("handlers", handlers), ("data", data)):
        if project.is_relative_to(path):
            report.error(("hub", key), "bad-folder", f"hub.{key}: {path} holds the whole project", "name one in it")
        elif path.exists() and not path.is_dir():
            report.error(("hub", key), "bad-folder", f"hub.{key}: {path} is not a folder")
        elif path.is_relative_to(project / "sources"):
            report.error(("hub", key), "bad-folder", f"hub.{key}: sources holds the project's own source types")
    if len(report.problems) == before and (handlers.is_relative_to(data) or data.is_relative_to(handlers)):
        message = f"hub.data and hub.handlers are within one another: {data} and {handlers}"
        report.error(("hub", "data"), "bad-folder", message)
    if len(report.problems) > before:
        return project / "handlers", project / "var"
    return handlers, data


def _user_exists(name: str | None, report: Report) -> None:
    if name is not None:
        try:
            account(name)
        except ConfigError as error:
            report.error(("hub", "user"), "bad-user", f"hub.user: {error.message}", error.hint)


def _zone_exists(name: str, report: Report) -> None:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        close = get_close_matches(name, available_timezones(), n=1)
        hint = f'did you mean "{close[0]}"?' if close else 'zones are named like "Europe/Berlin"'
        report.error(("hub", "timezone"), "bad-timezone", f'hub.timezone: there is no time zone "{name}"', hint)
