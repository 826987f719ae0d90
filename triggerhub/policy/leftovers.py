"""Know what editors leave beside a file while they have it open: it is no code, and no reason to reload."""

from __future__ import annotations

_ENDS = ("~", ".swn", ".swo", ".swp", ".swx", ".tmp")
"""Backups, Vim's swap files, and what is renamed over the file once it is whole."""


def leftover(name: str) -> bool:
    """Whether a file of this name is an editor's own.

    Emacs' lock, ``.#name``, leads nowhere; its copy of what is not saved yet is ``#name#``. Vim tries with ``4913``
    whether it may write.
    """
    return name.endswith(_ENDS) or name.startswith(".#") or (name[:1] == name[-1:] == "#") or name == "4913"
