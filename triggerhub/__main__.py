"""Run the command line: ``python -m triggerhub``."""

from triggerhub.cli import main

if __name__ == "__main__":
    main()
