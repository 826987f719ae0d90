"""Write the systemd unit of a hub; pure."""

from __future__ import annotations

from collections.abc import Sequence

from triggerhub.model import Millis

LEEWAY: Millis = 10_000
"""What systemd waits beyond the hub's own drain before it kills."""

SYSTEM = (
    "# What no handler needs: the paths of the system are read-only, the project stays writable.",
    "ProtectSystem=full",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectControlGroups=yes",
)
OWN = ("# What no handler needs.",)
"""A user's own manager may take no capability away: what does so ends the service with 218/CAPABILITIES."""


def unit(*, project: str, command: Sequence[str], drain: Millis, user: str | None) -> str:
    """Return the unit that runs *command* for the *project* (absolute paths).

    *user* is whom it runs as; None leaves that to the manager, as a user's own one needs.
    """
    system = user is not None
    # Root divides its control groups, to hold each worker to its memory.
    hardening = [*SYSTEM[:-1], "Delegate=yes"] if user == "root" else SYSTEM
    service = [
        "Type=notify",
        "NotifyAccess=main",
        *([f"User={user}"] if system else []),
        f"WorkingDirectory={_escaped(project)}",
        f"ExecStart={' '.join(map(_word, command))}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=always",
        "RestartSec=1s",
        "WatchdogSec=60s",
        f"TimeoutStopSec={-(-(drain + LEEWAY) // 1000)}s",
        "KillMode=mixed",
        "LimitNOFILE=65536",
        "UMask=0077",
        "",
        '# A secret that triggerhub.toml names { secret = "NAME" } can be given as a credential:',
        "# LoadCredential=NAME:/etc/triggerhub/NAME",
        "",
        *((*hardening, f"ReadWritePaths={_quoted(_escaped(project))}") if system else OWN),
        "NoNewPrivileges=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "SystemCallArchitectures=native",
    ]
    lines = [
        "[Unit]",
        f"Description=triggerhub on {_escaped(project)}",
        *(["Wants=network-online.target", "After=network-online.target"] if system else []),
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        *service,
        "",
        "[Install]",
        f"WantedBy={'multi-user' if system else 'default'}.target",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """A percent sign begins one of systemd's own names."""
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """Quote one word of a command line where it needs it."""
    return _quoted(_escaped(text).replace("$", "$$"))


def _quoted(text: str) -> str:
    if text and not set(text) & set(" \t\"'\\;"):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
