"""Keep each version of a function's code as a read-only copy named by its content.

A worker runs from its copy, so an edit never changes a version that is serving, and equal code is
the same version wherever and whenever it was read.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from triggerhub.errors import ConfigError
from triggerhub.policy.leftovers import leftover
from triggerhub.runtimes import copying

VERSION_LENGTH = 12
_BLOCK = 1024 * 1024
_LEFT_OUT = frozenset({"__pycache__", ".git"})
_SCRIPTS = frozenset({".js", ".mjs", ".cjs"})


def files_of_file(path: Path) -> dict[str, Path]:
    """Return what a single-file function consists of, as :func:`snapshot` takes it.

    That is the file, every sibling (file or folder) whose name begins with ``_``, and beside a
    script for Node the ``package.json`` that says how ``.js`` is to be read. Raises ConfigError.
    """
    folder = path.parent.resolve()
    names = {path.name} | ({"package.json"} if path.suffix in _SCRIPTS else set())
    files: dict[str, Path] = {}
    with _reading(path.parent):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name in names or (entry.name.startswith("_") and not _left_out(entry.name)):
                files |= _collect(folder, folder / entry.name, entry.name, ())
    if path.name not in files:
        raise ConfigError(f"{path} is not there", hint="Put the file back, or remove what names it.")
    return files


def files_of_folder(path: Path) -> dict[str, Path]:
    """Return what a folder function consists of. Raises ConfigError.

    That is all of the folder but caches, ``.git`` and what editors leave while they have a file open.
    """
    folder = path.resolve()
    with _reading(path):
        return _collect(folder, folder, "", ())


def snapshot(
    versions: Path,
    name: str,
    files: Mapping[str, Path],
    salt: Sequence[str] = (),
    links: Mapping[str, Path] = MappingProxyType({}),
) -> tuple[str, Path]:
    """Return the version of *files* and the folder ``versions/name/version`` that holds a copy of them.

    *files* maps the path within the copy to the file to be read; *salt* is what else makes a version
    (handler, command, and what *links* lead to, which are put into the copy by name). A copy that is there
    is used again if its content is still right. Appears whole or not at all, also when several do it at
    once. Raises ConfigError for what cannot be read.
    """
    with _reading(versions):
        home = versions / name
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        version = _digest(files, salt)
        if _holds(home / version, version, salt, links):
            return version, home / version
        draft = home / f".{os.getpid()}.{secrets.token_hex(6)}"
        try:
            version = _copy(draft, files, salt, links)
            _publish(draft, home / version, version, salt, links)
        finally:
            remove_tree(draft)
        return version, home / version


def held(folder: Path) -> dict[str, Path]:
    """Return the files of a copy, as :func:`snapshot` took them; what it links to is no part of them."""
    return {
        str((Path(parent) / name).relative_to(folder)): Path(parent) / name
        for parent, _, names in os.walk(folder)
        for name in names
        if not (Path(parent) / name).is_symlink()
    }


def keep(folder: Path, links: Mapping[str, Path]) -> None:
    """Make a copy that is whole outlive a power cut, and its links lead where they should now. Raises ConfigError."""
    with _reading(folder):
        if not all(_leads(folder / name, path) for name, path in links.items()):
            folder.chmod(0o755)
            for name, path in links.items():
                (folder / name).unlink(missing_ok=True)
                (folder / name).symlink_to(path)
            folder.chmod(0o555)
        folders = [Path(parent) for parent, _, _ in os.walk(folder)]
        for path in (*held(folder).values(), *folders, folder.parent):
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)


def collect(versions: Path, keep: Collection[Path]) -> list[Path]:
    """Remove every copy that is not in *keep*, and drafts that another process left; return what went."""
    wanted = {path.absolute() for path in keep}
    gone = []
    for home in versions.iterdir() if versions.is_dir() else ():
        if home.is_symlink() or not home.is_dir():
            continue
        for folder in home.iterdir():
            ours = folder.name.startswith(f".{os.getpid()}.")
            if folder.absolute() not in wanted and not ours:
                remove_tree(folder)
                gone.append(folder)
        if not any(home.iterdir()):
            home.rmdir()
    return gone


def remove_tree(path: Path) -> None:
    """Remove a folder with all that is in it, read-only or not; nothing happens if it is not there."""
    if not path.is_dir() or path.is_symlink():
        return
    path.chmod(0o700)
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _empty(top)
    finally:
        os.close(top)
    with suppress(OSError):
        path.rmdir()


def _empty(top: int) -> None:
    """Remove what is in a folder, however deep: hostile code nests folders further than paths and calls reach.

    So what is in a folder below it is moved up beside that folder, which then is empty.
    """
    left, moved = _sort(top), 0
    while left:
        name = left.pop()
        try:
            within = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        except OSError:
            continue
        try:
            for below in _sort(within):
                moved += 1
                up = f".removed-{os.getpid()}-{moved}"
                with suppress(OSError):
                    os.rename(below, up, src_dir_fd=within, dst_dir_fd=top)
                    left.append(up)
        finally:
            os.close(within)
        with suppress(OSError):
            os.rmdir(name, dir_fd=top)


def _sort(folder: int) -> list[str]:
    """Remove all that is no folder from *folder*; return the folders, which can be entered then."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                # What a link leads to is not ours.
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                    os.chmod(entry.name, 0o700, dir_fd=folder)
                else:
                    os.unlink(entry.name, dir_fd=folder)
    return folders


@contextmanager
def _reading(what: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = error.filename or what
        raise ConfigError(
            f"{name} cannot be read: {error.strerror}", hint="Let the hub's user read it, or take it out."
        ) from error


def _collect(root: Path, path: Path, name: str, above: tuple[Path, ...]) -> dict[str, Path]:
    """Map what lies at *path*, followed through links that stay within *root*."""
    real = path.resolve()
    if path.is_symlink():
        if not real.is_relative_to(root):
            raise ConfigError(
                f"{path} is a link to {real}, outside of {root}",
                hint="Copy what it points at into the folder; a version holds all of its code.",
            )
        if not real.exists():
            raise ConfigError(f"{path} is a link to {real}, which is not there", hint="Mend the link or remove it.")
    mode = real.stat().st_mode
    if stat.S_ISREG(mode):
        return {name: real}
    if not stat.S_ISDIR(mode):
        raise ConfigError(f"{path} is neither a file nor a folder", hint=f"Take it out of {root}.")
    if real in above:
        raise ConfigError(f"{path} is a link to a folder that contains it", hint="Remove the link.")
    found: dict[str, Path] = {}
    for entry in sorted(os.listdir(real)):  # noqa: PTH208 - names only, at a third of the price
        if not _left_out(entry):
            found |= _collect(root, real / entry, f"{name}/{entry}" if name else entry, (*above, real))
    return found


def _left_out(name: str) -> bool:
    return name in _LEFT_OUT or leftover(name)


def _mode(path: Path) -> int:
    return 0o555 if path.stat().st_mode & 0o111 else 0o444


def _hash(salt: Sequence[str]) -> hashlib._Hash:
    total = hashlib.sha256()
    for word in salt:
        _add(total, b"salt", word.encode("utf-8", "surrogateescape"))
    return total


def _add(total: hashlib._Hash, *parts: bytes) -> None:
    # Lengths in front: no two lists of parts may read the same.
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)


def _add_content(total: hashlib._Hash, path: Path) -> None:
    """Add as :func:`_add` does, and hold no more of the file than a block: a model is larger than memory may be."""
    with path.open("rb", buffering=0) as file:
        left = os.fstat(file.fileno()).st_size
        total.update(left.to_bytes(8, "big"))
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            total.update(block)
            left -= len(block)


def _digest(files: Mapping[str, Path], salt: Sequence[str]) -> str:
    total = _hash(salt)
    for name in sorted(files):
        _add(total, os.fsencode(name), b"%o" % _mode(files[name]))
        _add_content(total, files[name])
    return total.hexdigest()[:VERSION_LENGTH]


def _holds(folder: Path, version: str, salt: Sequence[str], links: Mapping[str, Path]) -> bool:
    """Whether the copy is whole: files written before a power cut may have come back empty."""
    if not folder.is_dir():
        return False
    # The data folder may have been moved since.
    return all(_leads(folder / name, path) for name, path in links.items()) and _digest(held(folder), salt) == version


def _leads(link: Path, path: Path) -> bool:
    return link.is_symlink() and link.readlink() == path


def _copy(draft: Path, files: Mapping[str, Path], salt: Sequence[str], links: Mapping[str, Path]) -> str:
    """Write the copy and return the version of exactly the bytes that were written."""
    draft.mkdir(mode=0o700)
    total = _hash(salt)
    for name in sorted(files):
        target = draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copying.copy(files[name], target)
        _add(total, os.fsencode(name), b"%o" % _mode(target))
        # The copy: what it was made of may have changed meanwhile.
        _add_content(total, target)
    for name, path in links.items():
        (draft / name).symlink_to(path)
    for folder, _, _ in os.walk(draft):
        Path(folder).chmod(0o555)
    return total.hexdigest()[:VERSION_LENGTH]


def _publish(draft: Path, target: Path, version: str, salt: Sequence[str], links: Mapping[str, Path]) -> None:
    try:
        draft.rename(target)
    except OSError:
        # Another was first with the same content, or a power cut tore what is there: then it must go,
        # for a rename cannot replace a folder that is not empty.
        if not _holds(target, version, salt, links):
            remove_tree(target)
            draft.rename(target)


def version_of(files: Mapping[str, Path], salt: Sequence[str] = ()) -> str:
    """Return the version that :func:`snapshot` would give, and copy nothing. Raises ConfigError."""
    with _reading(Path()):
        return _digest(files, salt)


def size_of(files: Mapping[str, Path]) -> int:
    """Return how many bytes *files* have. Raises ConfigError."""
    with _reading(Path()):
        return sum(path.stat().st_size for path in files.values())
