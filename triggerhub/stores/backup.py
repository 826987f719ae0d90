"""Copy a store into one archive, and put it back.

An archive is a tar file: ``hub.db``, the payload files it refers to, code and names of deployed functions, the uids
that functions were given, and last ``manifest.json`` with the length and SHA-256 of each. So an archive that was cut
short has no manifest and is refused, and anybody's tar can look into one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import IO

from anyio import from_thread

from triggerhub.errors import ConfigError, Conflict, TriggerhubError
from triggerhub.settings import DEPLOYED_NAMES, GIVEN_UIDS
from triggerhub.stores import folder
from triggerhub.stores.lock import locked
from triggerhub.stores.migrate import scripts
from triggerhub.stores.reserve import AMPLE

FORMAT = 1
CHUNK = 1024 * 1024
MANIFEST = "manifest.json"
DATABASE = "hub.db"
UNFINISHED = "restore.unfinished"
"""Marks a data folder in which a restore was cut short: no hub starts on it."""
_PAGES = 1000
"""How many pages are copied between two looks at whether to go on."""
_SPARE = 10
"""Where a copy would leave less than this part of the disk, or less than AMPLE on a large one, none is made."""
CODE = Path("functions", "archives")
"""Where deployed functions have their code, below the data folder; it is there before the database speaks of it."""
_HASH = re.compile(r"[0-9a-f]{64}")
_NAMED = (DEPLOYED_NAMES, GIVEN_UIDS)
"""Files of one name that not every hub has."""
_MEMBER = re.compile(
    rf"hub\.db|manifest\.json|{'|'.join(re.escape(str(one)) for one in _NAMED)}|(blobs|{CODE})/[0-9a-f]{{64}}"
)
_OLD = ("hub.db", "hub.db-wal", "hub.db-shm", "blobs", "functions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did."""

    schema: int
    counts: dict[str, int]
    """Deliveries by state."""
    before: Path | None
    """Where that which lay there was put; None where nothing lay there."""


def copy(path: Path, to: Path) -> None:
    """Write the database at *path* as it is at one moment to *to*; others may go on writing.

    Runs in a worker thread; ends early where whoever waits for it is cancelled. sqlite3.Error; OSError, also where
    the copy would take the room that the store itself may need.
    """
    disk = os.statvfs(path.parent)
    spare = min(AMPLE, disk.f_blocks * disk.f_frsize // _SPARE)
    if disk.f_bavail * disk.f_frsize < path.stat().st_size + spare:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.close(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        target = sqlite3.connect(to)
        try:
            # One moment for all the steps.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            source.backup(target, pages=_PAGES, progress=lambda *_: from_thread.check_cancelled())
            # A file of its own, without a log beside it.
            target.execute("PRAGMA journal_mode = DELETE")
        finally:
            target.close()
    finally:
        source.close()


def tidy(data: Path) -> None:
    """Remove what a backup or a restore that was killed left in a data folder that is ours."""
    for path in data.glob("backup.draft*"):
        with suppress(OSError):
            path.unlink()
    shutil.rmtree(data / "restore.draft", ignore_errors=True)


def archive(database: Path, blobs: Path) -> Iterator[bytes]:
    """Yield the bytes of the archive of a copied *database*, and of the files beside it that it refers to. OSError."""
    files: dict[str, dict[str, object]] = {}
    yield from _file(DATABASE, database, files)
    for name in _blobs(database):
        if (blobs / name).exists():
            yield from _file(f"blobs/{name}", blobs / name, files)
    code = database.parent / CODE
    for path in sorted(code.iterdir()) if code.is_dir() else ():
        if _HASH.fullmatch(path.name) and path.exists():
            yield from _file(f"{CODE}/{path.name}", path, files)
    for one in _NAMED:
        if (database.parent / one).exists():
            yield from _file(str(one), database.parent / one, files)
    text = json.dumps({"format": FORMAT, "schema": _schema(database), "files": files}, indent=1).encode()
    yield _head(MANIFEST, len(text)) + text + _padding(len(text))
    yield bytes(2 * tarfile.BLOCKSIZE)


def restore(source: IO[bytes], data: Path, *, stamp: str) -> Restored:
    """Put the archive in *source* in the place of what is in the folder *data*, which is kept beside it.

    Nothing is touched before the whole archive was read and found good. ConfigError for one that is not,
    HubLocked while a hub runs there, TriggerhubError where it cannot be written. What root puts there is made the
    folder's owner's, whose hub is to read it.
    """
    owner = next(one for one in (data, *data.absolute().parents) if one.exists()).stat()
    with locked(data):
        tidy(data)
        draft = data / "restore.draft"
        try:
            draft.mkdir(mode=0o700)
            _unpack(source, draft)
            schema, counts = _checked(draft / DATABASE)
            for place in (draft / "blobs", draft / CODE, draft / CODE.parent):
                if place.is_dir():
                    folder.sync(place)
            _give((data, data / "hub.lock", *draft.rglob("*")), owner)
            before = _swap(draft, data, stamp)
        except OSError as error:
            half = (data / UNFINISHED).exists()
            hint = "Run it again: no hub starts on the folder before." if half else "Nothing was changed."
            raise TriggerhubError(f"the restore into {data} failed: {error.strerror or error}", hint=hint) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        if before is not None:
            _give((before,), owner)
    return Restored(schema=schema, counts=counts, before=before)


def _give(paths: Iterable[Path], owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def refuse_unfinished(data: Path) -> None:
    """Raise ConfigError where a restore was cut short: the folder may hold half of each."""
    if (data / UNFINISHED).exists():
        kept = _aside(data)
        raise ConfigError(
            f"a restore into {data} was cut short",
            hint="Run it again: triggerhub restore FILE." + (f" What lay there before is in {kept}." if kept else ""),
        )


def _file(name: str, path: Path, files: dict[str, dict[str, object]]) -> Iterator[bytes]:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest, left = hashlib.sha256(), size
        yield _head(name, size)
        while left:
            piece = file.read(min(CHUNK, left))
            if not piece:
                raise OSError(f"{path} became shorter while it was copied")
            left -= len(piece)
            digest.update(piece)
            yield piece
    if size % tarfile.BLOCKSIZE:
        yield _padding(size)
    files[name] = {"size": size, "sha256": digest.hexdigest()}


def _head(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _blobs(database: Path) -> list[str]:
    db = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    try:
        return [row[0] for row in db.execute("SELECT DISTINCT blob FROM event WHERE blob IS NOT NULL ORDER BY blob")]
    finally:
        db.close()


def _schema(database: Path) -> int:
    db = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    try:
        return int(db.execute("PRAGMA user_version").fetchone()[0])
    finally:
        db.close()


def _unpack(source: IO[bytes], draft: Path) -> None:
    (draft / "blobs").mkdir(mode=0o700)
    found: dict[str, dict[str, object]] = {}
    manifest: dict[str, object] | None = None
    try:
        with _opened(source) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is None or not _MEMBER.fullmatch(member.name) or member.name in found or manifest is not None:
                    raise _bad(f"it holds {member.name!r}, which no backup does")
                if member.name == MANIFEST:
                    manifest = json.loads(file.read())
                else:
                    (draft / member.name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    found[member.name] = _written(file, draft / member.name)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _bad(str(error)) from error
    if not isinstance(manifest, dict):
        raise _bad("it has no manifest: it was cut short, or is no backup")
    if manifest.get("format") != FORMAT:
        raise _bad(f"its format is {manifest.get('format')!r}; this version reads {FORMAT}")
    if manifest.get("files") != found:
        raise _bad("what it holds is not what its manifest says: it is damaged")


def _opened(source: IO[bytes]) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=source, mode="r|")
    except (tarfile.TarError, EOFError, ValueError) as error:
        remedy = "One that was compressed is read by: zstd -dc FILE | triggerhub restore -"
        raise _bad(f"it is no tar archive ({error})", remedy) from error


def _written(file: IO[bytes], path: Path) -> dict[str, object]:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as target:
        while piece := file.read(CHUNK):
            digest.update(piece)
            size += len(piece)
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    path.chmod(0o600)
    return {"size": size, "sha256": digest.hexdigest()}


def _checked(database: Path) -> tuple[int, dict[str, int]]:
    if not database.exists():
        raise _bad("it holds no database")
    newest = scripts()[-1][0]
    db = sqlite3.connect(database)
    try:
        schema = int(db.execute("PRAGMA user_version").fetchone()[0])
        if not 0 < schema <= newest:
            raise ConfigError(
                f"the backup is of schema {schema}; this version knows up to {newest}",
                hint="Restore it with the version of triggerhub that wrote it, or a newer one.",
            )
        (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise _bad(f"its database is damaged: {verdict}")
        counted = db.execute("SELECT entry, sum(number) FROM tally WHERE function <> '' GROUP BY entry").fetchall()
    except sqlite3.Error as error:
        raise _bad(f"its database is damaged: {error}") from error
    finally:
        db.close()
    return schema, {entry: number for entry, number in counted if number}


def _swap(draft: Path, data: Path, stamp: str) -> Path | None:
    """Move what lies there aside and the new in its place; a crash between leaves a mark that no hub overlooks."""
    old = [data / name for name in _OLD if (data / name).exists()]
    # After a restore that was cut short, what lies aside already is what the user may want back.
    before = _aside(data)
    if before is None:
        before = _unused(data / f"before-restore-{stamp}")
        _mark(data, before.name)
    before.mkdir(mode=0o700, exist_ok=True)
    folder.sync(data)
    for path in old:
        if not (before / path.name).exists():
            path.rename(before / path.name)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    folder.sync(before)
    for name in (DATABASE, "blobs", CODE.parts[0]):
        if (draft / name).exists():
            (draft / name).rename(data / name)
    if (draft / GIVEN_UIDS).exists():
        _join(draft / GIVEN_UIDS, data / GIVEN_UIDS)
    folder.sync(data)
    (data / UNFINISHED).unlink()
    folder.sync(data)
    if any(before.iterdir()):
        return before
    before.rmdir()
    return None


def _join(source: Path, target: Path) -> None:
    """Put the lines of *source* after those of *target*, which stay: folders here hold files of those uids."""
    if not target.exists():
        source.rename(target)
        return
    with target.open("r+b") as file:
        # A call on the command line may be giving one.
        fcntl.flock(file, fcntl.LOCK_EX)
        whole = file.read().split(b"\n")[:-1]
        file.seek(sum(len(line) + 1 for line in whole))
        file.truncate()  # a line that a power cut has torn
        there = frozenset(whole)
        new = [line for line in source.read_bytes().split(b"\n")[:-1] if line not in there]
        file.writelines(line + b"\n" for line in new)
        file.flush()
        os.fsync(file.fileno())


def _aside(data: Path) -> Path | None:
    """Return where a restore that was cut short put what lay there; None where it had not come so far."""
    try:
        name = (data / UNFINISHED).read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
    return data / name if name else None


def _mark(data: Path, name: str) -> None:
    descriptor = os.open(data / UNFINISHED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{name}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unused(path: Path) -> Path:
    """Return *path*, or the first of its name with a number that nothing lies at."""
    return next(
        one for one in chain([path], (path.with_name(f"{path.name}-{n}") for n in count(2))) if not one.exists()
    )


def _bad(why: str, remedy: str = "") -> ConfigError:
    return ConfigError(f"this is no backup that can be restored: {why}", hint=f"Nothing was changed. {remedy}".strip())


def busy() -> Conflict:
    """Return the error of a backup while another one is written."""
    return Conflict("another backup is being written", hint="Wait for it to end.")
