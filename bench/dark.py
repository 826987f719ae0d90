"""Start a hub that keeps no logs, no metrics and no history: for ``bench/console.py``, which measures what they cost.

    python -m bench.dark logs,metrics,history python -m triggerhub -C PROJECT run

The product has no such switches. Here the functions that write are replaced before the hub starts: no line of a
function is formatted, kept or passed on; nothing is counted; no record of an attempt is stored. What is finished
stays in the store as a row, since removing it would cost as much as marking it does.
"""

from __future__ import annotations

import sys
from typing import Any

from triggerhub.hub import call
from triggerhub.stores import many
from triggerhub.telemetry.metrics import Metrics


def nothing(*_: Any, **__: Any) -> Any:
    """Stand for whatever is left out."""


def put_out(parts: set[str]) -> None:
    """Leave these out of this process."""
    if unknown := parts - {"logs", "metrics", "history"}:
        raise SystemExit(f"there is no {', '.join(unknown)} to leave out")
    if "logs" in parts:
        call.Tap.write = nothing  # type: ignore[method-assign]
        call.report.before = call.report.after = lambda *_, **__: ()  # type: ignore[assignment]
    if "metrics" in parts:
        Metrics.count = Metrics.observe = nothing  # type: ignore[method-assign]
    if "history" in parts:
        insert = many.insert

        def without_attempts(db: Any, table: str, *rest: Any) -> Any:
            return None if table == "attempt" else insert(db, table, *rest)

        many.insert = without_attempts


if __name__ == "__main__":
    put_out(set(sys.argv[1].split(",")))
    sys.argv = ["triggerhub", *sys.argv[sys.argv.index("triggerhub") + 1 :]]
    from triggerhub.cli import main

    main()
