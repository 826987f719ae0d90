"""A version is a read-only copy named by its content."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from triggerhub.errors import ConfigError
from triggerhub.runtimes.snapshot import collect, files_of_file, files_of_folder, remove_tree, snapshot


@pytest.fixture
def handlers(tmp_path: Path) -> Path:
    folder = tmp_path / "handlers"
    folder.mkdir()
    (folder / "hello.py").write_text("def handler(event, context): return 1\n")
    return folder


@pytest.fixture
def versions(tmp_path: Path):
    yield tmp_path / "versions"
    remove_tree(tmp_path / "versions")


def test_equal_content_is_the_same_version_and_an_edit_is_another(handlers: Path, versions: Path) -> None:
    first, code = snapshot(versions, "hello", files_of_file(handlers / "hello.py"), ["hello.handler"])
    assert snapshot(versions, "hello", files_of_file(handlers / "hello.py"), ["hello.handler"]) == (first, code)
    assert (len(first), code) == (12, versions / "hello" / first)

    (handlers / "hello.py").write_text("def handler(event, context): return 2\n")
    second, _ = snapshot(versions, "hello", files_of_file(handlers / "hello.py"), ["hello.handler"])
    assert second != first
    assert (code / "hello.py").read_text() == "def handler(event, context): return 1\n"


@pytest.mark.parametrize("change", ["mode", "salt", "name"])
def test_what_else_makes_a_version(handlers: Path, versions: Path, change: str) -> None:
    path, salt = handlers / "hello.py", ["a"]
    first, _ = snapshot(versions, "f", files_of_file(path), salt)
    match change:
        case "mode":
            path.chmod(0o755)
        case "salt":
            salt = ["b"]
        case "name":
            path = path.rename(handlers / "hallo.py")
    assert snapshot(versions, "f", files_of_file(path), salt)[0] != first


def test_salt_and_files_cannot_be_confused(handlers: Path, versions: Path) -> None:
    files = files_of_file(handlers / "hello.py")
    assert len({snapshot(versions, "f", files, salt)[0] for salt in ([], [""], ["ab"], ["a", "b"])}) == 4


def test_a_copy_is_read_only_and_keeps_the_executable_bit(handlers: Path, versions: Path) -> None:
    folder = handlers / "tool"
    (folder / "lib").mkdir(parents=True)
    (folder / "main.sh").write_text("#!/bin/sh\n")
    (folder / "main.sh").chmod(0o700)
    (folder / "lib" / "data.txt").write_text("x")
    _, code = snapshot(versions, "tool", files_of_folder(folder))
    modes = {str(p.relative_to(code)): stat.S_IMODE(p.stat().st_mode) for p in [code, *code.rglob("*")]}
    assert modes == {".": 0o555, "main.sh": 0o555, "lib": 0o555, "lib/data.txt": 0o444}


def test_a_file_brings_its_underscore_siblings_and_nothing_else(handlers: Path) -> None:
    for name in ("_shared.py", "other.py", "notes.txt", "package.json"):
        (handlers / name).write_text("x")
    for folder in ("_lib", "__pycache__", "lib"):
        (handlers / folder).mkdir()
        (handlers / folder / "x.py").write_text("x")
    (handlers / "web.mjs").write_text("x")
    assert set(files_of_file(handlers / "hello.py")) == {"hello.py", "_shared.py", "_lib/x.py"}
    assert set(files_of_file(handlers / "web.mjs")) == {"web.mjs", "_shared.py", "_lib/x.py", "package.json"}


def test_a_folder_brings_node_modules_but_no_caches(handlers: Path) -> None:
    for path in ("f/index.js", "f/node_modules/a/index.js", "f/.git/HEAD", "f/sub/__pycache__/x.pyc", "f/.env"):
        (handlers / path).parent.mkdir(parents=True, exist_ok=True)
        (handlers / path).write_text("x")
    assert set(files_of_folder(handlers / "f")) == {"index.js", "node_modules/a/index.js", ".env"}


def test_what_an_editor_leaves_is_no_code(handlers: Path) -> None:
    folder = handlers / "f"
    folder.mkdir()
    (folder / "index.py").write_text("x")
    (folder / ".#index.py").symlink_to("anna@host.123:456")
    for left in ("f/.index.py.swp", "f/#index.py#", "_shared.py~"):
        (handlers / left).write_text("x")
    assert set(files_of_folder(folder)) == {"index.py"}
    assert set(files_of_file(handlers / "hello.py")) == {"hello.py"}


def test_links_within_the_folder_are_followed(handlers: Path, versions: Path) -> None:
    folder = handlers / "f"
    (folder / "real").mkdir(parents=True)
    (folder / "real" / "a.py").write_text("x = 1")
    (folder / "b.py").symlink_to("real/a.py")
    (folder / "alias").symlink_to("real")
    _, code = snapshot(versions, "f", files_of_folder(folder))
    assert {str(p.relative_to(code)): p.is_symlink() for p in code.rglob("*") if p.is_file()} == {
        "real/a.py": False,
        "alias/a.py": False,
        "b.py": False,
    }


@pytest.mark.parametrize(
    ("target", "says"),
    [("/etc/passwd", "outside"), ("gone", "not there"), (".", "contains it"), ("../hello.py", "outside")],
)
def test_a_link_that_cannot_be_followed_is_named(handlers: Path, target: str, says: str) -> None:
    folder = handlers / "f"
    folder.mkdir()
    (folder / "link").symlink_to(target)
    with pytest.raises(ConfigError, match=says) as caught:
        files_of_folder(folder)
    assert "link" in caught.value.message
    assert caught.value.hint


def test_what_is_no_file_is_refused(handlers: Path) -> None:
    (handlers / "f").mkdir()
    os.mkfifo(handlers / "f" / "pipe")
    with pytest.raises(ConfigError, match="neither a file nor a folder"):
        files_of_folder(handlers / "f")


def test_a_file_that_is_gone_is_a_configuration_error(handlers: Path, versions: Path) -> None:
    files = files_of_file(handlers / "hello.py")
    (handlers / "hello.py").unlink()
    with pytest.raises(ConfigError, match=r"hello\.py"):
        snapshot(versions, "hello", files)
    with pytest.raises(ConfigError, match="is not there"):
        files_of_file(handlers / "hello.py")
    assert list((versions / "hello").iterdir()) == []


def test_a_torn_copy_is_made_again(handlers: Path, versions: Path) -> None:
    files = files_of_file(handlers / "hello.py")
    version, code = snapshot(versions, "hello", files)
    (code / "hello.py").chmod(0o644)
    (code / "hello.py").write_text("")
    assert snapshot(versions, "hello", files) == (version, code)
    assert (code / "hello.py").read_bytes() == (handlers / "hello.py").read_bytes()


def test_many_at_once_make_one_version_and_no_litter(handlers: Path, versions: Path) -> None:
    files = files_of_file(handlers / "hello.py")
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(lambda _: snapshot(versions, "hello", files), range(16)))
    assert len(made) == 1
    assert [p.name for p in (versions / "hello").iterdir()] == [made.pop()[0]]


def test_collect_removes_what_is_not_kept_and_drafts_of_the_dead(handlers: Path, versions: Path) -> None:
    _, old = snapshot(versions, "hello", files_of_file(handlers / "hello.py"), ["1"])
    _, new = snapshot(versions, "hello", files_of_file(handlers / "hello.py"), ["2"])
    _, gone = snapshot(versions, "bye", files_of_file(handlers / "hello.py"))
    (versions / "hello" / ".1.abc").mkdir()
    assert set(collect(versions, {new})) == {old, gone, versions / "hello" / ".1.abc"}
    assert [str(p.relative_to(versions)) for p in versions.rglob("*")] == [
        "hello",
        f"hello/{new.name}",
        f"hello/{new.name}/hello.py",
    ]
    assert collect(versions / "nowhere", set()) == []


def test_removing_a_tree_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(mode=0o755)
    (tmp_path / "other" / "kept").touch()
    (tmp_path / "tree" / "locked" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "tree" / "locked").chmod(0)
    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "tree")
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["other", "other/kept"]
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o755


def test_removing_a_tree_takes_it_however_deep_and_wide(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    deep = os.open(tree, os.O_RDONLY)
    for _ in range(3000):  # further than a path reaches, and than Python calls itself
        os.mkdir("d", dir_fd=deep)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=deep))
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    for number in range(300):
        (tree / f"{number}" / "below").mkdir(parents=True)
    remove_tree(tree)
    assert list(tmp_path.iterdir()) == []


def test_a_version_is_the_same_as_it_ever_was(handlers: Path, versions: Path) -> None:
    """What was copied before, and what is pinned, is known by it."""
    (handlers / "_big").write_bytes(b"0123456789abcdef" * 200_000)
    version, copy = snapshot(versions, "hello", files_of_file(handlers / "hello.py"), ["hello.py"])
    assert version == "3a80728266a4"
    assert (copy / "_big").read_bytes() == (handlers / "_big").read_bytes()


MOST = """
import sys
from pathlib import Path
from triggerhub.runtimes.snapshot import files_of_folder, snapshot, version_of
def peak():
    # Not ru_maxrss, which begins with what the parent's was.
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
before = peak()
files = files_of_folder(Path(sys.argv[1]))
version, copy = snapshot(Path(sys.argv[2]), "ml", files)
assert version == version_of(files)
assert (copy / "model.bin").stat().st_size == 300 * 2**20
print(peak() - before)
"""


def test_a_file_larger_than_memory_may_be_is_copied_in_blocks(tmp_path: Path) -> None:
    folder = tmp_path / "ml"
    folder.mkdir()
    with (folder / "model.bin").open("wb") as model:
        model.truncate(300 * 2**20)
    words = [sys.executable, "-c", MOST, str(folder), str(tmp_path / "versions")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 50 * 1024, "KB more at most"


@pytest.mark.parametrize("place", ["app.py", "lib"])
def test_a_link_that_came_meanwhile_is_not_followed(tmp_path: Path, versions: Path, place: str) -> None:
    code = tmp_path / "app"
    for name in ("app.py", "lib/it.py"):
        for folder in (code, tmp_path / "secret"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(folder.name)
    files = files_of_folder(code)
    (code / place).rename(tmp_path / "away")
    (code / place).symlink_to(tmp_path / "secret" / place)
    with pytest.raises(ConfigError, match=r"app/(app|lib/it)\.py cannot be read"):
        snapshot(versions, "app", files, ["app"])
    assert [path for path in versions.rglob("*") if path.is_file()] == []
