"""Run the command line as ``python -m triggerhub``."""

from triggerhub.cli import main

main()
