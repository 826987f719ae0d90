"""What doctor finds, finding by finding."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from tests.aws_double.moto import KEYS, moto_server
from triggerhub.cli import host
from triggerhub.policy.sandbox.levels import Lack

MOUNT = "22 1 0:1 / {} rw - {} source rw\n"


def said(reading: host.Reading) -> tuple[str, str]:
    return reading.verdict, f"{reading.found} / {reading.remedy}"


@pytest.mark.parametrize(
    ("version", "verdict", "says"),
    [
        ((3, 30, 0), "bad", "needs 3.37 or newer"),
        ((3, 40, 1), "note", "3.40.1: has the WAL-reset fault of 3.7.0 to 3.51.2"),
        ((3, 51, 2), "note", "WAL-reset"),
        ((3, 51, 3), "good", "3.51.3 / None"),
    ],
)
def test_sqlite(version: tuple[int, int, int], verdict: str, says: str) -> None:
    found, text = said(host.sqlite(version))
    assert (found, says in text) == (verdict, True)


@pytest.mark.parametrize(
    ("kind", "verdict", "says"),
    [
        ("ext4", "good", "ext4 at "),
        ("nfs4", "bad", "breaks on a network's locks"),
        ("cifs", "bad", "another machine's"),
        ("9p", "bad", "another machine's"),
        ("tmpfs", "note", "gone at the next boot"),
        ("overlay", "note", "goes with the container"),
    ],
)
def test_the_file_system_of_the_data_folder(kind: str, verdict: str, says: str, tmp_path: Path) -> None:
    mounts = MOUNT.format("/", "ext4") + MOUNT.format(tmp_path, kind)
    found, text = said(host.folder(tmp_path, mounts))
    assert (found, says in text) == (verdict, True)


def test_a_file_system_that_nobody_names(tmp_path: Path) -> None:
    assert said(host.folder(tmp_path, None))[0] == "good"


def test_descriptors() -> None:
    assert said(host.descriptors(256, 4096)) == (
        "note",
        "256 open files (hard limit 4,096) / Few connections and workers at once; raise it: ulimit -n 65536",
    )
    assert said(host.descriptors(65536, resource.RLIM_INFINITY)) == (
        "good",
        "65,536 open files (hard limit unlimited) / None",
    )
    assert host.descriptors(resource.RLIM_INFINITY, resource.RLIM_INFINITY).verdict == "good"


def test_inotify() -> None:
    values: dict[str, str | None] = {"max_user_watches": "100\n", "max_user_instances": None}
    few, unknown = host.watches(values.get)
    assert said(few) == ("note", "max_user_watches 100: few / sysctl fs.inotify.max_user_watches=65536")
    assert said(unknown)[0] == "note"
    assert "comparing folders only" in said(unknown)[1]
    assert {one.verdict for one in host.watches(lambda name: "200000")} == {"good"}


def test_memory() -> None:
    assert said(host.memory("MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n")) == (
        "good",
        "4.0 GB available of 8.0 GB / None",
    )
    assert host.memory("MemTotal: 8388608 kB\nMemAvailable: 1024 kB\n").verdict == "note"
    for broken in (None, "", "MemTotal: x kB\nMemAvailable: y\n"):
        assert host.memory(broken).verdict == "note"


def test_clock() -> None:
    assert said(host.clock(0, None))[0] == "bad"
    assert said(host.clock(1.8e9, 0)) == ("good", "2027-01-15 08:00:00 UTC / None")
    assert "not synchronised" in said(host.clock(1.8e9, host.UNSYNCHRONISED))[1]


def test_time_zones() -> None:
    assert host.zones("Europe/Berlin").verdict == "good"
    for name in ("Mars/Olympus", "../../etc/passwd", "/etc/localtime", ""):
        assert host.zones(name).verdict == "bad", name


@pytest.mark.parametrize(
    ("script", "verdict", "says"),
    [
        (None, "note", "handlers cannot run"),
        ("echo v22.1.0", "good", "v22.1.0 at "),
        ("echo v12.0.0", "note", "old / Install Node.js 18 or newer."),
        ("exit 1", "note", "does not say its version"),
    ],
)
def test_node(script: str | None, verdict: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "node"
    if script is not None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    found, text = said(host.node(None if script is None else str(path)))
    assert (found, says in text) == (verdict, True)


def test_packages_isolation_and_what_runs_elsewhere() -> None:
    assert host.packages().verdict == "good"
    assert said(host.packages(("no_such_package", "click"))) == (
        "bad",
        "missing: no_such_package / python -m pip install triggerhub",
    )
    assert said(host.isolation(("contained", "isolated", "trusted"), ())) == (
        "good",
        "levels contained, isolated, trusted / None",
    )
    some = said(host.isolation(("isolated", "trusted"), [("no groups", "Delegate=yes")]))
    assert some == ("note", "levels isolated, trusted; no kernel-held memory: no groups / Delegate=yes")
    none = said(host.isolation(("trusted",), [("clone: Operation not permitted", "be root")]))
    assert none == ("bad", "only trusted, since clone: Operation not permitted / be root")
    assert said(host.network(None))[0] == "good"
    shared = said(host.network(Lack(found="pasta is not installed", remedy="apt install passt")))
    assert shared[0] == "note"
    assert "the hub's ports and all on its loopback: pasta is not installed / apt install passt" in shared[1]


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tmp_path / "triggerhub.toml").write_text(f'[hub]\nlisten = "127.0.0.1:{port}"\nadmin = "127.0.0.1:x"\n')
        listen, admin = host.addresses(tmp_path)
    assert said(listen)[0] == "note"
    assert "Address already in use / Another process has it" in said(listen)[1]
    assert admin.verdict == "note"
    assert "Mend [hub] admin" in said(admin)[1]


def test_an_address_that_the_projects_own_hub_has(tmp_path: Path) -> None:
    (tmp_path / "triggerhub.toml").write_text('[hub]\nlisten = "[::1]:8700"\nadmin = "127.0.0.1:8702"\n')
    running = host.Running(pid=7, listen="::1:8700", admin="127.0.0.1:8701")
    listen, admin = host.addresses(tmp_path, running)
    assert said(listen) == ("good", "[::1]:8700: held by this project's hub (pid 7) / None")
    assert admin.found == "127.0.0.1:8702, but this project's hub (pid 7) is at 127.0.0.1:8701"
    assert admin.verdict == "note"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Make room"),
        (errno.EROFS, "Mount it for writing"),
        (errno.EACCES, "Run the hub as a user who may"),
    ],
)
def test_a_disk_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(place: Path) -> tuple[float, float]:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(host, "_synced", refuse)
    *_, reading = host.disk(tmp_path)
    verdict, text = said(reading)
    assert verdict == "bad"
    assert f"{tmp_path} cannot be written: {os.strerror(number)} / {remedy}" in text


def test_a_slow_or_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_synced", lambda place: (50.0, 90.0))
    monkeypatch.setattr(host, "LEAST", 2**60)
    full, slow = host.disk(tmp_path)
    assert "a full disk refuses new events" in said(full)[1]
    assert said(slow)[0] == "note"
    assert "50.00 ms to make 4 KB durable" in said(slow)[1]


def test_who_the_hub_is_to_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    toml = tmp_path / "triggerhub.toml"
    toml.write_text('[triggers.f]\ntype = "files"\n')
    assert list(host.aws(tmp_path)) == []
    toml.write_text(
        '[triggers.b]\ntype = "sqs"\nregion = "eu-west-1"\n[triggers.a]\ntype = "sqs"\nregion = "eu-west-1"\n'
        '[triggers.c]\ntype = "sqs"\nrole = 7\n[triggers.d]\ntype = "sqs"\nenabled = false\n'
    )
    none, wrong = map(said, host.aws(tmp_path))
    assert none[0] == wrong[0] == "note"
    assert none[1].startswith("there are no AWS credentials, for a, b / Set AWS_ACCESS_KEY_ID")
    assert wrong[1].startswith("the options are wrong for c / triggerhub check")
    with moto_server() as address:
        for name, value in KEYS.items():
            monkeypatch.setenv(name, value)
        toml.write_text(f'[triggers.a]\ntype = "sqs"\nendpoint_url = "{address}"\n')
        (one,) = host.aws(tmp_path)
    assert said(one) == (
        "good",
        "arn:aws:sts::123456789012:user/moto, by environment variables, for a / None",
    )


@pytest.mark.parametrize(
    ("found", "verdict", "says"),
    [
        (("/uv", True, "/npm"), "good", "uv, npm / None"),
        ((None, True, "/npm"), "good", "pip, npm / None"),
        ((None, True, None), "note", "pip; no npm: no dependencies for Node handlers / Install npm."),
        ((None, False, "/npm"), "note", "neither uv nor pip: no dependencies for Python handlers / Install uv"),
    ],
)
def test_installers(found: tuple[str | None, bool, str | None], verdict: str, says: str) -> None:
    told, text = said(host.installers(*found))
    assert told == verdict
    assert text.startswith(says)


def test_the_interpreters_that_a_runtime_may_name() -> None:
    assert said(host.interpreters(["python3.9", "python3.11"], ["nodejs20.x"])) == (
        "good",
        "python3.9, python3.11, nodejs20.x / None",
    )
