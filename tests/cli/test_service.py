"""service install: the unit, word for word, and where it goes."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from triggerhub.cli.unit import unit

SYSTEM = """\
[Unit]
Description=triggerhub on /srv/hub
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
User=hub
WorkingDirectory=/srv/hub
ExecStart=/opt/venv/bin/python -m triggerhub -C /srv/hub run
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1s
WatchdogSec=60s
TimeoutStopSec=40s
KillMode=mixed
LimitNOFILE=65536
UMask=0077

# A secret that triggerhub.toml names { secret = "NAME" } can be given as a credential:
# LoadCredential=NAME:/etc/triggerhub/NAME

# What no handler needs: the paths of the system are read-only, the project stays writable.
ProtectSystem=full
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ReadWritePaths=/srv/hub
NoNewPrivileges=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""
COMMAND = ["/opt/venv/bin/python", "-m", "triggerhub", "-C", "/srv/hub", "run"]


def test_the_units_words() -> None:
    assert unit(project="/srv/hub", command=COMMAND, drain=30_000, user="hub") == SYSTEM


def test_root_divides_its_control_groups() -> None:
    text = unit(project="/srv/hub", command=COMMAND, drain=30_000, user="root")
    assert "Delegate=yes\n" in text
    assert "ProtectControlGroups" not in text


def test_a_users_own_unit_names_no_user_and_is_wanted_by_the_default() -> None:
    text = unit(project="/home/ada/hub", command=COMMAND, drain=500, user=None)
    assert "User=" not in text
    assert "network-online" not in text
    assert "TimeoutStopSec=11s" in text
    # What takes capabilities away or makes namespaces needs privileges: such a service does not start (218).
    assert "Protect" not in text
    assert "NoNewPrivileges=yes" in text
    assert text.endswith("WantedBy=default.target\n")


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/srv/my hub", '"/srv/my hub"'),
        ("/srv/100%", "/srv/100%%"),
        ("/srv/$x", "/srv/$$x"),
        ('/srv/"q"', r'"/srv/\"q\""'),
        ("/srv/b\\s", r'"/srv/b\\s"'),
    ],
)
def test_a_path_of_any_kind_is_one_word(word: str, written: str) -> None:
    text = unit(project="/p", command=["python", "-C", word, "run"], drain=0, user=None)
    assert f"ExecStart=python -C {written} run\n" in text


@pytest.fixture
def project(tmp_path: Path) -> Daemon:
    hub = Daemon(tmp_path / "shop")
    hub.project.mkdir()
    hub.write('[hub]\ndrain = "5s"\n', {"echo.py": "def handler(event, context): pass"})
    return hub


def test_print_writes_the_unit_of_the_projects_owner_and_nothing_else(project: Daemon) -> None:
    done = project.cli("service", "install", "--print")
    assert (done.returncode, done.stderr) == (0, "")
    owner = pwd.getpwuid(project.project.stat().st_uid).pw_name
    assert f"User={owner}\n" in done.stdout
    assert "TimeoutStopSec=15s\n" in done.stdout
    assert f"ExecStart={sys.executable} -m triggerhub -C {project.project} run\n" in done.stdout
    told = json.loads(project.cli("service", "install", "--print", "--json", "--name", "printed-only").stdout)
    assert told == {"unit": "/etc/systemd/system/printed-only.service", "user": owner, "text": done.stdout}
    assert not Path(told["unit"]).exists()
    strange = project.cli("service", "install", "--print", "--name", "../x")
    assert (strange.returncode, strange.stdout) == (2, "")


def test_a_users_own_unit_goes_where_systemd_looks_and_is_not_overwritten(
    project: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config/systemd/user/triggerhub-shop.service"
    done = project.cli("service", "install", "--user")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"wrote {path}"
    assert "  systemctl --user enable --now triggerhub-shop\n" in done.stdout
    assert project.cli("service", "install", "--user").returncode == 0, "the same again is no conflict"
    path.write_text("mine")
    refused = project.cli("service", "install", "--user")
    assert refused.returncode == 2
    assert f"{path} exists and says something else" in refused.stderr
    assert path.read_text() == "mine"
    assert project.cli("service", "install", "--user", "--force").returncode == 0
    assert path.read_text().startswith("[Unit]")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--as", "nobody-of-that-name"], 2, "there is no user 'nobody-of-that-name'"),
        (["--user", "--name", "a/b"], 2, "'a/b' cannot name a unit"),
        (["--user", "--as", "root"], 2, "--as does not go with --user"),
        (["--hub", "http://127.0.0.1:1"], 2, "does not go with --hub"),
    ],
)
def test_what_cannot_be_is_refused(project: Daemon, arguments: list[str], code: int, says: str) -> None:
    done = project.cli("service", "install", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_a_folder_that_is_no_project_is_named(tmp_path: Path) -> None:
    done = Daemon(tmp_path).cli("service", "install", "--print")
    assert done.returncode == 3
    assert f"{tmp_path} is not a triggerhub project" in done.stderr


def test_a_unit_that_cannot_be_written_says_the_ways_out(project: Daemon, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file, not a folder")
    done = subprocess.run(
        [sys.executable, "-m", "triggerhub", "-C", str(project.project), "service", "install", "--user"],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config")},
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "--print to place it yourself" in done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_reads_the_unit(project: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "triggerhub-shop.service"
    path.write_text(project.cli("service", "install", "--print").stdout)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert "Unknown" not in done.stderr, done.stderr
