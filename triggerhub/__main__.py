"""Run the command line: ``triggerhub``, or ``python -m triggerhub``."""

from __future__ import annotations

import sys


def main() -> None:
    """Import and run it; who interrupts it while it is imported is not shown what."""
    try:
        from triggerhub.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
