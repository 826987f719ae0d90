"""Settle the ``[console]`` table, and see to it that an address which others reach is not open to them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from triggerhub.config.complain import validate
from triggerhub.config.problem import Report
from triggerhub.config.schema import Console, PasswordAuth
from triggerhub.config.secrets import Secrets
from triggerhub.settings import ConsoleSettings, HubSettings, User


def settle(data: Mapping[str, Any], hub: HubSettings, report: Report, secrets: Secrets) -> ConsoleSettings:
    """Return the settings; where the table has errors, those are in the report and the defaults stand in."""
    table = validate(Console, data.get("console", {}), ("console",), report, secrets)
    if table is None:
        return ConsoleSettings()
    auth = table.auth
    settings = ConsoleSettings(
        auth="password" if isinstance(auth, PasswordAuth) else auth,
        users={
            name: User(hash=person.password, role=person.role, payloads=person.payloads)
            for name, person in (auth.users.items() if isinstance(auth, PasswordAuth) else ())
        },
        hosts=tuple(table.hosts),
    )
    wanted = data.get("console", {}).get("auth", "none")
    # One that has errors of its own is no absent one.
    if settings.auth == wanted == "none" and exposed(hub.admin[0]):
        message = f"hub.admin: others reach {hub.admin[0]}, and [console] asks nobody who they are"
        report.error(("hub", "admin"), "open-admin", message, "write [console] auth, or take a loopback address")
    return settings


def exposed(host: str) -> bool:
    """Whether other machines may reach *host*."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True
