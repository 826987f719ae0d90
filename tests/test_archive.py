"""What a stranger's zip archive may do to the disk: unpack whole, or leave nothing."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggerhub.archive import BadArchive, check, remove, unpack


def entry(name: str, mode: int = stat.S_IFREG | 0o644, **facts: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    for key, value in facts.items():
        setattr(info, key, value)
    return info


def zipped(*files: tuple[zipfile.ZipInfo | str, bytes]) -> io.BytesIO:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    made.seek(0)
    return made


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_files_and_folders_come_out_read_only_and_keep_their_bytes(tmp_path: Path) -> None:
    data = os.urandom(1_000_000)
    made = zipped(
        (entry("app.py"), b"x = 1\n"),
        (entry("bin/run", stat.S_IFREG | 0o4777), b"#!/bin/sh\n"),
        (entry("empty/", stat.S_IFDIR | 0o755), b""),
        ("grün/data.bin", data),
    )
    assert unpack(made, tmp_path / "code") == len(data) + 16
    assert tree(tmp_path / "code") == ["app.py", "bin", "bin/run", "empty", "grün", "grün/data.bin"]
    assert (tmp_path / "code/grün/data.bin").read_bytes() == data
    modes = {name: stat.S_IMODE((tmp_path / "code" / name).stat().st_mode) for name in ("", "app.py", "bin/run", "bin")}
    assert modes == {"": 0o555, "app.py": 0o444, "bin/run": 0o555, "bin": 0o555}
    remove(tmp_path / "code")
    assert tree(tmp_path) == []


def test_names_that_begin_with_a_dot_and_spaces_of_other_kinds_are_taken(tmp_path: Path) -> None:
    made = zipped((entry("./", stat.S_IFDIR | 0o755), b""), ("./a.py", b"x"), ("b/./c", b"y"), ("d\u00a0\u3000e", b"z"))
    assert unpack(made, tmp_path / "code") == check(made) == 3
    assert tree(tmp_path / "code") == ["a.py", "b", "b/c", "d\u00a0\u3000e"]


def test_an_archive_whose_comment_looks_like_its_end_is_not_told_to_have_too_many_entries(tmp_path: Path) -> None:
    made = zipped(("a", b"x"))
    with zipfile.ZipFile(made, "a") as archive:
        archive.comment = b"PK\x05\x06" + b"x" * 40
    with pytest.raises(BadArchive, match="goes on") as caught:
        check(made)
    assert caught.value.kind == "damaged"


BOMB = zipped(("zeros", bytes(3_000_000)))
HOSTILE = {
    "up": (zipped(("../evil", b"x")), "unsafe", "leads out"),
    "up within": (zipped(("a/../../evil", b"x")), "unsafe", "leads out"),
    "absolute": (zipped(("/etc/evil", b"x")), "unsafe", "leads out"),
    "dot": (zipped((".", b"x")), "unsafe", "no name"),
    "dot twice": (zipped(("./a", b"x"), ("a", b"y")), "unsafe", "twice"),
    "up after a dot": (zipped(("./../evil", b"x")), "unsafe", "leads out"),
    "empty part": (zipped(("a//b", b"x")), "unsafe", "leads out"),
    "backslash": (zipped(("..\\evil", b"x")), "unsafe", "character"),
    "line break": (zipped(("a\nb", b"x")), "unsafe", "character"),
    "link": (zipped((entry("a", stat.S_IFLNK | 0o777), b"/etc/passwd")), "unsafe", "is a link"),
    "link and through it": (
        zipped((entry("a", stat.S_IFLNK | 0o777), b"/tmp"), ("a/evil", b"x")),
        "unsafe",
        "is a link",
    ),
    "device": (zipped((entry("a", stat.S_IFCHR | 0o666), b"")), "unsafe", "neither"),
    "pipe": (zipped((entry("a", stat.S_IFIFO | 0o666), b"")), "unsafe", "neither"),
    "file and folder": (zipped(("a", b"x"), ("a/b", b"y")), "unsafe", "both"),
    "long name": (zipped(("n" * 256, b"x")), "unsafe", "too long"),
    "deep": (zipped(("/".join("d" * 65), b"x")), "unsafe", "too long"),
    "bomb": (BOMB, "large", "unpacks to 3,000,000"),
    "many": (zipped(*((f"f{n}", b"") for n in range(101))), "many", "entries"),
    "no zip": (io.BytesIO(b"PK\x03\x04 but no more"), "damaged", "no list"),
    "empty": (io.BytesIO(b""), "damaged", "no list"),
    "lzma": (zipped((entry("a", compress_type=zipfile.ZIP_LZMA), b"x")), "damaged", "otherwise"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_must_not_be_unpacked_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    made, kind, says = HOSTILE[name]
    home = tmp_path / "home"
    home.mkdir()
    for attempt in (lambda: unpack(made, home / "code", most=1_000_000, entries=100),
                    lambda: check(made, most=1_000_000, entries=100)):  # fmt: skip
        with pytest.raises(BadArchive, match=says) as caught:
            attempt()
        assert caught.value.kind == kind
    assert tree(tmp_path) == ["home"]


def test_an_entry_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        made = zipped(("a", b"x"), ("a", b"y"))
    with pytest.raises(BadArchive, match="twice"):
        unpack(made, tmp_path / "code")
    assert tree(tmp_path) == []


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    made = bytearray(zipped(("a", b"x")).getvalue())
    made[made.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BadArchive, match="encrypted"):
        unpack(io.BytesIO(made), tmp_path / "code")


def lying(size: int) -> io.BytesIO:
    """An archive whose one entry of zeros claims *size* bytes."""
    made = bytearray(BOMB.getvalue())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<L", made, made.index(signature) + offset, size)
    return io.BytesIO(made)


@pytest.mark.parametrize("size", [10, 2_999_999, 3_000_001])
def test_an_entry_that_lies_about_its_size_leaves_nothing(size: int, tmp_path: Path) -> None:
    with pytest.raises(BadArchive) as caught:
        unpack(lying(size), tmp_path / "code")
    assert caught.value.kind == "damaged"
    assert tree(tmp_path) == []


def with_record(made: bytes, *, entries: int, length: int) -> io.BytesIO:
    """The archive with a record for large lists, which readers believe before the one at the end."""
    at = made.rindex(b"PK\x05\x06")
    *_, offset, _ = struct.unpack("<4s4H2LH", made[at:])
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, length, offset)
    return io.BytesIO(made[:at] + record + struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1) + made[at:])


def test_the_record_of_a_large_list_is_what_counts(tmp_path: Path) -> None:
    made = zipped(("a", b"x"), ("b", b"y")).getvalue()
    length = made.rindex(b"PK\x05\x06") - made.index(b"PK\x01\x02")
    assert unpack(with_record(made, entries=2, length=length), tmp_path / "code") == 2
    for entries, claimed in ((2, 2**26), (10**6, length)):
        with pytest.raises(BadArchive, match="list of entries is too long"):
            check(with_record(made, entries=entries, length=claimed))
    torn = with_record(made, entries=2, length=length).getvalue().replace(b"PK\x06\x06", b"PK\x06\x00")
    with pytest.raises(BadArchive, match="not there"):
        check(io.BytesIO(torn))


def test_ten_gigabytes_that_are_only_claimed_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        with archive.open("big", "w", force_zip64=True) as file:
            file.write(b"little")
        archive.infolist()[0].file_size = 10 * 2**30
    with pytest.raises(BadArchive, match="10,737,418,240"):
        unpack(made, tmp_path / "code")
    assert tree(tmp_path) == []


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    with pytest.raises(FileExistsError):
        unpack(zipped(("a", b"x")), tmp_path / "code")
    assert tree(tmp_path) == ["code"]


@given(data=st.data())
def test_whatever_a_damaged_archive_says_it_is_refused_or_unpacked_within_its_folder(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("damaged")
    made = bytearray(zipped(("a/b", b"hello" * 9), ("c", b"\x00" * 99)).getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(io.BytesIO(made), home / "code", most=1000)
    except BadArchive:
        assert tree(home) == []
    else:
        assert {path.partition("/")[0] for path in tree(home)} <= {"code"}


def test_bytes_that_cannot_be_inflated_are_damage(tmp_path: Path) -> None:
    made = bytearray(zipped(("a", os.urandom(1000))).getvalue())
    made[40:60] = bytes(20)
    with pytest.raises(BadArchive) as caught:
        unpack(io.BytesIO(made), tmp_path / "code")
    assert caught.value.kind == "damaged"
    assert tree(tmp_path) == []
