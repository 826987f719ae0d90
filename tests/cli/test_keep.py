"""backup, restore, migrate, prune: looking after what the hub keeps, with a hub and without one."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.e2e.daemon import Daemon, daemon
from tests.e2e.toml import queue
from triggerhub.stores.migrate import scripts

TOML = queue("topic", "echo")
ECHO = {"echo.py": "def handler(event, context):\n    return event\n"}
UIDS = ["uids"] if os.geteuid() == 0 else []
"""What an archive has besides where root gives functions uids."""


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a hub leaves that ran one event and was stopped."""
    with daemon(tmp_path_factory.mktemp("left"), TOML, ECHO) as hub:
        hub.api("POST", "/api/v1/triggers/topic/send", b"hello")
        hub.settled()
        assert hub.stop() == 0
        return hub.project


@pytest.fixture
def kept(left: Path, tmp_path: Path) -> Daemon:
    """A project of one's own whose hub ran one event and is down."""
    shutil.copytree(left, tmp_path / "project", symlinks=True)
    return Daemon(tmp_path / "project")


@pytest.fixture
def on_it(kept: Daemon, run: Run) -> Run:
    """Run a command on it, in this process."""
    return lambda *arguments: run("-C", str(kept.project), *arguments)


def members(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_a_running_hub_is_backed_up_and_comes_back_as_it_was(tmp_path: Path) -> None:
    archive = tmp_path / "one.tar"
    (tmp_path / "project").mkdir()
    with daemon(tmp_path / "project", TOML, ECHO) as hub:
        hub.cli("send", "topic", "-d", json.dumps("x" * 100_000), check=True)
        hub.settled()
        before = hub.deliveries()
        done = hub.cli("backup", str(archive))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"wrote {archive}: ")
        assert archive.stat().st_mode & 0o777 == 0o600
        assert [name.split("/")[0] for name in members(archive)] == ["hub.db", "blobs", *UIDS, "manifest.json"]
        hub.cli("send", "topic", "-d", "after the backup", check=True)
        refused = hub.cli("restore", str(archive))
        assert (refused.returncode, refused.stdout) == (3, "")
        assert f"another hub, process {hub.process.pid}," in refused.stderr
        hub.settled()
        hub.stop()
        restored = hub.cli("restore", str(archive))
        assert (restored.returncode, restored.stderr) == (0, "")
        assert restored.stdout.splitlines()[0] == f"restored {hub.project / 'var'}: 1 succeeded"
        assert "what lay there before is in " in restored.stdout
        hub.start()
        assert hub.deliveries() == before
        assert hub.counts()["drift"] == 0


def test_a_project_whose_hub_is_down_is_backed_up_too(kept: Daemon, on_it: Run, tmp_path: Path) -> None:
    done = on_it("backup", "--json", str(tmp_path / "a.tar"))
    told = json.loads(done.out)
    assert told == {"file": str(tmp_path / "a.tar"), "bytes": (tmp_path / "a.tar").stat().st_size}
    streamed = subprocess.run(
        [sys.executable, "-m", "triggerhub", "-C", str(kept.project), "backup", "-"],
        capture_output=True,
        check=True,
        timeout=120,
    )
    (tmp_path / "b.tar").write_bytes(streamed.stdout)
    assert members(tmp_path / "b.tar") == members(tmp_path / "a.tar") == ["hub.db", *UIDS, "manifest.json"]
    assert on_it("restore", "--json", str(tmp_path / "b.tar")).out.startswith("{")


def test_an_archive_is_not_overwritten_unless_asked(on_it: Run, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("mine")
    refused = on_it("backup", str(tmp_path / "a.tar"))
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.splitlines() == [
        f"error: {tmp_path / 'a.tar'} exists", "  Name another file, or overwrite it with --force."
    ]  # fmt: skip
    assert (tmp_path / "a.tar").read_text() == "mine"
    assert on_it("backup", "--force", str(tmp_path / "a.tar")).code == 0
    assert "manifest.json" in members(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("var/hub.db", "is the project's own"),
        ("var/new.tar", "is the project's own"),
        ("triggerhub.toml", "is the project's own"),
        ("linked.toml", "is the project's own"),
        ("handlers", "is no regular file"),
        ("pipe", "is no regular file"),
    ],
)
def test_what_no_archive_may_replace_stays_whatever_force_says(kept: Daemon, on_it: Run, name: str, says: str) -> None:
    (kept.project / "linked.toml").hardlink_to(kept.project / "triggerhub.toml")
    os.mkfifo(kept.project / "pipe")
    before = {path: path.lstat() for path in kept.project.rglob("*")}
    done = on_it("backup", "--force", str(kept.project / name))
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    after = {path: path.lstat() for path in before}
    assert [(one.st_ino, one.st_mode, one.st_size) for one in after.values()] == [
        (one.st_ino, one.st_mode, one.st_size) for one in before.values()
    ]


def test_a_draft_that_somebody_else_made_is_not_written_through(on_it: Run, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / ".a.tar.draft").symlink_to(tmp_path / "theirs")
    assert on_it("backup", str(tmp_path / "a.tar")).code == 0
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert "manifest.json" in members(tmp_path / "a.tar")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("there", [True, False], ids=["over what lay there", "into a new folder"])
def test_what_root_restores_is_the_folders_owners(kept: Daemon, tmp_path: Path, there: bool) -> None:
    assert kept.cli("backup", str(tmp_path / "a.tar")).returncode == 0
    if not there:
        shutil.rmtree(kept.project / "var")
    for path in (kept.project, *kept.project.rglob("*")):
        os.chown(path, 65534, 65533, follow_symlinks=False)
    restored = kept.cli("restore", "--yes", str(tmp_path / "a.tar"))
    assert (restored.returncode, restored.stderr) == (0, "")
    found = [kept.project / "var", *(kept.project / "var").rglob("*")]
    assert {(path.name, path.lstat().st_uid, path.lstat().st_gid) for path in found} == {
        (path.name, 65534, 65533) for path in found
    }


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["backup", "/nowhere/at/all.tar"], 1, "cannot be written: No such file or directory"),
        (["backup", "/proc/at-all.tar"], 1, "/proc/at-all.tar cannot be written: "),
        (["backup", "/dev/null/a.tar"], 1, "/dev/null/a.tar cannot be written: Not a directory"),
        (["restore", "no-such.tar"], 2, "cannot be read: No such file or directory"),
        (["restore", "triggerhub.toml"], 3, "Nothing was changed. One that was compressed is read by: zstd -dc FILE |"),
        (["restore", "x.tar", "--hub", "http://127.0.0.1:1"], 2, "does not go with --hub"),
        (["prune"], 4, "no hub answers"),
    ],
)
def test_what_goes_wrong_is_said_and_changes_nothing(
    kept: Daemon, on_it: Run, arguments: list[str], code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (kept.project / "var" / "hub.db").read_bytes()
    arguments = [str(kept.project / one) if one == "triggerhub.toml" else one for one in arguments]
    done = on_it(*arguments)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert "Traceback" not in done.err
    assert (kept.project / "var" / "hub.db").read_bytes() == before


def test_a_folder_without_a_database_or_a_project_is_named(tmp_path: Path) -> None:
    hub = Daemon(tmp_path)
    assert "is not a triggerhub project" in hub.cli("migrate").stderr
    hub.write(TOML, ECHO)
    for command in ("backup", "migrate"):
        done = hub.cli(command)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"there is no database in {tmp_path / 'var'}" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("command", [["backup", "a.tar"], ["migrate"], ["restore", "--yes", "a.tar"]], ids=" ".join)
def test_whoever_may_not_look_is_told_so(run: Run, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o777)
        monkeypatch.chdir(folder)
        (folder / "triggerhub.toml").touch()
        assert "Traceback" not in run(*command).err  # what it imports is read by now
        (folder / "var").mkdir(mode=0o700, exist_ok=True)
        os.seteuid(65534)
        try:
            ran = run(*command)
        finally:
            os.seteuid(0)
        assert (ran.code, ran.out) == (1, "")
        assert f"{folder / 'var'}/hub." in ran.err
        assert "may not be used: Permission denied\n" in ran.err
        assert "un this command as " in ran.err
        monkeypatch.undo()


def test_migrate_says_what_there_is_to_do(kept: Daemon, on_it: Run) -> None:
    done = on_it("migrate")
    newest = scripts()[-1][0]
    assert (done.code, done.out) == (0, f"nothing to do: the database is of schema {newest}, this version's\n")
    assert json.loads(on_it("migrate", "--json").out) == {"before": newest, "after": newest}
    db = sqlite3.connect(kept.project / "var" / "hub.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    newer = on_it("migrate")
    assert newer.code == 3
    assert f"was written by a newer triggerhub (schema 99, this one knows {newest})" in newer.err


def test_prune_removes_history_now(tmp_path: Path) -> None:
    with daemon(tmp_path, TOML, ECHO) as hub:
        hub.cli("send", "topic", "-d", "hello", check=True)
        hub.settled()
        assert hub.cli("prune").stdout == "pruned 0 deliveries\n"
        assert json.loads(hub.cli("prune", "--keep", "0s", "--json").stdout) == {"pruned": 1}
        assert hub.deliveries() == []
        counts = hub.counts()
        assert (counts["accepted"], counts["pruned"], counts["drift"]) == (1, 1, 0)
        hub.cli("send", "topic", "-d", "hello", check=True)
        hub.settled()
        for wrong, says in (("soon", "keep: "), ("", "'--keep': it is empty")):
            bad = hub.cli("prune", "--keep", wrong)
            assert bad.returncode == 2
            assert says in bad.stderr
        assert len(hub.deliveries()) == 1
