"""Unpack a zip archive that a stranger made: whole and within limits, or not at all.

What an archive claims is looked at before a byte is written, and counted again while it is: a name
that leads out, a link, a device, an entry that is there twice and a bomb all leave nothing on the disk.
"""

from __future__ import annotations

import secrets
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from os import SEEK_END, walk
from pathlib import Path
from typing import IO, Literal

from triggerhub.errors import BadInput
from triggerhub.settings import KB, MB

UNZIPPED = 250 * MB
"""The most that Lambda lets an archive unpack to."""
ENTRIES = 50_000
_DIRECTORY = 16 * MB
"""The most that the list of entries may take: reading it costs far more than its bytes."""
_NAME, _PATH, _DEPTH = 255, 2048, 64
_CHUNK = 256 * KB
_END = struct.Struct("<4s4H2LH")
_LOCATOR_64 = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


class BadArchive(BadInput):
    """An archive that cannot or must not be unpacked.

    ``kind`` is ``damaged`` (no zip, or not a whole one), ``unsafe`` (it names what it must not), ``large``, or ``many``
    (entries).
    """

    def __init__(
        self, kind: Literal["damaged", "unsafe", "large", "many"], message: str, *, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind


def unpack(archive: IO[bytes], into: Path, *, most: int = UNZIPPED, entries: int = ENTRIES) -> int:
    """Unpack *archive* as the new folder *into*, read-only; return how many bytes its files have.

    A file that may be executed stays executable; nothing else of its owner, times or mode is taken over.
    *most* bounds the bytes of all files, *entries* how many there may be. Appears whole or not at all; the
    folder above must be there and *into* must not. Raises BadArchive, OSError (also where *into* is there).
    Blocks: call it in a thread.
    """
    if into.exists():
        raise FileExistsError(f"{into} is there already")
    draft = into.with_name(f".{into.name}.{secrets.token_hex(6)}")
    try:
        draft.mkdir(mode=0o700)
        total = _unpack(archive, draft, most, entries)
        for folder, _, _ in walk(draft):
            Path(folder).chmod(0o555)
        draft.rename(into)
        return total
    except BaseException:
        remove(draft)
        raise


def check(archive: IO[bytes], *, most: int = UNZIPPED, entries: int = ENTRIES) -> int:
    """Look at what *archive* claims, as :func:`unpack` does first, and write nothing; return the bytes it claims.

    Raises BadArchive.
    """
    with _opened(archive, entries) as opened:
        return sum(info.file_size for info in _checked(opened.infolist(), most, entries))


def remove(folder: Path) -> None:
    """Remove what was unpacked, read-only as it is; nothing happens if it is not there."""
    if not folder.is_dir() or folder.is_symlink():
        return
    folder.chmod(0o700)
    for parent, names, _ in walk(folder):
        for name in names:
            Path(parent, name).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _unpack(archive: IO[bytes], draft: Path, most: int, entries: int) -> int:
    total = 0
    with _opened(archive, entries) as opened:
        for info in _checked(opened.infolist(), most, entries):
            target = draft / info.filename
            if info.is_dir():
                target.mkdir(parents=True, exist_ok=True, mode=0o700)
                continue
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            total += _write(opened, info, target)
            target.chmod(0o555 if _mode(info) & 0o111 else 0o444)
    return total


def _opened(archive: IO[bytes], entries: int) -> zipfile.ZipFile:
    _look_at_end(archive, entries)
    try:
        return zipfile.ZipFile(archive)
    except _DAMAGE as error:
        raise BadArchive("damaged", f"it is no whole zip archive: {error}") from error


_DAMAGE = (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error, UnicodeError, zlib.error)
"""What zipfile raises over bytes that are none; RuntimeError, which it uses for a password, is ruled out before."""


def _look_at_end(archive: IO[bytes], entries: int) -> None:
    """Refuse a list of entries that is too long to be read, going by the archive's last record."""
    size = archive.seek(0, SEEK_END)
    archive.seek(max(0, size - _END.size - 0xFFFF - _LOCATOR_64.size - _END_64.size))
    tail = archive.read()
    archive.seek(0)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise BadArchive("damaged", "it is no zip archive: it has no list of entries")
    *_, count, length, _, comment = _END.unpack_from(tail, found)
    ends = found + _END.size + comment == len(tail)
    locator = found - _LOCATOR_64.size
    if tail[max(locator, 0) : found].startswith(b"PK\x06\x07"):
        # A record for large archives, which is what is read then, whatever the other says.
        record = tail[max(locator - _END_64.size, 0) : locator]
        if len(record) < _END_64.size or not record.startswith(b"PK\x06\x06"):
            raise BadArchive("damaged", "it is no whole zip archive: the record of its large list is not there")
        *_, count, length, _ = _END_64.unpack(record)
    if length > _DIRECTORY or count > entries:
        if not ends:
            raise BadArchive(
                "damaged",
                "it is no whole zip archive: after the end of its list of entries, or a comment like it, it goes on",
            )
        raise BadArchive("many", f"its list of entries is too long: over {entries:,} entries or {_DIRECTORY} bytes")


def _checked(infos: list[zipfile.ZipInfo], most: int, entries: int) -> list[zipfile.ZipInfo]:
    """Return the entries once every one of them is found to be one that may be written."""
    if len(infos) > entries:
        raise BadArchive("many", f"it has {len(infos):,} entries; the most is {entries:,}")
    files: set[str] = set()
    folders: set[str] = set()
    for info in infos:
        parts = _parts(info)
        kind = stat.S_IFMT(_mode(info))
        if kind == stat.S_IFLNK:
            raise BadArchive("unsafe", f"{_show(info)} is a link", hint="Put what it leads to in its place.")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFREG and info.is_dir()):
            raise BadArchive("unsafe", f"{_show(info)} is neither a file nor a folder")
        if info.flag_bits & _ENCRYPTED:
            raise BadArchive("damaged", f"{_show(info)} is encrypted")
        if info.compress_type not in _METHODS:
            raise BadArchive("damaged", f"{_show(info)} is compressed otherwise than by deflate")
        path = "/".join(parts)
        above = ["/".join(parts[:n]) for n in range(1, len(parts))]
        if info.is_dir():
            above.append(path)
        elif path in files:
            raise BadArchive("unsafe", f"{_show(info)} is in it twice")
        else:
            files.add(path)
        folders.update(one for one in above if one)
    if both := files & folders:
        raise BadArchive("unsafe", f"{min(both)[:_NAME]!r} is both a file and a folder")
    total = sum(info.file_size for info in infos)
    if total > most:
        raise BadArchive("large", f"it unpacks to {total:,} bytes; the most is {most:,}")
    return infos


def _parts(info: zipfile.ZipInfo) -> list[str]:
    """Return the components of an entry's name. Raises BadArchive for one that could be written elsewhere."""
    # What zipfile made of the name is written: it cuts one at a NUL, which the original name shows.
    name, original = info.filename, info.orig_filename
    parts = name.removesuffix("/").split("/")
    if name != original or "\\" in name or not (name.isprintable() or all(map(_is_plain, name))):
        raise BadArchive("unsafe", f"{_show(info)} has a character in its name that no file should have")
    if name.startswith("/") or any(part in ("", "..") for part in parts):
        raise BadArchive("unsafe", f"{_show(info)} leads out of the archive, or is no plain path")
    parts = [part for part in parts if part != "."]
    if not parts and not info.is_dir():
        raise BadArchive("unsafe", f"{_show(info)} is no name of a file")
    encoded = [part.encode("utf-8", "surrogateescape") for part in parts]
    if len(parts) > _DEPTH or sum(map(len, encoded)) > _PATH or max(map(len, encoded), default=0) > _NAME:
        raise BadArchive("unsafe", f"{_show(info)} has too long a name")
    return parts


def _is_plain(character: str) -> bool:
    """Whether a name may have it: spaces of other kinds than the one of ASCII, too."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _mode(info: zipfile.ZipInfo) -> int:
    """Return an entry's Unix mode, 0 where the system that made the archive has none."""
    return info.external_attr >> 16


def _show(info: zipfile.ZipInfo) -> str:
    return repr(info.orig_filename[:_NAME])


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> int:
    """Write one file; zipfile gives no more of it than it claimed to have, and sees what does not fit its checksum."""
    try:
        with opened.open(info) as source, target.open("xb") as file:
            shutil.copyfileobj(source, file, _CHUNK)
            written = file.tell()
    except _DAMAGE as error:
        raise BadArchive("damaged", f"{_show(info)} cannot be unpacked: {error}") from error
    if written != info.file_size:
        raise BadArchive("damaged", f"{_show(info)} has fewer bytes than it claims")
    return written
