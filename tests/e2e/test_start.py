"""How the hub starts, and how it does not: whatever stands in its way is named, and nothing is started by half."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, granted, until
from tests.e2e.toml import HUB, webhook

TOML = (
    HUB
    + """
data = "DATA"

[triggers.tick]
type = "cron"
schedule = "0 0 1 1 *"
function = "mark"

[defaults]
GRANTED
"""
    + webhook("hook", "mark")
)
MARK = """
import pathlib, time

def handler(event, context):
    pathlib.Path({runs!r}).open("a").write("run\\n")
    while not pathlib.Path({gate!r}).exists():
        time.sleep(0.01)
"""


def write(hub: Daemon, data: str = "var") -> None:
    marks = hub.project.parent / "marks"
    marks.mkdir(exist_ok=True)
    runs, gate = marks / "runs", marks / "gate"
    hub.project.mkdir(exist_ok=True)
    hub.write(
        TOML.replace("DATA", data).replace("GRANTED", granted(marks)),
        {"mark.py": MARK.replace("{runs!r}", repr(str(runs))).replace("{gate!r}", repr(str(gate)))},
    )


@pytest.fixture
def hub(tmp_path: Path) -> Daemon:
    made = Daemon(tmp_path / "project")
    write(made)
    return made


def test_an_address_in_use_is_named_before_anything_runs(hub: Daemon, tmp_path: Path) -> None:
    try:
        hub.start()
        assert hub.post("/hook", b"{}")[0] == 202
        until((tmp_path / "marks" / "runs").exists, "it runs")
        hub.kill()
        (tmp_path / "marks" / "runs").unlink()
        for key, port in (("listen", hub.listen), ("admin", hub.admin)):
            with socket.create_server(("127.0.0.1", port)):
                refused = hub.cli("run")
            assert refused.returncode == 3
            assert f"hub.{key}: 127.0.0.1:{port} cannot be listened on: Address already in use" in refused.stderr
            assert f"set [hub] {key} to another address" in refused.stderr
            assert "Traceback" not in refused.stderr
            assert not (tmp_path / "marks" / "runs").exists(), "queued work waits for a hub that has started"
        (tmp_path / "marks" / "gate").touch()
        hub.start()
        assert hub.settled()["succeeded"] == 1
    finally:
        if hub.alive:
            hub.kill()


def test_a_second_hub_names_the_first_before_a_second_has_passed(hub: Daemon) -> None:
    try:
        hub.start()
        assert hub.process is not None
        began = time.monotonic()
        second = hub.cli("run")
        took = time.monotonic() - began
        began = time.monotonic()
        assert hub.cli("check").returncode == 0
        # Reading the configuration is all that comes before it.
        assert took < 3 * (time.monotonic() - began) + 1
        assert second.returncode == 3
        assert f"another hub, process {hub.process.pid}, already runs on {hub.project / 'var'}" in second.stderr
        assert hub.is_ready()
    finally:
        hub.kill()


def test_a_data_folder_that_cannot_be_written_to_is_named(hub: Daemon) -> None:
    data = "/proc/nothing"
    write(hub, data)
    refused = hub.cli("run")
    assert refused.returncode == 3
    assert f"triggerhub.toml:5:8: error[unreadable]: hub.data: the hub's data would be kept in {data}" in refused.stderr
    assert "/proc of the user root may not be written" in refused.stderr
    assert "1 problem." in refused.stderr, "and nothing else that follows from it"


@pytest.mark.parametrize(("name", "why"), [("hub.db", "unable to open database file"), ("hub.sock", "Is a directory")])
def test_what_lies_where_the_hubs_own_file_belongs_is_named(hub: Daemon, name: str, why: str) -> None:
    (hub.project / "var" / name).mkdir(parents=True)
    refused = hub.cli("run")
    assert refused.returncode in (1, 3)
    assert why in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_file_that_is_no_database_is_left_as_it_is(hub: Daemon) -> None:
    (hub.project / "var").mkdir()
    (hub.project / "var" / "hub.db").write_bytes(b"no database" * 500)
    refused = hub.cli("run")
    assert refused.returncode == 1
    assert "file is not a database" in refused.stderr
    assert (hub.project / "var" / "hub.db").read_bytes() == b"no database" * 500


def test_an_address_that_is_not_this_machines_is_named(hub: Daemon) -> None:
    address = "203.0.113.7:8700"
    path = hub.project / "triggerhub.toml"
    path.write_text(path.read_text().replace(f"127.0.0.1:{hub.listen}", address))
    refused = hub.cli("run")
    assert refused.returncode == 3
    assert f"hub.listen: {address} cannot be listened on:" in refused.stderr
    assert "Set [hub] listen to an address of this machine." in refused.stderr


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, as a test's own does not always."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_a_path_too_long_for_a_socket_gets_one_in_the_runtime_folder(tmp_path: Path, runtime: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 40] * 3)
    deep.mkdir(parents=True)
    hub = Daemon(deep / "project")
    write(hub)
    link = hub.project / "var" / "hub.sock"
    assert len(os.fsencode(link)) > 107
    try:
        hub.start(ready=False, environ={"XDG_RUNTIME_DIR": str(runtime)})
        until(lambda: link.is_symlink() or not hub.alive, "the link is there")
        place = link.readlink()
        assert place.is_relative_to(runtime)
        until(lambda: hub.cli("status").returncode == 0 or not hub.alive, "the command line finds it")
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert hub.stop() == 0
        assert not link.is_symlink()
        assert not place.exists()
    finally:
        if hub.alive:
            hub.kill()


def test_what_a_killed_hub_left_behind_stands_in_nobodys_way(hub: Daemon, tmp_path: Path) -> None:
    try:
        hub.start()
        accepted = [hub.post("/hook", b"{}")[0] for _ in range(20)]
        until((tmp_path / "marks" / "runs").exists, "some run")
        hub.kill()
        assert (hub.project / "var" / "hub.sock").is_socket()
        assert hub.cli("status").returncode == 4, "the socket is there, the hub is not"
        (tmp_path / "marks" / "gate").touch()
        hub.start()
        counts = hub.settled()
        assert accepted == [202] * 20
        assert (counts["accepted"], counts["succeeded"], counts["drift"]) == (20, 20, 0)
        assert hub.stop() == 0
        assert not (hub.project / "var" / "hub.sock").exists()
    finally:
        if hub.alive:
            hub.kill()


def test_the_hub_listens_on_every_address_of_a_name(hub: Daemon) -> None:
    path = hub.project / "triggerhub.toml"
    path.write_text(path.read_text().replace(f"127.0.0.1:{hub.listen}", f"localhost:{hub.listen}"))
    places = {place for *_, place in socket.getaddrinfo("localhost", hub.listen, type=socket.SOCK_STREAM)}
    try:
        hub.start()
        for place in places:
            socket.create_connection(place[:2], 5).close()
    finally:
        hub.kill()
