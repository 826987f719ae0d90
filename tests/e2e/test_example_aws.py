"""The example of a queue and a table shows what it promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SHOW = Path(__file__).parents[2] / "examples" / "aws" / "show.py"


def test_everything_is_handled_once_and_in_order() -> None:
    shown = subprocess.run([sys.executable, str(SHOW), "--items", "60"], capture_output=True, text=True, timeout=250)
    assert shown.stdout == "".join(
        f"{name}: 60 handled, each once, in order per key\n" for name in ("orders", "customers")
    ), shown.stderr
