"""The example of a queue and a table shows what it promises."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.daemon import free_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "aws"


def test_everything_is_handled_once_and_in_order(tmp_path: Path) -> None:
    project = tmp_path / "aws"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("var", "__pycache__"))
    toml = project / "triggerhub.toml"
    hub = f'[hub]\nlisten = "127.0.0.1:{free_port()}"\nadmin = "127.0.0.1:{free_port()}"\n'
    toml.write_text(hub + toml.read_text())
    shown = subprocess.run(
        [sys.executable, str(project / "show.py"), "--items", "60"], capture_output=True, text=True, timeout=100
    )
    assert shown.stdout == "".join(
        f"{name}: 60 handled, each once, in order per key\n" for name in ("orders", "customers")
    ), shown.stderr
