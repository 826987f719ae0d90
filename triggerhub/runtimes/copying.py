"""Copy a file that others may replace meanwhile, by no link that they put there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

_BLOCK = 1024 * 1024


def copy(source: Path, target: Path, most: int | None = None) -> int:
    """Copy *source*, a path without links, to the new file *target*, *most* bytes of it; return how many that were.

    *target* is read-only, and may be executed where *source* may. Raises OSError, also where there is a link on the
    way by now, or no file.
    """
    count = 0
    with _opened(source) as file, target.open("xb") as out:
        while block := file.read(_BLOCK if most is None else min(_BLOCK, most - count)):
            count += out.write(block)
        out.flush()
        os.fchmod(out.fileno(), 0o555 if os.fstat(file.fileno()).st_mode & 0o111 else 0o444)
    return count


def _opened(source: Path) -> IO[bytes]:
    folder = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in source.parts[1:-1]:
            above, folder = (
                folder,
                os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder),
            )
            os.close(above)
        # Not to wait for a pipe's writer.
        file = os.open(source.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), str(source)) from None
    finally:
        os.close(folder)
    opened = os.fdopen(file, "rb")
    if not stat.S_ISREG(os.fstat(file).st_mode):
        opened.close()
        raise OSError(errno.EINVAL, "that is no file any more", str(source))
    return opened
