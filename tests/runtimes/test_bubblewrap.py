"""Where bubblewrap may make user namespaces and the hub may not, it makes the launcher's; the sandboxes are the same."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtimes.attacks import ordinary, suite
from triggerhub.runtimes import bubblewrap


@pytest.fixture
def home() -> Iterator[Path]:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is missing: apt install bubblewrap")
    if os.geteuid() == 0 and (why := ordinary.why_not()):
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="siege-") as folder:
        yield Path(folder)


def test_the_probe_chooses_it_and_all_holds(home: Path) -> None:
    done = ordinary.run(home, ["-m", "tests.runtimes.bubbled", "found"], timeout=100)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {
        "lacks": ["groups"],
        "starter": "Bubblewrap",
        "uid": 1000,
        "late": "Sandbox.Timedout",
        "gone": True,
        "again": 1000,
    }


def test_no_attack_bites_within_it(home: Path) -> None:
    done = ordinary.run(home, ["-m", "tests.runtimes.bubbled", "isolated", "--json"], timeout=200)
    assert done.returncode == 0, done.stderr
    siege = suite.from_json(json.loads(done.stdout)[0])
    print(suite.table([siege]))
    assert siege.broken() == []


def test_root_does_not_use_it() -> None:
    if os.geteuid() != 0:
        pytest.skip("that is what root does not do")
    assert bubblewrap.find() is None
