"""A hub whose data folder is taken away acknowledges nothing that it could not give back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.daemon import daemon
from tests.e2e.toml import webhook

TOML = webhook("hook", "work")
WORK = "def handler(event, context):\n    return 'done'\n"


def moved(data: Path) -> None:
    data.rename(data.with_name("aside"))


def without_its_log(data: Path) -> None:
    data.joinpath("hub.db-wal").unlink()


def under_another(data: Path) -> None:
    moved(data)
    shutil.copytree(data.with_name("aside"), data, ignore=shutil.ignore_patterns("*.sock"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("take", [shutil.rmtree, moved, without_its_log, under_another])
def test_what_comes_after_the_data_folder_is_gone_is_not_acknowledged(
    tmp_path: Path, take: Callable[[Path], None]
) -> None:
    with daemon(tmp_path, TOML, {"work.py": WORK}) as hub:
        assert hub.post("/hook", b'{"n":1}')[0] == 202
        hub.settled()
        take(tmp_path / "var")
        status, answer = hub.post("/hook", b'{"n":2}')
        assert status == 503, answer
        assert "deliveries" not in json.loads(answer)
        assert hub.process is not None
        assert hub.process.wait(20) == 1
        assert "was moved or removed while the hub ran" in hub.log()
        assert "Traceback" not in hub.log()
