"""Put a function's layers together as the one read-only folder that it sees at ``/opt``.

The folder is named by its content, so that equal layers are there once, and a layer that changes on
the disk is another folder and another version of the function.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import IO

from triggerhub import archive
from triggerhub.errors import BadInput, ConfigError
from triggerhub.runtimes import copying, snapshot
from triggerhub.runtimes.snapshot import remove_tree

_BLOCK = 1024 * 1024
_LENGTH = 24


def identify(layers: Sequence[Path]) -> str:
    """Return the name of what *layers* (zip archives or folders) come to in this order. Raises ConfigError."""
    total = hashlib.sha256()
    for layer in layers:
        total.update(_of(layer).encode())
    return total.hexdigest()[:_LENGTH]


def check(layers: Sequence[Path]) -> None:
    """Look at what the archives claim, and write nothing. Raises ConfigError."""
    for layer in layers:
        if not layer.is_dir():
            with _archive(layer) as file:
                _refused(layer, partial(archive.check, file))


def extensions(layers: Sequence[Path]) -> list[str]:
    """Name the programs that layers bring to run beside the runtime. Raises ConfigError."""
    names: set[str] = set()
    for layer in layers:
        if layer.is_dir():
            names |= {path.name for path in layer.glob("extensions/*") if path.is_file()}
            continue
        with _archive(layer) as file, zipfile.ZipFile(file) as opened:
            parts = [[part for part in name.split("/") if part != "."] for name in opened.namelist()]
            names |= {part[1] for part in parts if len(part) == 2 and part[0] == "extensions" and part[1]}
    return sorted(names)


def assemble(home: Path, layers: Sequence[Path], before: Callable[[], None] = lambda: None) -> Path:
    """Return the folder below *home* that has all of *layers*, the later over the earlier.

    Made where it is not there yet, after *before*, which may raise; appears whole or not at all, also when several do
    it at once. Raises ConfigError for a layer that cannot be read or must not be unpacked.
    """
    target = home / identify(layers)
    if target.is_dir():
        return target
    before()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = home / f".{os.getpid()}.{secrets.token_hex(6)}"
    try:
        draft.mkdir(mode=0o700)
        room, total = archive.UNZIPPED, hashlib.sha256()
        for layer in layers:
            size, name = _add(layer, draft, room)
            room -= size
            total.update(name.encode())
        _settle(draft)
        # Of what was copied: a layer may have changed since it was looked at.
        target = home / total.hexdigest()[:_LENGTH]
        try:
            draft.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    except OSError as error:
        raise ConfigError(f"the layers cannot be put into {home}: {error.strerror or error}") from error
    finally:
        remove_tree(draft)
    return target


def _of(layer: Path) -> str:
    try:
        if layer.is_dir():
            return _name(snapshot.files_of_folder(layer))
        state = layer.stat()
        if not stat.S_ISREG(state.st_mode):
            raise ConfigError(f"{layer} is neither a file nor a folder", hint="a layer is a zip archive or a folder")
        return _hashed(layer, state.st_mtime_ns, state.st_size, state.st_ino)
    except FileNotFoundError:
        raise ConfigError(f"there is no {layer}", hint="a layer is a zip archive or a folder") from None
    except OSError as error:
        raise ConfigError(f"{layer} cannot be read: {error.strerror}", hint="let the hub's user read it") from error


@lru_cache(maxsize=64)
def _hashed(layer: Path, *_state: int) -> str:
    with layer.open("rb") as file:
        return _hash(file)


def _hash(file: IO[bytes]) -> str:
    total = hashlib.sha256()
    while block := file.read(_BLOCK):
        total.update(block)
    return total.hexdigest()


def _add(layer: Path, draft: Path, room: int) -> tuple[int, str]:
    """Put one layer over what is there; return its bytes, and the name of exactly what was put there."""
    part = draft.with_name(f"{draft.name}.part")
    try:
        size, name = _copy(layer, part, room) if layer.is_dir() else _unpack(layer, part, room)
        for path in sorted(part.rglob("*")):
            if path.is_file():
                _put(path, draft, path.relative_to(part))
        return size, name
    finally:
        remove_tree(part)


def _copy(layer: Path, part: Path, room: int) -> tuple[int, str]:
    part.mkdir(mode=0o700)
    size = 0
    copies: dict[str, Path] = {}
    for name, path in snapshot.files_of_folder(layer).items():
        copies[name] = part / name
        copies[name].parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            size += copying.copy(path, copies[name], room - size + 1)
        except OSError as error:
            raise ConfigError(
                f"{layer} cannot be copied: {error.filename or path}: {error.strerror}",
                hint="it may have changed meanwhile: save it again once that is done",
            ) from error
        if size > room:
            raise ConfigError(f"{layer} has too much in it: all layers together may have {archive.UNZIPPED:,} bytes")
    return size, _name(copies)


def _unpack(layer: Path, part: Path, room: int) -> tuple[int, str]:
    with _archive(layer) as file, tempfile.TemporaryFile(dir=part.parent) as copy:
        shutil.copyfileobj(file, copy, _BLOCK)
        copy.seek(0)
        name = _hash(copy)
        copy.seek(0)
        return _refused(layer, partial(archive.unpack, copy, part, most=room)), name


def _name(files: Mapping[str, Path]) -> str:
    return snapshot.version_of(files, ["layer"])


def _put(source: Path, draft: Path, name: Path) -> None:
    target = draft / name
    for above in reversed(name.parents[:-1]):
        folder = draft / above
        if folder.exists() and not folder.is_dir():
            folder.unlink()
        folder.mkdir(exist_ok=True, mode=0o700)
    if target.is_dir():
        remove_tree(target)
    source.parent.chmod(0o700)
    source.replace(target)


def _settle(draft: Path) -> None:
    """Make the tree read-only and durable: it is believed for ever by its name."""
    for parent, _, names in os.walk(draft):
        for path in (*(Path(parent, name) for name in names), Path(parent)):
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)
        Path(parent).chmod(0o555)


def _archive(layer: Path) -> IO[bytes]:
    try:
        return layer.open("rb")
    except OSError as error:
        raise ConfigError(f"{layer} cannot be read: {error.strerror}", hint="let the hub's user read it") from error


def _refused(layer: Path, do: Callable[[], int]) -> int:
    try:
        return do()
    except BadInput as error:
        raise ConfigError(f"{layer} cannot be a layer: {error.message}", hint=error.hint) from error


def collect(home: Path, keep: Collection[Path]) -> None:
    """Remove every folder below *home* that is not in *keep*, and drafts that another process left."""
    for folder in home.iterdir() if home.is_dir() else ():
        if folder not in keep and not folder.name.startswith(f".{os.getpid()}."):
            remove_tree(folder)
