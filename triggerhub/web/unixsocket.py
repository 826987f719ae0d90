"""Listen on a unix socket that only its owner may use, wherever its path would lead."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from triggerhub.errors import ConfigError

LONGEST = 107
"""Bytes of a path that the kernel takes."""


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """Lend a bound socket of mode 0600 at *path*, which is removed on leaving. ConfigError.

    What a dead hub left there is taken away: hub.lock has made sure that no other is alive. When the path is
    longer than the kernel takes, the socket is put under the runtime directory and *path* is a link to it.
    """
    place = path
    try:
        if len(os.fsencode(path)) > LONGEST:
            place = _short(path)
            _remove(path)
            path.symlink_to(place)
        _remove(place)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"{path} cannot be made: {error.strerror or error}") from error
    try:
        try:
            # Nobody connects before listen(), so the mode is right in time.
            listener.bind(os.fspath(place))
            place.chmod(0o600)
        except OSError as error:
            raise ConfigError(f"{place} cannot be listened on: {error.strerror or error}") from error
        listener.setblocking(False)
        yield listener
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            _remove(place)
            _remove(path)


def _short(path: Path) -> Path:
    """Return a path for *path*'s socket under a runtime directory of this user's own."""
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16] + ".sock"
    own = os.environ.get("XDG_RUNTIME_DIR")
    for parent in [*([Path(own)] if own else []), Path("/run"), Path(tempfile.gettempdir()), Path("/tmp")]:
        folder = parent / f"triggerhub-{os.getuid()}"
        if not parent.is_absolute() or len(os.fsencode(folder / name)) > LONGEST:
            continue
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            state = folder.lstat()
            # In /tmp somebody else may have made it before us.
            if state.st_uid == os.getuid() and state.st_mode & 0o170077 == 0o040000:
                return folder / name
    raise ConfigError(
        f"{path} is longer than {LONGEST} bytes, and no runtime directory can be had for its socket",
        hint="Set XDG_RUNTIME_DIR to a folder of yours, or put the project at a shorter path.",
    )


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
