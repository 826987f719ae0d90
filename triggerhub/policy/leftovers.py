"""Know what editors leave beside a file while they have it open: it is no code, and no reason to reload."""

from __future__ import annotations

_ENDS = ("~", ".swn", ".swo", ".swp", ".swx")
"""Backups, and Vim's swap files."""


def leftover(name: str) -> bool:
    """Whether a file of this name is an editor's own.

    Emacs' lock, ``.#name``, leads nowhere; its copy of what is not saved yet is ``#name#``. Vim tries with ``4913``
    whether it may write.
    """
    return name.endswith(_ENDS) or name.startswith(".#") or (name[:1] == name[-1:] == "#") or name == "4913"


def passing(name: str) -> bool:
    """Whether a file is a leftover, or one that may be renamed once it is whole: then it is looked at."""
    return leftover(name) or name.endswith(".tmp")
