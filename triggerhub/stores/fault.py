"""Tell a full disk, a closed door and a broken store from a command's own fault."""

from __future__ import annotations

import errno
import sqlite3

from triggerhub.errors import StoreBroken, StoreFull

_OWN = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Not the disk's fault, and gone again when others let go."""
_DENIED = {
    errno.EACCES: "Run this command as the user whose project it is.",
    errno.EPERM: "Run this command as the user whose project it is.",
    errno.EROFS: "Mount it for writing; where it was until now, the kernel's log says why it is no more.",
}
"""What to do about that which no disk is to blame for."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BROKEN = (
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def full() -> StoreFull:
    """Return the error of a disk without room."""
    return StoreFull("the disk is full", hint="Free some space; a hub that runs goes on by itself.")


def locked_from_outside() -> StoreBroken:
    """Return the error of a database that somebody else has open and will not let go."""
    return StoreBroken(
        "another program keeps the database locked",
        hint="Close it, then start the hub again; use the hub's own commands to look inside.",
    )


def damaged(what: str) -> StoreBroken:
    """Return the error of a database that holds what nobody wrote into it."""
    return StoreBroken(
        f"the database failed: {what}",
        hint="Nothing is acknowledged any more. Put a backup in its place with `triggerhub restore FILE`, then start "
        "the hub again; what is damaged is kept aside.",
    )


def translate(error: Exception) -> Exception:
    """Return what *error* means for the store; the error itself where it is the command's own."""
    if isinstance(error, OSError):
        if error.errno in _NO_ROOM:
            return full()
        if error.errno in _OWN:
            return error
        if error.errno in _DENIED:
            place = error.filename or "the data folder"
            return StoreBroken(f"{place} may not be used: {error.strerror}", hint=_DENIED[error.errno])
        return StoreBroken(f"the disk failed: {error}", hint="Look at the kernel's log; then start the hub again.")
    if isinstance(error, UnicodeDecodeError):  # SQLite's own sentence quotes what it read
        return damaged(f"it holds what is no text ({error.reason})")
    if isinstance(error, sqlite3.Error):
        extended = getattr(error, "sqlite_errorcode", 0)
        code = extended & 0xFF
        # The index of the write-ahead log is a file too, and grows before anything is written.
        if code == sqlite3.SQLITE_FULL or extended == sqlite3.SQLITE_IOERR_SHMSIZE:
            return full()
        if code in _DAMAGED or str(error).startswith(("no such column", "Could not decode")):
            return damaged(f"{error} ({getattr(error, 'sqlite_errorname', code)})")
        if code in _BROKEN:
            return StoreBroken(
                f"the database failed: {error} ({getattr(error, 'sqlite_errorname', code)})",
                hint="Nothing is acknowledged any more. Look at the disk, then start the hub again.",
            )
        if code == sqlite3.SQLITE_BUSY:
            return locked_from_outside()
    return error
