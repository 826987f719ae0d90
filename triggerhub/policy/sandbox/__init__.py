"""Decide what a sandbox is: its system calls, its mounts, its limits, and the level that a host can give."""
