"""The example of docs/writing-a-source.md is run as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.documents import ROOT, blocks
from tests.e2e.daemon import GUARD, Daemon, until
from triggerhub import source
from triggerhub.config.plugins import _HOOKS as HOOKS

DOCUMENT = ROOT / "docs" / "writing-a-source.md"
SOURCE, *MORE = blocks(DOCUMENT, "python")
HANDLER, TEST = (
    {block.info.split()[1]: block.text for block in MORE}[name] for name in ("handlers/login.py", "tests/test_tail.py")
)
(TABLE,) = blocks(DOCUMENT, "toml")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Daemon]:
    """A project with the example in it, not running."""
    hub = Daemon(tmp_path)
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "tail.py").write_text(SOURCE.text)
    (tmp_path / "auth.log").touch()
    hub.write(TABLE.text.replace("500ms", "20ms"), {"login.py": HANDLER})
    try:
        yield hub
    finally:
        if hub.alive:
            hub.kill()


def login(hub: Daemon, name: str, file: str = "auth.log") -> None:
    with (hub.project / file).open("a") as log:
        log.write(f"sshd: Accepted publickey for {name}\nsshd: nothing of interest\n")


def told(hub: Daemon, count: int) -> list[str]:
    """Wait for *count* lines to have been handled; return what the handler printed."""
    until(lambda: hub.counts()["succeeded"] >= count, f"{count} lines are handled")
    assert hub.settled()["succeeded"] == count, "no more than those that match, and each once"
    rows = json.loads(hub.cli("logs", "login", "--json", check=True).stdout)
    return sorted(row["text"].rpartition("for ")[2] for row in rows if "somebody is in" in row["text"])


def test_it_follows_a_file_through_rotation_and_death(hub: Daemon) -> None:
    hub.start()
    login(hub, "ada")
    assert told(hub, 1) == ["ada"]

    login(hub, "bea")
    (hub.project / "auth.log").rename(hub.project / "auth.log.1")
    login(hub, "cara")
    assert told(hub, 2 + 1) == ["ada", "bea", "cara"]

    hub.kill()
    login(hub, "dana")
    hub.start()
    assert told(hub, 4) == ["ada", "bea", "cara", "dana"]


def test_it_is_checked_sent_and_fired_as_any_other(hub: Daemon) -> None:
    hub.start()
    hub.cli("send", "logins", "--sample", "login", check=True)
    assert told(hub, 1) == ["ada from 192.0.2.7"]
    login(hub, "bea")
    told(hub, 2)
    (hub.project / "auth.log").write_text("sshd: Accepted publickey for cara\n")
    told(hub, 3)
    hub.cli("triggers", "fire", "logins", check=True)
    assert told(hub, 4) == ["ada from 192.0.2.7", "bea", "cara", "cara"]

    (hub.project / "auth.log").unlink()
    trigger = lambda: hub.api("GET", "/api/v1/triggers")[0]  # noqa: E731
    until(lambda: trigger()["state"] == "degraded", "the missing file is shown")
    assert trigger()["why"] == f"{hub.project}/auth.log cannot be read: No such file or directory"
    (hub.project / "auth.log").touch()
    until(lambda: trigger()["state"] == "running", "it is well again")

    hub.write(TABLE.text.replace("file ", "fiel "))
    wrong = hub.cli("check")
    assert wrong.returncode == 3
    assert 'triggers.logins has no key "fiel"; did you mean "file"?' in wrong.stderr
    (hub.project / "folder").mkdir()
    hub.write(TABLE.text.replace("auth.log", "folder"))
    assert "error[tail-folder]: triggers.logins.file: expected a file" in hub.cli("check").stderr


def test_a_running_hub_takes_a_new_version_of_it(hub: Daemon) -> None:
    hub.start()
    login(hub, "ada")
    told(hub, 1)
    (hub.project / "sources" / "tail.py").write_text(
        SOURCE.text.replace("text = line", 'text = "Accepted anew for " + line')
    )

    def anew() -> bool:
        login(hub, "bea")
        return "Accepted anew" in hub.cli("logs", "login", check=True).stdout

    until(anew, "the new version tells")


def test_its_test_passes(hub: Daemon) -> None:
    (hub.project / "tests").mkdir()
    (hub.project / "tests" / "test_tail.py").write_text(TEST)
    (command,) = re.findall(r"`(python -m pytest [^`]*)`", DOCUMENT.read_text())
    done = subprocess.run(
        [sys.executable, *command.split()[1:], "-p", "no:cacheprovider"],
        cwd=hub.project, capture_output=True, text=True, timeout=GUARD, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_document_has_all_that_a_source_may_touch_and_have() -> None:
    text = DOCUMENT.read_text()
    lent = {name for name in vars(source.Context) if not name.startswith("_")}
    assert {name for name in lent if not re.search(rf"`[^`\n]*\b{name}\b", text)} == set()
    hooks = {name for name in HOOKS if f"| `{name}(" not in text and f"| `async {name}(" not in text}
    assert hooks == set()
    words = {name for name in ("Duration", "Size", "RateLimit", "SecretValue") if f"| `source.{name}` |" not in text}
    assert words == set()
