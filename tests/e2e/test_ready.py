"""Ready means that nothing from then on is missed, whatever happens next."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.e2e.daemon import daemon, until

TOML = """
[triggers.drop]
type = "files"
path = "drop"
settle = "50ms"
function = "work"
"""


def test_a_file_put_down_after_a_crash_right_behind_ready_is_told(tmp_path: Path) -> None:
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop" / "old.txt").write_text("lay there at the first start")
    with daemon(tmp_path, TOML, {"work.py": "def handler(event, context): pass"}) as hub:
        hub.kill()
        (tmp_path / "drop" / "new.txt").write_text("came while the hub was down")
        hub.start()
        until(lambda: hub.deliveries(), "the new file is told")
        hub.settled()
        told = hub.deliveries()
        shown = hub.api("GET", f"/api/v1/deliveries/{told[0]['id']}")
    assert [row["state"] for row in told] == ["succeeded"]
    assert "new.txt" in str(shown["event"])


def test_a_start_keeps_the_code_to_go_back_to_and_removes_what_nobody_knows(tmp_path: Path) -> None:
    with daemon(tmp_path, TOML, {"work.py": "def handler(event, context): return 1"}) as hub:
        kept = tmp_path / "var" / "versions" / "work"
        (first,) = kept.iterdir()
        (tmp_path / "handlers" / "work.py").write_text("def handler(event, context): return 2")
        until(lambda: len(list(kept.iterdir())) == 2, "the new version is there beside the old one")
        known = sorted(kept.iterdir())
        hub.stop()
        shutil.copytree(first, kept / ("0" * len(first.name)))
        hub.start()
        until(lambda: sorted(kept.iterdir()) == known, "the one that nobody knows is gone")
        assert hub.cli("invoke", "work").stdout == "2\n"
