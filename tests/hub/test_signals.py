"""What the hub tells systemd is never in its way."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from triggerhub.hub.signals import notify


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert systemd.recv(100) == b"READY=1"


def test_a_hub_without_a_descriptor_left_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def none_left(*how: Any) -> None:
        asked.append(how)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setattr(socket, "socket", none_left)
    notify("WATCHDOG=1")
    assert len(asked) == 1
